"""Compiled functions, kept on disk where that is possible.

Numba keeps what it has compiled beside the source or in the user's cache folder. Where neither can be written (a container
without a home), or what lies there cannot be read (a disk that was full, a crash), functions are compiled in this process
and a warning says so once; the numbers are the same. `NUMBA_CACHE_DIR` names another folder.

There is no ``parallel=True`` here: the pool of OpenMP or TBB behind it does not survive a fork. Loops take a range of their
work, release the interpreter's lock, and are shared out by :func:`lmmformula.numerics.threads.in_parts`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba

from lmmformula.errors import LmmformulaWarning
from lmmformula.typing import AnyFunction, Record

__all__ = ["compiled"]

_FAST = {"contract", "reassoc"}
"""Sums may be reordered and fused; nan, infinity and the sign of zero mean what they mean."""
_told: set[str] = set()


def compiled(*, fast: bool = True) -> Callable[[AnyFunction], AnyFunction]:
    """Decorator: compile a function of arrays and numbers when it is first called.

    Parameters
    ----------
    fast : bool
        Whether sums may be reordered, so that they fill the processor's vectors.
    """
    options: Record = {"nogil": True, "fastmath": _FAST if fast else False}

    def decorate(function: AnyFunction) -> AnyFunction:
        out: Any = numba.njit(**options)(function)
        try:
            out.enable_caching()
        except (RuntimeError, OSError) as error:  # no folder to keep it in
            _tell("no folder", "no folder can be written to", error)
        else:
            if hasattr(out, "_cache"):
                out._cache = _Guarded(out._cache)
        return out

    return decorate


class _Guarded:
    """Numba's cache of one function, whose failures cost time only."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, sig: Any, target: Any) -> Any:
        """What was compiled earlier for these types, or None."""
        try:
            return self._cache.load_overload(sig, target)
        except Exception as error:
            _tell("damaged", f"a file in {self._cache.cache_path} is damaged", error)
            self._empty()
            return None

    def save_overload(self, sig: Any, result: Any) -> None:
        """Keep what was compiled now."""
        try:
            self._cache.save_overload(sig, result)
        except Exception as error:
            self._empty()
            _tell("not writable", f"{self._cache.cache_path} cannot be written", error)

    def _empty(self) -> None:
        try:
            self._cache.flush()
        except Exception as error:
            _tell("not writable", f"{self._cache.cache_path} cannot be written", error)


def _tell(kind: str, what: str, error: Exception) -> None:
    """Warn once of each kind of failure."""
    if kind in _told:
        return
    _told.add(kind)
    cure = "" if kind != "damaged" else ", or remove the damaged files"
    warnings.warn(
        f"compiled functions are not kept on disk: {what} ({type(error).__name__}: {error}). Each process compiles them anew, "
        f"which takes seconds; results are the same. Set NUMBA_CACHE_DIR to a folder that can be written{cure}.",
        LmmformulaWarning,
        stacklevel=2,
    )
