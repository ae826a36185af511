"""The density as numbers for compiled loops: its coefficients, its gradient, and the chains that run on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem

from lmmformula.backends.posterior.density import bordered as bordered_form
from lmmformula.backends.posterior.density.bordered import Bordered
from lmmformula.backends.posterior.density.fused import Fused
from lmmformula.backends.posterior.density.looped import Looped
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.model.coordinates import Coordinates, detectable_sd
from lmmformula.backends.posterior.model.scalars import (
    Between,
    Coordinate,
    Folded,
    Held,
    Inside,
    Logged,
    Mixing,
)
from lmmformula.backends.posterior.sampling.adaptation import Windows, map_of
from lmmformula.backends.posterior.sampling.looped_nuts import LoopedProgram
from lmmformula.backends.posterior.sampling.nuts import Chains, Nuts
from lmmformula.criteria.marginal import Marginal
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.ir.covariance.registry import KINDS
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.prior_distributions import (
    Beta,
    Exponential,
    Gamma,
    InverseGamma,
    LogNormal,
    Normal,
    Positive,
    Stated,
    StudentT,
    Uniform,
)
from lmmformula.numerics.mcmc import ess_bulk
from lmmformula.numerics.nuts_kernels import nuts_iterations
from lmmformula.numerics.random_kernels import fill_normal, uniform
from lmmformula.numerics.variance_kernels import coordinate_values, term_factors, variance_slopes

USER = {"b": "student_t(4, 0.1, 0.3)", "sigma": "gamma(2, 0.1)"}
PRIORS: tuple[Stated, ...] = (
    Normal(0.4, 1.3),
    StudentT(3.0, 0.2, 2.0),
    Positive(StudentT(1.0, 0.0, 0.7)),
    Positive(Normal(1.0, 2.0)),
    Exponential(0.7),
    Gamma(2.5, 1.5),
    InverseGamma(3.0, 2.0),
    LogNormal(0.3, 0.8),
    Uniform(0.0, 50.0),
)
ROWS: tuple[Coordinate, ...] = (
    *(Logged(prior, 0.6) for prior in PRIORS),
    *(Folded(prior, 0.6) for prior in PRIORS if prior.at_zero == "finite"),
    Between(-0.5, 1.0, 1.7),
    Mixing(4.0),
    Held(2.0),
)


def density_of(layout: str, user: dict[str, str] | None = None) -> VarianceDensity:
    problem = make_problem(layout)
    priors = resolve_priors(problem, user)
    model = Marginal.of(problem, BlockedEngine(), priors)
    scales = detectable_sd(problem, model.base.prepared.blocks.groups, model.base.gram, 1.0)
    coordinates = Coordinates.of(priors, scales, 1.0)
    return VarianceDensity(model, coordinates, np.zeros(coordinates.d))


@pytest.mark.parametrize("own", ROWS, ids=str)
def test_rows_are_the_coordinates_they_state(own: Coordinate) -> None:
    row = own.row
    assert row is not None
    for at in (-2.1, -0.3, 0.4, 1.7):
        values, rates, slopes = np.empty(1), np.empty(1), np.empty(1)
        total = coordinate_values(np.array([at]), np.array([row.numbers]), values, rates, slopes)
        assert total == pytest.approx(float(own.log_density(at)), rel=1e-12)
        assert values[0] == pytest.approx(float(own.value(at)), rel=1e-12)
        assert rates[0] == pytest.approx(own.slope(at), rel=1e-12, abs=1e-300)
        assert slopes[0] == pytest.approx(own.density_slope(at), rel=1e-11, abs=1e-13)


def test_what_cannot_be_stated_as_coefficients_says_so() -> None:
    assert Beta(2.0, 3.0).terms is None
    assert Logged(Beta(2.0, 3.0), 1.0).row is None
    assert Inside.of(Beta(2.0, 3.0), 0.0, 1.0).row is None


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("k", [1, 2, 4])
def test_factors_of_kinds_that_state_a_formula(name: str, k: int) -> None:
    """The loops' L is the kind's; a kind with another formula states none."""
    kind = KINDS[name](k)
    if kind.unit_form is None:
        assert k > 1 or kind.unfree
        return
    rng = np.random.default_rng(k)
    n, r = kind.n_sd if kind.unit_form == "identity" or kind.shared_sd else k, kind.ranges if k > 1 else ()
    s, cors = rng.normal(size=n), rng.uniform(-0.9, 0.9, size=len(r))
    values, out = np.concatenate([s, cors]), np.zeros(k * k)
    cor = n if len(r) and kind.unit_form == "partial correlations" else -1
    term_factors(values, np.array([[k, 0, int(n > 1), cor, 0, k]]), 0.5, out)
    expected = kind.factor(list(s), list(cors))
    np.testing.assert_allclose(out.reshape(k, k), 0.5 * expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("levels_to_a_class", [1, 10**9], ids=["merged", "level by level"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_value_and_gradient_agree_with_the_engine(
    layout: str, levels_to_a_class: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with central differences of the engine's values; what has no such form has a kind or a coordinate without one."""
    density = density_of(layout, USER)
    monkeypatch.setattr(bordered_form, "_CLASS", levels_to_a_class)
    looped = Looped.of(Fused.of(Bordered.of(density.model)), density.coordinates)
    own = density.coordinates
    stated = [t.kind.unit_form is not None and not t.phis for t in own.terms] + [
        c.row is not None for c in own.own
    ]
    assert (looped is not None) == all(stated)
    if looped is None:
        return
    x = 0.7 * np.random.default_rng(3).normal(size=density.d)
    value, gradient = looped(x)
    point = density(x)
    assert value == pytest.approx(point.value, rel=1e-10)
    np.testing.assert_allclose(gradient, point.gradient, rtol=1e-7, atol=1e-7)
    step = 1e-5
    moved = [(density(x + e).value - density(x - e).value) / (2 * step) for e in step * np.eye(density.d)]
    np.testing.assert_allclose(gradient, moved, atol=2e-6)


