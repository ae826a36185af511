"""Posteriors of normal models whose rows are read a batch at a time: cross-products suffice, and give the same draws."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import rows

from lmmformula import Fit, PlanError, fit, load, plan
from lmmformula.numerics import tall

pytestmark = pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
MODEL: dict[str, Any] = {"formula": "y ~ x + f + (x | g)", "method": "hmc", "draws": 200, "seed": 1}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return rows(300)


@pytest.fixture(scope="module")
def folder(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("rows")
    for k in range(3):
        data.iloc[100 * k : 100 * (k + 1)].to_parquet(where / f"part-{k}.parquet")
    return str(where)


@pytest.fixture(scope="module")
def fits(data: pd.DataFrame, folder: str) -> Iterator[tuple[Fit, Fit]]:
    """Of so few rows the triangle of X has other signs, with which its draws would differ in theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tall, "FEW", 0)
        one, other = (fit(data=d, sampler="importance", **MODEL) for d in (data, folder))
        yield one, other


def close(one: Any, other: Any) -> None:
    one, other = (np.asarray(x, dtype=float) for x in (one, other))
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_draws_are_those_of_rows_in_memory(fits: tuple[Fit, Fit], data: pd.DataFrame) -> None:
    whole, parts = fits
    assert str(parts.priors) == str(whole.priors)
    for ask in (
        lambda m: m.params,
        lambda m: m.bse,
        lambda m: m.conf_int(),
        lambda m: m.varcorr()["sdcor"],
        lambda m: m.ranef(condsd=True)[["condval", "condsd"]],
        lambda m: (
            m.posterior["sd_g__(Intercept)"]
            if "sd_g__(Intercept)" in m.posterior.names
            else m.posterior["sigma"]
        ),
        lambda m: m.posterior.beta,
        lambda m: m.predict(data.iloc[:5], interval="prediction", seed=2),
        lambda m: m.emmeans("f").table.select_dtypes("number"),
        lambda m: m.r2(),
    ):
        close(ask(parts), ask(whole))


def test_chains_are_the_same(data: pd.DataFrame, folder: str) -> None:
    own = {"method": "hmc", "sampler": "nuts", "draws": 50, "chains": 2, "seed": 3}
    one, other = (fit("y ~ x + (1 | g)", d, **own) for d in (data, folder))
    close(one.params, other.params)


def test_what_takes_rows_says_so(fits: tuple[Fit, Fit]) -> None:
    parts = fits[1]
    for ask in (
        lambda: parts.loo(),
        lambda: parts.kfold(),
        lambda: parts.pp_check(),
        lambda: parts.bayes_r2(),
        lambda: parts.log_likelihood(),
        lambda: parts.simulate(2, seed=1),
    ):
        with pytest.raises(PlanError, match="Read the data into memory, or a sample"):
            ask()
    groups = parts.to_datatree().children
    assert "posterior" in groups
    assert "log_likelihood" not in groups


def test_other_posteriors_are_refused(folder: str) -> None:
    for more in ({"marginalize": "none"}, {"family": "poisson", "formula": "count ~ x + (1 | g)"}):
        with pytest.raises(PlanError, match=r"method='hmc' with marginalize='none' takes all 300 rows"):
            plan(**({"data": folder} | MODEL | more))


@pytest.mark.parametrize("way", ["file", "pickle"])
def test_posteriors_leave_their_rows(
    fits: tuple[Fit, Fit], way: str, tmp_path: Path, data: pd.DataFrame
) -> None:
    m = fits[1]
    if way == "file":
        m.save(tmp_path / "m.lmm")
        again = load(tmp_path / "m.lmm")
    else:
        again = pickle.loads(pickle.dumps(m))
    np.testing.assert_array_equal(again.predict(data.iloc[:4]), m.predict(data.iloc[:4]))
    assert str(again.summary()) == str(m.summary())
