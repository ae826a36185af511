"""Posteriors of structures across levels: their density against the dense matrix, draws against integrals over a grid."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracle import across_covariance, general_problem, structures, z_matrix

from lmmformula import Fit, build, fit, load
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.model.coordinates import Coordinates, detectable_sd
from lmmformula.backends.posterior.model.scalars import structure_coordinate
from lmmformula.criteria.marginal import Marginal
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import ConvergenceWarning, PlanError
from lmmformula.families import resolve
from lmmformula.ir.across import Kernel
from lmmformula.ir.across.naturals import Correlation, Length, Natural, Portion, Smoothness, naturals_of
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.prior_text import parse_prior
from lmmformula.ir.priors import Prior
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
    times, ids = len(set(table["time"])), len(set(table["id"]))
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
    options: dict[str, Any] = {"draws": 600, "chains": 2, "seed": 3} | more
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


@lru_cache
def drawn_field() -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few draws do not describe it well
        return sampled(FIELD, field(), draws=150)


def priors_of(m: Fit) -> dict[str, str]:
    assert m.priors is not None
    return {name: prior for name, prior, _ in m.priors.table()}


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


def test_tables_name_the_parameters() -> None:
    m = drawn_field()
    assert m.posterior is not None
    drawn = m.posterior["range:site"]
    assert drawn.shape == (2, 150)
    tidy = m.tidy(effects="ran_pars", conf_int=True).set_index("term")
    assert tidy.loc["range", "estimate"] == pytest.approx(drawn.mean())
    ends = m.conf_int(parameters="all").loc["range:site"].to_numpy(dtype=float)
    np.testing.assert_allclose(ends, np.quantile(drawn, [0.025, 0.975]))
    text = str(m.summary())
    assert " range " in text
    assert "14 positions." in text
    assert priors_of(m)["range:site"].startswith("pc(")
    pytest.importorskip("arviz_base")
    tree = m.to_datatree(log_likelihood=False, predictive=False)
    np.testing.assert_array_equal(tree["posterior"]["range:site"].to_numpy(), drawn)


def test_prediction_at_new_positions_is_kriging_in_every_draw() -> None:
    m = drawn_field()
    posterior = m.posterior
    assert posterior is not None
    assert posterior.effects is not None
    new = pd.DataFrame({"a": [3.0, 6.5, 1e4], "b": [4.0, 2.5, 1e4], "site": "s"})
    across = m.problem.terms[0].covariance.across
    assert isinstance(across, Kernel)
    old = across.points
    every = np.concatenate([old, new[["a", "b"]].to_numpy()])
    apart = np.hypot(*(every[:, None, j] - every[None, :, j] for j in (0, 1)))
    ranges = posterior["range:site"].ravel()
    sds = posterior[posterior.names[0]].ravel()
    effects = posterior.effects[0].reshape(-1, 14)
    beta = posterior.beta.reshape(-1)
    means, variances = [], []
    for reach, sd, b, b0 in zip(ranges, sds, effects, beta, strict=True):
        r = np.exp(-apart / reach)
        weights = np.linalg.solve(r[:14, :14] + 1e-12 * np.eye(14), r[:14, 14:])
        means.append(b0 + weights.T @ b)
        variances.append(sd**2 * (1.0 - np.einsum("or,or->r", r[:14, 14:], weights)))
    centre, spread = np.mean(means, axis=0), np.sqrt(np.mean(variances, axis=0) + np.var(means, axis=0))
    found = m.predict(new, se=True, seed=1)
    plain = m.predict(new)
    np.testing.assert_allclose(
        plain, posterior.beta_mean[0] + np.mean(np.array(means) - beta[:, None], axis=0), rtol=1e-6
    )
    np.testing.assert_allclose(found["fit"], plain)
    np.testing.assert_allclose(found["se"], spread, rtol=0.25)
    assert np.abs(centre - plain).max() < 0.3 * spread.max()


def test_files_keep_posterior_and_priors(tmp_path: Path) -> None:
    m = drawn_field()
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    assert again.posterior is not None
    assert m.posterior is not None
    np.testing.assert_array_equal(again.posterior["range:site"], m.posterior["range:site"])
    assert priors_of(again) == priors_of(m)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.ConvergenceWarning")
def test_counts_on_a_map_by_laplace() -> None:
    """The share of BYM2 has its prior by complexity; effects are those of areas; counts of a known share lie inside."""
    side = 4
    grid = [(i, j) for i in range(side) for j in range(side)]
    pairs = [
        (f"{i}{j}", f"{i + a}{j + b}")
        for i, j in grid
        for a, b in ((0, 1), (1, 0))
        if i + a < side and j + b < side
    ]
    rng = np.random.default_rng(2)
    smooth = np.array([0.5 * (i + j - 3.0) for i, j in grid])
    counts = rng.poisson(np.exp(1.0 + np.tile(smooth, 2)))
    table = pd.DataFrame({"count": counts, "area": [f"{i}{j}" for i, j in grid] * 2})
    m = sampled(
        "count ~ 1 + car(W, gr = area, type = 'bym2')",
        table,
        family="poisson",
        marginalize="laplace",
        draws=100,
        data2={"W": pd.DataFrame(pairs, columns=["a", "b"])},
    )
    assert m.posterior is not None
    rho = m.posterior["rho:area"]
    assert ((rho > 0.0) & (rho < 1.0)).all()
    assert rho.mean() > 0.45  # neighbours are alike here, and the prior has its median below
    assert priors_of(m)["rho:area"] == "pc(0.5, 0.667)"


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"range": "beta(1, 1)"}, "cannot be the prior of a range"),
        ({"range": "pc(2, 1.5)"}, "p is a probability"),
        ({"range:field": "pc(2, 0.5)"}, "is no parameter of this model"),
        ({"rho": "lkj(1)"}, "is no parameter of this model"),
    ],
)
def test_priors_that_do_not_suit_are_refused(priors: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        resolve_priors(build(FIELD, field()), priors)
