"""Memory that a pass over rows gives back and takes again at once stays with the process meanwhile.

Processes of clusters are often told to return memory to the system eagerly (Dask sets MALLOC_TRIM_THRESHOLD_ for its workers).
Every temporary array of a pass is then mapped, cleared and unmapped by the system: half of a pass's time.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

__all__ = ["memory_stays", "memory_stays_with"]

_TRIM, _MMAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc."""
_STAYS = 1 << 28
"""Bytes that stay; far more than the temporaries of a part."""
_LARGE = 32 << 20
"""Bytes of an allocation that is the system's own; glibc takes no larger threshold."""

_turn, _blocks = threading.Lock(), [0]


@contextmanager
def memory_stays() -> Iterator[None]:
    """Within the block glibc, where it has been told to trim eagerly, does not; elsewhere nothing changes."""
    _begin()
    try:
        yield
    finally:
        _end()


def memory_stays_with(owner: object) -> None:
    """The same for as long as `owner` lives."""
    _begin()
    weakref.finalize(owner, _end)


def _begin() -> None:
    library = _told_to_trim()
    if library is not None:
        with _turn:
            _blocks[0] += 1
            library.mallopt(_TRIM, _STAYS)
            library.mallopt(_MMAP, _LARGE)


def _end() -> None:
    library = _told_to_trim()
    if library is not None:
        with _turn:
            _blocks[0] -= 1
            if not _blocks[0]:
                library.mallopt(_TRIM, int(os.environ["MALLOC_TRIM_THRESHOLD_"]))
                library.mallopt(_MMAP, int(os.environ.get("MALLOC_MMAP_THRESHOLD_", 128 * 1024)))
                library.malloc_trim(0)


@lru_cache(maxsize=1)
def _told_to_trim() -> ctypes.CDLL | None:
    """The C library, if it is glibc and trims eagerly."""
    eager = os.environ.get("MALLOC_TRIM_THRESHOLD_", "")
    return _glibc() if eager.isdigit() and int(eager) < _STAYS else None


@lru_cache(maxsize=1)
def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
