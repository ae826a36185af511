"""Posteriors of structures across levels: their density against the dense matrix, draws against integrals over a grid."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracle import across_covariance, general_problem, structures, z_matrix

from lmmformula import Fit, build, fit
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.model.coordinates import Coordinates, detectable_sd
from lmmformula.backends.posterior.model.scalars import structure_coordinate
from lmmformula.criteria.marginal import Marginal
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.families import resolve
from lmmformula.ir.across.naturals import Correlation, Length, Natural, Portion, Smoothness, naturals_of
from lmmformula.ir.prior_text import parse_prior
from lmmformula.ir.priors import Prior, resolve_priors
from lmmformula.ir.structured import at_phi, phis_of
from lmmformula.typing import Array

LAYOUTS = (
    "ar1 levels",
    "ou slopes",
    "areas",
    "structured and not",
    "fields",
    "smooth field",
    "series and known blocks",
    "fields in groups",
    "columns of dependent members",
)


def density_of(layout: str) -> VarianceDensity:
    problem = general_problem(layout)
    priors = resolve_priors(problem)
    model = Marginal.of(problem, BlockedEngine(), priors)
    scales = detectable_sd(problem, model.groups, model.base.gram, 1.0)
    own = Coordinates.of(priors, scales, 1.0)
    ones = [np.eye(t.k) for t in problem.terms]
    return VarianceDensity(model, own, own.from_covariances(ones, 1.0, phis_of(problem, model.base.start())))


def dense(density: VarianceDensity, x: Array) -> float:
    """log p(y | variances) by the n x n matrix, plus the log prior."""
    model, own = density.model, density.coordinates
    problem, values = model.problem, own.values(x)
    sigma = float(values[own.sigma])
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    theta = at_phi(problem, model.base.start(), own.phis(values))
    v = np.diag(sigma**2 / w)
    for term, s, factor in zip(problem.terms, problem.theta_slices(), own.factors(values), strict=True):
        z = z_matrix(term)
        v += z @ np.kron(across_covariance(term, theta[s]), factor @ factor.T) @ z.T
    priors = resolve_priors(problem)
    back = problem.X.matrix @ np.linalg.inv(priors.contrast)
    v += (back * np.exp(model.log_var0)) @ back.T
    mean = back @ np.array([c.distribution.mean for c in priors.coefficients])
    e = problem.y - (0.0 if problem.offset is None else problem.offset) - mean
    quadratic = float(e @ np.linalg.solve(v, e))
    likelihood = -0.5 * (problem.n * np.log(2 * np.pi) + float(np.linalg.slogdet(v)[1]) + quadratic)
    return likelihood + float(own.log_prior(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_density_against_the_dense_matrix_and_differences(layout: str) -> None:
    density, step = density_of(layout), 1e-5
    x = density.begin + 0.3 * np.random.default_rng(0).normal(size=density.d)
    assert density.coordinates.structured
    assert density(x).value == pytest.approx(dense(density, x), abs=1e-6)
    moved = [(density(x + e).value - density(x - e).value) / (2 * step) for e in step * np.eye(density.d)]
    np.testing.assert_allclose(density(x).gradient, moved, atol=2e-5)


@pytest.mark.parametrize("layout", ["areas", "structured and not", "smooth field"])
def test_laplace_density_is_the_criterion_and_its_gradient(layout: str) -> None:
    base = general_problem(layout, weighted=False)
    y = np.random.default_rng(1).poisson(np.exp(0.3 * (base.y - base.y.mean()) / base.y.std()))
    problem = replace(base, y=y.astype(float), family=resolve("poisson"), offset=None)
    density = LaplaceDensity.of(problem, BlockedEngine(), resolve_priors(problem))
    x, step = density.begin + 0.05, 1e-5
    theta = at_phi(problem, np.zeros(problem.n_theta), density.mean.phis(x))
    for term, s, factor in zip(problem.terms, problem.theta_slices(), density.mean.factors(x), strict=True):
        n = term.covariance.within.n_theta
        theta[s][:n] = term.covariance.within.from_covariance(factor @ factor.T)
    direct = density.model(np.concatenate([density.mean.beta(x), theta]))
    prior = float(density.mean.log_prior(x))
    assert density(x).value == pytest.approx(prior - 0.5 * direct.deviance, abs=1e-5)
    moved = [(density(x + e).value - density(x - e).value) / (2 * step) for e in step * np.eye(density.d)]
    np.testing.assert_allclose(density(x).gradient, moved, atol=2e-4)


ROOTS = np.array([0.0, 0.3, 0.8, 1.4, 2.5])
STATED: tuple[tuple[Natural, str | None], ...] = (
    (Length(10.0, 2.0, 1), None),
    (Length(10.0, 2.0, 2), None),
    (Length(10.0, 2.0, 3), "pc(3, 0.1)"),
    (Length(10.0, 2.0, 2), "inv_gamma(3, 4)"),
    (Length(10.0, 2.0, 2), "uniform(1, 30)"),
    (Smoothness(50.0), None),
    (Smoothness(50.0), "half_normal(40)"),
    (Correlation(), None),
    (Correlation(), "pc(0.5, 0.3)"),
    (Correlation(), "normal(0.7, 0.5)"),
    (Correlation(), "uniform(0, 1)"),
    (Portion(), None),
    (Portion(ROOTS), None),
    (Portion(ROOTS), "pc(0.3, 0.9)"),
    (Portion(ROOTS), "beta(2, 3)"),
)


@pytest.mark.parametrize(("natural", "text"), STATED)
def test_priors_are_densities_and_keep_their_promises(natural: Natural, text: str | None) -> None:
    """Each integrates to one, has the slope of its logarithm, and draws; ``pc(u, p)`` has the probability that it states."""
    stated = natural.default if text is None else natural.prior(parse_prior(text, "it", natural.role))
    coordinate = structure_coordinate(natural, Prior("it", stated, "user"))
    grid = np.linspace(-30.0, 30.0, 60_001)
    with np.errstate(all="ignore"):
        density = np.nan_to_num(np.exp(coordinate.log_density(grid)))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-3)
    for at in (-0.8, 0.0, 0.3):
        step = 1e-6
        slope = (coordinate.log_density(at + step) - coordinate.log_density(at - step)) / (2 * step)
        if at or not str(stated).startswith("pc") or not isinstance(natural, Correlation):  # a cusp at 0
            assert coordinate.density_slope(at) == pytest.approx(float(slope), abs=1e-5)
        v = float(coordinate.value(at))
        rate = (
            (natural.inward(v * (1 + step)) - natural.inward(v * (1 - step))) / (2 * step * v) if v else 1.0
        )
        assert float(natural.rate(v)) == pytest.approx(float(rate), rel=1e-6)
    drawn = np.asarray(coordinate.value(coordinate.sample(np.random.default_rng(3), 4_000)))
    below = np.array([np.trapezoid(density[grid <= x], grid[grid <= x]) for x in (-0.5, 0.5)])
    shares = [float(np.mean(drawn <= coordinate.value(x))) for x in (-0.5, 0.5)]
    np.testing.assert_allclose(shares, below, atol=0.03)
    if str(stated).startswith("pc"):
        values = np.asarray(coordinate.value(grid))
        inside = np.abs(values) > stated.u if isinstance(natural, Correlation) else values < stated.u
        assert np.trapezoid(density * inside, grid) == pytest.approx(stated.p, abs=2e-3)


def test_natural_values_lead_back_to_phi() -> None:
    for name, across in structures(14).items():
        phi = across.start() + 0.1
        each = zip(naturals_of(across), across.natural(phi), phi, strict=True)
        for natural, value, own in each:
            assert float(natural.inward(value)) == pytest.approx(own, abs=1e-9), name


# -- draws against integrals ------------------------------------------------------------------------------------------

STATED_PRIORS = {
    "Intercept": "normal(0, 3)",
    "sd": "half_normal(1.5)",
    "sigma": "half_normal(1)",
    "rho": "normal(0.4, 0.4)",
}


def series(ids: int = 5, times: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    u = rng.normal(size=(ids, times))
    for t in range(1, times):
        u[:, t] = 0.7 * u[:, t - 1] + np.sqrt(1.0 - 0.49) * u[:, t]
    y = 0.5 + u[..., None] + 0.5 * rng.normal(size=(*u.shape, 2))
    names = [f"s{j}" for j in range(ids)]
    times_of = np.tile(np.repeat(np.arange(times), 2), ids)
    return pd.DataFrame({"y": y.ravel(), "id": np.repeat(names, 2 * times), "time": times_of})


def integrated(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of rho, sd and sigma: the dense likelihood times the priors above, over a grid."""
    times, ids = table["time"].nunique(), table["id"].nunique()
    y = table["y"].to_numpy().reshape(ids, 2 * times)
    rho, sd, sigma = (np.linspace(*ends, 41) for ends in ((-0.6, 0.995), (0.02, 3.0), (0.02, 1.6)))
    places = np.repeat(np.arange(times), 2)
    lags = np.abs(np.subtract.outer(places, places))
    log_p = np.empty((len(rho), len(sd), len(sigma)))
    for i, j in product(range(len(rho)), range(len(sd))):
        v = sd[j] ** 2 * rho[i] ** lags + sigma[:, None, None] ** 2 * np.eye(2 * times)
        inverse, logdet = np.linalg.inv(v), np.linalg.slogdet(v)[1]
        ones = inverse.sum(axis=(1, 2)) * ids
        along = np.einsum("sab,ib->s", inverse, y)
        quadratic = np.einsum("ia,sab,ib->s", y, inverse, y)
        shrunk = ones + 1.0 / 9.0  # the intercept, N(0, 9), integrated out
        likelihood = -0.5 * (ids * logdet + quadratic - along**2 / shrunk + np.log(shrunk))
        prior = -0.5 * ((rho[i] - 0.4) / 0.4) ** 2 - 0.5 * (sd[j] / 1.5) ** 2 - 0.5 * sigma**2
        log_p[i, j] = likelihood + prior
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    out = {}
    for axis, (name, grid) in enumerate((("rho:id", rho), ("sd:id:ar1(time)", sd), ("sigma", sigma))):
        own = p.sum(axis=tuple(a for a in range(3) if a != axis))
        mean = float(own @ grid)
        out[name] = mean, float(np.sqrt(own @ (grid - mean) ** 2))
    return out


