"""Counts of categories: scipy's density, the rows of single trials, and the model of the stacked data."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln
from scipy.stats import multinomial

from lmmformula import DataError, PlanError, fit, load
from lmmformula.families import Family, resolve
from lmmformula.numerics.x64 import x64

RNG = np.random.default_rng(20261127)
COUNTS = RNG.integers(0, 6, (40, 3)).astype(float)
ETA, AUX = RNG.normal(size=40), (RNG.normal(size=40),)


def family(counts: np.ndarray = COUNTS) -> Family:
    return resolve("multinomial").of_response(list(counts.T), "cbind(a, b, c)", ["a", "b", "c"])


def test_density_is_scipys() -> None:
    own = family()
    y = own.distribution.encoded(COUNTS)
    np.testing.assert_array_equal(own.distribution.counts(y), COUNTS)
    p = own.probabilities(ETA, AUX)
    found = own.rows(y, ETA, AUX, COUNTS.sum(axis=1), constant=own.constant(y)).loglik
    both = zip(COUNTS, p.T, strict=True)
    expected = np.array([float(multinomial.logpmf(c, int(c.sum()), q / q.sum())) for c, q in both])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_rows_are_sums_of_single_trials() -> None:
    own = family()
    rows = own.rows(own.distribution.encoded(COUNTS), ETA, AUX, COUNTS.sum(axis=1), constant=0.0)
    one = resolve("categorical").of_response([(np.arange(3), ("a", "b", "c"))])
    each = [one.rows(np.full(40, k + 1.0), ETA, AUX) for k in range(3)]
    for name in ("loglik", "score", "weight", "weight_eta"):
        expected = sum(n * getattr(r, name) for n, r in zip(COUNTS.T, each, strict=True))
        np.testing.assert_allclose(getattr(rows, name), expected, rtol=1e-10, atol=1e-12)
    for name in ("d_aux", "score_aux", "weight_aux"):
        expected = sum(n * getattr(r, name)[0] for n, r in zip(COUNTS.T, each, strict=True))
        np.testing.assert_allclose(getattr(rows, name)[0], expected, rtol=1e-10, atol=1e-12)


def test_posteriors_trace_the_same_density() -> None:
    import jax.numpy as jnp

    own = family()
    y, n = own.distribution.encoded(COUNTS), COUNTS.sum(axis=1)
    with x64():
        density: Any = own.log_density(y, n, jnp)
        traced = np.asarray(density(jnp.asarray(ETA), tuple(map(jnp.asarray, AUX))))
    np.testing.assert_allclose(traced, own.rows(y, ETA, AUX, n).loglik, rtol=1e-9, atol=1e-9)


def test_draws_have_the_trials_and_shares_of_their_rows() -> None:
    own = family()
    n = COUNTS.sum(axis=1)
    eta, aux = np.broadcast_to(ETA, (2000, 40)), (np.broadcast_to(AUX[0], (2000, 40)),)
    drawn = own.distribution.counts(own.simulate(np.random.default_rng(1), eta, aux, n))
    np.testing.assert_array_equal(drawn.sum(axis=-1), np.broadcast_to(n, (2000, 40)))
    p = own.probabilities(ETA, AUX).T
    error = np.sqrt(n[:, None] * p * (1 - p) / 2000)
    assert (np.abs(drawn.mean(axis=0) - n[:, None] * p) <= 5 * error + 1e-12).all()


def table() -> Any:
    rng, g = np.random.default_rng(3), np.repeat(np.arange(12), 8)
    x, shift = rng.normal(size=96), 0.7 * rng.normal(size=(12, 2))
    eta = np.column_stack([np.zeros(96), 0.3 + 0.5 * x + shift[g, 0], -0.2 - 0.4 * x + shift[g, 1]])
    p = np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True)
    counts = rng.multinomial(rng.integers(2, 8, 96), p)
    return pd.DataFrame(counts, columns=list("abc")).assign(x=x, g=g.astype(str), n=counts.sum(axis=1))


def test_the_model_is_that_of_the_stacked_counts(tmp_path: Any) -> None:
    data = table()
    m: Any = fit("cbind(a, b, c) | trials(n) ~ x + (1 | g)", data, family="multinomial")
    long = pd.concat([data.assign(cat=k, w=data[k]) for k in "abc"]).query("w > 0")
    stacked: Any = fit("cat | weights(w) ~ x + (1 | g)", long, family="categorical")
    counts = data[list("abc")].to_numpy()
    constant = gammaln(data["n"] + 1.0).sum() - gammaln(counts + 1.0).sum()
    assert m.llf == pytest.approx(stacked.llf + constant, abs=1e-6)
    np.testing.assert_allclose(m.params, stacked.params, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(m.bse, stacked.bse, rtol=1e-4)
    shares = m.predict()
    assert list(shares) == ["a", "b", "c"]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    drawn = m.simulate(2, seed=1)
    np.testing.assert_array_equal(drawn["sim_1"].sum(axis=1), data["n"])
    m.save(tmp_path / "m.lmm")
    np.testing.assert_array_equal(load(tmp_path / "m.lmm").predict(), shares)


def test_what_does_not_suit_is_refused() -> None:
    data = table()
    with pytest.raises(DataError, match="a column of counts for each category"):
        fit("a ~ x + (1 | g)", data, family="multinomial")
    with pytest.raises(DataError, match=re.escape("not the sum of the counts")):
        fit("cbind(a, b, c) | trials(a) ~ x + (1 | g)", data, family="multinomial")
    with pytest.raises(DataError, match="negative or broken numbers"):
        fit("cbind(a, b, x) ~ 1 + (1 | g)", data, family="multinomial")
    with pytest.raises(PlanError, match="Stack the data"):
        fit("cbind(a, b, big) ~ x + (1 | g)", data.assign(big=10**7), family="multinomial")
    m: Any = fit("cbind(a, b, c) ~ x", data, family="multinomial")
    with pytest.raises(PlanError, match="a count for each category"):
        m.residuals()
    with pytest.raises(PlanError, match="put the counts into the data"):
        m.refit(np.ones(len(data)))
