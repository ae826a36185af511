"""p-values adjusted for many responses: the step-up procedure of Benjamini & Hochberg (1995)."""

from __future__ import annotations

import numpy as np

from lmmformula.inference.multiplicity import stepwise
from lmmformula.typing import Array

__all__ = ["adjusted"]


def adjusted(p: Array) -> Array:
    """``min_(j >= i) m p_(j) / j`` at the i-th smallest of m p-values; missing ones do not count and stay missing."""
    out = np.full(len(p), np.nan)
    own = np.flatnonzero(np.isfinite(p))
    out[own] = stepwise("fdr", p[own])
    return out
