"""``y | mi()``: missing responses are parameters, which leave the likelihood of what was observed as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import FormulaError, PlanError, fit


def data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    x = rng.normal(size=40).round(3)
    y = 1.0 + 0.7 * x + 0.8 * rng.normal(size=40) + np.tile([-1.0, 0.0, 0.5, 1.0], 10)
    own = pd.DataFrame({"x": x, "y": y.round(3), "g": np.tile(list("abcd"), 10)})
    return own.assign(y=own["y"].where(own.index % 5 != 0))


def test_the_likelihood_is_that_of_the_observed_rows() -> None:
    own = data()
    m, other = fit("y | mi() ~ x + (1 | g)", own), fit("y ~ x + (1 | g)", own.dropna())
    assert m.llf == pytest.approx(other.llf, abs=1e-12)
    assert m.nobs == 32


def test_what_is_missing_has_the_t_distribution_of_a_new_observation() -> None:
    """With flat coefficients and sigma: t with n - p degrees of freedom (Gelman et al. 2013, eq. 14.6)."""
    from scipy.stats import t

    own = data()
    priors = {"b": "flat()", "Intercept": "flat()", "sigma": "uniform(0, 50)"}
    m = fit("y | mi() ~ x", own, method="hmc", priors=priors, draws=2_000, chains=2, warmup=200, seed=2)
    drawn = m.impute(own, n=4_000, seed=4)
    seen = own.dropna()
    x = np.column_stack([np.ones(32), seen["x"]])
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ seen["y"]
    df = 32 - 2 - 1  # a flat prior of sigma takes one
    s = float(np.sqrt(np.sum((seen["y"] - x @ beta) ** 2) / df))
    new = np.column_stack([np.ones(8), own["x"][::5]])
    scale = s * np.sqrt(1.0 + np.einsum("ri,ij,rj->r", new, inverse, new))
    assert list(drawn.index) == list(own.index[::5])
    for row, centre, width in zip(drawn.to_numpy(), new @ beta, scale, strict=True):
        ranks = t.cdf((row - centre) / width, df)
        counts, _ = np.histogram(ranks, np.linspace(0.0, 1.0, 11))
        assert np.abs(counts / 400.0 - 1.0).max() < 0.3  # six standard deviations of a count of 400


def test_what_does_not_suit_is_refused() -> None:
    own = data()
    with pytest.raises(PlanError, match=r"y \| mi\(\)"):
        fit("y ~ x", own.dropna()).impute(own)
    with pytest.raises(PlanError, match="method='hmc'"):
        fit("y | mi() ~ x", own).impute(own)
    with pytest.raises(PlanError, match="left out of all of them"):
        fit("bf(y | mi() ~ x) + bf(x ~ 1)", own)
    with pytest.raises(FormulaError, match="takes no argument"):
        fit("y | mi(x) ~ x", own)
