"""Compiled functions, kept on disk where that is possible.

A function is compiled by Numba when it is first called, and kept: machine code in the folder of
:mod:`lmmformula.numerics.machine_code`, from where a later process loads it without Numba, or, where that does not suit, by
Numba's own cache beside the source or in the user's cache folder. Where neither can be written (a container
without a home), or what lies there cannot be read (a disk that was full, a crash), functions are compiled in this process
and a warning says so once; the numbers are the same. `NUMBA_CACHE_DIR` names another folder.

There is no ``parallel=True`` here: the pool of OpenMP or TBB behind it does not survive a fork. Loops take a range of their
work, release the interpreter's lock, and are shared out by :func:`lmmformula.numerics.threads.in_parts`.
"""

from __future__ import annotations

import threading
import types
import warnings
from collections.abc import Callable
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path

from lmmformula.errors import LmmformulaWarning
from lmmformula.numerics import machine_code
from lmmformula.numerics.machine_code import Kinds
from lmmformula.typing import AnyFunction, Foreign, Numbers, Record

__all__ = ["Kernel", "Written", "compiled"]

_FAST = {"contract", "reassoc"}
"""Sums may be reordered and fused; nan, infinity and the sign of zero mean what they mean."""
_told: set[str] = set()
_compiling = threading.RLock()


def compiled(*, fast: bool = True, bare: bool = False) -> Callable[[AnyFunction], Kernel]:
    """Decorator: compile a function of arrays and numbers when it is first called.

    Parameters
    ----------
    fast : bool
        Whether sums may be reordered, so that they fill the processor's vectors.
    bare : bool
        Whether it is kept as machine code that runs without Numba: a call costs some microseconds more, a fresh process starts
        sooner. For loops over much that return nothing or one number.
    """
    return lambda function: Kernel(function, fast, bare)


class Kernel:
    """A function that is compiled when it is first called; others that are compiled may call it."""

    def __init__(self, function: AnyFunction, fast: bool, bare: bool) -> None:
        self._function, self._fast, self._bare = function, fast, bare
        self._loops = dict[Kinds, AnyFunction]()
        self._text = _text(function.__code__.co_filename) if bare else ""
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    def __call__(self, *arguments: Numbers) -> Numbers:
        if not self._bare:
            return self.dispatcher(*arguments)
        kinds = machine_code.kinds_of(arguments)
        if kinds is None:
            return self.dispatcher(*arguments)
        loop = self._loops.get(kinds)
        if loop is None:
            with _compiling:
                loop = self._loops[kinds] = self._found(kinds, arguments)
        return loop(*arguments)

    def address(self, *arguments: Numbers) -> int:
        """Where the machine code for such arguments stands, for other loops that call it (:mod:`called_kernels`)."""
        kinds = machine_code.kinds_of(arguments)
        assert kinds is not None
        with _compiling:
            loop = self._loops.get(kinds)
            if loop is None:
                loop = self._loops[kinds] = self._found(kinds, arguments)
        if isinstance(loop, machine_code.Loop):
            return loop.address
        import numba

        signature = tuple(map(numba.typeof, arguments))
        self.dispatcher.compile(signature)
        own = self.dispatcher.overloads[signature]
        return own.library.get_pointer_to_function(own.fndesc.llvm_func_name)

    @cached_property
    def dispatcher(self) -> Foreign:
        """Numba's own function, with its cache."""
        import numba

        out: Foreign = numba.njit(**self._options)(self._linked)
        try:
            out.enable_caching()
        except (RuntimeError, OSError) as error:  # no folder to keep it in
            _tell("no folder", "no folder can be written to", error)
        else:
            if hasattr(out, "_cache"):
                out._cache = _Guarded(out._cache)
        return out

    @property
    def _options(self) -> Record:
        """As in NumPy a division by zero is infinite or nan: loops that look for it do not fill the processor's vectors."""
        return {"nogil": True, "error_model": "numpy", "fastmath": _FAST if self._fast else False}

    def _found(self, kinds: Kinds, arguments: tuple[Numbers, ...]) -> AnyFunction:
        """Machine code for these arguments, from the disk or compiled now; Numba's own function where that does not suit."""
        if machine_code.refused(self.key, kinds):
            return self.dispatcher
        loop = machine_code.load(self.key, kinds, self._failed)
        if loop is not None:
            return loop
        import numba

        options = self._options | machine_code.bare_options
        bare: Foreign = numba.njit(**options)(self._linked)
        signature = tuple(map(numba.typeof, arguments))
        bare.compile(signature)
        if not machine_code.keep(self.key, kinds, bare.overloads[signature]):
            machine_code.refuse(self.key, kinds)
            return self.dispatcher
        return machine_code.load(self.key, kinds, self._failed) or self.dispatcher

    def _failed(self, *arguments: Numbers) -> object:
        """What Numba's own function raises for arguments at which machine code has ended with an error."""
        return self.dispatcher(*arguments)

    @cached_property
    def _linked(self) -> AnyFunction:
        """The function with Numba's own in place of the kernels that it calls."""
        function, others = self._function, self._others
        if not others:
            return function
        names = function.__globals__ | {name: other.dispatcher for name, other in others.items()}
        out = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
        out.__qualname__, out.__module__ = function.__qualname__, function.__module__
        return out

    @property
    def _others(self) -> dict[str, Kernel | Written]:
        known, names = self._function.__globals__, self._function.__code__.co_names
        return {n: known[n] for n in names if isinstance(known.get(n), Kernel | Written)}

    @cached_property
    def key(self) -> str:
        """What decides about the code: the text of its module, numbers from elsewhere, and the kernels that it calls."""
        code, known = self._function.__code__, self._function.__globals__
        numbers = {n: known[n] for n in code.co_names if isinstance(known.get(n), int | float | tuple)}
        own = f"{self._text} {self._function.__qualname__} {self._fast} {numbers}"
        return " ".join((own, *(other.key for other in self._others.values())))


class Written:
    """A part of compiled functions that is written in LLVM's language; `make` returns Numba's intrinsic.

    It is called in the text of compiled functions alone, by Numba.
    """

    def __init__(self, make: Callable[[], Foreign]) -> None:
        self._make = make

    def __call__(self, *arguments: Numbers) -> Numbers:
        raise TypeError(f"{self._make.__name__} runs within compiled functions only")

    @cached_property
    def dispatcher(self) -> Foreign:
        """The intrinsic."""
        return self._make()

    @cached_property
    def key(self) -> str:
        """What decides about the code: the text of its module."""
        return f"{_text(self._make.__code__.co_filename)} {self._make.__qualname__}"


@lru_cache(maxsize=64)
def _text(path: str) -> str:
    """Digest of a source file."""
    return sha256(Path(path).read_bytes()).hexdigest()


class _Guarded:
    """Numba's cache of one function, whose failures cost time only."""

    def __init__(self, cache: Foreign) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Foreign:
        return getattr(self._cache, name)

    def load_overload(self, sig: Foreign, target: Foreign) -> Foreign:
        """What was compiled earlier for these types, or None."""
        try:
            return self._cache.load_overload(sig, target)
        except Exception as error:
            _tell("damaged", f"a file in {self._cache.cache_path} is damaged", error)
            self._empty()
            return None

    def save_overload(self, sig: Foreign, result: Foreign) -> None:
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
