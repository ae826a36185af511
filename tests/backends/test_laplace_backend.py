"""Generalised fits: optima, boundaries, standard errors, quadrature, zero-inflation, dispersion, responses of one model."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracle import z_matrix
from registry import FITTED, auxiliaries_of

import lmmformula
from lmmformula import fit, load_dataset
from lmmformula.backends.curvature import _inverse
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.criteria.quadrature import Quadrature
from lmmformula.errors import ConvergenceWarning, FitError, LmmformulaWarning, SingularFitWarning
from lmmformula.families import FAMILIES
from lmmformula.result import Fit
from lmmformula.typing import Array

NOISE = 3e-6
"""What the tolerance of the mode search leaves in a deviance: its error is of first order in the mode's."""

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
TICKS = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "binomial": (CBPP, "cbpp", {"family": "binomial"}),
    "probit": ("y ~ trt + I(week > 2) + (1 | ID)", "bacteria", {"family": "binomial(link='probit')"}),
    "crossed poisson": (TICKS, "grouseticks", {"family": "poisson"}),
    "nbinom2": ("count ~ spp + mined + (1 | site)", "Salamanders", {"family": "nbinom2"}),
    "zero-inflated": (
        "count ~ mined + (1 | site)",
        "Salamanders",
        {"family": "poisson", "ziformula": "~ mined"},
    ),
    "gamma with slopes": (
        "Reaction ~ Days + (Days | Subject)",
        "sleepstudy",
        {"family": "gamma(link='log')"},
    ),
    "quadrature": (CBPP, "cbpp", {"family": "binomial", "nagq": 9}),
}


@cache
def model(name: str) -> Fit:
    formula, data, arguments = MODELS[name]
    return fit(formula, load_dataset(data), **arguments)


def simulated(seed: int = 5, m: int = 40, n: int = 600) -> dict[str, Any]:
    """A table with a grouping factor, its standard normal effects, and two predictors."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, m, n)
    u = rng.normal(size=(m, 2))
    x, z = rng.normal(size=n), rng.integers(0, 2, n).astype(float)
    return {"g": g.astype(str), "u": u[g, 0], "v": u[g, 1], "x": x, "z": z, "rng": rng}


def table(data: dict[str, Any], **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({k: data[k] for k in ("g", "x", "z")} | columns)


# -- the optimum ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-3, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("name", MODELS)
def test_the_optimum_does_not_depend_on_the_start(name: str, size: float) -> None:
    formula, data, arguments = MODELS[name]
    found = model(name)
    start = size * np.concatenate([t.covariance.start() for t in found.problem.terms])
    other = fit(formula, load_dataset(data), **arguments, start=start)
    assert other.converged
    assert other.deviance == pytest.approx(found.deviance, abs=NOISE)
    np.testing.assert_allclose(other.params, found.params, atol=1e-3 * found.bse.min())


@pytest.mark.parametrize("name", ["binomial", "crossed poisson", "gamma with slopes"])
def test_engines_reach_the_same_optimum(name: str) -> None:
    formula, data, arguments = MODELS[name]
    rows = load_dataset(data).iloc[:250] if name == "crossed poisson" else load_dataset(data)
    blocked, dense = (fit(formula, rows, **arguments, engine=engine) for engine in ("blocked", "dense"))
    assert blocked.deviance == pytest.approx(dense.deviance, abs=NOISE)
    np.testing.assert_allclose(blocked.params, dense.params, atol=1e-4 * dense.bse.min())


@pytest.mark.parametrize("name", [n for n in MODELS if n != "quadrature"])
def test_the_gradient_vanishes_at_the_optimum(name: str) -> None:
    point = model(name).optimum
    assert np.abs(point.gradient / np.sqrt(np.diagonal(point.hessian))).max() < 2e-4


@pytest.mark.parametrize("nagq", [0, 1, 7])
@pytest.mark.parametrize("family", ["poisson", "nbinom2", "gamma(link='log')"])
def test_a_zero_variance_is_exactly_zero_and_is_said(family: str, nagq: int) -> None:
    """Levels that differ less than chance would have them: the variance's estimate is zero."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(20), 10), np.tile(np.linspace(-1, 1, 10), 20)
    if family == "gamma(link='log')":
        y = np.exp(0.3 * x) * np.concatenate([rng.permutation(np.linspace(0.5, 1.5, 10)) for _ in range(20)])
    else:
        y = np.concatenate([rng.permutation([0, 1, 1, 2, 2, 3, 3, 4, 6, 12]) for _ in range(20)])
    with pytest.warns(SingularFitWarning, match=r"\(1 \| g\)"):
        m = fit("y ~ x + (1 | g)", {"y": y, "x": x, "g": g.astype(str)}, family=family, nagq=nagq)
    assert m.converged
    assert m.theta.iloc[0] == 0.0
    assert m.is_singular
    assert not m.ranef()["condval"].to_numpy(dtype=float).any()
    rows = m.problem.family.rows(m.problem.y, m.problem.X.matrix @ m.estimate.beta, m.optimum.aux)
    assert m.llf == pytest.approx(rows.loglik.sum(), abs=1e-9)
    assert np.isfinite(m.bse).all()


