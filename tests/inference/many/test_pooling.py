"""Rubin's rules against mice."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, fit, load_dataset, pool
from lmmformula.inference.many.pooling import rubin

REFERENCE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "reference" / "many.json").read_text(encoding="utf-8")
)


@cache
def imputed() -> tuple[Fit, ...]:
    table = pd.DataFrame({name: REFERENCE["mice"][name] for name in ("imputation", "chl", "bmi", "age")})
    return tuple(fit("chl ~ bmi + age", own) for _, own in table.groupby("imputation"))


def test_linear_models_of_imputed_data() -> None:
    found = pool(list(imputed()))
    ours, rows = found.frame, pd.DataFrame(REFERENCE["mice"]["pooled"]).set_index("term")
    for column in ("estimate", "ubar", "b", "t", "dfcom", "df", "riv", "lambda", "fmi"):
        np.testing.assert_allclose(ours[column], rows[column], rtol=1e-7, err_msg=column)
    tests = pd.DataFrame(REFERENCE["mice"]["summary"]).set_index("term")
    for column, theirs in [("std_error", "std.error"), ("statistic", "statistic"), ("p_value", "p.value")]:
        np.testing.assert_allclose(ours[column], tests[theirs], rtol=1e-7)
    assert list(found.tidy()["term"]) == ["(Intercept)", "bmi", "age"]
    np.testing.assert_allclose(np.sqrt(np.diag(found.cov_params())), found.bse)
    assert "pooled over 5 imputations" in repr(found)
    assert found._repr_html_()


def test_one_number() -> None:
    theirs = REFERENCE["scalar"]
    found = rubin(np.array([[1.2], [1.5], [1.1]]), np.array([[0.2], [0.25], [0.22]]), np.array([28.0]))
    for name, own in [("ubar", "ubar"), ("b", "b"), ("t", "t"), ("df", "df"), ("riv", "r"), ("fmi", "fmi")]:
        assert found[name][0] == pytest.approx(theirs[own], rel=1e-8), name


def test_mixed_models_take_the_degrees_of_freedom_of_each_coefficient() -> None:
    data, rng = load_dataset("sleepstudy"), np.random.default_rng(3)
    fits = [
        fit(
            "Reaction ~ Days + (Days | Subject)",
            data.assign(Reaction=data["Reaction"] + rng.normal(size=180) * 9),
        )
        for _ in range(4)
    ]
    found = pool(fits)
    np.testing.assert_allclose(found.frame["dfcom"], np.mean([m.df for m in fits], axis=0))
    assert np.all(found.frame["df"] < found.frame["dfcom"])
    given = pool(fits, dfcom=fits[0].df_resid).frame
    assert np.all(given["dfcom"] == 174)
    assert np.all(given["df"] > found.frame["df"])


def test_without_complete_data_degrees_of_freedom() -> None:
    """Rubin's own: (m - 1) / lambda^2."""
    found = rubin(np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]]), np.array([np.inf]))
    share = 0.75 / 1.75
    assert found["df"][0] == pytest.approx(1.0 / share**2)


def test_refusals() -> None:
    first = imputed()[0]
    with pytest.raises(DataError, match="1 fit was given"):
        pool([first])
    other = fit("chl ~ bmi", pd.DataFrame({n: REFERENCE["mice"][n][:25] for n in ("chl", "bmi")}))
    with pytest.raises(DataError, match="different fixed effects"):
        pool([first, other])
