"""How many threads the BLAS may use, and work in parts over threads of our own.

A BLAS that splits a small product over all cores waits at every product for its slowest thread. On a machine that is busy
with anything else that costs far more than it brings: the factor and inverse of a matrix of side 1,100 take 55 ms with one
thread, 28 ms with two on idle cores, and up to seconds with two when another program holds one of them. So one thread is
used unless the dense part is large; searches hold it at one even then, and give it all of them for each factorisation,
inverse or solution (:func:`blas_wide`): between these its threads would wait for work at the cost of those of ours.

Passes over rows, on the other hand, fall into parts that need not wait for each other. :func:`in_parts` runs them on Python's
own threads, which are at hand again after a fork and need no compiler's pool. Parts are cut by the size of the problem
alone and results come in their order, so no number depends on how many threads there are.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import lmmformula.numerics.forks  # noqa: F401 - to see every fork, it must be there before JAX is

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = [
    "alone",
    "blas_held",
    "blas_threads",
    "blas_wide",
    "edges",
    "in_order",
    "in_parts",
    "worker_threads",
]

T = TypeVar("T")
V = TypeVar("V")
_Library: TypeAlias = Any
"""What threadpoolctl, which is without types, knows of a BLAS library."""
_inside: ContextVar[bool] = ContextVar("inside a part", default=False)

LARGE = 2_000
"""Side of a dense part from which on all threads are used."""
SMALL = 40
"""Side up to which numpy factorises a dense part; beyond it is scipy."""


@contextmanager
def blas_threads(side: int) -> Iterator[None]:
    """Within the block, one BLAS thread for a dense part of `side` below `LARGE`; no change otherwise.

    The number of threads mostly belongs to the process. Blocks that overlap in time, in several threads, hold it at one until
    the last of them ends, which restores what the first one found.
    """
    if side >= LARGE:
        yield
        return
    with blas_held(side):
        yield


@contextmanager
def blas_held(side: int) -> Iterator[None]:
    """Within the block, one BLAS thread but in calls under :func:`blas_wide`; `side` is 0 where nothing dense is factorised."""
    if side > SMALL:
        import scipy.linalg  # noqa: F401 - its BLAS must be loaded to be limited
    with _single:
        yield


@contextmanager
def blas_wide(side: int) -> Iterator[None]:
    """Within the block, one call on a dense matrix of `side`, what blocks around it hold at one thread has all from `LARGE` on.

    Parts of our own, which run beside others of their kind, stay with one.
    """
    if side < LARGE or _inside.get():
        yield
        return
    with _single.let_go():
        yield


class _Single:
    """Holds BLAS at one thread while any block lasts.

    The pool of most BLAS libraries belongs to the process: its size is noted by the first block and restored by the last,
    whichever threads these run in. With OpenMP behind it the size is the calling thread's own, and each block restores it.
    """

    def __init__(self) -> None:
        self._turn, self._own = threading.Lock(), _Own()
        self._blocks, self._before = 0, dict[str, tuple[_Library, int]]()
        self._seen: tuple[_Library, ...] = ()

    def __enter__(self) -> None:
        with self._turn:
            held, pools = [], _pools("scipy.linalg" in sys.modules)
            for pool in _of_threads(pools) if self._blocks and pools is self._seen else pools:
                size = pool.num_threads
                if size == 1 or size is None:
                    continue
                if _is_of_threads(pool):
                    held.append((pool, size))
                else:
                    self._before.setdefault(pool.filepath, (pool, size))
                _resize(pool, 1)
            self._own.held.append(held)
            self._blocks, self._seen = self._blocks + 1, pools

    def __exit__(self, *_: object) -> None:
        with self._turn:
            for pool, size in self._own.held.pop():
                _resize(pool, size)
            self._blocks -= 1
            self._restore()

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """The sizes that were found, for a while."""
        with self._turn:
            own = [found for held in self._own.held for found in held]
            for pool, size in (*self._before.values(), *own):
                _resize(pool, size)
        try:
            yield
        finally:
            with self._turn:
                for pool, _ in (*self._before.values(), *own):
                    _resize(pool, 1)

    def after_fork(self) -> None:
        """In a child only the thread that forked lives on, and only its blocks will end."""
        self._turn = threading.Lock()
        self._blocks = len(self._own.held)
        self._restore()

    def _restore(self) -> None:
        if not self._blocks:
            for pool, size in self._before.values():
                _resize(pool, size)
            self._before.clear()


class _Own(threading.local):
    """Blocks of one thread, and the sizes of pools that are its own."""

    def __init__(self) -> None:
        self.held: list[list[tuple[_Library, int]]] = []


_single = _Single()


@lru_cache(maxsize=2)
def _pools(with_scipy: bool) -> tuple[_Library, ...]:
    """BLAS libraries that are loaded; looked up once with numpy's alone and once with scipy's."""
    from threadpoolctl import ThreadpoolController

    return tuple(pool for pool in ThreadpoolController().lib_controllers if pool.user_api == "blas")


def _is_of_threads(pool: _Library) -> bool:
    """Whether each thread has a size of its own."""
    return getattr(pool, "threading_layer", "") == "openmp"


@lru_cache(maxsize=2)
def _of_threads(pools: tuple[_Library, ...]) -> tuple[_Library, ...]:
    """Those whose size is the calling thread's own: another block does not hold them here."""
    return tuple(filter(_is_of_threads, pools))


