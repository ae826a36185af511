"""Names for the arrays that go through every room; shapes stand in the docstrings."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Index"]

Array: TypeAlias = NDArray[np.floating[Any]]
"""Real numbers."""

Index: TypeAlias = NDArray[np.integer[Any]]
"""Positions or levels."""