def test_one_of_two_variances_is_zero() -> None:
    data = simulated()
    y = data["rng"].poisson(np.exp(0.5 + 0.3 * data["x"] + 0.6 * data["u"]))
    rows, h = table(data, y=y), np.arange(600) % 30
    first = fit("y ~ x + (1 | g)", rows, family="poisson")
    both = None
    for seed in range(20):  # the first draw of a factor without effect whose variance is estimated as zero
        rows["h"] = np.random.default_rng(seed).permutation(h).astype(str)
        fits = fit_quietly("y ~ x + (1 | g) + (1 | h)", rows, family="poisson")
        if fits.is_singular:
            both = fits
            break
    assert both is not None
    assert both.theta.iloc[1] == 0.0
    assert both.theta.iloc[0] > 0.1
    assert both.deviance == pytest.approx(first.deviance, abs=1e-7)
    np.testing.assert_allclose(both.bse, first.bse, rtol=1e-4)


def fit_quietly(formula: str, data: Any, **arguments: Any) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return fit(formula, data, **arguments)


def test_stopping_early_is_said_with_numbers() -> None:
    with pytest.warns(
        ConvergenceWarning, match=r"limit of evaluations \(\d+ evaluations\).*still\s+promises"
    ):
        m = fit(TICKS, load_dataset("grouseticks"), family="poisson", max_evaluations=2)
    assert not m.converged


# -- standard errors --------------------------------------------------------------------------------------------------


def second_differences(m: Fit, step: float = 1e-3) -> Array:
    """Hessian of the criterion's values, in units of the curvature offered to the optimiser."""
    point = m.optimum
    criterion: Any = point.model
    if m.backend.nagq > 1:
        criterion = Quadrature(point.model, m.backend.nagq)
    scale = step * np.sqrt(2 / np.abs(np.diagonal(point.hessian)))
    d = len(point.psi)

    def at(*moves: tuple[int, int]) -> float:
        psi = point.psi.copy()
        for j, sign in moves:
            psi[j] += sign * scale[j]
        return criterion(psi, u=point.u, beta=point.beta).deviance

    out = np.empty((d, d))
    for i in range(d):
        for j in range(i + 1):
            corners = [a * b * at((i, a), (j, b)) for a in (1, -1) for b in (1, -1)]
            out[i, j] = out[j, i] = sum(corners) / (4 * scale[i] * scale[j])
    return out


@pytest.mark.parametrize("name", MODELS)
def test_joint_covariance_against_second_differences_of_the_criterion(name: str) -> None:
    m = model(name)
    expected = 2 * np.linalg.inv(second_differences(m, 3e-2))
    ours = m.backend.joint_vcov(m.estimate, m.optimum)
    sd = np.sqrt(np.diagonal(expected))
    np.testing.assert_allclose(ours / np.outer(sd, sd), expected / np.outer(sd, sd), atol=2e-3)
    p = m.problem.p
    np.testing.assert_allclose(m.vcov, ours[:p, :p], rtol=1e-12)
    np.testing.assert_allclose(m.bse**2, np.diagonal(ours)[:p], rtol=1e-12)