def _resize(pool: _Library, size: int) -> None:
    """Set the number of threads, also from another thread than the one that set it before, which threadpoolctl ignores."""
    free = getattr(pool, "clear_controlling_thread", None)
    if free is not None:
        free(force=True)
    pool.set_num_threads(size)
    if free is not None:
        free(force=True)


def worker_threads() -> int:
    """Threads for work in parts: NUMBA_NUM_THREADS or OMP_NUM_THREADS where given, at most the cores we may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit():
            return max(1, min(int(value), cores))
    return cores


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, work in parts stays on this thread: others of its kind have the other cores."""
    before = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(before)


def edges(n: int, size: int) -> Sequence[int]:
    """Where the parts of range(n) begin and end, each of `size` but the last."""
    return [*range(0, n, size), n] if n else [0, 0]


def in_parts(function: Callable[[int, int], T], cuts: Sequence[int]) -> list[T]:
    """function(start, stop) for each pair of neighbours in `cuts`, in their order, on several threads where that helps.

    The function must spend its time in code that releases the interpreter's lock. Parts see the caller's context
    variables, numpy's error state among them. This thread works along with the others; each takes the next part that waits.
    Within a part there are no further threads: ours would wait for a place in the pool that it holds, and those of a BLAS,
    whose one pool serves one product at a time, would leave every other part waiting for it (a Gram of 34 columns took thirty
    times as long on two cores).
    """
    parts = list(pairwise(cuts))
    threads = 1 if _inside.get() else min(worker_threads(), len(parts))
    if threads < 2:
        return [function(i, j) for i, j in parts]
    waiting, out = deque(enumerate(parts)), cast("list[T]", [None] * len(parts))

    def work() -> None:
        _inside.set(True)
        with _single:
            while waiting:
                try:
                    k, (start, stop) = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                out[k] = function(start, stop)

    others = [_pool(threads - 1).submit(copy_context().run, work) for _ in range(threads - 1)]
    try:
        copy_context().run(work)
    finally:
        waiting.clear()  # nothing is left unless a part failed
        for other in others:
            if not other.cancel():  # one that has not begun has nothing to do any more
                other.result()
    return out


def in_order(function: Callable[[T], V], items: Iterable[T]) -> Iterator[V]:
    """function(item) of one item after another, worked ahead by several threads as far as two items for each.

    For results that together would not fit in memory; else :func:`in_parts`. Within a function there are no further threads.
    """
    threads = 1 if _inside.get() else worker_threads()
    if threads < 2:
        yield from map(function, items)
        return

    def work(item: T) -> V:
        _inside.set(True)
        with _single:
            return function(item)

    ahead: deque[Future[V]] = deque()
    pool, coming = _pool(threads), iter(items)
    try:
        for item in coming:
            ahead.append(pool.submit(copy_context().run, work, item))
            if len(ahead) >= 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Idle threads, kept from one call to the next: starting them costs as much as a small part."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, thread_name_prefix="lmmformula")


def _after_fork() -> None:
    _pool.cache_clear()  # a child has the pool but not its threads
    _single.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
