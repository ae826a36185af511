"""Diagnostics of chains and of importance weights: facts of arviz-stats 0.8.0 on seeded draws, and theory."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.numerics.mcmc import bfmi, ess, ess_bulk, ess_tail, rhat
from lmmformula.numerics.pareto import pareto_smooth, weights_ess
from lmmformula.typing import Array


def ar1(rng: np.random.Generator, rho: float, chains: int, draws: int) -> Array:
    """Stationary chains with variance one."""
    e = rng.standard_normal((chains, draws))
    x = np.empty((chains, draws))
    x[:, 0] = e[:, 0]
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * e[:, t]
    return x


def seeded() -> dict[str, Array]:
    rng = np.random.default_rng(7)
    return {
        "independent": ar1(rng, 0.0, 4, 500),
        "autocorrelated": ar1(rng, 0.8, 4, 501),
        "antithetic": ar1(rng, -0.5, 4, 500),
        "a chain apart": ar1(rng, 0.3, 4, 400) + np.array([0.0, 0.0, 0.0, 0.5])[:, None],
        "heavy tails": rng.standard_cauchy((3, 333)),
    }


FACTS = {  # arviz_stats 0.8.0, array_stats: ess(bulk), ess(tail, prob=(.05, .95)), ess(mean), rhat, bfmi of the first chain
    "independent": (
        1613.16328671925,
        1932.2795622179876,
        1622.7603053188845,
        1.0026086077699803,
        2.054147996948342,
    ),
    "autocorrelated": (
        251.90781800379418,
        402.9499730929092,
        252.3354706760201,
        1.0148908210995755,
        0.4099308157204967,
    ),
    "antithetic": (
        5763.901877561129,
        2175.528427681948,
        5712.459055993012,
        0.9995151670329853,
        2.8948814518847623,
    ),
    "a chain apart": (
        179.0294193387298,
        1125.3893027561955,
        182.05832175554517,
        1.0299487276842427,
        1.467572424079161,
    ),
    "heavy tails": (
        971.622671062802,
        1008.6108141154998,
        1008.3792414594506,
        0.9991326097837845,
        2.024961253360352,
    ),
}


@pytest.mark.parametrize("case", list(FACTS))
def test_against_arviz(case: str) -> None:
    x = seeded()[case]
    ours = (ess_bulk(x), ess_tail(x), ess(x), rhat(x), bfmi(x)[0])
    np.testing.assert_allclose([float(v) for v in ours], FACTS[case], rtol=1e-6)


def test_many_elements_at_once_keep_their_shape() -> None:
    x = np.random.default_rng(1).standard_normal((4, 100, 3, 120))
    for function in (rhat, ess_bulk, ess_tail, ess):
        together = function(x)
        assert together.shape == (3, 120)
        assert together[2, 117] == pytest.approx(float(function(x[:, :, 2, 117])))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_draws_of_an_ar1_chain(rho: float) -> None:
    """Theory: S (1 - rho) / (1 + rho)."""
    x = ar1(np.random.default_rng(3), rho, 4, 20_000)
    assert float(ess(x)) == pytest.approx(80_000 * (1 - rho) / (1 + rho), rel=0.1)


def test_a_constant_has_no_effective_size() -> None:
    x = np.zeros((4, 50, 2))
    x[..., 1] = np.random.default_rng(1).normal(size=(4, 50))
    assert np.isnan(ess(x)).tolist() == [True, False]
    assert np.isnan(rhat(x)).tolist() == [True, False]


def test_pareto_smoothing_against_arviz() -> None:
    """arviz_stats 0.8.0, psislw of the same log weights."""
    rng = np.random.default_rng(8)
    light, k_light = pareto_smooth(0.5 * rng.normal(size=2000))
    heavy, k_heavy = pareto_smooth(0.9 * rng.exponential(size=2000))
    assert k_light == pytest.approx(0.0711263, abs=1e-7)
    assert k_heavy == pytest.approx(0.83952127, abs=1e-7)
    np.testing.assert_allclose(light[:3], [-8.58654469, -8.38573289, -8.39796484], atol=1e-8)
    np.testing.assert_allclose(heavy[:3], [-7.8616075, -7.63091513, -9.3249325], atol=1e-8)
    assert 1 / weights_ess(heavy) == pytest.approx(0.023570551120772543, rel=1e-9)


def test_equal_weights_need_no_smoothing() -> None:
    smooth, k = pareto_smooth(np.full(100, 3.0))
    assert k == -np.inf
    assert weights_ess(smooth) == pytest.approx(100)
