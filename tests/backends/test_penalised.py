"""Likelihoods penalised by priors: gradients, maxima against dense matrices and scipy, published defaults, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from lmmformula import anova, build, compare_methods, fit, load, load_dataset, plan
from lmmformula.backends.penalised import with_own_sigma
from lmmformula.criteria.layout import Layout
from lmmformula.criteria.penalty import PenalisedLaplace, Penalty
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import PlanError
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.standard_responses import standard_of

KEPT = "gamma(2.5, 1e-9)"
"""Chung et al. (2013): 1.5 log sd."""


def criterion(formula: str, data: Any, priors: dict[str, str], **arguments: Any) -> PenalisedLaplace:
    problem = with_own_sigma(build(formula, data, **arguments))
    standard = standard_of(problem)
    penalty = Penalty.of(resolve_priors(problem, priors, flat=True), standard)
    return PenalisedLaplace.of(standard.problem, exact_engine()).penalised(penalty)


MODELS: dict[str, tuple[str, str, dict[str, str], dict[str, Any]]] = {
    "slopes": (
        "Reaction ~ Days + (Days | Subject)",
        "sleepstudy",
        {
            "cor": "lkj(3)",
            "sd": "half_student_t(3, 0, 20)",
            "b": "student_t(4, 1, 2)",
            "sigma": "normal(20, 3)",
        },
        {},
    ),
    "one correlation": (
        "score ~ Machine + cs(0 + Machine | Worker)",
        "Machines",
        {"cor": "lkj(2)", "sd": KEPT, "Intercept": "normal(0, 9)"},
        {},
    ),
    "size": (
        "incidence ~ period + (1 | herd)",
        "cbpp",
        {"phi": "inv_gamma(2, 3)", "sd": "exponential(1)"},
        {"family": "nbinom2"},
    ),
    "formula": (
        "bf(Reaction ~ Days + (1 | Subject), sigma ~ Days)",
        "sleepstudy",
        {"sigma:b": "normal(0, 0.1)", "sigma:Intercept": "normal(3, 1)", "b:(Intercept)": "normal(200, 20)"},
        {},
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_gradient_is_that_of_the_value(name: str) -> None:
    formula, data, priors, arguments = MODELS[name]
    model = criterion(formula, load_dataset(data), priors, **arguments)
    rng = np.random.default_rng(1)
    theta = np.concatenate([t.covariance.start() for t in model.problem.terms])
    psi = 0.1 * rng.standard_normal(model.layout.size)
    psi[model.layout.theta] = 0.5 * theta + 0.2 * rng.random(len(theta))
    step = 1e-5 * np.eye(len(psi))
    numeric = [(model(psi + e).deviance - model(psi - e).deviance) / 2e-5 for e in step]
    np.testing.assert_allclose(model(psi).gradient, numeric, rtol=1e-5, atol=1e-3)
    assert model.penalty is not None
    weights = model.penalty.weights(psi[model.layout.beta])
    assert np.linalg.eigvalsh(weights).min(initial=0.0) >= -1e-12 * np.trace(weights)


def dense(problem: Any, beta: Any, sd: float, sigma: float) -> float:
    z = np.eye(problem.terms[0].m)[problem.terms[0].codes]
    v: Any = sigma**2 * np.eye(problem.n) + sd**2 * z @ z.T
    return float(stats.multivariate_normal.logpdf(problem.y, problem.X.matrix @ beta, v))


@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_a_singular_fit_is_kept_off_zero(unit: float) -> None:
    """Dyestuff2, whose estimate is zero without: the maximum of the dense likelihood times the density, in any units."""
    data = load_dataset("Dyestuff2")
    data["Yield"] = data["Yield"] * unit
    scales = {"sd": f"gamma(2.5, {1e-9 / unit})", "sigma": f"half_normal({2 * unit})"}
    m = fit("Yield ~ 1 + (1 | Batch)", data, method="ml", priors=scales)
    problem = build("Yield ~ 1 + (1 | Batch)", data)
    sd = float(m.estimate.theta[0])
    sigma = float(np.exp(m.estimate.aux[0][0]))

    def log_prior(sd: float, sigma: float) -> float:
        own = (
            stats.gamma.logpdf(sd, 2.5, scale=1e9 * unit),
            stats.halfnorm.logpdf(sigma, 0, 2 * unit),
        )
        return float(sum(own))

    np.testing.assert_allclose(m.llf, dense(problem, m.params, sd, sigma), rtol=1e-10)
    assert m.estimate.log_prior == pytest.approx(log_prior(sd, sigma), rel=1e-10)

    def minus(x: Any) -> float:
        beta, sd, sigma = unit * np.array([x[0]]), unit * np.exp(x[1]), unit * np.exp(x[2])
        return -dense(problem, beta, sd, sigma) - log_prior(sd, sigma)

    start = [m.params.iloc[0] / unit, np.log(sd / unit), np.log(sigma / unit)]
    best = optimize.minimize(minus, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-11})
    np.testing.assert_allclose(best.x, start, atol=2e-5)
    assert sd > 0.1 * unit
    assert not m.estimate.singular


def test_separation_has_finite_estimates_and_errors() -> None:
    x = np.repeat([0.0, 1.0], 10)
    data = {"y": x.copy(), "x": x}
    m = fit(
        "y ~ x",
        data,
        family="binomial",
        method="laplace",
        priors={"b": "normal(0, 2.5)", "b:(Intercept)": "normal(0, 5)"},
    )
    columns = np.column_stack([np.ones(20), x])
    precision = np.diag([1 / 25.0, 1 / 6.25])
    sign = 2.0 * data["y"] - 1.0

    def minus(beta: Any) -> float:
        return float(np.logaddexp(0.0, -sign * (columns @ beta)).sum() + 0.5 * beta @ precision @ beta)

    best = optimize.minimize(minus, [0.0, 0.0], tol=1e-12)
    np.testing.assert_allclose(m.params, best.x, atol=1e-5)
    p = 1 / (1 + np.exp(-columns @ m.params.to_numpy()))
    cov = np.linalg.inv(columns.T @ ((p * (1 - p))[:, None] * columns) + precision)
    np.testing.assert_allclose(m.cov_params(), cov, rtol=1e-5)
    assert not m.estimate.undetermined


def test_a_wishart_prior_is_gamma_and_lkj() -> None:
    """blme's default wishart(df = k + 2.5): log p(Sigma) = 0.75 log|Sigma| up to a constant."""
    problem = build("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    own = with_own_sigma(problem)
    standard = standard_of(own)
    penalty = Penalty.of(
        resolve_priors(own, {"sd": "gamma(2.5, 1e-13)", "cor": "lkj(1.75)"}, flat=True), standard
    )
    layout = Layout(slice(0, 2), slice(2, 5), (slice(5, 6),))
    values, theirs = [], []
    for theta in (np.array([1.0, 0.2, 0.5]), np.array([0.3, -0.1, 2.0])):
        psi = np.concatenate([[0.0, 0.0], theta, [0.0]])
        values.append(penalty.at(standard.problem, layout, psi)[0])
        lower = own.terms[0].covariance.cholesky(standard.theta_out(theta))
        theirs.append(0.75 * np.linalg.slogdet(lower @ lower.T)[1])
    np.testing.assert_allclose(values[0] - values[1], theirs[0] - theirs[1], rtol=1e-6)


def test_quadrature_has_the_penalty_too() -> None:
    data = load_dataset("cbpp")
    arguments: dict[str, Any] = {"weights": "size", "family": "binomial", "method": "laplace", "nagq": 7}
    plain = fit("incidence / size ~ period + (1 | herd)", data, **arguments)
    wide = fit("incidence / size ~ period + (1 | herd)", data, priors={"b": "normal(0, 1e4)"}, **arguments)
    np.testing.assert_allclose(wide.params, plain.params, atol=1e-5)
    np.testing.assert_allclose(wide.llf, plain.llf, atol=1e-7)
    tight = fit("incidence / size ~ period + (1 | herd)", data, priors={"b": "normal(0, 0.01)"}, **arguments)
    assert np.abs(tight.params.iloc[1:]).max() < 0.01


def test_what_it_says_keeps_and_refuses(tmp_path: Path) -> None:
    data, priors = load_dataset("sleepstudy"), {"sd": KEPT, "b": "normal(0, 50)"}
    formula = "Reaction ~ Days + (1 | Subject)"
    m = fit(formula, data, method="ml", priors=priors)
    text = str(m.summary())
    assert "Penalised by priors: b:Days normal(0, 50); sd:Subject:Intercept gamma(2.5, 1e-09)" in text
    assert "Log density of the priors at the estimate:" in text
    assert np.isnan(m.aic)
    assert m.priors is not None
    assert ("sigma", "flat()", "default") in m.priors.table()
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    np.testing.assert_allclose(again.bse, m.bse)
    assert again.estimate.log_prior == m.estimate.log_prior
    np.testing.assert_allclose(m.refit(data["Reaction"]).params, m.params, rtol=1e-6)
    assert "penalised by priors of b:Days, sd:Subject:Intercept" in str(
        plan(formula, data, method="ml", priors=priors)
    )
    assert m.update("Reaction ~ Days + I(Days^2) + (1 | Subject)").priors is not None
    assert m.update(method="reml").priors is None
    for call in (lambda: m.profile(), lambda: anova(m, m), lambda: m.influence()):
        with pytest.raises(PlanError, match="no maximum of a likelihood"):
            call()


@pytest.mark.parametrize(
    ("formula", "arguments", "says"),
    [
        ("Reaction ~ Days + (1 | Subject)", {"method": "reml"}, "method='ml' or 'laplace'"),
        ("Reaction ~ Days + (1 | Subject)", {"priors": {"sd": "constant(3)"}}, "holds a parameter"),
        ("Reaction ~ Days + (1 | Subject)", {"priors": {}}, "priors is empty"),
        ("bf(Reaction ~ Days, sigma ~ (1 | Subject))", {}, "another parameter than the mean"),
        (
            "Reaction ~ Days + ar1(0 + factor(Days) | Subject)",
            {"priors": {"cor": "normal(0, 1)"}},
            "correlations",
        ),
    ],
)
def test_refusals(formula: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        fit(
            formula,
            load_dataset("sleepstudy"),
            **{"method": "ml", "priors": {"Intercept": "normal(0, 1)"}, **arguments},
        )


def test_priors_of_a_posterior_penalise_no_likelihood_beside_it() -> None:
    data, priors = load_dataset("Dyestuff"), {"sd": "half_normal(10)"}
    plain = fit("Yield ~ 1 + (1 | Batch)", data, method="ml")
    methods: dict[str, Any] = {"ml": {}, "map": {"method": "ml", "priors": priors}}
    both = compare_methods("Yield ~ 1 + (1 | Batch)", data, methods, priors={"sd": "half_normal(1)"})
    fits = {run.name: run.fit for run in both.runs if run.fit is not None}
    assert fits["ml"].llf == plain.llf
    assert fits["map"].estimate.theta[0] < plain.estimate.theta[0] * plain.sigma
    drawn = fit("Yield ~ 1 + (1 | Batch)", data, method="hmc", sample_prior="only", priors=priors, seed=1)
    assert drawn.update(method="ml").priors is None
