"""What a check finds: numbers, what they mean, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["ORDER", "Finding", "Verdict", "not_checked", "p_text"]

Verdict = Literal["problem", "doubtful", "fine", "not checked"]
ORDER: tuple[Verdict, ...] = ("problem", "doubtful", "fine", "not checked")
"""Worst first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of one check.

    Attributes
    ----------
    check : str
        What was looked at.
    verdict : {"problem", "doubtful", "fine", "not checked"}
    found : str
        What was found, with numbers: a sentence.
    means, advice : str
        What it means for the estimates, and what to do; empty where all is well.
    statistic_is : str
    statistic, limit, p : float
        A number without unit, the bar that it is held against, and its p-value; nan for none.
    about : str
        The term, column or variable.
    """

    check: str
    verdict: Verdict
    found: str
    means: str = ""
    advice: str = ""
    statistic_is: str = ""
    statistic: float = np.nan
    limit: float = np.nan
    p: float = np.nan
    about: str = ""


def not_checked(check: str, why: str, about: str = "") -> Finding:
    """A finding that there was nothing to look at."""
    return Finding(check, "not checked", why, about=about)


def p_text(p: float) -> str:
    """``p = 0.012``, or ``p < 1e-15``."""
    return f"p = {p:.2g}" if p >= 1e-15 else "p < 1e-15"
