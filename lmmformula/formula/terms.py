"""R's ``terms.formula``: from an expression to an intercept, terms and offsets.

A term is a set of variables, held as the bits of an integer; bit i is the i-th variable that the
formula mentions. Operators of the language are then operations on ordered sets of integers.
"""

from __future__ import annotations

from collections.abc import Iterable

from lmmformula.formula.associate import INTERACTIONS, associate
from lmmformula.formula.bars import is_random
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import known_elsewhere
from lmmformula.formula.spec import (
    Binary,
    Call,
    Expr,
    LinearPart,
    Logical,
    Name,
    Number,
    Paren,
    Span,
    String,
    Term,
    Unary,
)
from lmmformula.formula.walk import is_bar, named_columns, nodes, summands

__all__ = ["linear_part"]

MAX_TERMS = 10_000

_Terms = dict[int, Span]
"""Terms in the order of their first mention, each with the place it came from."""

_ARITHMETIC = ("%%", "%/%", "%*%")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def linear_part(items: Iterable[tuple[str, Expr]], context: Context) -> LinearPart:
    """Expand signed summands into a linear predictor.

    Parameters
    ----------
    items : iterable of (str, Expr)
        Sign ``+`` or ``-`` and summand, in the order of the formula.
    context : Context

    Returns
    -------
    LinearPart
        Terms by increasing degree, in the order of their first mention within a degree.
    """
    return _Algebra(context).linear_part(items)


def _union(left: Span, right: Span) -> Span:
    return min(left[0], right[0]), max(left[1], right[1])


