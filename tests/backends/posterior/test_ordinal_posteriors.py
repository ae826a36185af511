"""Posteriors of ordered categories, whose thresholds move with all levels' effects, and draws from their priors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from lmmformula import fit
from lmmformula.backends.posterior.density.scale import _definite

FORMULA = "rating ~ temp + (1 | judge)"


def ratings() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    judge, temp = np.tile(np.arange(10), 16), rng.integers(0, 2, 160)
    latent = 1.2 * temp + 1.5 * rng.normal(size=10)[judge] + rng.logistic(size=160)
    return pd.DataFrame(
        {"judge": judge.astype(str), "temp": temp, "rating": 1 + np.digitize(latent, [-1.0, 0.5, 2.0])}
    )


def test_chains_see_thresholds_apart_from_the_level_of_the_effects() -> None:
    m = fit(FORMULA, ratings(), family="cumulative", method="hmc", chains=2, draws=400, seed=1)
    posterior = m.posterior
    assert posterior is not None
    own = posterior.diagnostics
    assert m.converged
    assert own.divergences == 0
    assert posterior.statistics["n_steps"].mean() < 9.0
    at = [own.names.index(name) for name in ("1|2", "2|3", "3|4")]
    assert own.ess_bulk[at].min() > 400.0  # of 800 draws


@pytest.mark.parametrize("alike", [True, False])
def test_draws_of_thresholds_from_their_priors_increase(alike: bool) -> None:
    priors = {} if alike else {"1|2": "normal(1, 1)", "2|3": "normal(0, 2)", "3|4": "normal(1, 1)"}
    m = fit(FORMULA, ratings(), family="cumulative", method="hmc", sample_prior="only", priors=priors, seed=1)
    assert m.posterior is not None
    drawn = np.stack([m.posterior[name].ravel() for name in ("1|2", "2|3", "3|4")])
    assert (np.diff(drawn, axis=0) > 0).all()
    if alike:
        largest = stats.kstest(drawn[2], lambda x: stats.t(3, 0, 2.5).cdf(x) ** 3)
        assert largest.pvalue > 1e-3
        assert "Rhat" not in str(m.summary())
        return

    def weight(x: float) -> float:  # of 2|3 at x, with one threshold on either side
        return stats.norm(0, 2).pdf(x) * stats.norm(1, 1).cdf(x) * stats.norm(1, 1).sf(x)

    total, first = integrate.quad(weight, -8, 8)[0], integrate.quad(lambda x: x * weight(x), -8, 8)[0]
    error = drawn[1].std() / np.sqrt(drawn.shape[1])
    assert abs(drawn[1].mean() - first / total) < 4.0 * error


def test_the_curvature_of_coefficients_stays_what_it_is() -> None:
    hessian = np.array([[1e-3, 1e-4, 0.0], [1e-4, 2.0, 0.3], [0.0, 0.3, -0.5]])
    kept = _definite(hessian, [0, 1])
    np.testing.assert_allclose(kept[:2], hessian[:2], rtol=1e-12)
    cross = hessian[2, :2] @ np.linalg.solve(hessian[:2, :2], hessian[:2, 2])
    np.testing.assert_allclose(kept[2, 2] - cross, cross + 0.5, rtol=1e-12)
    assert np.linalg.eigvalsh(_definite(hessian)).min() == pytest.approx(0.2)
    np.testing.assert_allclose(_definite(-np.eye(2), [0]), np.eye(2))
