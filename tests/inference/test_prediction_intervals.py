"""Prediction intervals: exact where the response is normal, and of their level for every family, by simulation."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from registry import FITTED, auxiliaries_of

from lmmformula import DataError, fit
from lmmformula.errors import LmmformulaWarning
from lmmformula.families import resolve

Z = 1.959963984540054


@pytest.fixture(scope="module")
def weighted():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(30), 8)
    x, w = rng.normal(size=240), rng.uniform(0.2, 5.0, 240)
    y = 1 + x + rng.normal(size=30)[g] + rng.normal(size=240) / np.sqrt(w)
    return pd.DataFrame({"y": y, "x": x, "g": g, "w": w})


def noise(table: Any) -> Any:
    """What the response adds to the variance of eta."""
    return ((table["upper"] - table["fit"]) / Z) ** 2 - table["se"] ** 2


def test_weights_divide_the_variance_of_old_and_new_rows(weighted) -> None:
    m = fit("y ~ x + (1 | g)", weighted, weights="w")
    expected = m.sigma**2 / weighted["w"]
    np.testing.assert_allclose(noise(m.predict(interval="prediction", se=True)), expected)
    np.testing.assert_allclose(noise(m.predict(weighted, interval="prediction", se=True)), expected)
    new = weighted.assign(g="new", precision=lambda d: 2 * d["w"]).drop(columns="w")
    wanted = {"interval": "prediction", "se": True, "new_levels": "population"}
    for given in ("precision", new["precision"].to_numpy()):
        np.testing.assert_allclose(noise(m.predict(new, weights=given, **wanted)), expected / 2)
    with pytest.warns(LmmformulaWarning, match=r"no column `w`.* a weight of 1.* weights="):
        np.testing.assert_allclose(noise(m.predict(new, **wanted)), m.sigma**2)


def test_weights_of_an_array_are_not_known_for_new_rows(weighted) -> None:
    m = fit("y ~ x + (1 | g)", weighted, weights=weighted["w"].to_numpy())
    np.testing.assert_allclose(noise(m.predict(interval="prediction", se=True)), m.sigma**2 / weighted["w"])
    with pytest.warns(LmmformulaWarning, match="given as an array"):
        got = m.predict(weighted, interval="prediction", se=True)
    np.testing.assert_allclose(noise(got), m.sigma**2)


def test_weights_of_new_rows_that_mean_nothing(weighted) -> None:
    m: Any = fit("y ~ x + (1 | g)", weighted, weights="w")
    with pytest.raises(DataError, match="weights= is for new data"):
        m.predict(interval="prediction", weights="w")
    with pytest.raises(DataError, match="no column `v`"):
        m.predict(weighted, interval="prediction", weights="v")
    with pytest.raises(DataError, match="negative or infinite in 240 of 240"):
        m.predict(weighted, interval="prediction", weights=-weighted["w"].to_numpy())
    some = m.predict(weighted.assign(w=weighted["w"].where(weighted.index > 0)), interval="prediction")
    assert some["fit"].notna().all()
    assert some["lower"].isna().tolist() == [True, *[False] * 239]


@pytest.mark.parametrize("formula", ["~ 1", "~ x"])
def test_sigma_with_a_formula_is_the_rows_own(weighted, formula) -> None:
    """A constant sigma by `dispformula` is the sigma of the same model without it."""
    m: Any = fit("y ~ x + (1 | g)", weighted, dispformula=formula, weights="w")
    got = m.predict(interval="prediction", se=True)
    sigma = m.predict(kind="sigma")
    np.testing.assert_allclose(noise(got), sigma**2 / weighted["w"], rtol=1e-9)
    np.testing.assert_allclose(
        noise(m.predict(weighted, interval="prediction", se=True)), noise(got), rtol=1e-9
    )
    if formula == "~ 1":
        plain: Any = fit("y ~ x + (1 | g)", weighted, method="ml", weights="w").predict(interval="prediction")
        np.testing.assert_allclose(got["upper"] - got["lower"], plain["upper"] - plain["lower"], rtol=0.01)


LINKS = {"inverse_gaussian": "inverse_gaussian(link='log')", "gamma": "gamma(link='log')"}
LEVEL = 0.9


def draw_rows(rng, groups, per, prefix):
    """A design, and the linear predictor with effects drawn for its groups."""
    g, x = np.repeat(np.arange(groups), per), rng.uniform(-1, 1, groups * per)
    eta = 0.5 + 0.4 * x + 0.5 * rng.normal(size=groups)[g]
    return pd.DataFrame({"x": x, "g": [f"{prefix}{i}" for i in g], "n": np.resize([1.0, 6.0], len(g))}), eta


@pytest.mark.parametrize("name", FITTED)
def test_coverage_of_new_observations_in_old_and_new_groups(name) -> None:
    """Shares of 40 new responses of each row inside; of a response with atoms the level at least."""
    rng, family = np.random.default_rng(crc32(name.encode())), resolve(LINKS.get(name) or name)
    aux = auxiliaries_of(family)
    weighted = family.weights_are in ("trials", "precision")
    data, eta = draw_rows(rng, 60, 8, "old")
    y = family.simulate(rng, eta, aux, data["n"].to_numpy() if weighted else None)
    m: Any = fit("y ~ x + (1 | g)", data.assign(y=y), family=family, weights="n" if weighted else None)
    new, new_eta = draw_rows(rng, 600, 1, "new")
    for rows, at in ((data[::4], eta[::4]), (new, new_eta)):
        rows = rows.assign(n=np.resize([1.0, 6.0], len(rows)))
        table = m.predict(rows, new_levels="population", interval="prediction", level=LEVEL, seed=1)
        fresh = family.simulate(rng, np.tile(at, (40, 1)), aux, rows["n"].to_numpy() if weighted else None)
        inside = (table["lower"].to_numpy() <= fresh) & (fresh <= table["upper"].to_numpy())
        for one in (1.0, 6.0):
            share = inside[:, rows["n"] == one].mean()
            assert share > LEVEL - 0.05, (one, share)
            assert family.has_atoms or share < LEVEL + 0.05, (one, share)
        if family.is_discrete:
            assert (table["upper"] * (rows["n"] if weighted else 1.0) % 1 == 0).all()


@pytest.mark.parametrize(
    "formula", ["cbind(s, n - s) ~ x + (1 | g)", "s | trials(n) ~ x + (1 | g)", "s / n ~ x + (1 | g)"]
)
def test_trials_of_new_rows_however_the_fit_had_them(weighted, formula) -> None:
    """More trials, a narrower interval of the proportion; limits are whole numbers of successes."""
    rng = np.random.default_rng(4)
    n = np.resize([5.0, 20.0], len(weighted))
    data = weighted.assign(n=n, s=rng.binomial(n.astype(int), 1 / (1 + np.exp(-weighted["y"]))))
    m: Any = fit(formula, data, family="binomial", weights="n" if "/" in formula else None)
    got = m.predict(data, interval="prediction", seed=2)
    pd.testing.assert_frame_equal(got, m.predict(interval="prediction", seed=2), check_index_type=False)
    assert (np.abs((got["upper"] * n + 0.5) % 1 - 0.5) < 1e-9).all()
    width = (got["upper"] - got["lower"]).groupby(n).mean()
    assert width[20.0] < 0.8 * width[5.0]
    with pytest.warns(LmmformulaWarning, match=r"no column .*`n`.* one trial"):
        single = m.predict(data[["x", "g"]], interval="prediction", seed=2)
    assert set(single["upper"]) <= {0.0, 1.0}


def test_seed_repeats_what_is_drawn(weighted) -> None:
    m: Any = fit("exp(y / 3) ~ x + (1 | g)", weighted, family="gamma(link='log')")
    one = m.predict(interval="prediction", seed=5)
    pd.testing.assert_frame_equal(one, m.predict(interval="prediction", seed=5))
    two = m.predict(interval="prediction", seed=6)
    assert not one.equals(two)
    assert (np.abs(one["upper"] / two["upper"] - 1) < 0.15).all()


def test_a_mean_that_leaves_its_range_is_not_drawn(weighted) -> None:
    """Identity link: an eta below zero has no gamma response. Limits stay positive, or are nan where too many are lost."""
    m: Any = fit("exp(y / 3) ~ x + (1 | g)", weighted, family="gamma(link='identity')")
    got = m.predict(
        {"x": [0.0, -60.0], "g": ["a", "b"]}, new_levels="population", interval="prediction", seed=1
    )
    assert 0 < got["lower"][0] < got["upper"][0]
    assert np.isnan(got["lower"][1])


def test_quasi_likelihood_warns_that_draws_lack_its_dispersion(weighted) -> None:
    rng = np.random.default_rng(1)
    data = weighted.assign(c=rng.poisson(rng.gamma(0.5, np.exp(weighted["x"]) / 0.5)))
    m: Any = fit("c ~ x + (1 | g)", data, family="poisson", method="pql")
    with pytest.warns(LmmformulaWarning, match="dispersion"):
        assert (m.predict(interval="prediction", seed=1)["lower"] >= 0).all()
