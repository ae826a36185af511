r"""Compiled loops as machine code on disk, which a process runs without the compiler that made it.

Importing Numba and reading what it has kept takes a fresh process about a second of processor time, the loops of many fits
less than that. So the object file of a loop is kept for itself, linked by LLVM's own loader (a few milliseconds), and called
through ctypes, which releases the interpreter's lock.

Numba's convention of calls, which its own callers follow (``numba.core.callconv.CPUCallConv``), is::

    int32 f(result *, error **, argument, ...)

with an array as (owner, parent, items, bytes of an item, data, shape ..., strides ...), owner and parent of which may be null.
What a loop allocates it asks of two functions of Numba's runtime, which are defined here in LLVM's language.

A loop can be kept if nothing else of Numba is called by it, arguments are numbers and arrays, and it returns at most one
number; :mod:`lmmformula.numerics.compiled` falls back on Numba for others, and where LLVM's loader is not as expected. Files
are named by a digest of everything that decides about the code, and hold a digest of their content.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lmmformula.files import whole_file
from lmmformula.numerics.kept_programs import folder
from lmmformula.typing import Foreign, Numbers, Record

__all__ = ["Kinds", "Loop", "bare_options", "keep", "kinds_of", "load", "refuse", "refused"]

Kinds: TypeAlias = tuple[object, ...]
"""What of the arguments decides about the code."""

bare_options: Record = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of Numba by which an object file calls nothing of Python's."""
_SUFFIX, _NO = ".loop", b"not to be kept"
_NUMBERS = {"none": None, "float64": ctypes.c_double, "int64": ctypes.c_int64}
_FINE = (0, -2)
"""Statuses of calls that ended, with a result or with None."""
_LIBRARY = (
    *("malloc", "free", "memcpy", "memmove", "memset", "sqrt", "sqrtf", "exp", "expf", "expm1"),
    *("log", "logf", "log1p", "pow", "fabs", "floor", "ceil"),
)
"""Functions of the C library that a loop may call."""
_OUTSIDE = frozenset((*_LIBRARY, "NRT_MemInfo_alloc_aligned", "NRT_MemInfo_call_dtor"))
"""All that a loop may call: those and the two below."""
_RUNTIME = """
declare ptr @malloc(i64)
declare void @free(ptr)
define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %a = zext i32 %align to i64
  %more = add i64 %a, 64
  %whole = add i64 %size, %more
  %owner = call ptr @malloc(i64 %whole)
  %none = icmp eq ptr %owner, null
  br i1 %none, label %end, label %made
made:
  %at = ptrtoint ptr %owner to i64
  %high = add i64 %at, %more
  %above = sub i64 %high, 1
  %mask = sub i64 0, %a
  %data = and i64 %above, %mask
  store i64 1, ptr %owner
  %p1 = getelementptr i64, ptr %owner, i64 1
  store i64 0, ptr %p1
  %p2 = getelementptr i64, ptr %owner, i64 2
  store i64 0, ptr %p2
  %p3 = getelementptr i64, ptr %owner, i64 3
  store i64 %data, ptr %p3
  %p4 = getelementptr i64, ptr %owner, i64 4
  store i64 %size, ptr %p4
  %p5 = getelementptr i64, ptr %owner, i64 5
  store i64 0, ptr %p5
  br label %end
end:
  ret ptr %owner
}
define void @NRT_MemInfo_call_dtor(ptr %owner) {
  call void @free(ptr %owner)
  ret void
}
"""
"""Memory of arrays that a loop makes: (owners, 0, 0, data, bytes, 0), then the data, as in ``numba/core/runtime/nrt.cpp``."""
_OPAQUE = 17
"""Version of LLVM from which on it reads ``ptr``."""
_lock = threading.RLock()


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A loop that can be called.

    Attributes
    ----------
    call : ctypes function
    address : int
    number : ctypes type or None
        What it returns.
    failed : callable
        Called with the arguments where the loop raised an error: raises it.
    """

    call: Callable[..., int]
    address: int
    number: Foreign
    failed: Callable[..., object]

    def __call__(self, *arguments: Numbers) -> Numbers:
        result, error = (self.number or ctypes.c_void_p)(), ctypes.c_void_p()
        flat: list[Foreign] = [ctypes.byref(result), ctypes.byref(error)]
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                data = argument.__array_interface__["data"][0]
                flat += (None, None, argument.size, argument.itemsize, data)
                flat += argument.shape
                flat += argument.strides
            else:
                flat.append(argument)
        if self.call(*flat) not in _FINE:
            return self.failed(*arguments)
        return result.value if self.number else None


def kinds_of(arguments: Sequence[Numbers]) -> Kinds | None:
    """Types of arguments as far as they decide about the code; None if a loop cannot be kept for them."""
    out: list[object] = []
    for argument in arguments:
        kind = type(argument)
        if kind is np.ndarray:
            flags = argument.flags
            layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
            out.append((argument.dtype, argument.ndim, layout, flags.writeable, flags.aligned))
        elif kind is int or kind is np.int64:
            out.append(int)
        elif kind is float or kind is np.float64:
            out.append(float)
        else:
            return None
    return tuple(out)


def load(key: str, kinds: Kinds, failed: Callable[..., object]) -> Loop | None:
    """The loop of a key that an earlier process has kept, if there is one that is whole."""
    place = _place(key, kinds)
    try:
        stored = b"" if place is None else place.read_bytes()
    except OSError:
        return None
    head, _, code = stored.partition(b"\n")
    words = head.decode(errors="replace").split(" ")
    if len(words) != 3 or words[0] != sha256(code).hexdigest():
        return None
    return Loop(*_linked(words[1], code, kinds), _NUMBERS[words[2]], failed)


def refused(key: str, kinds: Kinds) -> bool:
    """Whether nothing can be kept here, or not this loop."""
    place = _place(key, kinds)
    if place is None or not _writable(place.parent) or _linker() is None:
        return True
    with suppress(OSError):
        return place.read_bytes() == _NO
    return False


def keep(key: str, kinds: Kinds, compiled: Foreign) -> bool:
    """Keep what Numba has compiled with `bare_options`; whether that was possible."""
    library, number = compiled.library, str(compiled.signature.return_type)
    outside = {f.name for f in library._final_module.functions if f.is_declaration}
    if number not in _NUMBERS or any(n not in _OUTSIDE for n in outside if not n.startswith("llvm.")):
        return False
    code = library._get_compiled_object()
    head = f"{sha256(code).hexdigest()} {compiled.fndesc.llvm_func_name} {number}\n"
    return _write(_place(key, kinds), head.encode() + code)


def refuse(key: str, kinds: Kinds) -> None:
    """Note that a loop cannot be kept, so that no later process tries."""
    _write(_place(key, kinds), _NO)


@cache
def _writable(root: Path) -> bool:
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.access(root, os.W_OK)
    return False


def _write(place: Path | None, content: bytes) -> bool:
    if place is None:
        return False
    with suppress(OSError):
        with whole_file(place) as path:
            path.write_bytes(content)
        return True
    return False


def _place(key: str, kinds: Kinds) -> Path | None:
    root = folder("loops")
    if root is None:
        return None
    text = f"{key} {kinds} {_surroundings()}"
    return root / (sha256(text.encode()).hexdigest()[:40] + _SUFFIX)


@cache
def _surroundings() -> str:
    """What code depends on besides its text: versions and the processor."""
    from importlib.metadata import version

    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    here = (binding.get_process_triple(), binding.get_host_cpu_name(), features)
    return " ".join((sha256(_RUNTIME.encode()).hexdigest(), version("numba"), version("llvmlite"), *here))


@cache
def _linker() -> Foreign | None:
    """LLVM's loader, which all loops of a process share; None where it lacks something."""
    from llvmlite import binding

    if binding.llvm_version_info[0] < _OPAQUE:
        return None
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    try:
        process = ctypes.CDLL(None)
        known = {name: ctypes.cast(getattr(process, name), ctypes.c_void_p).value for name in _LIBRARY}
    except (OSError, TypeError, AttributeError):  # a system whose C library is not the process's own
        return None
    for name, address in known.items():
        binding.add_symbol(name, address)
    machine = binding.Target.from_default_triple().create_target_machine()
    return binding.create_mcjit_compiler(binding.parse_assembly(_RUNTIME), machine)


def _linked(name: str, code: bytes, kinds: Kinds) -> tuple[Callable[..., int], int]:
    from llvmlite import binding

    with _lock:
        linker = _linker()
        assert linker is not None  # `refused` has asked
        linker.add_object_file(binding.ObjectFileRef.from_data(code))
        linker.finalize_object()
        address = linker.get_function_address(name)
    types: list[Foreign] = [ctypes.c_void_p, ctypes.c_void_p]
    for kind in kinds:
        if isinstance(kind, tuple):
            types += [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
            types += [ctypes.c_int64] * (2 * kind[1])
        else:
            types.append(ctypes.c_double if kind is float else ctypes.c_int64)
    return ctypes.CFUNCTYPE(ctypes.c_int32, *types)(address), address
