"""What the dictionaries say: for each package its lines and ours, in the order in which they run.

A number is recorded by running the other program (`dictionary.py`), or quoted from what its authors publish, with the place.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Entry", "Package"]


@dataclass(frozen=True)
class Entry:
    """One line of a dictionary.

    Attributes
    ----------
    about : str
        What is wanted.
    theirs, ours : str
        Lines of code. A line of ours that begins with a name and ``=`` is run; another is an expression.
    number : str, optional
        The expression of theirs whose number is recorded, if it is not `theirs` itself; "" if there is none.
    mine : str, optional
        The same for ours.
    quoted : float, optional
        Their number as published, where their program is not run.
    rtol : float
        How near the two are.
    """

    about: str
    theirs: str
    ours: str
    number: str | None = None
    mine: str | None = None
    quoted: float | None = None
    rtol: float = 1e-4


@dataclass(frozen=True)
class Package:
    """A package: who runs its lines ("R", "python", or nobody), what comes before them, and the lines."""

    name: str
    runs: str
    before: str
    ours_before: str
    entries: tuple[Entry, ...]
