"""Structures across the levels of terms, in words."""

from __future__ import annotations

from lmmformula.ir.across import Across
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import group_count, phi_of, shown_levels
from lmmformula.typing import Array

__all__ = ["structures_in_words"]


def structures_in_words(problem: Problem, theta: Array | None) -> list[str]:
    """A sentence for each term whose levels are dependent, with its parameters as a reader knows them.

    Parameters
    ----------
    problem : Problem
    theta : (n_theta,) array or None
        None where tables have the parameters. In the units of the problem; the parameters of a structure have none.
    """
    out = []
    for term, where in zip(problem.terms, problem.theta_slices(), strict=True):
        across = term.covariance.across
        if across is None:
            continue
        told = "" if theta is None else _told(across, theta[where][phi_of(term.covariance, theta[where])])
        count = group_count(term)
        if count < shown_levels(across, term.m):  # positions within groups
            where = f"{term.m:,} positions within {count:,} levels" if count > 1 else f"{term.m:,} positions"
            out.append(f"{term.columns[0]} | {term.group}: {where}{', ' if told else ''}{told}.")
            continue
        out.append(f"Levels of {term.group} are dependent: {across.name}{', ' if told else ''}{told}.")
    return out


def _told(across: Across, phi: Array) -> str:
    """``range = 3.2``."""
    values = zip(across.names, across.natural(phi), strict=True)
    return ", ".join(f"{name} = {value:.4g}" for name, value in values)
