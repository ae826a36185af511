"""The environment of processes that are measured: threads of libraries, and Python's bytecode as installed programs have it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["THREADS", "environment"]

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_BYTECODE = Path(tempfile.gettempdir()) / "lmmformula-benchmarks-bytecode"
"""Where compiled modules are kept, whatever the environment says: an installed package has them beside its sources."""


def environment(threads: int | None = None, **more: str) -> dict[str, str]:
    """That of this process with so many threads, or as many as libraries choose, and `more`."""
    out = os.environ | {"PYTHONPYCACHEPREFIX": str(_BYTECODE)} | more
    out.pop("PYTHONDONTWRITEBYTECODE", None)
    return out | dict.fromkeys(THREADS, str(threads)) if threads else out
