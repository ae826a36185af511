"""The summary as text and HTML."""

from __future__ import annotations

import warnings
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.reporting.numbers import aligned, general, p_value, significant, stars, statistic
from lmmformula.reporting.tables import MOST_ROWS


def _quiet(formula: str, data: pd.DataFrame, **arguments: Any) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(formula, data, **arguments)


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


EXPECTED = """\
Linear mixed model fitted by REML
Formula: Reaction ~ Days + (Days | Subject)
Data:    180 rows; groups: Subject 18

   logLik   REML criterion       AIC       BIC   df.resid
  -871.81          1743.63   1755.63   1774.79        174

Standardised residuals:
      Min        1Q   Median       3Q      Max
  -3.9536   -0.4634   0.0231   0.4634   5.1793

Random effects:
 Groups   Name        Variance Std.Dev. Corr
 Subject  (Intercept)   612.09   24.740
          Days           35.07    5.922 0.07
 Residual               654.94   25.592

Fixed effects (t tests with Satterthwaite's df):
             Estimate Std. Error   df t value Pr(>|t|)
 (Intercept)   251.41       6.82 17.0   36.84   <2e-16 ***
 Days           10.47       1.55 17.0    6.77 3.26e-06 ***
 ---
 Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1

Engine: REML on the blocked engine; converged ("""


def test_text(sleep: Fit) -> None:
    text = str(sleep.summary())
    assert text.startswith(EXPECTED)
    assert repr(sleep) == text
    assert repr(sleep.summary()) == text


def test_frames(sleep: Fit) -> None:
    summary = sleep.summary()
    assert list(summary.fixed.columns) == ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"]
    np.testing.assert_array_equal(summary.fixed["Estimate"], sleep.params)
    pd.testing.assert_frame_equal(summary.random, sleep.varcorr())
    assert set(summary.criteria) == {"logLik", "REML criterion", "AIC", "BIC", "df.resid"}


def test_maximum_likelihood_and_three_columns() -> None:
    text = str(
        fit("score ~ Machine + (0 + Machine | Worker)", load_dataset("Machines"), method="ml").summary()
    )
    assert "fitted by maximum likelihood" in text
    assert "-2 log L" in text
    lines = text.splitlines()
    assert any(line.split()[:1] == ["MachineC"] and len(line.split()) == 5 for line in lines)


def test_singular_dropped_weights_offset_and_missing() -> None:
    singular = str(_quiet("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2")).summary())
    assert "Singular: the covariance matrix of (1 | Batch)" in singular
    data = load_dataset("sleepstudy")
    data["twice"], data["w"], data["off"] = 2 * data["Days"], 1.0 + data["Days"], 1.0
    data.loc[3, "Days"] = np.nan
    model = _quiet("Reaction ~ Days + twice + (1 | Subject)", data, weights="w", offset="off")
    text = str(model.summary())
    assert "179 rows (1 of 180 dropped); groups: Subject 18" in text
    assert "dropped 1 of the fixed-effects columns: twice" in text
    assert "Prior weights from 1 to 10." in text
    assert "With an offset." in text


def test_not_converged_is_said() -> None:
    model = _quiet("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), max_evaluations=2)
    assert not model.converged
    assert "NOT CONVERGED" in str(model.summary())
    assert model.diagnostics["status"].startswith("stopped")


def test_many_coefficients_and_long_names() -> None:
    rng = np.random.default_rng(1)
    n = 800
    name = "a_predictor_with_a_name_that_is_longer_than_most_columns"
    data = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            name: rng.integers(0, 80, n).astype(str),
            "g": rng.integers(0, 20, n).astype(str),
        }
    )
    model = _quiet(f"y ~ {name} + (1 | g)", data)
    text = str(model.summary())
    assert f"... {model.problem.p - MOST_ROWS} more coefficients" in text
    table = [line for line in text.splitlines() if line.startswith(f" {name}")]
    assert len({line.index(".") for line in table}) <= 2  # the columns stay in line
    assert len(model.summary().fixed) == model.problem.p
    assert "more coefficients" in model.summary()._repr_html_()


def test_without_fixed_effects(sleep: Fit) -> None:
    summary = sleep.summary()
    bare = replace(summary, fixed=summary.fixed.iloc[:0])
    assert "Fixed effects" not in str(bare)
    assert "Residual" in str(bare)
    assert bare._repr_html_().count("<table") == 3


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables = 0
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            return
        self.open.append(tag)
        self.tables += tag == "table"
        self.styles += [value or "" for key, value in attrs if key == "style"]
        assert {key for key, _ in attrs} <= {"style"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html(sleep: Fit) -> None:
    html = sleep._repr_html_()
    checker = _Checker()
    checker.feed(html)
    assert not checker.open
    assert checker.tables == 4
    assert "script" not in html
    # No colour of its own: the notebook's theme decides.
    assert not any("#" in style or "rgb" in style for style in checker.styles)
    assert "251.41" in html
    assert "&lt;2e-16" in html


def test_html_escapes_names() -> None:
    data = load_dataset("sleepstudy").rename(columns={"Days": "a<b>&c"})
    model = fit("Reaction ~ `a<b>&c` + (1 | Subject)", data)
    html = model._repr_html_()
    assert "a<b>" not in html
    assert "a&lt;b&gt;&amp;c" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "<2e-16"),
        (1e-17, "<2e-16"),
        (3.2e-6, "3.2e-06"),
        (2.81e-4, "0.000281"),
        (0.0217, "0.0217"),
        (1.0, "1.0000"),
        (float("nan"), "NA"),
    ],
)
def test_p_values(value: float, text: str) -> None:
    assert p_value(value) == text


def test_numbers() -> None:
    assert general(float("nan")) == "NA"
    assert general(float("-inf")) == "-Inf"
    assert general(0.0) == "0"
    assert general(12345.678) == "12346"
    assert general(1.5e-9) == "1.500e-09"
    assert significant([]) == []
    assert significant([0.0, 0.0]) == ["0", "0"]
    assert significant([612.09, 35.07]) == ["612.09", "35.07"]
    assert significant([1e5, 1e-5]) == ["100000.0", "1.0e-05"]
    assert significant([1e12, 1.0]) == ["1.000e+12", "1.000"]
    assert statistic(float("inf"), 1) == "Inf"
    assert statistic(1.5e7, 1) == "1.5e+07"
    assert [stars(p) for p in (0.0001, 0.005, 0.03, 0.07, 0.5, float("nan"))] == [
        "***",
        "**",
        "*",
        ".",
        "",
        "",
    ]
    assert aligned(["a", "b"], [["xyz", "1"], ["x", "10"]]) == ["a    b", "xyz  1", "x   10"]


def test_diagnostics(sleep: Fit) -> None:
    numbers = sleep.diagnostics
    assert numbers["converged"] is True
    assert numbers["decrement"] <= numbers["tolerance"]
    assert numbers["singular"] == ()
    assert "blocked" in numbers["plan"]
