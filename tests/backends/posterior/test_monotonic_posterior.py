"""Posteriors of monotonic effects: gradients, priors, and a small model against its posterior by importance sampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from scipy.stats import t as student

from lmmformula import build, fit, prior_predictive
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.model.simplex import Simplexes
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import PlanError
from lmmformula.inference.bayesian.log_prior import log_prior
from lmmformula.inference.bayesian.moment_match import moment_match
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.prior_simplex import Dirichlet
from lmmformula.ir.priors import Prior, SimplexPrior
from lmmformula.typing import Array


def table(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    x, g = rng.integers(0, 4, n), rng.integers(0, 5, n)
    eta = np.array([0.0, 0.5, 0.6, 2.0])[x] + 0.3 * rng.normal(size=5)[g]
    y, count = eta + 0.7 * rng.normal(size=n), rng.poisson(np.exp(0.5 * eta))
    return pd.DataFrame({"x": x, "g": g.astype(str), "y": y, "count": count})


def test_coordinates_and_back() -> None:
    prior = Prior("simo:mox", Dirichlet((1.0, 2.0, 1.0)), "default")
    own = Simplexes((SimplexPrior(prior, (1, 2, 3), 4),), 5)
    c = np.array([0.3, -0.7, 0.4, -1.2, 2.0])
    beta = own.beta(c)
    gamma = beta[1:4]
    assert gamma.sum() / 4 == pytest.approx(-0.7)
    assert (gamma < 0.0).all()
    assert beta[[0, 4]] == pytest.approx([0.3, 2.0])
    steps = 1e-6 * np.eye(5)
    slopes = np.array([(own.beta(c + s) - own.beta(c - s)) / 2e-6 for s in steps]).T
    assert own.jacobian(c) == pytest.approx(slopes, abs=1e-8)
    moved = np.array([(own.log_density(c + s) - own.log_density(c - s)) / 2e-6 for s in steps])
    assert own.density_slope(c) == pytest.approx(moved, abs=1e-8)
    inside = own.coordinates(np.array([0.3, 1.0, -0.2, 0.4, 2.0]))
    assert inside[1] == pytest.approx(0.3)
    assert np.isfinite(inside).all()
    draws = own.beta(np.stack([c, c]))
    assert draws[1] == pytest.approx(beta)


@pytest.mark.parametrize("formula", ["y ~ mo(x) + (1 | g)", "count ~ mo(x) + (1 | g)"])
def test_gradient(formula: str) -> None:
    family = "gaussian" if formula.startswith("y") else "poisson"
    problem = build(formula, table(), family=family)
    target = LaplaceDensity.of(problem, exact_engine(), resolve_priors(problem, {"simo": "dirichlet(2)"}))
    x = target.begin + 0.1 * np.random.default_rng(0).normal(size=len(target.begin))
    steps = 1e-5 * np.eye(len(x))
    numbers = [(target(x + s).value - target(x - s).value) / 2e-5 for s in steps]
    assert target(x).gradient == pytest.approx(np.array(numbers), abs=1e-6)


def test_priors() -> None:
    problem = build("y ~ mo(x)", table())
    names = [name for name, _, _ in resolve_priors(problem).table()]
    assert names == ["Intercept", "b:mox", "simo:mox", "sigma"]
    own = resolve_priors(problem, {"simo:mox": "dirichlet(c(2, 1, 3))", "b:mox": "normal(0, 1)"})
    assert own.simplexes[0].prior.distribution == Dirichlet((2.0, 1.0, 3.0))
    for text, what in {
        "dirichlet(1, 2)": "has 2 numbers",
        "normal(0, 1)": "is no prior of a simplex",
        "dirichlet(-1)": "must be positive numbers",
    }.items():
        with pytest.raises(PlanError, match=what):
            resolve_priors(problem, {"simo": text})
    drawn = prior_predictive("y ~ mo(x)", table(), {"b:mox": "normal(1, 0.01)"}, draws=400, seed=1)
    gamma = drawn.beta[:, 1:]
    assert gamma.sum(axis=1) == pytest.approx(3.0, abs=0.2)
    assert (gamma / gamma.sum(axis=1, keepdims=True)).mean(axis=0) == pytest.approx(1 / 3, abs=0.06)


def reference(d: pd.DataFrame, draws: int) -> tuple[Array, Array]:
    """Means and standard deviations of (b, zeta) of ``y ~ mo(x)``: proposals from least squares and the prior of zeta.

    Given zeta the model is linear with columns (1, D sum zeta): the intercept and b are proposed about their least squares by t
    distributions with 5 degrees of freedom, log sigma likewise.
    """
    rng, y, x = np.random.default_rng(8), d.y.to_numpy(), d.x.to_numpy()
    priors = resolve_priors(build("y ~ mo(x)", d))
    intercept, b_prior, sigma_prior = (priors.rows[i].distribution for i in (0, 1, 3))
    steps = (x[:, None] >= np.arange(1, 4)).astype(float)
    log_w, kept = np.empty(draws), np.empty((draws, 4))
    for i in range(draws):
        zeta = rng.dirichlet(np.ones(3))
        e = 3.0 * steps @ zeta
        centred = e - e.mean()
        b_hat = float(centred @ y / (centred @ centred))
        s = np.sqrt(((y - y.mean() - b_hat * centred) ** 2).sum() / (len(y) - 3))
        scales = np.array([s / np.sqrt(len(y)), s / np.sqrt(centred @ centred), 1 / np.sqrt(2.0 * len(y))])
        u = rng.standard_t(5, 3)
        a, b, log_s = np.array([y.mean(), b_hat, np.log(s)]) + scales * u
        proposal = student.logpdf(u, 5).sum() - np.log(scales).sum()
        likelihood = norm.logpdf(y, a + b * centred, np.exp(log_s)).sum()
        prior = intercept.logpdf(a) + b_prior.logpdf(b) + sigma_prior.logpdf(np.exp(log_s)) + log_s
        log_w[i], kept[i] = likelihood + prior - proposal, np.r_[b, zeta]
    w = np.exp(log_w - logsumexp(log_w))
    mean = w @ kept
    return mean, np.sqrt(w @ (kept - mean) ** 2)


def test_posterior_of_a_small_model() -> None:
    d = table()
    m = fit("y ~ mo(x)", d, method="hmc", chains=2, draws=1_000, seed=3)
    mean, sd = reference(d, 20_000)
    found = m.monotonic()
    assert list(found.index) == ["mox", "mox1[1]", "mox1[2]", "mox1[3]"]
    assert found["Estimate"].to_numpy() == pytest.approx(mean, abs=0.12 * sd.max() + 0.1 * sd.min())
    assert found["Est.Error"].to_numpy() == pytest.approx(sd, rel=0.12)
    assert m.posterior is not None
    steps = m.posterior.beta[..., 1:]
    assert ((steps > 0.0).all(axis=-1) | (steps < 0.0).all(axis=-1)).all()
    assert "Monotonic effects" in str(m.summary())
    with pytest.raises(PlanError, match="steps of monotonic effects keep their sign"):
        moment_match(m, 0, 0.8, -1.0)
    prior = log_prior(m)
    b = steps.sum(axis=-1).ravel() / 3
    resolved = m.posterior.priors
    centred = m.posterior.beta.reshape(-1, 4) @ resolved.contrast[0]
    expected = resolved.coefficients[0].distribution.logpdf(centred)
    expected = expected + resolved.coefficients[1].distribution.logpdf(b)
    assert prior["b"] == pytest.approx(expected)
    assert prior["simo"] == pytest.approx(np.zeros(len(b)))


def test_what_cannot_be_integrated_out() -> None:
    with pytest.raises(PlanError, match="integrates fixed effects out"):
        fit("y ~ mo(x) + (1 | g)", table(), method="hmc", marginalize="all")