def sampled(formula: str, table: pd.DataFrame, sampler: str = "importance", **more: Any) -> Fit:
    options = {"draws": 600, "chains": 2, "seed": 3} | more
    return fit(formula, table, method="hmc", sampler=sampler, **options)


@pytest.mark.parametrize("sampler", ["importance", "nuts"])
def test_draws_of_a_series_against_a_grid(sampler: str) -> None:
    table = series()
    m = sampled("y ~ 1 + ar1(0 + time | id)", table, sampler, priors=STATED_PRIORS)
    posterior = m.posterior
    assert posterior is not None
    assert posterior.sampler == sampler
    diagnostics = posterior.diagnostics
    for name, (mean, sd) in integrated(table).items():
        drawn = posterior[name].reshape(-1)
        ess = float(diagnostics.ess_bulk[diagnostics.names.index(name)])
        assert abs(drawn.mean() - mean) < 4.5 * sd / np.sqrt(ess), name
        assert drawn.std() == pytest.approx(sd, rel=6.0 / np.sqrt(ess)), name


# -- all that is done with a posterior ----------------------------------------------------------------------------------


def field(length: float = 1.0, size: float = 1.0) -> pd.DataFrame:
    """A field of 14 points, two rows each, in units of length and of the response."""
    rng = np.random.default_rng(8)
    xy = rng.uniform(0.0, 10.0, (14, 2)).round(2)
    apart = np.hypot(*(xy[:, None, j] - xy[None, :, j] for j in (0, 1)))
    surface = np.linalg.cholesky(np.exp(-apart / 4.0)) @ rng.normal(size=14)
    y = 1.0 + np.repeat(surface, 2) + 0.3 * rng.normal(size=28)
    a, b = np.repeat(xy * length, 2, axis=0).T
    return pd.DataFrame({"y": y * size, "a": a, "b": b, "site": "s"})


FIELD = "y ~ 1 + exp(0 + pos(a, b) | site)"


@pytest.mark.parametrize(("length", "size"), [(1000.0, 1.0), (1.0, 100.0)])
def test_default_priors_do_not_depend_on_units(length: float, size: float) -> None:
    """In the sampler's coordinates the posterior of the same data in other units is the same function, up to a constant."""
    found = []
    for table in (field(), field(length, size)):
        problem = build(FIELD, table)
        density = VarianceDensity.of(problem, BlockedEngine(), resolve_priors(problem))
        at = 0.3 * np.random.default_rng(1).normal(size=(4, density.d))
        found.append([density(x).value for x in at])
    apart = np.subtract(*found)
    np.testing.assert_allclose(apart, apart[0], atol=1e-5)
