"""The language of hypotheses: equations and inequalities between arithmetic expressions of parameters.

::

    hypotheses := hypothesis ("," hypothesis)*
    hypothesis := sum (("=" | "==" | "<" | "<=" | ">" | ">=") sum)*          without a sign: = 0; a = b = c: a = b, b = c
    sum        := product (("+" | "-") product)*
    product    := signed (("*" | "/") signed)*
    signed     := ("-" | "+") signed | power
    power      := atom (("^" | "**") signed)?                                -2^2 = -4, as in R
    atom       := number | name | function "(" sum ")" | "(" sum ")"

A name is a parameter's as tables show it, `recipeB:temperature` or `sd_Days|Subject` or `I(x^2)`: the longest parameter that
stands at its place is meant, before any function. Names with other characters stand in backticks. ``b1, b2, ...`` are the
coefficients by position where no parameter is called so (marginaleffects), ``Intercept`` is the intercept (brms). Text is read
by this grammar alone and never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lmmformula.errors import FormulaError
from lmmformula.inference.hypotheses.dual import FUNCTIONS, Quantity

__all__ = ["Hypothesis", "read", "value_of"]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Name:
    """A parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function of one expression."""

    function: str
    of: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """Two expressions and what is between them."""

    sign: str
    left: Node
    right: Node


Node: TypeAlias = Number | Name | Call | Binary


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """``left - right`` compared with zero.

    Attributes
    ----------
    text : str
        As the user wrote it.
    difference : Node
        left - right.
    sign : {"=", "<", ">"}
    names : tuple of str
        Parameters in it.
    """

    text: str
    difference: Node
    sign: str
    names: tuple[str, ...]


def read(text: str, known: Sequence[str], coefficients: Sequence[str]) -> list[Hypothesis]:
    """The hypotheses in a text.

    Parameters
    ----------
    text : str
    known : sequence of str
        Names of the parameters.
    coefficients : sequence of str
        Those that ``b1, b2, ...`` are.

    Raises
    ------
    FormulaError
        That points at the place.
    """
    return _Reader(text, known, coefficients).hypotheses()


def value_of(
    node: Node, parameters: Mapping[str, Quantity], constant: Callable[[float], Quantity]
) -> Quantity:
    """An expression, with `parameters` for its names and `constant` to make numbers of its numbers."""
    if isinstance(node, Number):
        return constant(node.value)
    if isinstance(node, Name):
        return parameters[node.name]
    if isinstance(node, Call):
        return FUNCTIONS[node.function](value_of(node.of, parameters, constant))
    left, right = (value_of(side, parameters, constant) for side in (node.left, node.right))
    return _combined(node.sign, left, right)


def _combined(sign: str, left: Quantity, right: Quantity) -> Quantity:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    return left / right if sign == "/" else left**right


_SIGNS = {"=": "=", "==": "=", "<": "<", "<=": "<", ">": ">", ">=": ">"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<quoted>`[^`]*`)|(?P<word>[^\W\d][\w.]*)"
    r"|(?P<sign>\*\*|[<>=]=|[-+*/^<>=(),]))"
)
_POSITION = re.compile(r"b([1-9]\d*)")
_DEEPEST = 100
"""Brackets within each other that are read."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    stop: int


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, known: Sequence[str], coefficients: Sequence[str]) -> None:
        self.text, self.listed, self.coefficients = text, known, coefficients
        self.known = sorted(known, key=len, reverse=True)
        self.tokens, self.at, self.depth = self._split(), 0, 0

    # -- tokens ----------------------------------------------------------------------------------------------------

    def _split(self) -> list[_Token]:
        found, at = [], 0
        while at < len(self.text.rstrip()):
            at += len(self.text[at:]) - len(self.text[at:].lstrip())
            token = self._parameter(at) or self._token(at)
            found.append(token)
            at = token.stop
        return [*found, _Token("end", "", len(self.text), len(self.text) + 1)]

    def _parameter(self, at: int) -> _Token | None:
        """The longest parameter that stands here, and does not go on."""
        if at and _in_word(self.text[at - 1]):
            return None
        for name in self.known:
            stop = at + len(name)
            if self.text.startswith(name, at) and not (
                _in_word(name[-1]) and stop < len(self.text) and _in_word(self.text[stop])
            ):
                return _Token("name", name, at, stop)
        return None

    def _token(self, at: int) -> _Token:
        found = _TOKEN.match(self.text, at)
        if found is None:
            raise self._error(f"{self.text[at]!r} has no meaning in a hypothesis", (at, at + 1))
        kind = str(found.lastgroup)
        written = found[kind]
        return _Token(kind, written, found.end() - len(written), found.end())

    @property
    def _now(self) -> _Token:
        return self.tokens[self.at]

    def _take(self, *texts: str) -> _Token | None:
        """The next token, if it is one of these signs."""
        now = self._now
        if now.kind != "sign" or now.text not in texts:
            return None
        self.at += 1
        return now

    def _error(
        self, problem: str, span: tuple[int, int] | None = None, hint: str | None = None
    ) -> FormulaError:
        return FormulaError(problem, self.text, span or (self._now.start, self._now.stop), hint)

    # -- grammar ---------------------------------------------------------------------------------------------------

    def hypotheses(self) -> list[Hypothesis]:
        out = self._chain()
        while self._take(","):
            out += self._chain()
        if self._now.kind != "end":
            raise self._error(f"{self._now.text!r} is not expected here")
        return out

    def _chain(self) -> list[Hypothesis]:
        start, out = self._now.start, []
        left = self._sum()
        while sign := self._take(*_SIGNS):
            if (out and _SIGNS[sign.text] != "=") or any(h.sign != "=" for h in out):
                raise self._error(
                    "inequalities cannot be chained", (sign.start, sign.stop), "write 'a > b, b > c'"
                )
            right = self._sum()
            out.append(self._hypothesis(start, Binary("-", left, right), _SIGNS[sign.text]))
            left, start = right, sign.stop
        if not out:
            out.append(self._hypothesis(start, left, "="))
        return out

    def _hypothesis(self, start: int, difference: Node, sign: str) -> Hypothesis:
        stop = self.tokens[self.at - 1].stop
        names = tuple(dict.fromkeys(_names(difference)))
        if not names:
            raise self._error("there is no parameter in this hypothesis", (start, stop), self._parameters())
        return Hypothesis(self.text[start:stop].strip(), difference, sign, names)

    def _sum(self) -> Node:
        left = self._product()
        while sign := self._take("+", "-"):
            left = Binary(sign.text, left, self._product())
        return left

    def _product(self) -> Node:
        left = self._signed()
        while sign := self._take("*", "/"):
            left = Binary(sign.text, left, self._signed())
        return left

    def _signed(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} brackets or signs stand within each other")
        if sign := self._take("-", "+"):
            inner = self._signed()
            out = Binary("-", Number(0.0), inner) if sign.text == "-" else inner
        else:
            out = self._power()
        self.depth -= 1
        return out

    def _power(self) -> Node:
        base = self._atom()
        return Binary("^", base, self._signed()) if self._take("^", "**") else base

    def _atom(self) -> Node:
        token = self._now
        if self._take("("):
            return self._closed()
        self.at += 1
        if token.kind == "number":
            return Number(float(token.text))
        if token.kind == "word" and token.text in FUNCTIONS and self._take("("):
            return Call(token.text, self._closed())
        if token.kind in ("name", "quoted", "word"):
            return self._named(token)
        self.at -= 1
        raise self._error("a parameter or a number is expected here", hint=self._parameters())

    def _closed(self) -> Node:
        inner = self._sum()
        if not self._take(")"):
            raise self._error("a closing bracket is expected here")
        return inner

    def _named(self, token: _Token) -> Name:
        name = token.text.strip("`")
        if name not in self.known:
            name = self._other_name(name)
        if not name:
            called = self._now.text == "("
            hint = f"functions are {', '.join(FUNCTIONS)}" if called else self._parameters()
            what = "function" if called else "parameter"
            raise self._error(
                f"there is no {what} {token.text.strip('`')!r}", (token.start, token.stop), hint
            )
        return Name(name)

    def _other_name(self, name: str) -> str:
        """What brms and marginaleffects call by another name."""
        if name == "Intercept" and "(Intercept)" in self.known:
            return "(Intercept)"
        place = _POSITION.fullmatch(name)
        at = int(place[1]) - 1 if place else len(self.coefficients)
        return self.coefficients[at] if at < len(self.coefficients) else ""

    def _parameters(self) -> str:
        shown = ", ".join(name if _TOKEN.fullmatch(name) else f"`{name}`" for name in list(self.listed)[:12])
        more = f", ... ({len(self.known)} in all)" if len(self.known) > 12 else ""
        return f"parameters are {shown}{more}"


def _names(node: Node) -> list[str]:
    if isinstance(node, Binary):
        return [*_names(node.left), *_names(node.right)]
    return [node.name] if isinstance(node, Name) else _names(node.of) if isinstance(node, Call) else []


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "_."
