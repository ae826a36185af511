"""Kinds of bootstrap intervals, statistics of one's own, and workers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri

from lmmformula import DataError, Fit, fit, load_dataset
from lmmformula.inference.bootstrap_intervals import acceleration, ends
from lmmformula.inference.interval_types import TYPES


@cache
def _rail() -> Fit:
    return fit("travel ~ 1 + (1 | Rail)", load_dataset("Rail"))


def share(m: Fit) -> dict[str, float]:
    """A statistic at the top of a module, which can be sent to other processes."""
    return {"icc": float(m.icc().iloc[0]), "mean": float(m.params.iloc[0])}


def _draws(transform: Any = lambda t: t) -> tuple[pd.DataFrame, dict[str, float]]:
    t = np.random.default_rng(3).gamma(4.0, 1.0, 999)
    return pd.DataFrame({"x": transform(t)}), {"x": float(transform(np.array(3.6)))}


def test_the_formulas() -> None:
    draws, own = _draws()
    t, z = draws["x"].to_numpy(), ndtri(0.95)
    found = {kind: ends(draws, own, 0.9, kind, {"x": 0.03})[0] for kind in TYPES}
    np.testing.assert_allclose(found["percentile"], np.quantile(t, [0.05, 0.95]))
    np.testing.assert_allclose(found["basic"], 7.2 - np.quantile(t, [0.95, 0.05]))
    np.testing.assert_allclose(found["normal"], 7.2 - t.mean() + z * t.std(ddof=1) * np.array([-1, 1]))
    z0 = ndtri((t < 3.6).mean())
    at = [ndtr(z0 + (z0 + q) / (1 - 0.03 * (z0 + q))) for q in (-z, z)]
    np.testing.assert_allclose(found["bca"], np.quantile(t, at))


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_a_change_of_scale_changes_the_ends_and_nothing_else(kind: str) -> None:
    plain, logs = (ends(*_draws(f), 0.9, kind, {"x": 0.02}) for f in (lambda t: t, np.log))
    np.testing.assert_allclose(np.exp(logs), plain, rtol=1e-3)


def test_missing_replicates_and_statistics_have_no_part() -> None:
    draws, own = _draws()
    with_gaps = pd.concat([draws, pd.DataFrame({"x": [np.nan] * 5})])
    np.testing.assert_array_equal(ends(with_gaps, own, 0.9, "basic"), ends(draws, own, 0.9, "basic"))
    assert np.isnan(ends(draws, {"x": np.nan}, 0.9, "percentile")).all()


def test_acceleration_of_a_mean_is_its_skewness() -> None:
    data = load_dataset("Rail")
    found = acceleration(_rail(), lambda m: {"mean": m.problem.y.mean()})["mean"]
    d: Any = data.groupby("Rail", observed=True)["travel"].mean() - data["travel"].mean()
    assert found == pytest.approx(float((d**3).sum()) / (6 * float((d**2).sum()) ** 1.5))


def test_groups_that_cannot_be_left_out() -> None:
    data = load_dataset("sleepstudy")
    data = data[data["Subject"].isin(["308", "309"])]
    m = fit("Reaction ~ Days + (1 | Subject)", data)
    with pytest.raises(DataError, match=r"only [012] of them exist"):
        m.bootstrap(5, seed=1, type="bca")


@pytest.mark.parametrize("kind", TYPES)
def test_intervals_of_a_fit(kind: str) -> None:
    table = _rail().conf_int(method="bootstrap", n=60, seed=2, type=kind)
    assert list(table.index) == ["(Intercept)", "sd_(Intercept)|Rail", "sigma"]
    assert (table.iloc[:, 0] < table.iloc[:, 1]).all()
    pd.testing.assert_frame_equal(
        pd.DataFrame(table), pd.DataFrame(_rail().bootstrap(60, seed=2, type=kind)), check_like=True
    )
    assert table.loc["sigma"].between(1.5, 8).all()


def test_statistics_and_workers() -> None:
    alone = _rail().bootstrap(4, seed=4, statistic=share)
    assert list(alone.columns) == ["icc", "mean"]
    together = _rail().bootstrap(4, seed=4, statistic=share, workers=2)
    np.testing.assert_allclose(together, alone, rtol=1e-8)
    numbers = _rail().bootstrap(3, seed=4, statistic=lambda m: m.params.to_numpy())
    np.testing.assert_allclose(numbers["t1"], alone["mean"][:3])
    interval = _rail().conf_int(method="bootstrap", n=20, seed=4, statistic=share, parameters="icc")
    assert list(interval.index) == ["icc"]


def test_refusals() -> None:
    m = _rail()
    for arguments, said in [
        ({"type": "bc"}, "type='bc'"),
        ({"workers": 0}, "workers=0"),
        ({"level": 95}, "level=95"),
        ({"workers": 2, "statistic": lambda f: 1.0}, "top of a module"),
    ]:
        with pytest.raises(DataError, match=said):
            m.bootstrap(4, seed=1, **arguments)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no parameter 'slope'"):
        m.conf_int(method="bootstrap", n=3, seed=1, parameters="slope")