def test_where_a_partial_correlation_is_one_the_density_ends() -> None:
    """No error and no number that is not one: chains are turned back there."""
    density = density_of("slopes")
    looped = density.looped()
    assert looped is not None
    x = np.zeros(density.d)
    x[density.coordinates.terms[0].cors[0]] = 40.0
    value, gradient = looped(x)
    assert value < looped(np.zeros(density.d))[0]
    assert np.isfinite(gradient).all()


# -- chains ---------------------------------------------------------------------------------------------------------


def chains_of(density: VarianceDensity, nuts: Nuts, scale: Scale, seed: int, chains: int) -> Chains:
    looped = density.looped()
    assert looped is not None

    def slope(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = looped(scale.mode + scale.half @ z)
        return -value, -(scale.half.T @ gradient)

    starts = 0.3 * np.random.default_rng(9).normal(size=(4, density.d))[:chains]
    return nuts.run(lambda own: LoopedProgram(own, looped, scale), starts, slope, seed)


def test_chains_have_the_density_that_a_grid_has() -> None:
    """Means and standard deviations of both coordinates of one random intercept, by quadrature."""
    density = next(d for d in map(density_of, LAYOUTS) if d.d == 2)
    scale = density.scale()
    out = chains_of(density, Nuts(draws=3_000, warmup=60, adapt_mass=False), scale, 4, 4)
    x = scale.mode + out.z @ scale.half.T
    sides = [
        np.linspace(m - 9.0 * h, m + 9.0 * h, 121) for m, h in zip(scale.mode, _spread(scale), strict=True)
    ]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    logs = density.log_densities(grid)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    for f in (np.abs, np.square):
        ours, theirs = f(x), f(grid)
        mean = weights @ theirs
        sd = np.sqrt(weights @ (theirs - mean) ** 2)
        error = sd / np.sqrt(ess_bulk(ours))
        assert (np.abs(ours.mean((0, 1)) - mean) < 4.0 * error).all()
    assert not out.statistics["diverging"].any()
    assert (out.statistics["n_steps"] >= 1).all()


def _spread(scale: Scale) -> np.ndarray:
    return np.sqrt(np.diagonal(scale.half @ scale.half.T))


def test_a_chain_depends_on_its_seed_and_start_alone() -> None:
    """Not on how many run beside it, nor on where it was looked at; another seed is another chain."""
    density = density_of("crossed slopes")
    scale = density.scale()
    nuts = Nuts(draws=20, warmup=60, chunk=50)
    all_four, one = (chains_of(density, nuts, scale, 1, count) for count in (4, 1))
    np.testing.assert_array_equal(all_four.z[:1], one.z)
    np.testing.assert_array_equal(chains_of(density, replace(nuts, chunk=7), scale, 1, 1).z, one.z)
    assert (chains_of(density, nuts, scale, 2, 1).z != one.z).any()


def test_states_of_another_program_are_refused() -> None:
    density = density_of("crossed slopes")
    looped, scale = density.looped(), density.scale()
    assert looped is not None
    program = LoopedProgram(Nuts(draws=20), looped, scale)
    theirs = tuple(np.zeros(density.d) for _ in range(12))
    with pytest.raises(PlanError, match="cannot go on: an earlier version"):
        program(5, theirs)


def test_a_warm_up_finds_scales_that_are_far_off() -> None:
    density = density_of("slopes")
    right = density.scale()
    wrong = replace(right, half=right.half @ np.diag(np.geomspace(0.1, 10.0, density.d)))
    steps = [
        chains_of(density, Nuts(draws=200, warmup=300, adapt_mass=own), wrong, 1, 2).statistics["n_steps"]
        for own in (True, False)
    ]
    assert steps[0].mean() < 12 < 40 < steps[1].mean()


def test_windows_are_those_of_stan() -> None:
    assert Windows.of(500) == Windows(75, (100, 150, 250, 450))
    assert Windows.of(1_000) == Windows(75, (100, 150, 250, 450, 950))
    assert Windows.of(100) == Windows(15, (90,))
    assert Windows.of(10).ends == ()
    assert [Windows.of(500).next(at) for at in (0, 75, 449, 450)] == [75, 100, 450, None]


def test_the_map_of_a_window_is_its_shrunk_covariance() -> None:
    z = np.random.default_rng(1).normal(size=(60, 3)) @ np.diag([1.0, 5.0, 0.2])
    half = map_of(z)
    np.testing.assert_allclose(half @ half.T, (60 * np.cov(z.T) + 5e-3 * np.eye(3)) / 65, rtol=1e-12)


# -- random numbers -------------------------------------------------------------------------------------------------


def test_random_numbers_are_those_of_the_reference_implementation() -> None:
    """Blackman & Vigna's xoshiro256++ from the state (1, 2, 3, 4)."""
    words = np.array([1, 2, 3, 4], dtype=np.uint64)
    first = [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205, 9973669472204895162]
    assert [uniform(words) for _ in first] == [(n >> 11) * 2.0**-53 for n in first]


def test_normal_numbers_have_the_moments_of_the_normal() -> None:
    words, out = np.random.SeedSequence(1).generate_state(4, np.uint64), np.empty(40_001)
    fill_normal(words, out)
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((out**power).mean() - moment) < 4.0 * np.sqrt(variance / len(out))


def test_another_process_needs_no_numba() -> None:
    from lmmformula.numerics.kept_programs import folder
    from lmmformula.numerics.machine_code import Loop

    if folder("loops") is None:
        pytest.skip("nothing is kept here")
    density = density_of("crossed slopes")
    chains_of(density, Nuts(draws=4, warmup=4, adapt_mass=False), density.scale(), 1, 1)
    for kernel in (variance_slopes, nuts_iterations):
        assert kernel._loops
        assert all(isinstance(loop, Loop) for loop in kernel._loops.values())
