"""Details of the language that the corpus does not show."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from lmmformula.errors import FormulaError
from lmmformula.formula import deparse, model_spec, parse
from lmmformula.formula.spec import Binary, Name, Number, Paren, Unary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x^2", "x^2"),
        ("a*b", "a * b"),
        ("a / b", "a/b"),
        ("a : b", "a:b"),
        ("a%in%b", "a %in% b"),
        ("a %% b", "a%%b"),
        ("a %/% b", "a%/%b"),
        ("- x", "-x"),
        ("! x", "!x"),
        ("x>0&&y<=1", "x > 0 && y <= 1"),
        ("f(a,b=1,'c')", 'f(a, b = 1, "c")'),
        ("`my var`", "`my var`"),
        ("`x`", "x"),
        ("`if`", "`if`"),
        ("_x", "`_x`"),
        ("relevel(f,ref='a\"b')", 'relevel(f, ref = "a\\"b")'),
        ("y~x", "y ~ x"),
        ("~x", "~x"),
        ("1e5", "1e+05"),
        ("100000", "1e+05"),
        ("123456", "123456"),
        ("0.0001", "1e-04"),
        ("0.001", "0.001"),
        ("1e-15", "1e-15"),
        ("2.50", "2.5"),
        ("1.", "1"),
        (".5", "0.5"),
        ("10L", "10L"),
        ("0.1234567890123456", "0.123456789012346"),
        ("f(Inf, NaN, NA, NULL, T)", "f(Inf, NaN, NA, NULL, T)"),
        ("dplyr::lag(x)", "dplyr::lag(x)"),
    ],
)
def test_deparse_is_rs(text: str, expected: str) -> None:
    assert deparse(parse(text)) == expected


def test_precedence_is_rs() -> None:
    x, two = Name("x"), Number("2")
    assert parse("-x^2") == Unary("-", Binary("^", x, two))
    assert parse("-x:x") == Binary(":", Unary("-", x), x)
    assert parse("x^-x^2") == Binary("^", x, Unary("-", Binary("^", x, two)))
    assert parse("x^x^x") == Binary("^", x, Binary("^", x, x))
    assert parse("x - x - x") == Binary("-", Binary("-", x, x), x)
    assert parse("x %in% x:x") == Binary("%in%", x, Binary(":", x, x))
    assert parse("x / x %in% x") == Binary("/", x, Binary("%in%", x, x))
    assert parse("!x == x & x") == Binary("&", Unary("!", Binary("==", x, x)), x)
    assert parse("x | x & x") == Binary("|", x, Binary("&", x, x))
    assert parse("(x | x) | x") == Binary("|", Paren(Binary("|", x, x)), x)
    assert parse("x | x | x") == Binary("|", Binary("|", x, x), x)


def test_whitespace_and_newlines_are_free() -> None:
    assert parse("y\n ~\tx+\n(1|g)") == parse("y ~ x + (1 | g)")


def test_spans_point_into_the_text() -> None:
    text = "y ~ poly(x, 2) + (1 + x | g)"
    spec = model_spec(text)
    assert text[slice(*spec.fixed.terms[0].span)] == "poly(x, 2)"
    assert text[slice(*spec.random[0].span)] == "1 + x | g"
    assert spec.random[0].text == "1 + x | g"


def test_numbers_are_equal_by_value() -> None:
    assert len(model_spec("y ~ log(x, 1e1) + log(x, 10.0)").fixed.terms) == 1
    assert len(model_spec("y ~ f(x, 1L) + f(x, 1)").fixed.terms) == 2
    assert Number("1") != Name("1")


def test_random_term_fields() -> None:
    by = model_spec("y ~ (1 | gr(g, by = f))").random[0]
    assert (by.group, by.group_label, by.by) == ((Name("g"),), "g", Name("f"))
    many = model_spec("y ~ (1 | mm(g, h, weights = cbind(w, v)))").random[0]
    assert (many.group, many.members) == ((), (Name("g"), Name("h")))
    assert many.member_weights == parse("cbind(w, v)")
    nested = model_spec("y ~ (1 | a/b/c)").random[0]
    assert nested.group == (Name("c"), Name("b"), Name("a"))
    assert model_spec("y ~ (x |p| g)").random[0].correlation_id == "p"
    assert model_spec("y ~ (x |1| g)").random[0].correlation_id == "1"


def test_response_parts() -> None:
    assert model_spec("cbind(s, n - s) ~ x").response.parts == (Name("s"), parse("n - s"))  # type: ignore[union-attr]
    response = model_spec("s | trials(n) + weights(w) ~ x").response
    assert response is not None
    assert (response.label, response.trials, response.weights) == ("s", Name("n"), Name("w"))


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("y ~ C(f, contr.sum) + scale(x, scale = F)", None, ("y", "f", "x")),
        ("y ~ scale(x, scale = F)", ("y", "x", "F"), ("y", "x", "F")),
        ("y ~ T", None, ("y", "T")),
        ("y ~ x + (z |ID| gr(g, by = f, id = p))", None, None),
        ("y ~ x - z + offset(o)", None, ("y", "x", "z", "o")),
        ("y ~ cs(x | g) + I(a | b)", None, ("y", "x", "g", "a", "b")),
        ("log(y) ~ . ", ("a", "y"), ("y", "a")),
        ("y ~ ID + (1 |ID| g)", None, ("y", "ID", "g")),
    ],
)
def test_variables(text: str, columns: tuple[str, ...] | None, expected: tuple[str, ...] | None) -> None:
    if expected is None:
        with pytest.raises(FormulaError, match="two different correlation IDs"):
            model_spec(text, columns)
    else:
        assert model_spec(text, columns).variables == expected


def test_distributional_parts() -> None:
    spec = model_spec("bf(y ~ x, sigma ~ z + (1 | g))")
    assert [name for name, _ in spec.distributional] == ["sigma"]
    sigma = spec.distributional[0][1]
    assert sigma.response is None
    assert [term.group_label for term in sigma.random] == ["g"]


def test_long_sums_are_read() -> None:
    spec = model_spec("y ~ " + " + ".join(f"x{i}" for i in range(3000)))
    assert len(spec.fixed.terms) == 3000


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "y ~ " + "(" * 500 + "x" + ")" * 500,
        "y ~ " + "-" * 5000 + "x",
        "y ~ " + "x^" * 5000 + "2",
        "y ~ " + "f(" * 2000 + "x" + ")" * 2000,
        "y ~ (1 | " + "/".join(f"g{i}" for i in range(2000)) + ")",
        "y ~ " + "*".join(f"x{i}" for i in range(50)),
        "y ~ " + "x + " * 100_000 + "x",
        "~" * 1000,
    ],
)
def test_too_much(text: str) -> None:
    with pytest.raises(FormulaError):
        model_spec(text)


@pytest.mark.parametrize("value", [None, 3, b"y ~ x", ["y ~ x"]])
def test_not_a_text(value: Any) -> None:
    with pytest.raises(FormulaError, match="a formula is text"):
        model_spec(value)


def test_errors_survive_pickling() -> None:
    with pytest.raises(FormulaError) as caught:
        model_spec("y ~ x +")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert (
        caught.value.__context__ is None
    )  # some libraries send it along, and the parser's error cannot be sent


def test_specifications_survive_pickling() -> None:
    spec = model_spec("y ~ x + log(z, 2) + (x | g/h)")
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_tables_of_the_parser_are_kept_and_made_anew_where_they_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMMFORMULA_CACHE_DIR", str(tmp_path))
    reading = sys.modules["lmmformula.formula.parse"]  # the name in the package is the function's
    read, make = reading._read, reading._parser.__wrapped__
    known = read("y ~ x + (1 | g)")
    for damage in (None, None, b"not tables"):
        if damage is not None:
            (tmp_path / "grammar" / "formula.tables").write_bytes(damage)
        own = make()
        monkeypatch.setattr(reading, "_parser", lambda own=own: own)
        assert read("y ~ x + (1 | g)") == known
        assert isinstance(read("y ~ x + ("), FormulaError)
        assert (tmp_path / "grammar" / "formula.tables").stat().st_size > 1_000
