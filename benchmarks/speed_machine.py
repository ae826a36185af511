"""What the machine does at best with the threads of fits: bytes in order, cache lines from anywhere, dense arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from lmmformula.typing import Array

__all__ = ["rates"]

CELLS = 12_000_000
"""Of arrays that are larger than any cache."""
LEVELS, LINES = 50_000, 4_000_000
"""Lines of a block of effects, which outer caches may hold, and how many of them are fetched."""
PART = 4_000
"""Lines that are fetched into one small array, so that nothing but fetching takes time."""
SIDE = 1_000


def rates(repeats: int = 5, levels: int = LEVELS) -> dict[str, float]:
    """Bytes a second in order, operations a second, and from anywhere in a block or a column of so many effects lines of 64
    bytes, of 32 bytes, and single numbers a second.

    The best of some, by processor time over the threads: other programs take turns with this one, but lend it no cycles.
    """
    from lmmformula.numerics.threads import edges, in_parts, worker_threads

    threads = worker_threads()
    a, b = np.ones(CELLS), np.ones(CELLS)
    where = np.random.default_rng(1).integers(0, levels, LINES)
    square = np.ones((SIDE, SIDE))

    def over(function: Callable[[int, int], object], size: int) -> float:
        cuts = edges(size, -(-size // threads))
        return min(_seconds(lambda: in_parts(function, cuts)) for _ in range(repeats)) / threads

    def fetched(table: Array) -> float:
        rooms = [np.empty((PART, *table.shape[1:]), table.dtype) for _ in range(threads)]

        def part(i: int, j: int) -> None:
            room = rooms[i // -(-LINES // threads)]
            for k in range(i, j, PART):
                some = where[k : min(k + PART, j)]
                np.take(table, some, axis=0, out=room[: len(some)], mode="clip")

        return LINES / over(part, LINES)

    stream = over(lambda i, j: np.multiply(a[i:j], 2.0, out=b[i:j]), CELLS)
    dense = over(lambda i, j: square[i:j] @ square, SIDE)
    return {
        "threads": threads,
        "stream": 3 * 8 * CELLS / stream,
        "gather": fetched(np.ones((levels, 8))),
        "halves": fetched(np.ones((levels, 8), np.float32)),
        "numbers": fetched(np.ones(levels)),
        "flops": 2.0 * SIDE**3 / dense,
    }


def _seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start
