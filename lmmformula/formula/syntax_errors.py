"""Errors of the parser in the words of someone who writes formulas."""

from __future__ import annotations

import re
from typing import NamedTuple

from lark.exceptions import UnexpectedToken

from lmmformula.errors import FormulaError

__all__ = ["explain_character", "explain_token"]

_TOKEN = re.compile(
    r"""`(?:[^`\\]|\\.)*` | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | %[^%\n]*%
        | (?:[^\W\d]|\.(?![0-9]))[\w.]* | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?L?
        | \|\| | && | [=!<>]= | :: | \S""",
    re.DOTALL | re.VERBOSE,
)
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_OPERAND = "expected a column, a number, a function call or an opening parenthesis"
_OPERATOR = "expected an operator such as + or the end of the formula"
_OPERATOR_OPEN = "expected an operator such as + or a closing parenthesis"
_BACKTICKS = "a column whose name has such characters goes in backticks: `my column`"

_WORDS = {
    "and": "terms are joined with +; logic inside a call is written &",
    "or": "logic inside a call is written |",
    "not": "logic inside a call is written !",
    "is": "compare with ==, inside a call",
    "in": "nesting is written %in% or /",
    "if": "write ifelse(condition, a, b)",
    "else": "write ifelse(condition, a, b)",
    "lambda": "compute the column beforehand",
    "function": "compute the column beforehand",
    "for": "write the terms out",
}
_CHARACTERS = {
    "[": ("`[` cannot select elements in a formula", "make a column of them beforehand"),
    "]": ("`]` has no meaning in a formula", "make a column of the elements beforehand"),
    "{": ("`{` has no meaning in a formula", "group terms with ( ), compute inside I()"),
    "}": ("`}` has no meaning in a formula", "group terms with ( ), compute inside I()"),
    "@": ("`@` has no meaning in a formula", "name the column alone"),
    "\\": ("functions cannot be written in a formula", "compute the column beforehand"),
    "#": ("a formula cannot hold comments", "take it out; # in the name of a column needs backticks"),
    ";": ("`;` has no meaning in a formula", "one text holds one formula"),
    "?": ("`?` has no meaning in a formula", _BACKTICKS),
    "<": ("`<-` assigns, a formula cannot", "to compare with a negative number put a space: x < -1"),
    "%": ("an operator begins with this `%` and is not closed", "written for example %in%"),
}
_LOOKALIKES = dict.fromkeys("−–—‐‑", "-") | dict.fromkeys("×∗", "*") | dict.fromkeys("“”„«»‘’´", '"')
_LOOKALIKES |= {"∼": "~", "˜": "~", "～": "~", "｜": "|", "∣": "|", "÷": "/", "∶": ":", "＋": "+"}
_LOOKALIKES |= {"（": "(", "）": ")", "，": ",", "ˆ": "^", "≥": ">=", "≤": "<=", "≠": "!="}


class _Piece(NamedTuple):
    text: str
    start: int

    @property
    def is_operand(self) -> bool:
        """Whether an operand may begin with this piece."""
        return self.text[0] in "`\"'(!._" or self.text[0].isalnum()


def _pieces(text: str, stop: int) -> list[_Piece]:
    """Words and signs of `text` that begin before `stop`."""
    return [_Piece(match[0], match.start()) for match in _TOKEN.finditer(text) if match.start() < stop]


def _openers(pieces: list[_Piece]) -> list[int]:
    """Indices of the pieces that open a parenthesis not closed by the following ones."""
    found: list[int] = []
    for index, piece in enumerate(pieces):
        if piece.text == "(":
            found.append(index)
        elif piece.text == ")" and found:
            found.pop()
    return found


def _in_call(pieces: list[_Piece], opener: int) -> bool:
    before = pieces[opener - 1].text[0] if opener else "("
    return before == "`" or before == "." or before.isalpha() or before == "_"