def test_standard_errors_at_zero_variance_are_those_of_the_plain_model() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(20), 10), np.tile(np.linspace(-1, 1, 10), 20)
    y = np.concatenate([rng.permutation([0, 1, 1, 2, 2, 3, 3, 4, 4, 5]) for _ in range(20)])
    with pytest.warns(SingularFitWarning):
        m = fit("y ~ x + (1 | g)", {"y": y, "x": x, "g": g.astype(str)}, family="poisson")
    plain: Any = sm.GLM(y, sm.add_constant(x), family=sm.families.Poisson()).fit(tol=1e-12)
    np.testing.assert_allclose(m.params, plain.params, atol=1e-6)
    np.testing.assert_allclose(m.bse, plain.bse, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_fit_gives_the_same_numbers(name: str, tmp_path: Any) -> None:
    m = model(name)
    m.save(tmp_path / "fit")
    loaded = lmmformula.load(tmp_path / "fit")
    assert loaded.point is None
    np.testing.assert_allclose(loaded.bse, m.bse, rtol=1e-5)
    np.testing.assert_allclose(loaded.ranef(condsd=True)["condsd"], m.ranef(condsd=True)["condsd"], rtol=1e-5)
    assert loaded.optimum.deviance == pytest.approx(m.optimum.deviance, abs=NOISE)
    np.testing.assert_array_equal(loaded.params, m.params)


# -- refits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_refit_of_the_same_response_is_the_same_fit(name: str) -> None:
    m = model(name)
    again = m.refit(m.problem.y)
    assert again.deviance == pytest.approx(m.deviance, abs=NOISE)
    assert (np.abs(again.params - m.params) <= 1e-4 * m.bse).all()


@pytest.mark.parametrize("name", ["binomial", "zero-inflated", "quadrature"])
def test_a_refit_is_a_fit_of_the_new_response(name: str) -> None:
    m = model(name)
    y = m.simulate(seed=1).iloc[:, 0].to_numpy()
    again = m.refit(y)
    afresh = m.backend.fit(again.problem).estimate
    assert again.deviance == pytest.approx(afresh.deviance, abs=NOISE)
    assert abs(again.deviance - m.deviance) > 1e-3


@pytest.mark.parametrize("name", ["binomial", "nbinom2", "zero-inflated"])
def test_bootstrap_surrounds_the_estimate(name: str) -> None:
    m = model(name)
    draws = m.bootstrap(8, seed=3)
    assert len(draws) == 8
    assert draws.attrs["failed"] == 0
    assert np.isfinite(draws.to_numpy()).all()
    effects = draws[list(m.params.index)]
    assert effects.to_numpy().std(axis=0).min() > 0
    assert (np.abs(effects.mean() - m.params) < 2.5 * m.bse).all()
    again = m.bootstrap(8, seed=3)
    pd.testing.assert_frame_equal(draws, again)


# -- quadrature and the fast mode -------------------------------------------------------------------------------------


def test_the_fast_mode_is_the_criterion_with_beta_at_the_joint_mode() -> None:
    fast, full = fit(CBPP, load_dataset("cbpp"), family="binomial", nagq=0), model("binomial")
    assert fast.method == "Laplace (nAGQ = 0)"
    psi = np.concatenate([fast.estimate.beta, fast.estimate.theta])
    assert full.optimum.model(psi).deviance == pytest.approx(fast.deviance, abs=1e-7)
    assert fast.deviance > full.deviance + 1e-3
    np.testing.assert_allclose(fast.params, full.params, atol=0.2 * full.bse.min())
    # beta is the mode together with u: its score vanishes
    score = fast.problem.X.matrix.T @ fast.optimum.observed.score
    assert np.abs(score).max() < 1e-4


def test_the_fast_mode_with_auxiliary_parameters() -> None:
    formula, data, arguments = MODELS["nbinom2"]
    fast, full = fit(formula, load_dataset(data), **arguments, nagq=0), model("nbinom2")
    assert full.deviance < fast.deviance < full.deviance + 5
    assert fast.sigma == pytest.approx(full.sigma, rel=0.1)


def test_quadrature_nodes_settle() -> None:
    few, many = (fit(CBPP, load_dataset("cbpp"), family="binomial", nagq=n) for n in (15, 30))
    laplace = model("binomial")
    assert few.deviance == pytest.approx(many.deviance, abs=1e-7)
    np.testing.assert_allclose(few.params, many.params, atol=1e-5)
    assert abs(laplace.deviance - many.deviance) > 0.01


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_random_slopes_by_quadrature(family: str) -> None:
    data = simulated(m=25, n=300)
    eta = 0.3 + 0.5 * data["x"] + 0.8 * data["u"] + 0.5 * data["v"] * data["x"]
    rng = data["rng"]
    y = rng.binomial(1, 1 / (1 + np.exp(-eta))) if family == "binomial" else rng.poisson(np.exp(eta))
    rows = table(data, y=y)
    laplace, five, nine = (fit("y ~ x + (x | g)", rows, family=family, nagq=n) for n in (1, 5, 9))
    assert all(m.converged for m in (laplace, five, nine))
    assert abs(five.deviance - nine.deviance) < 0.1 * abs(laplace.deviance - nine.deviance)
    np.testing.assert_allclose(five.bse, nine.bse, rtol=0.02)
    sizes = five.varcorr()["sdcor"].to_numpy()[:2]
    np.testing.assert_allclose(sizes, [0.8, 0.5], atol=0.4)


# -- auxiliary predictors ---------------------------------------------------------------------------------------------


def test_zero_inflation_finds_what_was_put_in() -> None:
    data = simulated(n=1500)
    rng = data["rng"]
    y = rng.poisson(np.exp(1.0 + 0.4 * data["x"] + 0.5 * data["u"]))
    p = 1 / (1 + np.exp(1.0 - 1.5 * data["z"]))
    rows = table(data, y=np.where(rng.uniform(size=1500) < p, 0, y))
    plain = fit("y ~ x + (1 | g)", rows, family="poisson")
    constant = fit("y ~ x + (1 | g)", rows, family="poisson", ziformula="~ 1")
    m = fit("y ~ x + (1 | g)", rows, family="poisson", ziformula="~ z")
    assert (plain.df_model, constant.df_model, m.df_model) == (3, 4, 5)
    assert plain.llf < constant.llf - 50 < m.llf - 50
    sd = np.sqrt(np.diagonal(m.backend.joint_vcov(m.estimate, m.optimum)))
    truth = np.array([1.0, 0.4, 0.5, -1.0, 1.5])
    assert (np.abs(m.optimum.psi - truth) < 3.5 * sd).all()
    assert m.predict(kind="zi").groupby(rows["z"]).nunique().tolist() == [1, 1]


@pytest.mark.parametrize("family", ["poisson", "nbinom1", "nbinom2"])
def test_zero_inflation_is_one_name_or_one_formula(family: str) -> None:
    data = load_dataset("Salamanders")
    named = fit("count ~ mined + (1 | site)", data, family=f"zero_inflated_{family}")
    asked = fit("count ~ mined + (1 | site)", data, family=family, ziformula="~ 1")
    assert named.deviance == pytest.approx(asked.deviance, abs=1e-8)
    np.testing.assert_allclose(named.params, asked.params, rtol=1e-8)


@pytest.mark.parametrize("family", ["nbinom2", "nbinom1", "gamma(link='log')", "beta", "gaussian", "student"])
def test_dispformula_finds_what_was_put_in(family: str) -> None:
    """A dispersion that depends on z: the slope is found, and the likelihood gains what a test would notice."""
    data = simulated(m=30, n=900)
    rng, z = data["rng"], data["z"]
    eta = 0.2 + 0.4 * data["x"] + 0.4 * data["u"]
    level = {"gaussian": -0.5, "student": -0.5, "gamma(link='log')": -1.2, "beta": 1.5}.get(family, 0.0)
    record = lmmformula.families.resolve(family)
    extra = (1.6,) * (len(record.auxiliaries) - 1)
    rows = table(data, y=record.simulate(rng, eta, (level + 1.2 * z, *extra)))
    plain = fit("y ~ x + (1 | g)", rows, family=family, method="ml" if record.is_linear else "auto")
    m = fit("y ~ x + (1 | g)", rows, family=family, dispformula="~ z")
    assert m.converged
    assert m.llf > plain.llf + 10
    assert m.df_model == plain.df_model + 1
    slope = m.estimate.aux[0][1]
    where = m.optimum.model.layout.aux[0].start + 1
    sd = np.sqrt(m.backend.joint_vcov(m.estimate, m.optimum)[where, where])
    assert abs(slope - 1.2) < 3.5 * sd
    assert sd < 0.4


def test_a_constant_dispformula_is_the_gaussian_model() -> None:
    data = load_dataset("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    exact, laplace = fit(formula, data, method="ml"), fit(formula, data, dispformula="~ 1")
    assert isinstance(laplace.backend, LaplaceBackend)
    assert laplace.deviance == pytest.approx(exact.deviance, abs=1e-6)
    np.testing.assert_allclose(laplace.params, exact.params, rtol=1e-5)
    assert laplace.sigma == pytest.approx(exact.sigma, rel=1e-4)
    np.testing.assert_allclose(laplace.varcorr()["sdcor"], exact.varcorr()["sdcor"][:3], rtol=1e-3)


# -- offsets, weights and the ways to write successes ------------------------------------------------------------------


@cache
def trials_fits() -> dict[str, Fit]:
    data = load_dataset("cbpp").assign(share=lambda d: d["incidence"] / d["size"])
    right = "period + (1 | herd)"
    return {
        "cbind": fit(f"cbind(incidence, size - incidence) ~ {right}", data, family="binomial"),
        "proportion": fit(f"I(incidence / size) ~ {right}", data, family="binomial", weights="size"),
        "column": fit(f"share ~ {right}", data, family="binomial", weights=data["size"].to_numpy()),
        "trials": fit(f"incidence | trials(size) ~ {right}", data, family="binomial"),
        "rows": fit(f"y ~ {right}", one_row_a_trial(data), family="binomial"),
    }


def one_row_a_trial(data: pd.DataFrame) -> pd.DataFrame:
    long = data.loc[np.repeat(data.index, data["size"].to_numpy())].reset_index(drop=True)
    within = long.groupby(["herd", "period"], observed=True).cumcount()
    return long.assign(y=(within < long["incidence"]).astype(int))


@pytest.mark.parametrize("way", ["proportion", "column", "trials", "rows"])
def test_ways_to_write_successes_are_one_model(way: str) -> None:
    first, other = trials_fits()["cbind"], trials_fits()[way]
    allowed = 1e-12 if way != "rows" else 1e-6
    np.testing.assert_allclose(other.params, first.params, rtol=allowed, atol=allowed)
    np.testing.assert_allclose(other.bse, first.bse, rtol=max(allowed, 1e-9))
    np.testing.assert_allclose(other.theta, first.theta, rtol=allowed)
    if way != "rows":  # whose likelihood lacks the binomial coefficients
        assert other.deviance == pytest.approx(first.deviance, rel=1e-12)
        np.testing.assert_allclose(other.residuals("deviance"), first.residuals("deviance"), atol=1e-9)


@pytest.mark.parametrize("family", ["poisson", "nbinom2"])
def test_an_offset_is_a_coefficient_of_one(family: str) -> None:
    data = load_dataset("Owls")
    formula = "SiblingNegotiation ~ FoodTreatment + {} + (1 | Nest)"
    logs = np.log(data["BroodSize"].to_numpy(dtype=float))
    inside = fit(formula.format("offset(log(BroodSize))"), data, family=family)
    outside = fit(formula.replace("{} + ", ""), data, family=family, offset=logs)
    named = fit(formula.replace("{} + ", ""), data.assign(o=logs), family=family, offset="o")
    for other in (outside, named):
        assert other.deviance == pytest.approx(inside.deviance, abs=1e-9)
        np.testing.assert_allclose(other.params, inside.params, rtol=1e-7)
    # a constant offset moves the intercept and nothing else
    shifted = fit(formula.format("offset(log(BroodSize) + 1)"), data, family=family)
    assert shifted.deviance == pytest.approx(inside.deviance, abs=NOISE)
    np.testing.assert_allclose(shifted.params - inside.params, [-1.0, 0.0], atol=1e-4)
    slope = fit(formula.format("log(BroodSize)"), data, family=family)
    assert slope.deviance < inside.deviance


@pytest.mark.parametrize("family", [name for name in FITTED if FAMILIES[name].weights_are == "repeats"])
def test_weights_repeat_rows(family: str) -> None:
    """A weight of two is the row twice, where a family's weights are neither trials nor precisions."""
    data = simulated(m=12, n=120)
    record = lmmformula.families.resolve(family)
    eta = 0.5 + 0.3 * data["x"] + 0.6 * data["u"]
    rows = table(data, y=record.simulate(data["rng"], eta, auxiliaries_of(record)))
    w = data["rng"].integers(1, 4, 120)
    weighted = fit("y ~ x + (1 | g)", rows, family=family, weights=w)
    repeated = fit("y ~ x + (1 | g)", rows.loc[rows.index.repeat(w)].reset_index(drop=True), family=family)
    assert weighted.deviance == pytest.approx(repeated.deviance, abs=NOISE)
    np.testing.assert_allclose(weighted.params, repeated.params, atol=1e-3 * weighted.bse.min())
    np.testing.assert_allclose(weighted.bse, repeated.bse, rtol=1e-3)


def test_gamma_weights_are_precisions() -> None:
    """Means of k gamma variables have the shape k times theirs."""
    data = simulated(m=40, n=2000, seed=9)
    k = data["rng"].integers(1, 6, 2000)
    mu = np.exp(0.5 + 0.3 * data["x"] + 0.4 * data["u"])
    rows = table(data, y=data["rng"].gamma(2.0 * k, mu / (2.0 * k)))
    m = fit("y ~ x + (1 | g)", rows, family="gamma(link='log')", weights=k)
    assert 1 / m.sigma**2 == pytest.approx(2.0, rel=0.1)
    assert m.llf > fit("y ~ x + (1 | g)", rows, family="gamma(link='log')").llf + 50


# -- other parts ------------------------------------------------------------------------------------------------------


def test_observation_level_effects() -> None:
    """TICKS has a factor with a level for each row; its modes are those of a direct maximisation."""
    m = model("crossed poisson")
    assert m.ngroups["INDEX"] == m.nobs
    z = np.hstack([z_matrix(t) for t in m.problem.terms])
    b = np.concatenate([v.ravel() for v in m.estimate.modes])
    variances = np.concatenate([np.full(t.q, th**2) for t, th in zip(m.problem.terms, m.theta, strict=True)])
    score = m.problem.y - np.exp(m.problem.X.matrix @ m.estimate.beta + z @ b)
    np.testing.assert_allclose(z.T @ score, b / variances, atol=1e-5)


def test_structured_covariances_run_on_counts() -> None:
    data = simulated(m=40, n=800)
    rng, t = data["rng"], np.arange(800) % 4
    g = np.repeat(np.arange(40), 20)
    effects = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))))
    b = rng.normal(size=(40, 4)) @ effects.T * 0.8
    rows = pd.DataFrame({"g": g.astype(str), "t": pd.Categorical(t), "y": rng.poisson(np.exp(0.7 + b[g, t]))})
    fits = {
        kind: fit(f"y ~ 1 + {kind}(0 + t | g)", rows, family="poisson")
        for kind in ("us", "cs", "ar1", "diag")
    }
    assert fits["diag"].llf < fits["cs"].llf < fits["us"].llf + 1e-6
    assert fits["ar1"].llf < fits["us"].llf + 1e-6
    assert fits["ar1"].df_model == 3
    found = fits["ar1"].varcorr()
    sizes, alone = found["sdcor"].to_numpy(dtype=float), found["var2"].isna().to_numpy(dtype=bool)
    np.testing.assert_allclose(sizes[alone], 0.8, atol=0.2)
    assert abs(sizes[~alone].max() - 0.5) < 0.25


