"""Properties over generated formulas: round trips, and no exception but FormulaError."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmmformula.errors import FormulaError
from lmmformula.formula import ModelSpec, deparse, model_spec, parse, render
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Logical, Name, Number, Paren, String, Unary

CORPUS = Path(__file__).resolve().parents[2] / "grammar" / "corpus"
VALID = [entry["formula"] for entry in json.loads((CORPUS / "parse.json").read_text(encoding="utf-8"))]

names = st.sampled_from(["x", "y", "g", ".x", "a.b", "_u", "my var", "é", "if", "TRUE", "1st", "a`b", "t\\n"])
leaves: st.SearchStrategy[Expr] = st.one_of(
    st.builds(Name, names | st.text(min_size=1, max_size=4).filter(lambda text: text.isprintable())),
    st.builds(Number, st.sampled_from(["0", "1", "2L", "1e5", "0.1", ".5", "3.", "1e-3", "100000", "Inf"])),
    st.builds(String, st.text(max_size=5)),
    st.sampled_from([Logical(True), Logical(False), Logical(None), Logical(None, text="NA")]),
)
operators = st.sampled_from(
    ["+", "-", "*", "/", ":", "^", "%in%", "%%", "|", "||", "&", "&&", "==", "<", ">=", "~"]
)


def compound(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    wrapped = st.one_of(leaves, st.builds(Paren, inner))
    args = st.lists(st.builds(Arg, inner, st.none() | st.sampled_from(["df", "a b", "if"])), max_size=3)
    return st.one_of(
        st.builds(Paren, inner),
        st.builds(Unary, st.sampled_from(["-", "+", "!"]), wrapped),
        st.builds(Binary, operators, wrapped, wrapped),
        st.builds(Call, st.sampled_from(["I", "f.g", "splines::ns", "my fun"]), args.map(tuple)),
    )


expressions = st.recursive(leaves, compound, max_leaves=12)


@given(expressions)
@settings(deadline=None, max_examples=300)
def test_deparse_then_parse(expr: Expr) -> None:
    text = deparse(expr)
    assert parse(text) == expr
    assert deparse(parse(text)) == text


plain = st.sampled_from(["a", "b", "c", "d", "1", "0", "log(a)", "I(b^2)", "`my var`", "poly(c, 2)"])
fixed = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", "*", ":", "/", " %in% ", " & "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"({text})^2"),
    ),
    max_leaves=6,
)
group = st.sampled_from(["g", "h", "g/h", "g:h", "g + h", "h/g/k", "factor(k)", "gr(g, by = f)", "mm(g, h)"])
bar = st.tuples(
    st.sampled_from(["", "", "", "cs", "diag", "ar1"]), fixed, st.sampled_from(["|", "||", "|ID|"]), group
).map(lambda parts: f"{parts[0]}({parts[1]} {parts[2]} {parts[3]})")


@st.composite
def formulas(draw: st.DrawFn) -> str:
    response = draw(st.sampled_from(["", "y ", "log(y) ", "cbind(s, n - s) ", "y | weights(w) "]))
    parts = draw(st.lists(st.one_of(fixed, bar, st.just("offset(o)")), min_size=1, max_size=4))
    return f"{response}~ {' + '.join(parts)}"


@given(formulas())
@settings(deadline=None, max_examples=400)
def test_render_keeps_the_meaning(text: str) -> None:
    expr = parse(text)
    assert parse(render(expr)) == expr
    try:
        spec = model_spec(text)
    except FormulaError:
        assume(False)
        return
    again = render(spec)
    assert model_spec(again) == spec
    assert render(model_spec(again)) == again


def outcome(text: str, columns: tuple[str, ...] | None = None) -> ModelSpec | FormulaError:
    """The specification or the one error that is allowed; any other exception fails the test."""
    try:
        return model_spec(text, columns)
    except FormulaError as error:
        return error


@given(formulas())
@settings(deadline=None, max_examples=200)
def test_spans_lie_in_the_text(text: str) -> None:
    spec = outcome(text)
    if isinstance(spec, FormulaError):
        assert spec.span is not None
        assert 0 <= spec.span[0] < spec.span[1] <= len(text)
        return
    for term in (*spec.fixed.terms, *spec.random):
        assert 0 <= term.span[0] < term.span[1] <= len(text)
    for random in spec.random:
        if random.correlation_id is None:
            assert text[slice(*random.span)] == random.text


def only_formula_errors(text: str) -> None:
    for columns in (None, ("y", "x")):
        spec = outcome(text, columns)
        assert str(spec) if isinstance(spec, FormulaError) else render(spec)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=500)
def test_any_text(text: str) -> None:
    only_formula_errors(text)


@given(st.text(alphabet="yxg01.()|~+-*/:^%&!<>=,`\"' \n\\$[]{}@#TFinbfcsI", max_size=40))
@settings(deadline=None, max_examples=1000)
def test_any_text_of_the_alphabet(text: str) -> None:
    only_formula_errors(text)


insertions = st.sampled_from(["", *'~+-*/:^|()&!=,.0 "`%[', "(1|g)", "||"])


@given(st.sampled_from(VALID), st.data())
@settings(deadline=None, max_examples=800)
def test_mutated_formulas(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 4)))
        text = text[:start] + data.draw(insertions) + text[stop:]
    only_formula_errors(text)
