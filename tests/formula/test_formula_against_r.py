"""Agreement with what R's lme4 and brms make of the same formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmmformula.errors import FormulaError
from lmmformula.formula import model_spec

_FILE = Path(__file__).resolve().parents[1] / "reference" / "formulas.json"
FORMULAS = json.loads(_FILE.read_text(encoding="utf-8"))["formulas"]

# lme4 accepts these by accident; each has a hint that says what to write instead.
REFUSED = {
    "y ~ x + (x | g) + (1 | g)": "appears twice",
    "y ~ x + (x | g) + (z | g)": "appears twice",
    "y ~ x + (1 | g) + (1 | g)": "appears twice",
    "y ~ x + (0 | g)": "no columns",
    "y ~ 1 | g": "without parentheses",
    "y ~ x + 1 | g": "without parentheses",
    "y ~ x * (1 | g)": "only be added",
    "y ~ x - (1 | g)": "cannot be subtracted",
}
# lme4 cannot read these; here they have a meaning.
EXTENSIONS = {
    "y ~ x + (1 | (g:h)/k)",
    "y ~ x + (1 | interaction(g, k))",
    "y ~ x + (1 | g + h)",
}


def cases(*, valid: bool) -> list[Any]:
    return [pytest.param(f, id=f"{f['id']} {f['formula']}") for f in FORMULAS if f["valid"] is valid]


def data_columns(formula: dict[str, Any]) -> list[str] | None:
    """R's expansion of the dot tells the columns of its data."""
    if " . " not in formula["formula"]:
        return None
    return ["y", *(label.strip("`") for label in formula["term_labels"])]


@pytest.mark.parametrize("formula", cases(valid=True))
def test_terms_and_groups(formula: dict[str, Any]) -> None:
    text = formula["formula"]
    if text in REFUSED:
        with pytest.raises(FormulaError, match=REFUSED[text]):
            model_spec(text)
        return
    spec = model_spec(text, data_columns(formula))
    assert spec.fixed.intercept == formula["intercept"]
    assert [term.label for term in spec.fixed.terms] == formula["term_labels"]
    # lme4 writes (x || g) out as one term per column; here it stays one term.
    theirs = list(dict.fromkeys(bar.split("|")[-1].strip() for bar in formula["bars_in_formula_order"]))
    assert list(dict.fromkeys(term.group_label for term in spec.random)) == theirs


@pytest.mark.parametrize("formula", cases(valid=True))
def test_random_intercepts(formula: dict[str, Any]) -> None:
    if formula["formula"] in REFUSED:
        pytest.skip("refused on purpose")
    ours = {}
    for term in model_spec(formula["formula"], data_columns(formula)).random:
        ours[term.group_label] = ours.get(term.group_label, 0) + term.design.intercept
    theirs: dict[str, int] = dict.fromkeys(ours, 0)
    for term in formula["random_terms"]:
        theirs[term["group"]] += "(Intercept)" in term["cnms"]
    assert ours == theirs


@pytest.mark.parametrize("formula", [f for f in cases(valid=True) if "offset(" in f.id])
def test_offsets_are_no_terms(formula: dict[str, Any]) -> None:
    spec = model_spec(formula["formula"])
    assert len(spec.fixed.offsets) == formula["formula"].count("offset(")


@pytest.mark.parametrize("formula", cases(valid=False))
def test_errors(formula: dict[str, Any]) -> None:
    """R's syntax errors are errors here; what fails in R for want of data or a function may be read."""
    text, error = formula["formula"], formula["error"]
    syntax = any(words in error for words in ("unexpected", "Invalid grouping", "ExtractVars"))
    if (syntax or "%in% c(" in text) and text not in EXTENSIONS:
        with pytest.raises(FormulaError) as caught:
            model_spec(text)
        assert caught.value.span is not None
        assert caught.value.hint
    else:
        model_spec(text)


@pytest.mark.parametrize(
    ("text", "groups"),
    [(f["formula"], f["brms"]["group_level"]) for f in FORMULAS if f["dialect"] == "brms"],
)
def test_brms_correlations(text: str, groups: list[dict[str, Any]]) -> None:
    """Blocks of correlated effects, as brms forms them."""
    spec = model_spec(text)
    assert len(spec.random) == len({g["correlation_block"] for g in groups})
    for term in spec.random:
        columns = len(term.design.terms) + term.design.intercept
        if columns > 1:
            assert (term.covariance == "us") is groups[0]["correlated"]
