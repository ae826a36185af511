"""Where parts of compressed rows begin and end, for :func:`lmmformula.numerics.threads.in_parts`.

Cuts follow from the rows alone, never from the number of threads, and so do sums of parts.
"""

from __future__ import annotations

import numpy as np

from lmmformula.typing import Index, Numbers

__all__ = ["cuts_at", "even_cuts", "summing_parts"]


def cuts_at(ptr: Index, goals: Numbers) -> list[int]:
    """Where parts of compressed rows begin and end that are cut at the rows in which these of their entries stand."""
    return np.unique([0, *np.searchsorted(ptr, goals).tolist(), len(ptr) - 1]).tolist()


def even_cuts(ptr: Index, count: int) -> list[int]:
    """The same of `count` parts, about as many entries in each; fewer where a row has more than that."""
    return cuts_at(ptr, np.linspace(0, int(ptr[-1]), count + 1)[1:-1])


def summing_parts(width: int, cells: int, most: int = 16) -> int:
    """How many parts have sums of their own, each so many cells wide and all together no more than `cells`; at least two."""
    return int(np.clip(cells // max(width, 1), 2, most))
