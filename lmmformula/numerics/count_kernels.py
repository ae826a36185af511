"""A compiled sum by code. Imported only by problems large enough to repay it."""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["add_by_code"]


@compiled(fast=False, bare=True)
def add_by_code(codes, values, out):
    """Add each of `values` to the element of `out` that its code names, in their order."""
    for r in range(len(codes)):
        out[np.uint64(codes[r])] += values[r]
