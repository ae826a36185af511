"""How many threads the BLAS may use.

A BLAS that splits a small product over all cores waits at every product for its slowest thread. On a machine that is busy
with anything else that costs far more than it brings: the factor and inverse of a matrix of side 1,100 take 55 ms with one
thread, 28 ms with two on idle cores, and up to seconds with two when another program holds one of them. So one thread is
used unless the dense part is large.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["blas_threads"]

LARGE = 2_000
"""Side of a dense part from which on all threads are used."""


@contextmanager
def blas_threads(side: int) -> Iterator[None]:
    """Within the block, one BLAS thread for a dense part of `side` below `LARGE`; no change otherwise."""
    if side >= LARGE:
        yield
        return
    if side:
        import scipy.linalg  # noqa: F401 - its BLAS must be loaded to be limited
    with _controller("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=2)
def _controller(with_scipy: bool) -> Any:
    """The thread pools that are loaded; looked up once with numpy's alone and once with scipy's."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
