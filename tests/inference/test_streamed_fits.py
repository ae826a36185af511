"""Fits whose rows are read a batch at a time: every verb answers with the numbers of rows in memory, or says what to do."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import rows
from test_kinds_of_fit import VERBS

import lmmformula
from lmmformula import DataError, Fit, PlanError, anova, fit, load, report
from lmmformula.frame.sources import base

pytestmark = pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")

MODELS: dict[str, dict[str, Any]] = {
    "reml": {"formula": "y ~ x + f + (x | g)"},
    "laplace": {"formula": "count ~ x + f + (1 | g)", "family": "poisson"},
    "pql": {"formula": "I(y > 0) ~ x + f + (1 | g)", "family": "binomial", "method": "pql"},
}
INSTEAD = re.compile(
    r"\b(use|fit with|fit again|fit both|fit the model|fit a sample|leave|look at|those of|has no meaning|pass|read the data|"
    r"name a file|write them)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    frame = rows(300)
    frame["note"] = "none"
    return frame


@pytest.fixture(scope="module")
def folder(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("rows")
    for k in range(3):
        data.iloc[100 * k : 100 * (k + 1)].to_parquet(where / f"part-{k}.parquet")
    return str(where)


@pytest.fixture(scope="module")
def fits(data: pd.DataFrame, folder: str) -> dict[str, tuple[Fit, Fit]]:
    return {name: (fit(data=data, **model), fit(data=folder, **model)) for name, model in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_verb_answers_or_says_what_to_do(fits: dict[str, tuple[Fit, Fit]], name: str) -> None:
    """A refusal is an error of the package that names another way; what a fit in memory refuses is refused here too."""
    parts = fits[name][1]
    silent, answered = [], set()
    own = {
        "refit_many": lambda m: m.refit_many(np.ones((m.problem.n, 2)))
    }  # rows in memory have a response there
    for verb, ask in (VERBS | own).items():
        try:
            assert ask(parts) is not None, verb
            answered.add(verb)
        except (PlanError, DataError, lmmformula.FitError) as error:
            if not INSTEAD.search(str(error)):
                silent.append(f"{verb}: {error}")
    assert silent == []
    always = {
        "anova",
        "conf_int",
        "coef",
        "cov_params",
        "emmeans",
        "emtrends",
        "conditional_effects",
        "joint_tests",
    }
    always |= {
        "glance",
        "hypothesis",
        "icc",
        "naivete",
        "r2",
        "ranef",
        "repca",
        "summary",
        "tidy",
        "update",
        "varcorr",
    }
    always |= {
        "predict",
        "predict_population",
        "drop1",
        "check",
        "t_test",
        "f_test",
        "wald_test",
        "to_maketables",
    }
    assert always <= answered


def close(one: Any, other: Any) -> None:
    one, other = (np.asarray(x, dtype=float) for x in (one, other))
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


SAME: dict[str, Callable[[Fit], Any]] = {
    "emmeans": lambda m: m.emmeans("f").table[["SE"]],
    "emmeans, proportional": lambda m: m.emmeans("~ 1", weights="proportional").table[["SE"]],
    "emmeans, at the mean": lambda m: m.emmeans("~ 1").table[["SE"]],
    "emtrends": lambda m: m.emtrends("~ 1", "x").table[["SE"]],
    "joint_tests": lambda m: m.joint_tests()[["df1"]],
    "conditional_effects": lambda m: m.conditional_effects("x", points=3).frame[["x", "estimate", "se"]],
    "conditional_effects of two": lambda m: m.conditional_effects("x:f", points=3).frame[["estimate", "se"]],
    "r2": lambda m: m.r2(),
    "icc": lambda m: m.icc(),
    "predict_population": lambda m: m.predict_population({"x": [0.1], "f": ["low"], "g": [0]}),
}


@pytest.mark.parametrize("ask", SAME)
@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_those_of_rows_in_memory(
    fits: dict[str, tuple[Fit, Fit]], name: str, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.gathered, "__defaults__", (37,))
    close(SAME[ask](fits[name][1]), SAME[ask](fits[name][0]))


def test_overdispersion(fits: dict[str, tuple[Fit, Fit]]) -> None:
    for name in ("laplace", "pql"):
        close(fits[name][1].overdispersion(), fits[name][0].overdispersion())


def test_dropped_columns_are_not_estimable_either_way(data: pd.DataFrame, folder: str) -> None:
    formula = "y ~ x * f + I(2 * x) + (1 | g)"
    one, other = fit(formula, folder), fit(formula, data)
    close(one.emmeans("f").table["SE"], other.emmeans("f").table["SE"])


def test_comparisons(fits: dict[str, tuple[Fit, Fit]], folder: str, data: pd.DataFrame) -> None:
    for name in ("reml", "laplace"):
        whole, parts = fits[name]
        smaller = [m.update("~ . - f") for m in (whole, parts)]
        close(anova(parts, smaller[1])["logLik"], anova(whole, smaller[0])["logLik"])
        with pytest.raises(DataError, match="rows"):
            anova(parts, fit(data=data.iloc[:-1], **MODELS[name]))
    one = fits["laplace"][1]
    with pytest.raises(DataError, match="different responses"):
        anova(one, fit("g ~ x + (1 | f)", folder, family="poisson"))


@pytest.mark.parametrize("way", ["file", "pickle"])
@pytest.mark.parametrize("name", MODELS)
def test_fits_leave_their_rows(
    fits: dict[str, tuple[Fit, Fit]], name: str, way: str, tmp_path: Path, data: pd.DataFrame, folder: str
) -> None:
    m = fits[name][1]
    if way == "file":
        m.save(tmp_path / "m.lmm")
        again = load(tmp_path / "m.lmm")
    else:
        again = pickle.loads(pickle.dumps(m))
    for ask in (
        *(
            lambda m: m.params,
            lambda m: m.bse,
            lambda m: m.pvalues,
            lambda m: m.cov_params(),
            lambda m: m.conf_int(),
        ),
        *(lambda m: m.varcorr()["sdcor"], lambda m: m.ranef()["condval"], lambda m: m.predict(data.iloc[:4])),
        *(
            lambda m: m.emmeans("f", data=data, ddf="normal").table["SE"],
            lambda m: m.hypothesis("x = 0")["p_value"],
        ),
    ):
        np.testing.assert_array_equal(np.asarray(ask(again)), np.asarray(ask(m)))
    assert str(again.summary()) == str(m.summary())
    assert again.predict(folder, out=tmp_path / "out.parquet").rows == len(data)
    for refused in (
        lambda: again.r2(),
        lambda: again.augment(out=tmp_path / "rows.csv"),
        lambda: again.emmeans("f"),
    ):
        with pytest.raises(DataError, match=r"rows of (the|this) fit"):
            refused()
    close(again.update().params, m.params)


@pytest.mark.parametrize("name", MODELS)
def test_reports_leave_out_what_needs_rows(
    fits: dict[str, tuple[Fit, Fit]], name: str, tmp_path: Path
) -> None:
    path = report(fits[name][1], tmp_path / "report.html", plots=False)
    html = path.read_text(encoding="utf-8")
    assert "Explained variance" in html
    assert "Response" in html


def test_copies_have_the_rows(fits: dict[str, tuple[Fit, Fit]]) -> None:
    m = fits["reml"][1]
    close(copy(m).r2(), m.r2())
    close(deepcopy(m).r2(), m.r2())
