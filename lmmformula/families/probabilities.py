"""Auxiliary parameters that are probabilities, with their functions."""

from __future__ import annotations

import numpy as np

from lmmformula.families.auxiliary import Auxiliary, Role
from lmmformula.families.records import Array, Maybe

__all__ = ["expit", "logit", "probability"]


def expit(x: Maybe) -> Array:
    """1 / (1 + e^-x)."""
    e = np.exp(-np.abs(x))
    return np.where(np.asarray(x) >= 0, 1.0, e) / (1.0 + e)


def logit(p: Array | float) -> Array:
    """log(p / (1 - p))."""
    return np.log(p) - np.log1p(-np.asarray(p))


def probability(
    name: str, meaning: str, title: str, role: Role = "shape", aliases: tuple[str, ...] = ()
) -> Auxiliary:
    """A probability with a logit link and a uniform prior."""
    return Auxiliary(
        name,
        meaning,
        expit,
        logit,
        role=role,
        range="unit",
        link="logit",
        prior="beta(1, 1)",
        aliases=aliases,
        title=title,
        typical=-0.7,
    )