def test_the_summary_and_residuals_of_a_generalised_fit() -> None:
    for name in MODELS:
        m = model(name)
        text = str(m.summary())
        assert str(m.params.index[-1]) in text
        for kind in ("response", "pearson", "deviance", "working", "quantile"):
            assert np.isfinite(m.residuals(kind, seed=1)).all(), (name, kind)


def test_weights_that_are_not_trials_still_fit() -> None:
    data = load_dataset("cbpp").assign(w=2.5)
    data["y"] = (data["incidence"] > 0).astype(float)
    with pytest.warns(LmmformulaWarning, match="non-integer number of successes"):
        m = fit("y ~ period + (1 | herd)", data, family="binomial", weights="w")
    assert m.converged


def test_models_without_fixed_effects() -> None:
    """Factors that are crossed and nothing else: all exact engines agree, and the last term can be dropped."""
    data = load_dataset("grouseticks")
    formula = "TICKS ~ 0 + (1 | BROOD) + (1 | LOCATION)"
    fits = [fit(formula, data, family="poisson", engine=engine) for engine in ("blocked", "sparse", "dense")]
    assert [m.llf for m in fits] == pytest.approx([fits[0].llf] * 3, rel=1e-10)
    wider = fit(formula.replace("0", "0 + YEAR"), data, family="poisson")
    dropped = wider.drop1(test="chisq")
    assert float(dropped.loc["YEAR", "LRT"]) == pytest.approx(2.0 * (wider.llf - fits[0].llf), rel=1e-6)