def _called(pieces: list[_Piece]) -> _Piece:
    """What stands before the parentheses that the last piece closes."""
    return pieces[max(0, _openers(pieces[:-1])[-1] - 1)]


def explain_token(text: str, error: UnexpectedToken) -> FormulaError:
    """Turn a token at the wrong place into a `FormulaError`.

    Parameters
    ----------
    text : str
        The whole formula.
    error : lark.exceptions.UnexpectedToken
        As the parser raised it.

    Returns
    -------
    FormulaError
        Marks the token, or the parenthesis that is at fault, and says what was expected.
    """
    if error.token.type == "$END":
        return _at_end(text, _pieces(text, len(text)))
    start = error.token.start_pos or 0
    pieces = _pieces(text, start)
    token = _Piece(str(error.token), start)
    if "NAME" in error.expected:
        problem, span, hint = _instead_of_operand(token, pieces)
    else:
        problem, span, hint = _instead_of_operator(token, pieces)
    return FormulaError(problem, text, span, hint)


def _at_end(text: str, pieces: list[_Piece]) -> FormulaError:
    openers = _openers(pieces)
    last = pieces[-1]
    if openers:
        piece = pieces[openers[-1]]
        hint = f"add the matching `)` after `{_short(last.text)}`"
        if not (last.is_operand or last.text == ")") or last.text == "(":
            hint = f"something is missing after `{last.text}`, then the matching `)`"
        return FormulaError("this parenthesis is never closed", text, _span(piece), hint)
    if len(pieces) > 1 and pieces[-2].text == "::":
        problem, span, hint = _no_function(pieces)
        return FormulaError(problem, text, span, hint)
    hint = _OPERAND
    if last.text == "~":
        hint = "for an intercept alone write ~ 1"
    return FormulaError(f"nothing stands after `{last.text}`", text, _span(last), hint)


_Report = tuple[str, tuple[int, int], str | None]


def _no_function(pieces: list[_Piece]) -> _Report:
    hint = "`::` stands between a package and its function: splines::ns(x, 3)"
    return f"`{pieces[-1].text}` is not called", _span(pieces[-1]), hint


def _span(piece: _Piece) -> tuple[int, int]:
    return piece.start, piece.start + len(piece.text)


def _short(text: str) -> str:
    return text if len(text) <= 24 else text[:21] + "..."


def _instead_of_operand(token: _Piece, pieces: list[_Piece]) -> _Report:
    """Something stands where a column, number, call or parenthesis is due."""
    span = _span(token)
    if not pieces:
        return f"a formula cannot begin with `{_short(token.text)}`", span, _OPERAND
    before = pieces[-1]
    both = (before.start, span[1])
    pair = before.text + token.text
    if token.text == ")":
        return _closed_too_early(before, both)
    if pair == "**":
        return "a power is written ^", both, "write (a + b)^2 to cross terms, I(x^2) for a square"
    if pair in ("->", "|>") and before.start + 1 == token.start:
        return f"`{pair}` has no meaning in a formula", both, "compute the column beforehand"
    if token.text in ("|", "||") and before.text in ("(", "|", "||"):
        return (
            f"nothing stands before `{token.text}`",
            span,
            "expected the columns that vary by group, 1 for an intercept: (1 | g)",
        )
    if token.text == "~":
        return f"`~` cannot follow `{before.text}`", span, "`~` stands once, between response and terms"
    if token.text == "!":
        return f"`!` cannot follow `{before.text}`", span, "put the negation in parentheses: (!x)"
    if token.text == "," and before.text in ("(", ","):
        return "an argument is missing before this comma", span, _OPERAND
    return f"`{_short(token.text)}` cannot follow `{_short(before.text)}`", span, _OPERAND


def _closed_too_early(before: _Piece, both: tuple[int, int]) -> _Report:
    match before.text:
        case "(":
            return "these parentheses are empty", both, _OPERAND
        case ",":
            return "an argument is missing after this comma", _span(before), _OPERAND
        case "|" | "||":
            hint = "expected the grouping factor: (1 | g)"
            return f"nothing stands after `{before.text}`", _span(before), hint
        case text:
            return f"nothing stands after `{text}`", _span(before), _OPERAND


