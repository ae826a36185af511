"""Compiled programs on disk: what one process has compiled, the next one loads.

They lie in the user's cache folder, one file each, named by a digest of what decides about the program: its text, the
versions of JAX and of what it was traced by, and the processor, whose instructions it consists of. `LMMFORMULA_CACHE_DIR` names
another folder; empty, nothing is kept. Where nothing can be written, or a file is damaged, programs are compiled in this
process: that takes seconds, and results are the same. The least recently used go where all would be above `MOST_BYTES`.
"""

from __future__ import annotations

import os
import pickle
import platform
import sys
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from lmmformula.files import whole_file
from lmmformula.numerics.x64 import x64

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax

    from lmmformula.typing import Numbers

__all__ = ["folder", "load", "save"]

MOST_BYTES = 256 * 2**20
_SUFFIX = ".program"
_LARGEST = 32 * 2**20


def folder(kind: str) -> Path | None:
    """Where programs, or what else of a kind, are kept; None if nowhere."""
    own = os.environ.get("LMMFORMULA_CACHE_DIR")
    if own is not None:
        return Path(own).expanduser() / kind if own else None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    if not base:
        return None
    with suppress(RuntimeError):  # no home
        return Path(base).expanduser() / "lmmformula" / kind
    return None


def load(key: str) -> Callable[..., Numbers] | None:
    """The program of a key that an earlier process has kept, if there is one that can be read."""
    place = _place(key)
    if place is None or not place.is_file():
        return None
    try:
        from jax.experimental.serialize_executable import deserialize_and_load

        stored = pickle.loads(place.read_bytes())
        _ready()
        with x64():
            found = deserialize_and_load(*stored)
    except Exception:  # damaged, or of another version: it is compiled anew and written over
        with suppress(OSError):
            place.unlink()
        return None
    with suppress(OSError):
        os.utime(place)
    return found


def save(key: str, program: jax.stages.Compiled) -> None:
    """Keep a program, if that is possible."""
    place = _place(key)
    if place is None:
        return
    try:
        from jax.experimental.serialize_executable import serialize

        stored = pickle.dumps(serialize(program))
    except Exception:  # a version of JAX, or a device, whose programs cannot be written
        return
    if len(stored) > _LARGEST:
        return
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with whole_file(place) as path:
            path.write_bytes(stored)
        _trim(place.parent)


def _place(key: str) -> Path | None:
    root = folder("programs")
    if root is None:
        return None
    return root / (sha256(f"{key} {_surroundings()}".encode()).hexdigest()[:40] + _SUFFIX)


@cache
def _surroundings() -> str:
    """What a program depends on besides its text."""
    from importlib.metadata import version

    import jax

    names = ("jax", "jaxlib", "numpyro", "lmmformula")
    return " ".join([*map(_version(version), names), jax.default_backend(), _processor()])


def _version(version: Callable[[str], str]) -> Callable[[str], str]:
    def of(name: str) -> str:
        with suppress(ImportError):
            return f"{name}={version(name)}"
        return name

    return of


def _processor() -> str:
    """Its instructions, as far as they can be read."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return f"{platform.machine()} {line}"
    return f"{platform.machine()} {platform.processor()}"


@cache
def _ready() -> None:
    """Make the routines of LAPACK known to XLA, which JAX does when it first lowers a factorisation.

    A program that calls one and is loaded before that ends the process.
    """
    import jax
    import jax.numpy as jnp

    jax.jit(jnp.linalg.cholesky).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))


def _trim(root: Path) -> None:
    """Remove the least recently used above `MOST_BYTES`."""
    files = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in root.glob("*" + _SUFFIX)), reverse=True)
    total = 0
    for _, size, file in files:
        total += size
        if total > MOST_BYTES:
            file.unlink(missing_ok=True)
