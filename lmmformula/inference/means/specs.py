"""What is asked for: ``"recipe | temperature"``, ``"a * b"``, ``"pairwise ~ a | b"``, ``"~ 1"``, or lists of names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lmmformula.errors import FormulaError

__all__ = ["Specs", "names_in", "read_specs"]

_SEPARATORS = re.compile(r"[*+:,]")
_COMPARISON = re.compile(r"\s*[\w.]*\s*")


@dataclass(frozen=True, slots=True)
class Specs:
    """Names of what is shown.

    Attributes
    ----------
    factors : tuple of str
        Whose combinations have a mean each, the first one fastest.
    by : tuple of str
        Within whose combinations means are compared; slower than the others.
    contrast : str
        The comparison left of ``~``; empty without one.
    """

    factors: tuple[str, ...]
    by: tuple[str, ...] = ()
    contrast: str = ""

    @property
    def shown(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.factors, *self.by)


def read_specs(specs: str | Iterable[str], by: str | Iterable[str] | None = None) -> Specs:
    """Read a text or a list of names.

    Raises
    ------
    FormulaError
        For a text of another form, or a name that stands twice.
    """
    further = () if by is None else names_in(by)
    if isinstance(specs, str):
        left, tilde, right = specs.rpartition("~")
        factors, bar, within = right.partition("|")
        parts = (factors, within)
        odd = any("~" in part or "|" in part for part in parts) or (bar and not within.strip())
        if odd or (tilde and not _COMPARISON.fullmatch(left)) or not right.strip():
            raise _unread(specs)
        found = Specs(_names(factors), (*_names(within), *further), left.strip())
    else:
        found = Specs(tuple(specs), further)
    if twice := [name for i, name in enumerate(found.shown) if name in found.shown[:i]]:
        raise FormulaError(f"`{twice[0]}` stands twice", str(specs), None, "name each variable once")
    return found


def names_in(names: str | Iterable[str]) -> tuple[str, ...]:
    """``"a + b"`` or a list, as names."""
    return _names(names) if isinstance(names, str) else tuple(names)


def _names(text: str) -> tuple[str, ...]:
    if text.strip() in ("", "1"):
        return ()
    found = tuple(name.strip().strip("`") for name in _SEPARATORS.split(text))
    if not all(found):
        raise _unread(text)
    return found


def _unread(specs: str) -> FormulaError:
    return FormulaError(
        "this does not say whose means are wanted",
        specs,
        None,
        "write 'a', 'a * b', 'a | b' (within each b) or 'pairwise ~ a | b'",
    )
