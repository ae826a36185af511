"""The corpus in ``grammar/corpus``: what formulas mean, and what is said of broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmmformula.errors import FormulaError
from lmmformula.formula import LinearPart, model_spec, parse, render

CORPUS = Path(__file__).resolve().parents[2] / "grammar" / "corpus"


def entries(name: str) -> list[Any]:
    content = json.loads((CORPUS / name).read_text(encoding="utf-8"))
    return [pytest.param(entry, id=entry["formula"][:60] or "(empty)") for entry in content]


def columns_of(design: LinearPart) -> str:
    return " + ".join((["1"] if design.intercept else []) + [term.label for term in design.terms])


@pytest.mark.parametrize("entry", entries("parse.json"))
def test_meaning(entry: dict[str, Any]) -> None:
    spec = model_spec(entry["formula"], entry.get("columns"))
    random = [f"{t.covariance}: {columns_of(t.design)} | {t.group_label}" for t in spec.random]
    assert render(spec) == entry["canonical"]
    assert [term.label for term in spec.fixed.terms] == entry["terms"]
    assert random == entry.get("random", [])
    assert list(spec.variables) == entry["variables"]


@pytest.mark.parametrize("entry", entries("parse.json"))
def test_canonical_form_means_the_same(entry: dict[str, Any]) -> None:
    spec = model_spec(entry["formula"], entry.get("columns"))
    assert model_spec(entry["canonical"]) == spec
    assert parse(render(parse(entry["formula"]))) == parse(entry["formula"])


@pytest.mark.parametrize("entry", entries("errors.json"))
def test_error_text(entry: dict[str, Any]) -> None:
    with pytest.raises(FormulaError) as caught:
        model_spec(entry["formula"])
    assert str(caught.value) == entry["error"]


@pytest.mark.parametrize("entry", entries("errors.json"))
def test_error_leaks_no_parser_vocabulary(entry: dict[str, Any]) -> None:
    for word in ("LPAR", "RPAR", "$END", "Unexpected", "Token(", "TILDE", "BARBAR", "QUOTED"):
        assert word not in entry["error"]


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ I(x * 0.12345678901234567) + (1 | cut(z, c(0.1234567890123456789, 1e-7, 100000)))",
        "cbind(s, n - 0.1) ~ I(x^123456789012345678) + (I(x / 3.14159265358979312) | a/cut(b, 0.12345678901234567))",
        "y | weights(w * 1.2345678901234567) ~ x:I(z + 1.2345678901234567) + offset(1.2345678901234567 * x)",
        "y ~ (1 | mm(g, cut(h, 1.2345678901234567), weights = cbind(1.2345678901234567 * u, v)))",
    ],
)
def test_numbers_keep_all_their_digits(formula: str) -> None:
    spec = model_spec(formula)
    assert model_spec(render(spec)) == spec
    assert parse(render(parse(formula))) == parse(formula)


def test_names_of_columns_have_fifteen_digits_as_in_r() -> None:
    spec = model_spec("y ~ I(x * 0.12345678901234567)")
    assert spec.fixed.terms[0].label == "I(x * 0.123456789012346)"
    assert render(spec) == "y ~ 1 + I(x * 0.12345678901234566)"
