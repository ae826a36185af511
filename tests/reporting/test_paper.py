"""Tables for papers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, compare_methods, fit, load_dataset, to_latex, to_markdown


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


def cells(line: str) -> list[str]:
    """Cells of a pipe table's row, at the pipes that are not escaped."""
    return [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown(sleep: Fit) -> None:
    text = to_markdown(sleep, level=0.9)
    rows = [cells(line) for line in text.splitlines() if line.startswith("|")]
    by_name = {row[0]: row for row in rows}
    low, high = sleep.conf_int(0.9).loc["Days"]
    assert by_name["Days"][1:4] == ["10.47", "1.55", f"[{low:.2f}, {high:.2f}]"]
    assert by_name["Residual"][2:4] == ["654.94", "25.592"]
    assert "90% interval" in text
    header, rule, *body = [line for line in text.splitlines() if line.startswith("|")][:4]
    assert len(cells(header)) == len(cells(rule)) == len(cells(body[0])) == 7
    assert "**Fixed effects (t tests with Satterthwaite's df)**" in text
    assert "Linear mixed model fitted by REML; 180 rows; groups: Subject 18." in text


def test_latex(sleep: Fit) -> None:
    text = to_latex(sleep, label="tab:sleep")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:sleep", "tab:sleep-2", "tab:sleep-3"]
    assert r"Days & 10.47 & 1.55 & {[7.21, 13.73]} & 17.0 & 6.77 & 3.26e-06 \\" in text
    assert r"$-$871.81 & " in text
    assert r"95\% interval" in text
    assert r"\label" not in to_latex(sleep)
    for table in text.split(r"\begin{table}")[1:]:
        sides = re.search(r"\\begin\{tabular\}\{([lr]+)\}", table)
        assert sides is not None
        body = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") + 1 for line in body} == {len(sides.group(1))}


def test_characters_are_escaped() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {"y": rng.normal(size=60), "a_b%": rng.normal(size=60), "c|d": np.tile(list("abcdef"), 10)}
    )
    model = fit("y ~ `a_b%` + (0 + `a_b%` | `c|d`)", data)
    latex, markdown = to_latex(model), to_markdown(model)
    assert r"a\_b\%" in latex
    assert not re.search(r"(?<!\\)[%_]", latex.replace(r"\begin{tabular}", ""))
    assert r"a\_b%" in markdown
    assert r"c\|d" in markdown
    assert r"\textbar{}" in latex


def test_auxiliary_parameters_have_their_tables() -> None:
    model = fit(
        "SiblingNegotiation ~ FoodTreatment + offset(log(BroodSize)) + (1 | Nest)",
        load_dataset("Owls"),
        family="nbinom1",
        ziformula="~ FoodTreatment",
    )
    text = to_markdown(model)
    assert "**Zero inflation (logit scale)**" in text
    assert f"{model.dispersion['phi']:.3f}" in text


def test_comparison() -> None:
    found = compare_methods("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), ["reml", "ml"])
    rows = {cells(line)[0]: cells(line) for line in to_markdown(found).splitlines() if line.startswith("|")}
    reml, ml = found.fits["reml"], found.fits["ml"]
    assert rows["log-likelihood"][1:] == [f"{reml.llf:.2f}", f"{ml.llf:.2f}"]
    assert r"\toprule" in to_latex(found)


def test_bad_level(sleep: Fit) -> None:
    with pytest.raises(DataError, match="level=2"):
        to_latex(sleep, level=2)


@pytest.mark.parametrize("label", ["a}b", "tab%1", "x\ny", "a\\b", 3])
def test_labels_that_latex_cannot_hold_are_refused(sleep: Fit, label: object) -> None:
    with pytest.raises(DataError, match="label="):
        to_latex(sleep, label=label)  # type: ignore[arg-type]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\x0b", "\x85", "\u2028"])
def test_line_breaks_in_names_stay_within_their_rows(line_break: str) -> None:
    rng = np.random.default_rng(0)
    level = f"one{line_break}two"
    y = rng.normal(size=60) + np.repeat(np.arange(6), 10)
    groups = np.repeat(list("abcdef"), 10)
    data = pd.DataFrame({"y": y, "f": np.tile(["a", level, "c"], 20), "g": groups})
    model = fit("y ~ f + (1 | g)", data)
    for text in (to_markdown(model), str(model.summary()), to_latex(model)):
        rows = [line for line in text.splitlines() if "fone" in line]
        assert rows
        assert all("two" in row for row in rows)