def _instead_of_operator(token: _Piece, pieces: list[_Piece]) -> _Report:
    """Something stands where an operator or the end is due."""
    span = _span(token)
    openers = _openers(pieces)
    expected = _OPERATOR_OPEN if openers else _OPERATOR
    before = pieces[-1]
    if len(pieces) > 1 and pieces[-2].text == "::":
        return _no_function(pieces)
    if token.text == ")":
        return "this parenthesis closes nothing", span, "take it away, or add the matching `(`"
    if token.text == ",":
        return "a comma outside the arguments of a function", span, "terms are joined with +"
    if token.text == "=":
        if openers and _in_call(pieces, openers[-1]):
            return "left of `=` stands the name of one argument", span, "to compare write =="
        return (
            "`=` has no meaning in a formula",
            span,
            "between response and terms stands ~; a comparison is written I(x == 1)",
        )
    if token.text in _COMPARISONS:
        return "comparisons cannot be chained", span, "join two with &: I(a < x & x < b)"
    if token.text == "~" and not openers:
        return "`~` may stand only once, between response and terms", span, None
    if not token.is_operand:
        return f"`{_short(token.text)}` cannot follow `{_short(before.text)}`", span, expected
    called = [_called(pieces)] if before.text == ")" else []
    for piece in (*called, before, token):
        if piece.text in _WORDS:
            return f"`{piece.text}` is not a word of the formula language", _span(piece), _WORDS[piece.text]
    if before.start + len(before.text) == token.start and before.text[0].isdigit() and token.text != "(":
        both = (before.start, span[1])
        return "a name cannot begin with a digit", both, f"put it in backticks: `{before.text}{token.text}`"
    if not openers and not any(piece.text == "~" for piece in pieces):
        expected = "expected ~ after the response, or an operator such as +"
    problem = f"an operator is missing between `{_short(before.text)}` and `{_short(token.text)}`"
    return problem, span, expected


def explain_character(text: str, position: int) -> FormulaError:
    """Turn a character that begins no word of the language into a `FormulaError`.

    Parameters
    ----------
    text : str
        The whole formula.
    position : int
        Index of the character.

    Returns
    -------
    FormulaError
    """
    character = text[position]
    span = (position, position + 1)
    if character == "`":
        if text[position : position + 2] == "``":
            return FormulaError("a name in backticks is empty", text, (position, position + 2), _BACKTICKS)
        return FormulaError("this backtick is never closed", text, span, "add the closing backtick")
    if character in "\"'":
        return FormulaError("this quote is never closed", text, span, f"add the closing {character}")
    if character == "$":
        return _dollar(text, position)
    if text.startswith("@formula", position):
        span = (position, position + len("@formula"))
        return FormulaError("a macro cannot be read", text, span, "write what stands inside @formula( )")
    if character == "<":
        span = (position, position + 2)
    if character in _CHARACTERS:
        problem, hint = _CHARACTERS[character]
        return FormulaError(problem, text, span, hint)
    shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
    hint = _BACKTICKS
    if character in _LOOKALIKES:
        hint = f"it looks like `{_LOOKALIKES[character]}`, which a formula needs instead"
    return FormulaError(f"the character {shown} has no meaning in a formula", text, span, hint)


def _dollar(text: str, position: int) -> FormulaError:
    """``df$x``: a formula names columns, the table is an argument of its own."""
    before = re.search(r"[\w.]+\s*$", text[:position])
    after = re.match(r"\$\s*([\w.]+|`[^`]*`)", text[position:])
    start = before.start() if before else position
    stop = position + (after.end() if after else 1)
    column = after[1] if after else "x"
    return FormulaError(
        "`$` takes a column out of a table; a formula names columns directly",
        text,
        (start, stop),
        f"write {column} and give the table as data",
    )