class _Algebra:
    """State of one expansion: variables met so far, and the intercept."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.variables: dict[Expr, int] = {}
        self.offsets: dict[int, Expr] = {}
        self.intercept = True
        self.positive = True

    def linear_part(self, items: Iterable[tuple[str, Expr]]) -> LinearPart:
        terms = self.sum(items)
        factors = list(self.variables)
        kept = [(bits, span) for bits, span in terms.items() if not self._is_offset(bits, span)]
        kept.sort(key=lambda item: item[0].bit_count())
        offsets = tuple(value for bit, value in self.offsets.items() if bit in terms)
        return LinearPart(self.intercept, tuple(_term(b, s, factors) for b, s in kept), offsets)

    def _is_offset(self, bits: int, span: Span) -> bool:
        if bits in self.offsets:
            return True
        if any(bits & offset for offset in self.offsets):
            raise self.context.error(
                "an offset cannot interact with other terms", span, "add it on its own: + offset(x)"
            )
        return False

    def sum(self, items: Iterable[tuple[str, Expr]]) -> _Terms:
        """``a + b - c``: union and difference, from left to right."""
        terms: _Terms = {}
        for sign, expr in items:
            if sign == "+":
                for bits, span in self.expand(expr).items():
                    terms.setdefault(bits, span)
            else:
                for bits in self.negated(expr):
                    terms.pop(bits, None)
        return terms

    def negated(self, expr: Expr) -> _Terms:
        """Expand what stands after a minus: there ``1`` removes the intercept and ``0`` restores it."""
        self.positive = not self.positive
        try:
            return self.expand(expr)
        finally:
            self.positive = not self.positive

    def expand(self, expr: Expr) -> _Terms:
        match expr:
            case Name("."):
                return self._dot(expr)
            case Name():
                return self._variable(expr)
            case Call() if not is_random(expr):
                return self._call(expr)
            case Paren(inner):
                return self.expand(associate(inner))
            case Number():
                return self._number(expr)
            case Unary("+", operand):
                return self.expand(operand)
            case Unary("-", operand):
                self.negated(operand)
                return {}
            case Binary("+" | "-"):
                return self.sum(summands(expr))
            case Binary("^", base, power):
                return self._power(base, power)
            case Binary(operator, left, right) if operator in INTERACTIONS:
                return self._interaction(expr, operator, left, right)
            case _:
                raise self._no_term(expr)

    def _variable(self, expr: Expr) -> _Terms:
        return {1 << self.variables.setdefault(expr, len(self.variables)): expr.span}

    def _call(self, expr: Call) -> _Terms:
        for node in nodes(expr):
            if node == Name("."):
                raise self.context.error(
                    "`.` stands for columns, it cannot be an argument of a function",
                    node.span,
                    "name the column",
                )
        if next(named_columns(expr, self.context.columns), None) is None:
            what = known_elsewhere(expr.function.rpartition("::")[2])
            raise self.context.error(
                f"`{deparse(expr)}` names no column" if what is None else f"{expr.function}(): {what}",
                expr.span,
                "a term needs a column of the data" if what is None else None,
            )
        terms = self._variable(expr)
        if expr.function == "offset":
            if len(expr.args) != 1:
                hint = "add several: + offset(a) + offset(b)"
                raise self.context.error("offset() takes one argument", expr.span, hint)
            self.offsets[next(iter(terms))] = expr.args[0].value
        return terms

    def _number(self, expr: Number) -> _Terms:
        if expr.value not in (0, 1):
            raise self.context.error(
                f"the number {expr.text} is no term",
                expr.span,
                "only 0 and 1 are, for the intercept; arithmetic goes inside I(), as in I(2 * x)",
            )
        self.intercept = (expr.value == 1) == self.positive
        return {}

    def _dot(self, expr: Name) -> _Terms:
        if self.context.columns is None:
            raise self.context.error(
                "`.` stands for every other column, and no data are at hand",
                expr.span,
                "name the columns instead",
            )
        terms: _Terms = {}
        for column in self.context.others():
            terms.update(self._variable(Name(column, expr.span)))
        return terms

    def _interaction(self, expr: Expr, operator: str, left: Expr, right: Expr) -> _Terms:
        for side in (left, right):
            if isinstance(side, Number):
                raise self.context.error(
                    f"a number cannot take part in `{operator}`",
                    side.span,
                    f"for arithmetic write I({deparse(expr)})",
                )
        first, second = self.expand(left), self._nesting(right) if operator == "%in%" else self.expand(right)
        match operator:
            case "*":
                return self._capped(expr, first | _new(second, first), self._products(first, second))
            case "/":
                return self._capped(expr, first, self._within(second, first))
            case "%in%":
                return self._within(first, second)
            case _:
                return self._capped(expr, self._products(first, second))

    def _nesting(self, expr: Expr) -> _Terms:
        if next(named_columns(expr, self.context.columns), None) is None and expr != Name("."):
            raise self.context.error(
                f"`{deparse(expr)}` names no column",
                expr.span,
                "between terms a %in% b means a:b; to test membership make a logical column beforehand",
            )
        return self.expand(expr)

    def _products(self, left: _Terms, right: _Terms) -> _Terms:
        if len(left) * len(right) > 20 * MAX_TERMS:
            spans = [*left.values(), *right.values()]
            raise self._too_many((min(s[0] for s in spans), max(s[1] for s in spans)))
        products: _Terms = {}
        for a, a_span in left.items():
            for b, b_span in right.items():
                products.setdefault(a | b, _union(a_span, b_span))
        return products

    @staticmethod
    def _within(inner: _Terms, outer: _Terms) -> _Terms:
        """Every inner term crossed with all variables of the outer terms at once."""
        everything = 0
        for bits in outer:
            everything |= bits
        spans = list(outer.values())
        nested: _Terms = {}
        for bits, span in inner.items():
            for outer_span in spans:
                span = _union(span, outer_span)
            nested.setdefault(bits | everything, span)
        return nested

    def _power(self, base: Expr, power: Expr) -> _Terms:
        if not (isinstance(power, Number) and power.value.is_integer() and power.value >= 1):
            raise self.context.error(
                f"the power `{deparse(power)}` is not a whole number of at least 1",
                power.span,
                "(a + b)^2 crosses terms; for the square of a column write I(x^2)",
            )
        if isinstance(base, Number):
            raise self.context.error(
                "a number cannot take part in `^`", base.span, "arithmetic goes inside I()"
            )
        terms = result = self.expand(base)
        # Crossing with the same terms stops adding anything after as many rounds as there are terms.
        for _ in range(int(min(power.value, len(terms) + 1)) - 1):
            result = self._capped(base, self._products(result, terms))
        return result

    def _capped(self, expr: Expr, *parts: _Terms) -> _Terms:
        terms: _Terms = {}
        for part in parts:
            terms |= _new(part, terms)
        if len(terms) > MAX_TERMS:
            raise self._too_many(expr.span)
        return terms

    def _too_many(self, span: Span) -> Exception:
        return self.context.error(
            f"this expands to more than {MAX_TERMS:,} terms", span, "cross fewer columns at once"
        )

    def _no_term(self, expr: Expr) -> Exception:
        text = deparse(expr)
        match expr:
            case _ if is_bar(expr) or is_random(expr):
                problem = "a random term can only be added to the other terms"
                text = text if isinstance(expr, Call) else f"({text})"
                hint = f"write it as a summand of its own: + {text}"
            case Binary(operator) if operator in _ARITHMETIC:
                problem = f"`{operator}` has no meaning between terms"
                hint = f"to compute a column write I({text})"
            case Binary(operator, left, right) if operator in _COMPARISONS:
                # `x > 0 + z` reads as x > (0 + z): only the nearest summands were meant.
                left, right = summands(left)[-1][1], summands(right)[0][1]
                problem = f"`{operator}` compares values, it does not combine terms"
                hint = f"to compute a column write I({deparse(Binary(operator, left, right))})"
                return self.context.error(problem, _union(left.span, right.span), hint)
            case Binary("~") | Unary("~"):
                problem, hint = "`~` may stand only once, between response and terms", None
            case Binary(operator) if operator.startswith("%"):
                problem = f"the operator `{operator}` is not known"
                hint = f"known between terms: + - : * / ^ %in%; to compute a column write I({text})"
            case Binary(operator) | Unary(operator):
                problem = f"`{operator}` is logic on values, it does not combine terms"
                hint = f"to compute a column write I({text})"
            case String() | Logical():
                problem = f"`{text}` is a constant, not a term"
                hint = "a column whose name needs quoting goes in backticks"
            case _:
                problem, hint = f"`{text}` is not a term", None
        return self.context.error(problem, expr.span, hint)


def _new(terms: _Terms, known: _Terms) -> _Terms:
    return {bits: span for bits, span in terms.items() if bits not in known}


def _term(bits: int, span: Span, variables: list[Expr]) -> Term:
    factors: list[Expr] = []
    while bits:
        lowest = bits & -bits
        factors.append(variables[lowest.bit_length() - 1])
        bits ^= lowest
    return Term(tuple(factors), ":".join(map(deparse, factors)), span)
