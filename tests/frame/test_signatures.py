"""Every function of the language, given every kind of wrong value, answers with a value or a typed error."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit
from lmmformula.datasets import load_dataset
from lmmformula.errors import DataError, FormulaError, LmmformulaError, PlanError
from lmmformula.families import resolve
from lmmformula.formula import parse
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.signature import FUNCTIONS, Function
from lmmformula.frame.table import open_table

N = 24
_rng = np.random.default_rng(0)
DATA = pd.DataFrame(
    {
        "x": _rng.normal(size=N),
        "p": np.abs(_rng.normal(size=N)),
        "k": np.ones(N),
        "m": np.where(np.arange(N) < 3, np.nan, np.arange(N)),
        "f": pd.Categorical(np.tile(list("abc"), 8)),
        "o": pd.Categorical(np.tile(list("abcd"), 6), ordered=True),
        "lg": np.arange(N) % 2 == 0,
        "chr": np.tile(["u", "v"], 12),
    }
)
CONTEXT = {"odd": (1, "a", None, [2]), "thing": object, "imaginary": 1j, "matrix": np.zeros((3, 2))}
WRONG = [
    *(
        "x",
        "f",
        "o",
        "lg",
        "chr",
        "m",
        "k",
        "1",
        "-1",
        "0",
        "2.5",
        "1e9",
        "1e300",
        "Inf",
        "NaN",
        "NA",
        "NULL",
        "TRUE",
    ),
    *(
        "'a'",
        "''",
        "c()",
        "c(1, 2)",
        "c('a', 'b')",
        "c(NA, 1)",
        "1:3",
        "mean(x)",
        "poly(x, 2)",
        "contr.sum",
        "x^c()",
    ),
    *("log(-p)", "log(k - 1)", "-x > 0", "cbind(x, f)", "odd", "thing", "imaginary", "matrix", "nosuch"),
]
SAMPLE = {"f": "f", "object": "f", "test": "lg", "breaks": "3", "ref": "'a'", "...": "x"}


def _evaluator(learn: bool = True, memory: dict[Any, Any] | None = None) -> Evaluator:
    table = open_table(DATA)
    columns = {name: table.column(name).at(None) for name in DATA}
    return Evaluator(columns, N, "", CONTEXT, {} if memory is None else memory, learn=learn)


def _calls(name: str, function: Function) -> list[str]:
    """The function with one argument replaced by each wrong value, the required ones being sound."""
    sound = {p.name: SAMPLE.get(p.name, "x") for p in function.parameters if p.required}
    calls = [f"{name}()", f"{name}({', '.join('x' * 9)})", f"{name}(nosuch = x)", f"{name}(x, x = x)"]
    for wrong, parameter in itertools.product(WRONG, function.parameters):
        given = sound | {parameter.name: wrong}
        inside = ", ".join(v if p == "..." else f"{p} = {v}" for p, v in given.items())
        calls.append(f"{name}({inside})")
    return calls


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_wrong_arguments_end_in_typed_errors(name: str) -> None:
    evaluator, refused = _evaluator(), 0
    for call in _calls(name, FUNCTIONS[name]):
        expr = parse(call)
        try:
            evaluator(expr)
        except LmmformulaError:
            refused += 1
            continue
        # what was learned can be applied to other rows
        _evaluator(learn=False, memory=evaluator.memory)(expr)
    assert refused >= 2


def test_operators_end_in_typed_errors() -> None:
    evaluator, refused = _evaluator(), 0
    values = [w for w in WRONG if w not in ("1e9", "2.5", "0", "''", "-1", "c('a', 'b')")]
    for op, a, b in itertools.product(
        ("+", "^", "%/%", "%in%", ":", "==", "<", "&", "|"), values[::4], values[::2]
    ):
        try:
            evaluator(parse(f"({a}) {op} ({b})"))
        except LmmformulaError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("bs(x, df = 'a')", "`df` of bs() must be a whole number from 1 to 1,000,000, not 'a'", "'a'"),
        ("quantile(x, probs = p)", "`probs` of quantile() must be numbers from 0 to 1, not a column", "p"),
        ("scale(x, center = 'a')", "`center` of scale() must be TRUE or FALSE, not 'a'", "'a'"),
        ("relevel(f)", "relevel() needs the argument `ref`", "relevel(f)"),
        ("ns(mean(x))", "`x` of ns() needs a numeric column, not the constant", "mean(x)"),
        ("ns(k)", "ns() needs an interval, but both boundary knots are 1", "ns(k)"),
        ("poly(x, coefs = 1)", "`coefs` of poly() is not available", "1"),
        ("factor(f, exclude = NULL)", "`exclude` of factor() cannot be NULL", "NULL"),
        ("log(x, base = NA)", "`base` of log() cannot be NA", "NA"),
        ("C(f, 3)", "`contr` of C() must be a contrast such as contr.sum", "3"),
        ("scale(log(p - p))", "`x` of scale() needs finite numbers, but 24 of 24 are infinite", "log(p - p)"),
        ("ns(log(-p), 3)", "the argument of ns() has no value that is not missing", "ns(log(-p), 3)"),
        ("x + c(1, 2)", "'+' cannot take a column and a list of 2 constants", "x + c(1, 2)"),
        ("cut(x, 5e9)", "the number of intervals of cut() must be a whole number from 2", "cut(x, 5e9)"),
        ("x %in% (1:1e11)", "100,000,000,000 numbers; at most 1,000,000", "1:1e11"),
        ("bs(x, degree = 1e5)", "bs() has 100,001 columns", "bs(x, degree = 1e5)"),
        ("seq(1, 0, by = 1)", "seq() cannot go from 1 to 0 in steps of 1", "seq(1, 0, by = 1)"),
    ],
)
def test_the_message_says_what_and_marks_where(text: str, message: str, marked: str) -> None:
    whole = f"I({text})" if text.startswith(("x", "seq")) else text
    formula = f"m ~ {whole} + (1 | f)"
    started = time.perf_counter()
    with pytest.raises(LmmformulaError) as caught:
        build(formula.replace("I(seq(1, 0, by = 1))", "I(x %in% seq(1, 0, by = 1))"), DATA.assign(m=DATA.p))
    assert message in str(caught.value)
    assert isinstance(caught.value, FormulaError)
    error = caught.value
    assert error.span is not None
    assert error.formula[slice(*error.span)] == marked
    assert time.perf_counter() - started < 1.0


def test_data_that_do_not_suit_a_function_are_marked_too() -> None:
    with pytest.raises(DataError, match=r"scale\(\) of a column that is constant") as caught:
        build("p ~ x + scale(k) + (1 | f)", DATA)
    assert str(caught.value).splitlines()[1:] == ["  p ~ x + scale(k) + (1 | f)", "          ^^^^^^^^"]


def test_levels_that_only_exist_in_pairs_are_not_multiplied_out() -> None:
    rows = np.arange(20_000)
    data = pd.DataFrame({"y": np.sin(rows), "a": rows % 2_000, "b": rows % 1_999})
    with pytest.raises(FormulaError, match=r"interaction\(\) of 2,000 and 1,999 levels has 3,998,000"):
        build("y ~ interaction(a, b) + (1 | a)", data)
    assert build("y ~ 1 + (1 | a)", data).terms[0].m == 2_000


def test_a_function_of_the_caller_that_fails_is_named() -> None:
    def broken(v: Any) -> Any:
        raise KeyError("nothing there")

    with pytest.raises(FormulaError, match=r"broken\(\) of context= raised KeyError") as caught:
        build("p ~ broken(x) + (1 | f)", DATA, context={"broken": broken})
    assert isinstance(caught.value.__cause__, KeyError)


def test_numbers_equal_to_fifteen_digits_are_one_level() -> None:
    data = pd.DataFrame({"y": np.arange(6.0) ** 2, "v": [0.3, 0.1 + 0.2, 0.5, 0.5, 0.1, 0.1]})
    assert build("y ~ 1 + (1 | v)", data).terms[0].levels.tolist() == ["0.1", "0.3", "0.5"]


def test_merged_labels_hold_on_new_data() -> None:
    data = load_dataset("syn")
    problem = build("y ~ factor(f, labels = c('u', 'v', 'u')) + (1 | g)", data)
    assert problem.X.names == ("(Intercept)", 'factor(f, labels = c("u", "v", "u"))v')
    again = problem.recipe.replay(data.iloc[[9, 3]])
    np.testing.assert_array_equal(again.X, problem.X.matrix[[9, 3]])
    with pytest.raises(DataError, match=r"'u \(no label\)'"):
        problem.recipe.replay(data.iloc[:2].assign(f="u"))


def test_scale_of_a_basis_is_replayed() -> None:
    data = load_dataset("syn")
    for formula in (
        "y ~ scale(poly(x, 2)) + (1 | g)",
        "y ~ scale(cbind(x, z)) + I(poly(z, 2) * x) + (scale(ns(x, 2)) | g)",
        "y ~ exp(poly(x, 2)) + scale(bs(z, df = 4), center = FALSE) + (1 | g)",
    ):
        problem = build(formula, data)
        new = problem.recipe.replay(data.iloc[[7, 100]])
        np.testing.assert_allclose(new.X, problem.X.matrix[[7, 100]], rtol=1e-12, atol=1e-12)
    plain = fit("y ~ poly(x, 2) + (1 | g)", data)
    scaled = fit("y ~ scale(poly(x, 2)) + (1 | g)", data)
    np.testing.assert_allclose(scaled.params[1:] * np.sqrt(len(data) - 1), plain.params[1:], rtol=1e-6)
    np.testing.assert_allclose(scaled.predict(data.iloc[[4]]), plain.fittedvalues.to_numpy()[[4]], rtol=1e-8)


def test_a_constant_number_of_trials() -> None:
    data = load_dataset("syn").assign(ten=10, k10=lambda d: np.minimum(d["s"], 10))
    a = fit("k10 | trials(10) ~ x + (1 | g)", data, family="binomial")
    b = fit("k10 | trials(ten) ~ x + (1 | g)", data, family="binomial")
    assert a.llf == b.llf


def test_rounding_takes_the_nearer_neighbour_and_even_ties() -> None:
    """R 4.2: round(c(0.15, 0.25, 0.35, -0.15, 2.5, 0.285), c(1, 1, 1, 1, 0, 2)) and one digit too many."""
    from lmmformula.frame.rounding import round_digits

    one = round_digits(np.array([0.15, 0.25, 0.35, -0.15, 0.55, 1e300, np.inf]), 1)
    np.testing.assert_array_equal(one, [0.1, 0.2, 0.3, -0.1, 0.6, 1e300, np.inf])
    np.testing.assert_array_equal(round_digits([2.5, -2.5, 3.5], 0), [2.0, -2.0, 4.0])
    np.testing.assert_array_equal(round_digits([2.675, 0.285, 1234.565], 2), [2.67, 0.28, 1234.57])
    np.testing.assert_array_equal(round_digits([1250.0, 1350.0, -5.0], -2), [1200.0, 1400.0, 0.0])
    np.testing.assert_array_equal(round_digits([-118529.51078602247], 10), [-118529.5107860225])
    np.testing.assert_array_equal(
        round_digits([8.256191166269567e-06, 0.1], 20), [8.256191166269567e-06, 0.1]
    )
    np.testing.assert_array_equal(round_digits([5e-324, 0.1], 9_999), [5e-324, 0.1])


@pytest.mark.parametrize(
    "text",
    [
        "-" * 200_000,
        "(" * 90 + ")" * 90,
        "a" + ".b" * 90,
        "binomial(" + "-" * 150 + "1)",
        "x" * 300,
        *("binomial({[]: 1})", "binomial([]*1)", "gaussian(link=-'a')", "binomial(**a)", "student(df=1e999)"),
        *("\0", "", "lambda: 0"),
    ],
)
def test_a_family_that_is_no_family(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        resolve(text)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "formula", ["y ~ " + "-" * 4_000 + "x", "y ~ I(" + "+".join(["x"] * 5_000) + ")", "-" * 200_000]
)
def test_formulas_that_would_nest_too_deeply(formula: str) -> None:
    with pytest.raises(FormulaError):
        build(formula, DATA)


def test_a_sum_of_three_hundred_columns_inside_a_call() -> None:
    total = "+".join(["x"] * 300)
    data = DATA.assign(y=DATA.p)
    np.testing.assert_allclose(build(f"y ~ I({total}) + (1 | f)", data).X.matrix[:, 1], 300 * data.x)
