"""Text broken into lines, never within a term of a model, and R's abbreviations."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

__all__ = ["WIDTH", "abbreviated", "pieces", "wrapped"]

WIDTH = 100
_HELD = "\N{NO-BREAK SPACE}"


def wrapped(text: str, lead: str = "", indent: str = "  ") -> list[str]:
    """Lines of at most :data:`WIDTH` places, as far as spaces outside of brackets and quotes allow.

    Parameters
    ----------
    text : str
    lead, indent : str
        What the first line and the others begin with.
    """
    lines = textwrap.wrap(
        _held_together(text),
        WIDTH,
        initial_indent=lead,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_HELD, " ") for line in lines]


def pieces(text: str) -> list[str]:
    """The parts between which a line may be broken."""
    return [part.replace(_HELD, " ") for part in _held_together(text).split(" ")]


def _held_together(text: str) -> str:
    """Text whose spaces within names in backticks, calls and terms with a bar are no places to break a line."""
    out, opened = list(text), []
    spans = [found.span() for found in re.finditer("`[^`]*`", text)]
    for i, c in enumerate(text):
        if c in "([":
            opened.append(i)
        elif c in ")]" and opened:
            start = opened.pop()
            joined = (start > 0 and not text[start - 1].isspace()) or text[i + 1 : i + 2] in ("^", ":")
            if joined or "|" in text[start:i]:
                spans.append((start, i))
    for start, end in spans:
        out[start:end] = [_HELD if c == " " else c for c in out[start:end]]
    return "".join(out)


def abbreviated(names: Sequence[str], length: int) -> list[str]:
    """Names of about `length` characters that differ, as R's ``abbreviate()`` makes them.

    From the right, lower-case vowels go first, then lower-case letters, then what is left, except what begins a word;
    names that would be alike get longer.
    """
    out = [_short(name, length) for name in names]
    for longer in range(length + 1, max(map(len, names), default=0) + 1):
        seen: dict[str, int] = {}
        for name in out:
            seen[name] = seen.get(name, 0) + 1
        if max(seen.values()) == 1:
            break
        out = [_short(n, longer) if seen[o] > 1 else o for n, o in zip(names, out, strict=True)]
    return out


def _short(name: str, length: int) -> str:
    text = name.strip()

    def size() -> int:
        return len(text) - text.count(" ")

    def starts(i: int) -> bool:
        return i == 0 or text[i - 1] == " "

    def ends(i: int) -> bool:
        return not starts(i) and (i + 1 == len(text) or text[i + 1] == " ")

    for letters, chosen in (
        ("aeiou", ends),
        ("aeiou", lambda i: not starts(i)),
        ("", ends),
        ("", lambda i: not starts(i)),
    ):
        for i in range(len(text) - 1, 0, -1):
            if size() <= length:
                return text.replace(" ", "") if len(name.strip()) > length else text
            if i < len(text) and (text[i] in letters if letters else text[i].islower()) and chosen(i):
                text = text[:i] + text[i + 1 :]
    for i in range(len(text) - 1, 0, -1):
        if size() <= length:
            break
        if not starts(i) and text[i] != " ":
            text = text[:i] + text[i + 1 :]
    return text.replace(" ", "") if len(name.strip()) > length else text
