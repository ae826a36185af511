"""Tables that are shown whole and are frames in every other way."""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, anova, compare_methods, fit, load_dataset, to_polars
from lmmformula.reporting.frames import MOST_ROWS, Table, printed


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def counts() -> Fit:
    return fit("count ~ spp + mined + (1 | site)", load_dataset("Salamanders"), family="poisson")


TABLES: dict[str, Callable[[Fit], pd.DataFrame]] = {
    "anova": lambda m: m.anova(),
    "likelihood ratio": lambda m: anova(m, m.update(m.formula.replace("+ (", "+ 1 + ("))),
    "tidy": lambda m: m.tidy(conf_int=True),
    "glance": lambda m: m.glance(),
    "varcorr": lambda m: m.varcorr(),
    "conf_int": lambda m: m.conf_int(),
    "cov_params": lambda m: m.cov_params(),
    "naivete": lambda m: m.naivete(),
    "ranef": lambda m: m.ranef(condsd=True),
}


@pytest.mark.parametrize("which", TABLES)
def test_nothing_is_hidden_however_narrow_the_terminal(
    which: str, sleep: Fit, counts: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: (20, 5))
    for model in (sleep, counts):
        table = TABLES[which](model)
        assert isinstance(table, pd.DataFrame)
        with pd.option_context("display.max_columns", 2, "display.width", 20, "display.max_rows", 4):
            text, html = str(table), table._repr_html_()
        assert html is not None
        lines = text.splitlines()
        for name in table.columns:
            assert any(str(name) in line for line in lines)
            assert str(name).replace(">", "&gt;") in html
        assert not any(line.endswith("\\") or line.strip() == "..." for line in lines)
        header = next(i for i, line in enumerate(lines) if all(str(name) in line for name in table.columns))
        assert len(lines) > header + min(len(table), MOST_ROWS)


def test_tests_print_as_r_prints_them(sleep: Fit) -> None:
    smaller = sleep.update("Reaction ~ Days + (1 | Subject)")
    assert (
        str(anova(smaller, sleep))
        == """\
1: Reaction ~ Days + (1 | Subject)
2: Reaction ~ Days + (Days | Subject)
  npar     AIC     BIC  logLik -2*log(L) Chisq Df Pr(>Chisq)
1    4 1802.08 1814.85 -897.04   1794.08
2    6 1763.94 1783.10 -875.97   1751.94 42.14  2   7.07e-10 ***
---
Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1
Refitted by maximum likelihood for this table: 2 models that were fitted by REML."""
    )
    assert (
        str(sleep.anova())
        == """\
Type III analysis of variance table with Satterthwaite's method
     Sum Sq Mean Sq NumDF DenDF F value   Pr(>F)
Days  30031   30031     1  17.0   45.85 3.26e-06 ***
---
Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1"""
    )


def test_models_fitted_by_maximum_likelihood_are_not_said_to_be_refitted(counts: Fit) -> None:
    text = str(anova(counts, counts.update("count ~ mined + (1 | site)")))
    assert "Refitted" not in text
    assert "1: count ~ mined + (1 | site)" in text or "count ~ mined + (1 | site)" in text


def test_a_table_is_a_frame(sleep: Fit) -> None:
    table = sleep.anova()
    plain = pd.DataFrame(table)
    assert type(plain) is pd.DataFrame
    pd.testing.assert_frame_equal(table, plain)
    assert table.loc["Days", "F value"] == plain.loc["Days", "F value"]
    assert type(table["F value"]) is pd.Series
    for kept in (
        pickle.loads(pickle.dumps(table)),
        copy.deepcopy(table),
        table.copy(),
        table.iloc[:1],
    ):
        assert isinstance(kept, Table)
        assert kept.attrs == table.attrs
        assert str(kept) == str(table)
    assert type(table.round(2)) is pd.DataFrame  # a rounded p-value of 0.00 must not be shown as <2e-16
    assert list(to_polars(table).columns)[1:] == list(table.columns)
    np.testing.assert_array_equal(np.asarray(table), np.asarray(plain))
    assert table.to_csv() == plain.to_csv()
    assert sleep.tidy().groupby("effect")["estimate"].count().to_dict() == {"fixed": 2, "ran_pars": 4}
    assert len(pd.concat([table, table])) == 2
    assert "Days" in str(pd.merge(sleep.tidy(), sleep.tidy(), on="term"))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame({("a", "b"): [1.0]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame(
            {"a": [1 + 2j], "b": [None], "c": [True], "d": [pd.NaT], "e": pd.array([None], dtype="Int64")}
        ),
        pd.DataFrame({"Pr(>F)": [np.nan, 0.5]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])),
        pd.DataFrame({"x": [np.inf, -np.inf, np.nan, 0.0, 1e300]}),
        pd.DataFrame({"AIC": ["text", "more"]}, index=["a\nb", "c"]),
        pd.DataFrame({"x": pd.Categorical(["u", None])}),
        pd.DataFrame({1: [1.0], "1": [2.0]}),
    ],
    ids=range(10),
)
def test_whatever_is_made_of_a_table_can_be_shown(frame: pd.DataFrame) -> None:
    table = printed(frame)
    assert isinstance(str(table), str)
    assert isinstance(table._repr_html_(), str)
    assert isinstance(str(table.T), str)


def test_long_tables_say_how_long(counts: Fit) -> None:
    table: Any = printed(pd.DataFrame({"x": np.arange(100.0)}))
    assert str(table).splitlines()[-1] == f"... {100 - MOST_ROWS} more of 100 rows"


def test_missing_models_and_numbers_are_blank_or_na(sleep: Fit) -> None:
    assert "NA" not in str(anova(sleep, sleep.update("Reaction ~ Days + (1 | Subject)")))
    assert "NA" in str(sleep.tidy())
    assert "nan" not in str(sleep.tidy()).lower()


def test_comparisons_of_methods_are_shown_whole() -> None:
    found = compare_methods("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), ["reml", "ml"])
    with pd.option_context("display.max_columns", 2, "display.width", 20):
        wide, apart = str(found.table()), str(found.differences())
    header = next(line for line in wide.splitlines() if "estimate" in line)
    assert header.split() == [w for m in ("reml", "ml") for v in found.table()[m].columns for w in (m, v)]
    assert "fixed, (Intercept)" in wide
    assert all(name in apart.splitlines()[0] for name in found.differences().columns)
    estimates = found.table().loc["fixed", ("ml", "estimate")].tolist()
    assert estimates == pytest.approx(found.fits["ml"].params.tolist())
