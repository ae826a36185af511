"""Counts and reasons in words."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["counted", "notes"]


def counted(count: int, word: str) -> str:
    """``1 chain``, ``2 chains``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def notes(reasons: Iterable[str]) -> str:
    """What to print below a table: each reason once."""
    return ". ".join(f"{r[0].upper()}{r[1:]}" for r in dict.fromkeys(reasons) if r)