def test_standard_errors_where_a_range_goes_to_zero() -> None:
    """Times that say nothing of each other: the errors of an effect for each row; the range itself has none."""
    rng, n = np.random.default_rng(11), 160
    data = {"g": np.repeat(np.arange(20), 8), "t": np.tile(np.arange(8), 20), "x": rng.normal(size=n)}
    data |= {"row": np.arange(n), "y": rng.poisson(np.exp(0.5 + 0.3 * data["x"] + 0.6 * rng.normal(size=n)))}
    alone = fit("y ~ x + (1 | row)", data, family="poisson")
    near = fit("y ~ x + ou(0 + t | g)", data, family="poisson")
    assert near.llf == pytest.approx(alone.llf, abs=1e-5)
    np.testing.assert_allclose(near.bse, alone.bse, rtol=1e-3)


def test_directions_of_theta_without_curvature_are_held() -> None:
    """The limit of a Hessian that grows without bound in those directions."""
    rng = np.random.default_rng(4)
    root = rng.normal(size=(6, 6))
    hessian, spreads = root @ root.T, np.array([False, False, True, True, True, False])
    bent = np.array([0.0, 0.0, 1.0, -0.7, 0.0, 0.0])
    hessian -= 3.0 * np.linalg.eigvalsh(hessian)[-1] * np.outer(bent, bent)
    found, held = _inverse(hessian, spreads)
    assert held.tolist() == [False, False, True, True, True, False]
    assert (np.linalg.eigvalsh(found) > -1e-12).all()
    rest = ~spreads
    assert (
        np.linalg.eigvalsh(found[np.ix_(rest, rest)] - np.linalg.inv(hessian[np.ix_(rest, rest)])) > -1e-9
    ).all()
    with pytest.raises(FitError, match="separation"):
        _inverse(-hessian, spreads)
