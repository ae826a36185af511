"""Trajectories on a surrogate: the draws are those of the exact density, whatever the surrogate."""

from __future__ import annotations

import numpy as np
import pytest
from hmc_reference import PRIORS, crossed

from lmmformula.backends.posterior.density.traced import Exact
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.sampling import chains as chains_module
from lmmformula.backends.posterior.sampling.chains import draw_chains
from lmmformula.backends.posterior.sampling.importance import Importance
from lmmformula.backends.posterior.sampling.nuts import Nuts
from lmmformula.backends.posterior.sampling.request import ChainOptions, Request
from lmmformula.backends.posterior.sampling.surrogate import _acceptance, fit_surrogate
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.ir.priors import resolve_priors
from lmmformula.numerics.mcmc import ess_bulk, rhat


@pytest.fixture(scope="module")
def target() -> VarianceDensity:
    problem = crossed()
    return VarianceDensity.of(problem, BlockedEngine(), resolve_priors(problem, PRIORS))


def test_a_poor_surrogate_leaves_the_exact_distribution() -> None:
    """log Gamma(2) and a normal of sd 1/2, with trajectories on a normal that is displaced and has other scales."""
    import jax.numpy as jnp

    def exact(z: np.ndarray, xp: object = jnp) -> object:
        return 2.0 * z[0] - xp.exp(z[0]) - 2.0 * z[1] ** 2  # type: ignore[attr-defined]

    centre, precision = np.array([0.2, 0.1]), np.array([1.0, 2.0])

    def surrogate(z: object) -> object:
        return 0.5 * (precision * (z - centre) ** 2).sum()  # type: ignore[operator]

    def slope(z: np.ndarray) -> tuple[float, np.ndarray]:
        return float(surrogate(z)), precision * (z - centre)  # type: ignore[arg-type]

    nuts = Nuts(draws=6_000, warmup=100, adapt_mass=False, max_depth=3, repeats=2)
    judge = Exact(exact, lambda z: float(exact(z, np)))  # type: ignore[arg-type]
    out = nuts.run(surrogate, np.zeros((4, 2)), slope, 1, exact=judge)
    accepted = out.statistics["end_accepted"].mean()
    assert 0.4 < accepted < 0.85
    assert rhat(out.z).max() < 1.01
    first, second = np.exp(out.z[..., 0]), out.z[..., 1]
    for draws, mean, sd in ((first, 2.0, np.sqrt(2.0)), (first**2, 6.0, np.sqrt(84.0)), (second, 0.0, 0.5)):
        error = sd / np.sqrt(0.7 * float(ess_bulk(draws[..., None])[0]))
        assert abs(draws.mean() - mean) < 4 * error
    assert second.std() == pytest.approx(0.5, rel=0.04)


def test_the_surrogate_is_near_and_even(target: VarianceDensity) -> None:
    found = Importance(draws=500, rounds=3, pilot=400).sample(
        target, target.scale(), np.random.default_rng(1)
    )
    np.testing.assert_allclose(found.log_densities[:50], target.log_densities(found.points[:50]), rtol=1e-12)
    surrogate, accepted = fit_surrogate(target, found, np.random.default_rng(2))
    assert accepted > 0.75
    fresh = Importance(draws=400).sample(target, target.scale(), np.random.default_rng(5)).x
    log_w = target.log_densities(fresh) - surrogate.log_density(fresh)
    assert _acceptance(log_w) == pytest.approx(accepted, abs=0.12)
    assert log_w.std() < 0.75 * (target.log_densities(fresh) - surrogate.base(fresh)).std()
    for place, cors in target.folded:
        turned = fresh.copy()
        turned[:, [place, *cors]] *= -1.0
        gap = surrogate.standardised(turned) - surrogate.standardised(fresh)
        np.testing.assert_allclose(gap, 0.0, atol=1e-12)


def test_predicted_acceptance_is_that_of_independent_proposals() -> None:
    """p = N(0, 1), q = N(0.5, 1): the acceptance of Metropolis with independent draws from q, by simulation."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(200_000), 0.5 + rng.standard_normal(200_000)
    direct = np.minimum(1.0, np.exp(0.5 * (x - y))).mean()  # log w = -x / 2 + constant
    assert _acceptance(-0.5 * rng.standard_normal(2_000)) == pytest.approx(direct, abs=0.02)


def test_where_the_surrogate_is_refused_trajectories_are_exact(
    target: VarianceDensity, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, scale = Request(ChainOptions(1, 200, None, 0.8, 10), "nuts", 1), target.scale()
    with_it = draw_chains(target, scale, request)
    assert "end_accepted" in with_it.statistics
    assert with_it.statistics["end_accepted"].mean() > 0.7
    monkeypatch.setattr(chains_module, "LEAST_ACCEPTED", 2.0)
    without = draw_chains(target, scale, request)
    assert "end_accepted" not in without.statistics
    both = [target.coordinates.parameters(d.x)[0] for d in (with_it, without)]
    sd = both[0].std(axis=0)
    assert np.abs((both[0].mean(axis=0) - both[1].mean(axis=0)) / sd).max() < 0.6
