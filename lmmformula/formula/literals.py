"""Names, strings and numbers as R writes them."""

from __future__ import annotations

import math
import re

__all__ = ["escape", "exact_number", "quote_name", "r_number", "unescape"]

_SYNTACTIC = re.compile(r"(?:[^\W\d_]|\.(?![0-9]))[\w.]*")
_RESERVED = frozenset(
    {
        "if",
        "else",
        "repeat",
        "while",
        "function",
        "for",
        "next",
        "break",
        "TRUE",
        "FALSE",
        "NULL",
        "Inf",
        "NaN",
        "NA",
        "NA_integer_",
        "NA_real_",
        "NA_character_",
        "NA_complex_",
        "in",
        "...",
    }
)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_SIMPLE |= {character: character for character in "\\\"'` \n"}
_WRITTEN = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|u\{[0-9a-fA-F]{1,4}\}|[\s\S])")


def quote_name(name: str) -> str:
    """The name as it stands in R code: in backticks unless it is a syntactic name."""
    if _SYNTACTIC.fullmatch(name) and name not in _RESERVED:
        return name
    return f"`{escape(name, '`')}`"


def escape(text: str, quote: str) -> str:
    """`text` with backslash escapes, to stand between two `quote` characters."""
    return "".join(_escaped(character, quote) for character in text)


def _escaped(character: str, quote: str) -> str:
    if character == quote:
        return "\\" + quote
    if character in _WRITTEN:
        return _WRITTEN[character]
    return f"\\x{ord(character):02x}" if ord(character) < 32 else character


def unescape(text: str) -> str:
    r"""Replace ``\n``, ``\"``, ``\x41``, ``\u00e9`` and their like.

    Raises
    ------
    ValueError
        At an escape that R does not know either.
    """

    def character(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            return chr(int(code[1:].strip("{}"), 16))
        if code not in _SIMPLE:
            raise ValueError(f"the escape `\\{code}` is not known")
        return _SIMPLE[code]

    return _ESCAPE.sub(character, text)


def r_number(text: str) -> str:
    """The literal as R deparses it: 15 significant digits, scientific where that is shorter."""
    if text.endswith("L"):
        value = float(text[:-1])
        return f"{value:.0f}L" if value.is_integer() and abs(value) < 2**31 else text
    value = float(text)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf"
    digits, exponent = _significant(value)
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    scientific = f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    fixed = f"{value:.{max(0, len(digits) - 1 - exponent)}f}"
    return fixed if len(fixed) <= len(scientific) else scientific


def exact_number(text: str) -> str:
    """The literal as R deparses it where that reads back as the same number, else with the fewest digits that do."""
    short = r_number(text)
    if text.endswith("L") or float(short) == float(text):
        return short
    return repr(float(text))


def _significant(value: float) -> tuple[str, int]:
    """Significant digits without trailing zeros, and the decimal exponent of the first one."""
    mantissa, exponent = f"{value:.14e}".split("e")
    return mantissa.replace(".", "").rstrip("0") or "0", int(exponent)
