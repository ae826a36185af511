"""Text to expression: the grammar of ``grammar/formula.lark`` and nothing else."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, lru_cache
from typing import Any, TypeAlias

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from lmmformula.errors import FormulaError
from lmmformula.formula.literals import unescape
from lmmformula.formula.spec import (
    Arg,
    Binary,
    Call,
    Expr,
    Logical,
    Name,
    Number,
    Paren,
    Span,
    String,
    Unary,
)
from lmmformula.formula.syntax_errors import explain_character, explain_token
from lmmformula.numerics.kept_programs import folder
from lmmformula.resources import grammar_text

__all__ = ["parse"]

MAX_LENGTH = 50_000
MAX_DEPTH = 60
"""Bounds that no formula written for a purpose reaches; below them no later stage runs out of stack."""

_CONSTANTS = {"TRUE": (True, ""), "FALSE": (False, ""), "NULL": (None, ""), "NA": (None, "NA")}


def parse(text: str) -> Expr:
    """Read a formula, or any expression of the language.

    Parameters
    ----------
    text : str
        For example ``y ~ x + (1 | g)``.

    Returns
    -------
    Expr
        The expression as written, parentheses included; every node knows its place in `text`.

    Raises
    ------
    FormulaError
        If `text` does not follow the grammar.
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"a formula is text, not an object of type {type(text).__name__}",
            hint='write it in quotes: "y ~ x + (1 | g)"',
        )
    return _parse(text)


@lru_cache(maxsize=256)
def _parse(text: str) -> Expr:
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            f"the formula has {len(text):,} characters; at most {MAX_LENGTH:,} are read",
            hint="put many columns into one matrix column, or name them with `.`",
        )
    if not text.strip():
        raise FormulaError("the formula is empty", hint='write for example "y ~ x + (1 | g)"')
    read = _read(text)
    if isinstance(
        read, FormulaError
    ):  # raised here, it does not carry the parser's own error, which no process can send
        raise read
    _check_depth(text, read)
    return read


def _read(text: str) -> Expr | FormulaError:
    """What the text says, or what is wrong with it."""
    try:
        expr: Any = _parser().parse(text)
    except UnexpectedToken as error:
        return explain_token(text, error)
    except UnexpectedCharacters as error:
        return explain_character(text, error.pos_in_stream)
    except _BadEscapeError as error:
        return FormulaError(str(error), text, error.span, "write a backslash as \\\\")
    return expr


@cache
def _parser() -> Lark:
    """The parser of the grammar, whose tables an earlier process has left in the user's cache folder, if there is one."""
    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=_Builder(),
        cache=_tables() or False,
    )


def _tables() -> str | None:
    """Where Lark keeps its tables, with a digest of all they depend on: it makes them anew where that differs."""
    place = folder("grammar")
    if place is None:
        return None
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return str(place / "formula.tables")


class _BadEscapeError(Exception):
    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


def _start(token: Token) -> int:
    return token.start_pos or 0


def _span(token: Token) -> Span:
    return _start(token), _start(token) + len(token)


def _unquoted(token: Token) -> str:
    try:
        return unescape(token[1:-1])
    except ValueError as error:
        raise _BadEscapeError(str(error), _span(token)) from None


Children: TypeAlias = list[Any]
"""Tokens of Lark, which is without types of their values, and expressions that are finished; the grammar says which."""


class _Builder:
    """One method per rule of the grammar; Lark calls them bottom up while it parses.

    Children are tokens and finished expressions, so building needs no recursion.
    """

    def name(self, children: Children) -> Name:
        (token,) = children
        return Name(_unquoted(token) if token.type == "QUOTED" else str(token), _span(token))

    def number(self, children: Children) -> Number:
        return Number(str(children[0]), _span(children[0]))

    def string(self, children: Children) -> String:
        return String(_unquoted(children[0]), _span(children[0]))

    def constant(self, children: Children) -> Logical:
        value, text = _CONSTANTS[str(children[0])]
        return Logical(value, _span(children[0]), text)

    def paren(self, children: Children) -> Paren:
        left, inner, right = children
        return Paren(inner, (_start(left), _span(right)[1]))

    def unary(self, children: Children) -> Unary:
        operator, operand = children
        return Unary(str(operator), operand, (_start(operator), operand.span[1]))

    def binary(self, children: Children) -> Binary:
        left, operator, right = children
        return Binary(str(operator), left, right, (left.span[0], right.span[1]))

    def qualified(self, children: Children) -> Name:
        package, separator, function = children
        return Name(package.value + str(separator) + function.value, (package.span[0], function.span[1]))

    def argument(self, children: Children) -> Arg:
        if len(children) == 1:
            return Arg(children[0])
        token, _, value = children
        return Arg(value, str(token) if token.type == "NAME" else _unquoted(token))

    def arguments(self, children: Children) -> tuple[Arg, ...]:
        return tuple(child for child in children if isinstance(child, Arg))

    def call(self, children: Children) -> Call:
        function, *middle, closing = children
        args = middle[1] if len(middle) == 2 else ()
        return Call(function.value, args, (function.span[0], _span(closing)[1]))


def _check_depth(text: str, expr: Expr) -> None:
    """Refuse nesting beyond `MAX_DEPTH`; a sum counts once however many summands it has."""
    stack: list[tuple[Expr, int]] = [(expr, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise FormulaError(
                f"operators and parentheses are nested more than {MAX_DEPTH} deep",
                text,
                node.span,
                "write the terms out, or compute the column beforehand",
            )
        match node:
            case Binary("+" | "-", left, right):
                stack += [(right, depth + 1), (left, depth)]
            case Binary(_, left, right):
                stack += [(right, depth + 1), (left, depth + 1)]
            case Unary(_, inner) | Paren(inner):
                stack.append((inner, depth + 1))
            case Call(_, args):
                stack += [(arg.value, depth + 1) for arg in args]
            case _:
                pass
