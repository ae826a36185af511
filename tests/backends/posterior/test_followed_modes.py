"""Modes that are followed are those that are searched for; densities that are interpolated are those that are computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import build
from lmmformula.backends.posterior.density.interpolated import Interpolated
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.recovery.equations import Iterated
from lmmformula.backends.posterior.recovery.followed import SETTLED, FollowedModes
from lmmformula.backends.posterior.recovery.laplace import recover_modes
from lmmformula.criteria.batched.direct import Design, Direct, Equations, direct_design
from lmmformula.engines.registry import exact_engine
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.groups import joined
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.typing import Array


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 400
    table = pd.DataFrame(
        {"g": rng.integers(0, 20, n), "h": rng.integers(0, 12, n), "x": rng.standard_normal(n)}
    )
    eta = (
        0.3
        + 0.2 * table["x"]
        + 0.6 * rng.standard_normal(20)[table["g"]]
        + 0.4 * rng.standard_normal(12)[table["h"]]
    )
    return table.assign(y=rng.poisson(np.exp(eta)))


def _density(formula: str, family: str) -> LaplaceDensity:
    problem = build(formula, _table(), family=family)
    return LaplaceDensity.of(problem, exact_engine(), resolve_priors(problem)).settled()


CASES = [
    ("y ~ x + (1 | g) + (1 | h)", "poisson"),
    ("y ~ x + (x | g)", "nbinom2"),
    ("y ~ x + (1 | g) + (0 + x | g) + (1 | h)", "poisson"),
]


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_equations_are_those_of_the_engine_directly_and_by_iteration(formula: str, family: str) -> None:
    density, rng = _density(formula, family), np.random.default_rng(6)
    scale = density.scale()
    x = scale.mode + rng.standard_normal((3, density.d)) @ scale.half.T
    points = [density(own).laplace for own in x]
    blocks = density.model.prepared.blocks
    assert isinstance(blocks, Blocks)
    design = Design(blocks.own)
    lowers = [np.asarray(low) for low in joined(design.groups, density.mean.factors(x))]
    weight = np.array([p.observed.weight for p in points]).T
    b = rng.standard_normal((sum(g.q for g in design.groups), 3))
    expected = [design.stacked.solved(p.factor, b[:, [s]])[:, 0] for s, p in enumerate(points)]
    direct = direct_design(design)
    assert direct is not None

    def directly(lowers: list[Array], weight: Array) -> Equations:
        return Direct(direct, lowers, direct.entries(weight))

    def by_iteration(lowers: list[Array], weight: Array) -> Equations:
        return Iterated(design, points[0].factor, lowers, weight)

    copies = [np.repeat(low, 1_000, axis=0) for low in lowers], np.repeat(weight, 1_000, axis=1)
    for way, near in ((directly, 1e-10), (by_iteration, 3e-2)):
        found, fine = way(lowers, weight).solve(b)
        assert fine.all()
        np.testing.assert_allclose(found.T, expected, atol=near * float(np.abs(expected).max()))
        drawn = way(*copies).noise(rng)[0].reshape(len(b), 3, -1)
        for s, p in enumerate(points):
            inverse = np.concatenate(
                [p.factor.inverse().diagonal(a).diagonal(0, 1, 2).ravel() for a in range(len(p.u))]
            )
            noise, near = drawn[:, s], 6.0 * np.sqrt(2.0 / drawn.shape[2])
            np.testing.assert_allclose(noise.var(axis=1), inverse, rtol=near)
            along = float((b[:, s] @ noise).var())
            assert along == pytest.approx(float(b[:, s] @ expected[s]), rel=near)


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_modes_are_followed_and_noise_has_their_covariance(formula: str, family: str) -> None:
    density, rng = _density(formula, family), np.random.default_rng(1)
    scale = density.scale()
    x = scale.mode + rng.standard_normal((400, density.d)) @ scale.half.T
    points = [density(own).laplace for own in x[:60]]
    need = FollowedModes.needed(density.d)
    followed = FollowedModes.of(density, x[:need], int(1e12))  # so many that quadratics alone would not do
    assert followed.of_weights is None
    pieces = list(followed.pieces(x, np.random.SeedSequence(1)))
    settled = np.concatenate([p.settled for p in pieces])
    assert settled.mean() > 0.95
    for a in range(len(points[0].factors)):
        modes = np.concatenate([p.modes[a] for p in pieces])
        draws = np.concatenate([p.draws[a] for p in pieces])
        z = []
        for i in np.flatnonzero(settled[:60]):
            point = points[i]
            own, lower = point.u[a] @ point.factors[a].T, point.factors[a]
            sd = np.sqrt(np.einsum("ij,mjl,il->mi", lower, point.factor.inverse().diagonal(a), lower))
            # what a step of squared length SETTLED leaves, in sds over all effects
            assert np.linalg.norm((modes[i] - own) / sd) < 2.0 * SETTLED
            z.append((draws[i] - own) / sd)
        spread = np.square(z)
        assert abs(float(np.mean(z))) < 5.0 / np.sqrt(spread.size)
        assert float(spread.mean()) == pytest.approx(1.0, abs=8.0 / np.sqrt(spread.size))


@pytest.mark.parametrize("way", ["entries", "weights", "steps"])
def test_moments_are_those_of_modes_and_inverses_one_by_one(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = int(1e12) if way == "steps" else 400  # so many that quadratics alone would not do
    if way == "weights":
        monkeypatch.setattr(
            "lmmformula.backends.posterior.density.laplace.direct_design", lambda design: None
        )
    density, rng = _density(*CASES[0]), np.random.default_rng(2)
    scale = density.scale()
    x = scale.mode + rng.standard_normal((400, density.d)) @ scale.half.T
    followed, taken = FollowedModes.of, []

    def of(target: LaplaceDensity, places: Array, _: int) -> FollowedModes:
        taken.append(followed(target, places, draws))
        return taken[-1]

    monkeypatch.setattr(FollowedModes, "of", of)
    effects = recover_modes(density, x.reshape(4, 100, -1), np.random.SeedSequence(1))
    assert (taken[0].of_weights is not None) == (way == "weights")
    assert (taken[0].of_entries is not None) == (way == "entries")
    assert effects.draws is not None
    assert [d.shape for d in effects.draws] == [(4, 100, 20, 1), (4, 100, 12, 1)]
    points = [density(own).laplace for own in x]
    for a in range(2):
        modes = np.array([p.u[a] * p.factors[a][0, 0] for p in points])
        inside = np.mean(
            [p.factor.inverse().diagonal(a)[:, 0] * p.factors[a][0, 0] ** 2 for p in points], axis=0
        )
        sd = np.sqrt(inside + modes.var(axis=0))
        if draws > 400:
            np.testing.assert_allclose(effects.means[a], modes.mean(axis=0), atol=2e-3 * float(sd.mean()))
        else:
            missed = (effects.means[a] - modes.mean(axis=0)) / sd
            assert np.sqrt((missed**2).mean()) < 0.2 / np.sqrt(draws)
        np.testing.assert_allclose(effects.sds[a], sd, rtol=4.0 / np.sqrt(2 * 400))


@pytest.mark.parametrize(
    ("formula", "family"),
    [CASES[0], CASES[2], ("y ~ x + offset(0.1 * x) + (1 | g) + (x | h)", "nbinom2")],
)
def test_densities_and_slopes_of_many_draws_are_those_of_each(formula: str, family: str) -> None:
    density, rng = _density(formula, family), np.random.default_rng(7)
    scale = density.scale()
    x = scale.mode + 1.5 * rng.standard_normal((30, density.d)) @ scale.half.T
    for place, _ in density.folded:  # where samplers ask
        x[:, place] = np.abs(x[:, place])
    values, slopes = density.values_and_gradients(x)
    one_by_one = [density.value_and_gradient(own) for own in x]
    np.testing.assert_allclose(values, [v for v, _ in one_by_one], rtol=0.0, atol=1e-4)
    standard = np.array([g for _, g in one_by_one]) @ scale.half  # slopes along standard deviations
    np.testing.assert_allclose(slopes @ scale.half, standard, rtol=0.0, atol=1e-3)
    together = np.concatenate([own.value for own in density._crossed_points(x)])
    assert np.isfinite(together).all()
    u, weights = density.searched(x, weighted=True)
    points = [density(own).laplace for own in x]
    np.testing.assert_allclose(u, [np.concatenate([v.ravel() for v in p.u]) for p in points], atol=1e-4)
    assert weights is not None
    np.testing.assert_allclose(weights, [p.observed.weight for p in points], rtol=1e-3)


def test_draws_whose_modes_are_not_found_together_are_searched_for_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    density, rng = _density(*CASES[0]), np.random.default_rng(8)
    scale = density.scale()
    x = scale.mode + rng.standard_normal((5, density.d)) @ scale.half.T
    expected = [density.value_and_gradient(own) for own in x]
    monkeypatch.setattr("lmmformula.criteria.batched.crossed.MAX_STEPS", 1)
    found = next(iter(density._crossed_points(x)))
    assert np.isnan(found.value).any()
    values, slopes = density.values_and_gradients(x)
    np.testing.assert_allclose(values, [v for v, _ in expected], atol=1e-4)
    np.testing.assert_allclose(slopes, [g for _, g in expected], rtol=1e-3, atol=1e-2)


def test_interpolated_densities_are_the_computed_ones() -> None:
    density, rng = _density(*CASES[0]), np.random.default_rng(4)
    scale = density.scale()
    between = Interpolated(density, scale, 4_000)
    x = scale.mode + rng.standard_t(5, (900, density.d)) @ scale.half.T
    values = between.log_densities(x)
    assert between.computed < 300
    assert between.error <= 4_000**-0.5
    exact = density.log_densities(x)
    p = np.exp(exact - exact.max())
    assert float(np.sqrt(np.average((values - exact) ** 2, weights=p))) < 2.0 * between.error
    far = scale.mode + 30.0 * scale.half[:, 0]
    assert between.log_densities(far[None])[0] == pytest.approx(density.log_densities(far[None])[0])


def test_a_density_that_no_polynomial_follows_is_computed() -> None:
    density, rng = _density(*CASES[0]), np.random.default_rng(5)

    class Rough:
        d, folded = density.d, ()

        def log_densities(self, x: np.ndarray) -> np.ndarray:
            return -0.5 * (x**2).sum(axis=1) + np.sin(40.0 * x[:, 0])

        def values_and_gradients(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self.log_densities(x), -x + 40.0 * np.cos(40.0 * x[:, 0])[:, None] * np.eye(self.d)[0]

    between = Interpolated(Rough(), density.scale(), 4_000)
    assert not between.holds()
    own = between.computed
    between.log_densities(rng.standard_normal((300, density.d)))
    assert between.computed == own + 300
    assert np.isnan(between.error)
