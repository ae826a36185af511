"""Horseshoe and R2D2: closed forms of their parts, slopes of densities, and a posterior against weighted draws of the prior."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracle import make_problem
from scipy import special, stats

from lmmformula import build, fit, prior_predictive
from lmmformula.backends.posterior.density.fused import Fused
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.model.scalars import Logged
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.prior_shrinkage import R2D2, Horseshoe, drawn_together
from lmmformula.ir.prior_text import parse_prior

PRIORS = ("horseshoe(2, 0.7, 3, 1.5, 5)", "R2D2(0.4, 5, 0.8)")
FORMULA = "y ~ x1 + x2 + x3 + (1 | g)"
TIGHT = {"Intercept": "normal(0, 1)", "sd": "half_normal(0.5)", "sigma": "half_normal(1)"}


def small() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(12, 3)) * [1.0, 2.0, 0.5]
    y = 0.6 * x[:, 0] + 0.7 * rng.normal(size=12)
    return pd.DataFrame(
        {"y": y, "g": np.repeat(["a", "b", "c"], 4)} | {f"x{j + 1}": x[:, j] for j in range(3)}
    )


def test_the_horseshoe_has_its_closed_form() -> None:
    """Without a slab: exp(z) E1(z) / sqrt(2 pi^3) / tau with z = b^2 / 2 tau^2 (Carvalho, Polson & Scott 2010)."""
    prior, tau, b = Horseshoe(scale_slab=1e30), 0.7, np.array([0.05, 0.4, 1.0, 3.0])
    coordinate, x = Logged(prior.own, 1.0), np.linspace(-40.0, 40.0, 80_001)
    own = coordinate.value(x)[:, None]
    shared = np.full(len(x), tau), np.ones(len(x))
    log_v = prior.log_variances(own, shared, np.ones(len(x)))[:, 0]
    with np.errstate(under="ignore", over="ignore"):
        normal = np.exp(-0.5 * (b[:, None] ** 2 * np.exp(-log_v) + log_v)) / np.sqrt(2.0 * np.pi)
        found = np.trapezoid(normal * np.exp(coordinate.log_density(x)), x, axis=1)
    z = 0.5 * (b / tau) ** 2
    np.testing.assert_allclose(found, np.exp(z) * special.exp1(z) / np.sqrt(2.0 * np.pi**3) / tau, rtol=1e-6)


def test_the_slab_bounds_the_horseshoe() -> None:
    prior = Horseshoe(scale_slab=2.0, wide=1.5)
    large = prior.log_variances(np.array([[1e8]]), (np.ones(1), np.full(1, 0.8)), np.ones(1))
    np.testing.assert_allclose(np.exp(large), (2.0 * 1.5) ** 2 * 0.8)


def test_r2d2_is_a_beta_of_the_share_and_a_dirichlet_of_its_parts() -> None:
    prior, rng, k, size = R2D2(0.3, 4.0, 0.6), np.random.default_rng(2), 5, 4_000
    own, sigma = prior.own.sample(rng, k * size).reshape(size, k), rng.uniform(0.1, 9.0, size)
    shared = tuple(d.sample(rng, size) for d in prior.shared)
    v = np.exp(prior.log_variances(own, shared, sigma))
    explained = v.sum(axis=1)
    assert stats.kstest(explained / (explained + sigma**2), stats.beta(1.2, 2.8).cdf).pvalue > 1e-3
    share = v[:, 0] / explained
    assert stats.kstest(share, stats.beta(0.6, 0.6 * (k - 1)).cdf).pvalue > 1e-3
    drawn = drawn_together(prior, k, np.full(size, 2.0), np.random.default_rng(2))
    assert drawn.shape == (size, k)


@pytest.mark.parametrize("prior", PRIORS)
def test_slopes_of_densities(prior: str) -> None:
    """By the engine and by compiled loops, against central differences."""
    problem = make_problem("crossed slopes")
    density = VarianceDensity.of(problem, BlockedEngine(), resolve_priors(problem, {"b": prior}))
    x = density.begin + 0.2 * np.random.default_rng(0).normal(size=density.d)
    steps = 1e-5 * np.eye(density.d)
    numeric = [(density(x + e).value - density(x - e).value) / 2e-5 for e in steps]
    np.testing.assert_allclose(density(x).gradient, numeric, atol=2e-5)
    value, gradient = Fused.of(density.bordered).value_and_gradient(density.coordinates, x)
    assert value == pytest.approx(density(x).value, rel=1e-9)
    np.testing.assert_allclose(gradient, density(x).gradient, atol=1e-7)


@pytest.mark.parametrize("prior", ["horseshoe(1)", "R2D2(0.5, 10)"])
def test_a_posterior_is_the_prior_times_the_likelihood(prior: str) -> None:
    """Against draws of all variances from the prior, weighted by the density of y given them, beta and b integrated out."""
    data, priors, size, rng = small(), TIGHT | {"b": prior}, 20_000, np.random.default_rng(3)
    m = fit(FORMULA, data, method="hmc", priors=priors, seed=1)
    assert m.posterior is not None
    problem = build(FORMULA, data)
    resolved = resolve_priors(problem, priors)
    slopes = [c.distribution for c in resolved.coefficients[1:]]
    sigma, sd = np.abs(rng.normal(size=size)), 0.5 * np.abs(rng.normal(size=size))
    own = slopes[0].own.sample(rng, 3 * size).reshape(size, 3)
    shared = tuple(d.sample(rng, size) for d in slopes[0].shared)
    v = np.exp(slopes[0].log_variances(own, shared, sigma)) * np.array([d.sd for d in slopes]) ** 2
    v = np.column_stack([np.ones(size), v])
    back = np.linalg.inv(resolved.contrast)
    h = problem.X.matrix @ back
    same = problem.terms[0].codes[:, None] == problem.terms[0].codes
    c = sigma[:, None, None] ** 2 * np.eye(12) + sd[:, None, None] ** 2 * same + (h * v[:, None]) @ h.T
    solved = np.linalg.solve(c, np.broadcast_to(problem.y[:, None], (size, 12, 1)))[..., 0]
    log_w = -0.5 * (solved @ problem.y + np.linalg.slogdet(c)[1])
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    assert 1.0 / (w**2).sum() > 500.0
    each = (v * (solved @ h)) @ back.T
    theirs = w @ each
    error = np.sqrt(w**2 @ (each - theirs) ** 2 + m.posterior.beta.reshape(-1, 4).var(axis=0) / 1_000.0)
    assert (np.abs(m.posterior.beta_mean - theirs) < 4.0 * error).all()
    assert m.converged
    assert prior in str(m.priors)


def test_draws_from_the_prior_are_of_standardised_columns() -> None:
    data = small()
    drawn = prior_predictive(FORMULA, data, TIGHT | {"b": "R2D2(0.5, 10)"}, draws=4_000, seed=1)
    sizes = np.median(np.abs(drawn.beta[:, 1:]), axis=0) * data[["x1", "x2", "x3"]].std(ddof=0).to_numpy()
    assert sizes.max() / sizes.min() < 1.15


def test_text() -> None:
    assert parse_prior("horseshoe()", "b", "coefficient") == Horseshoe()
    assert str(parse_prior("horseshoe(3, 0.1)", "b", "coefficient")) == "horseshoe(3, 0.1)"
    assert parse_prior("R2D2(mean_R2=0.3, prec_R2=4)", "b", "coefficient") == R2D2(0.3, 4.0)
    with pytest.raises(PlanError, match="mean_R2 lies between 0 and 1"):
        parse_prior("R2D2(1.5)", "b", "coefficient")
    with pytest.raises(PlanError, match="cannot be the prior of a standard deviation"):
        parse_prior("horseshoe(1)", "sd", "scale")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one slope": ({"priors": {"b:x1": "horseshoe(1)"}}, "cannot be the prior of 'b:x1'"),
    "intercept": ({"priors": {"Intercept": "R2D2()"}}, "cannot be the prior of 'Intercept'"),
    "maximum likelihood": (
        {"method": "ml", "priors": {"b": "horseshoe(1)"}},
        "the prior of maximum likelihood",
    ),
    "sampled": (
        {"marginalize": "none", "priors": {"b": "R2D2()"}},
        "normal or lognormal response with random effects",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_where_they_are_refused(case: str) -> None:
    options, says = REFUSED[case]
    with pytest.raises(PlanError, match=says):
        fit(FORMULA, small(), **({"method": "hmc", "seed": 1} | options))


def test_no_default_depends_on_units() -> None:
    """Another unit of a column and of the response is another unit of its slope alone."""
    data = small()
    moved = data.assign(y=1_000.0 * data["y"], x2=data["x2"] / 7.0)
    sds = [
        [
            (c.distribution.sd, c.distribution.wide)
            for c in resolve_priors(build(FORMULA, d), {"b": "horseshoe(1)"}).coefficients[1:]
        ]
        for d in (data, moved)
    ]
    np.testing.assert_allclose(np.array(sds[1])[:, 0], np.array(sds[0])[:, 0] * [1.0, 7.0, 1.0], rtol=1e-12)
    ratio = np.array(sds[1])[:, 1] / np.array(sds[0])[:, 1]
    np.testing.assert_allclose(ratio, 1_000.0, rtol=1e-12)
