"""Names for what goes through every room; shapes stand in the docstrings.

Some are `Any` by intent, each for the reason that stands below it, so that nobody else has to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # neither is imported for a name
    import jax
    import matplotlib.axes

__all__ = [
    "AnyFunction",
    "Argument",
    "Arguments",
    "Array",
    "Axes",
    "Context",
    "Data",
    "Drawn",
    "Entries",
    "Foreign",
    "Index",
    "JaxArray",
    "Json",
    "Namespace",
    "Numbers",
    "Record",
    "SparseMatrix",
]

Array: TypeAlias = NDArray[np.floating[Any]]
"""Real numbers."""

Index: TypeAlias = NDArray[np.integer[Any]]
"""Positions or levels."""

Entries: TypeAlias = NDArray[Any]
"""Numbers of any kind, text or objects: what a column of a table holds."""

JaxArray: TypeAlias = "jax.Array"
"""An array of JAX, on whatever device, or what stands for one while a program is traced."""

Namespace: TypeAlias = ModuleType
"""``numpy`` or ``jax.numpy``."""

Numbers: TypeAlias = Any
"""A number or an array of the namespace that a function is given: NumPy's and JAX's stubs share no type that has the
operators, indexing and methods that both have, and either is right."""

Data: TypeAlias = Any
"""The user's table, a column of it, or what stands for one: frames and series of any library that narwhals reads, mappings,
arrays, lists, numbers, and paths of files. `frame.table` finds out which."""

Argument: TypeAlias = Any
"""An argument of a public call, before or after its kind in `arguments.table` has checked it: of whatever type that is."""

Arguments: TypeAlias = Mapping[str, Argument]
"""Arguments by name."""

Context: TypeAlias = Mapping[str, Any]
"""What names in a formula stand for outside of the data: functions, numbers, tables, whatever the user has put there."""

Json: TypeAlias = Any
"""What JSON holds: whoever reads it looks at what there is, and whoever writes it has made it of lists, mappings, text and
numbers."""

Record: TypeAlias = dict[str, Any]
"""Named values of different types, for a file, a table or a reader."""

Foreign: TypeAlias = Any
"""What Numba, LLVM and ctypes hand out and take back, which is without types."""

AnyFunction: TypeAlias = Callable[..., Any]
"""A function that is handed on, looked up or described, and never called with arguments that are known here."""

Axes: TypeAlias = "matplotlib.axes.Axes"
"""What plots draw on."""

Drawn: TypeAlias = Any
"""`Axes`, or an array of them from a plot of several parameters."""

SparseMatrix: TypeAlias = Any
"""A sparse array of scipy's, which is without types: what its classes and operators return differs from version to version."""
