"""Programs of JAX that are compiled by hand: how, in what time, and only once.

Functions here are traced, and what they trace to is compared (:mod:`lmmformula.numerics.hoisting`): a program that this
process has compiled, or one before it (:mod:`lmmformula.numerics.kept_programs`), is taken with the numbers of the function
at hand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.interrupts import undisturbed
from lmmformula.numerics.x64 import chosen_device, x64
from lmmformula.typing import Array, JaxArray, Numbers, Record

if TYPE_CHECKING:
    import jax

    from lmmformula.numerics.hoisting import Hoisted


__all__ = ["compiled_hoisted", "compiled_loops", "compiled_once", "in_slices", "on_device", "quick", "traced"]

SLICE = 250
"""Draws that a function is mapped over at a time."""
_MOST = 64
"""Programs that a process holds on to."""
_made: OrderedDict[str, Callable[..., Numbers]] = OrderedDict()
_lock = Lock()


def compiled_once(
    key: str | None, lowered: Callable[[], jax.stages.Lowered], *, optimise: bool
) -> Callable[..., Numbers]:
    """The program of the key: the one that there is, or else lowered now.

    Parameters
    ----------
    key : str or None
        What decides about the program: texts of what was traced, and options. None where that cannot be said.
    lowered : callable
        Traces and lowers it; of tuples of arrays.
    optimise : bool
        See :func:`compiled_loops`.
    """
    from lmmformula.numerics import kept_programs

    if key is None:
        return compiled_loops(lowered(), optimise=optimise)
    key = sha256(f"{key} {optimise} {chosen_device()}".encode()).hexdigest()
    with _lock:
        if key in _made:
            _made.move_to_end(key)
            return _made[key]
    found = kept_programs.load(key)
    if found is None:
        found = compiled_loops(lowered(), optimise=optimise)
        kept_programs.save(key, found)
    with _lock:
        _made[key] = found
        while len(_made) > _MOST:
            _made.popitem(last=False)
    return found


def compiled_loops(lowered: jax.stages.Lowered, *, optimise: bool) -> jax.stages.Compiled:
    """The program of a lowered function, with XLA's older way to emit loops: it compiles in half the time.

    Fusions of a few scalars, of which these programs consist, gain nothing from the newer one.
    """
    level: Record = {"xla_backend_optimization_level": 3 if optimise else 0}
    try:
        return lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": False} | level)
    except RuntimeError:  # other versions of XLA do not know the option
        return lowered.compile(compiler_options=level or None)


def on_device(numbers: tuple[Array, ...]) -> tuple[JaxArray, ...]:
    """Arrays where programs find them without a copy. Call it within 64 bits."""
    import jax

    return tuple(jax.device_put(one) for one in numbers)


def _shapes(numbers: tuple[Array, ...]) -> tuple[Numbers, ...]:
    import jax

    return tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in numbers)


def traced(function: Callable[[JaxArray], Numbers], d: int) -> Hoisted:
    """A function of x (d,), traced once for several uses."""
    import jax

    from lmmformula.numerics.hoisting import hoisted

    def once() -> Hoisted:
        with x64():
            return hoisted(function, jax.ShapeDtypeStruct((d,), np.float64))

    return undisturbed(once)


def quick(function: Callable[[JaxArray], Numbers] | Hoisted, d: int) -> Callable[[Array], Numbers]:
    """A traceable function of x (d,), compiled in little time for few evaluations, from numpy to numpy."""
    import jax

    from lmmformula.numerics.hoisting import Hoisted, hoisted

    def compiled() -> tuple[Callable[..., Numbers], tuple[JaxArray, ...]]:
        with x64():
            x = jax.ShapeDtypeStruct((d,), np.float64)
            return compiled_hoisted(function if isinstance(function, Hoisted) else hoisted(function, x), x)

    program, numbers = undisturbed(compiled)

    def run(x: Array) -> Numbers:
        with x64():
            return jax.tree.map(np.asarray, program(numbers, x))

    return run


def compiled_hoisted(own: Hoisted, x: Numbers) -> tuple[Callable[..., Numbers], tuple[JaxArray, ...]]:
    """The program of a function of one x, compiled in little time, and its numbers."""
    import jax

    program = compiled_once(own.text, lambda: jax.jit(own).lower(_shapes(own.numbers), x), optimise=False)
    return program, on_device(own.numbers)


def in_slices(function: Callable[[JaxArray], JaxArray], z: Array) -> Array:
    """A traceable function of one z, for draws z (chain, draw, d); compiled once for slices of equal size."""
    import jax

    from lmmformula.numerics.hoisting import hoisted

    flat = z.reshape(-1, z.shape[-1])
    size = min(SLICE, len(flat))

    def mapped() -> Array:
        with x64():
            x = jax.ShapeDtypeStruct((size, flat.shape[1]), np.float64)
            over, numbers = compiled_hoisted(hoisted(jax.vmap(function), x), x)
            parts = []
            for i in range(0, len(flat), size):
                first = min(i, len(flat) - size)
                parts.append(np.asarray(over(numbers, flat[first : first + size]))[i - first :])
            return np.concatenate(parts)

    return undisturbed(mapped).reshape(*z.shape[:2], -1)
