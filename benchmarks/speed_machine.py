"""What the machine does at best with the threads of fits: bytes in order, cache lines from anywhere, dense arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

__all__ = ["rates"]

CELLS = 12_000_000
"""Of arrays that are larger than any cache."""
LINES = 2_000_000
SIDE = 1_500


def rates(repeats: int = 5) -> dict[str, float]:
    """Bytes a second in order, lines of 64 bytes a second from anywhere, operations a second: the best of some."""
    from lmmformula.numerics.threads import edges, in_parts, worker_threads

    threads = worker_threads()
    a, b = np.ones(CELLS), np.ones(CELLS)
    where = np.random.default_rng(1).integers(0, CELLS // 8, LINES)
    table, got = a.reshape(-1, 8), np.empty((LINES, 8))
    square = np.ones((SIDE, SIDE))

    def over(function: Callable[[int, int], object], size: int) -> float:
        cuts = edges(size, -(-size // threads))
        return min(_seconds(lambda: in_parts(function, cuts)) for _ in range(repeats))

    stream = over(lambda i, j: np.multiply(a[i:j], 2.0, out=b[i:j]), CELLS)
    gather = over(lambda i, j: np.take(table, where[i:j], axis=0, out=got[i:j], mode="clip"), LINES)
    dense = over(lambda i, j: square[i:j] @ square, SIDE)
    return {
        "threads": threads,
        "stream": 3 * 8 * CELLS / stream,
        "gather": LINES / gather,
        "flops": 2.0 * SIDE**3 / dense,
    }


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
