"""Programs of JAX that are compiled by hand: how, and in what time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.interrupts import undisturbed
from lmmformula.numerics.x64 import x64
from lmmformula.typing import Array, JaxArray, Numbers, Record

if TYPE_CHECKING:
    import jax


__all__ = ["compiled_loops", "in_slices", "quick"]

SLICE = 250
"""Draws that a function is mapped over at a time."""


def compiled_loops(lowered: jax.stages.Lowered, *, optimise: bool) -> jax.stages.Compiled:
    """The program of a lowered function, with XLA's older way to emit loops: it compiles in half the time.

    Fusions of a few scalars, of which these programs consist, gain nothing from the newer one.
    """
    level: Record = {} if optimise else {"xla_backend_optimization_level": 0}
    try:
        return lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": False} | level)
    except RuntimeError:  # other versions of XLA do not know the option
        return lowered.compile(compiler_options=level or None)


def quick(function: Callable[[JaxArray], Numbers], d: int) -> Callable[[Array], Numbers]:
    """A traceable function of x (d,), compiled in little time for few evaluations, from numpy to numpy."""
    import jax

    def compiled() -> jax.stages.Compiled:
        with x64():
            lowered = jax.jit(function).lower(jax.ShapeDtypeStruct((d,), np.float64))
            return compiled_loops(lowered, optimise=False)

    program = undisturbed(compiled)

    def run(x: Array) -> Numbers:
        with x64():
            return jax.tree.map(np.asarray, program(x))

    return run


def in_slices(function: Callable[[JaxArray], JaxArray], z: Array) -> Array:
    """A traceable function of one z, for draws z (chain, draw, d); compiled once for slices of equal size."""
    import jax

    flat = z.reshape(-1, z.shape[-1])
    size = min(SLICE, len(flat))

    def mapped() -> Array:
        with x64():
            over = jax.jit(jax.vmap(function))
            parts = []
            for i in range(0, len(flat), size):
                first = min(i, len(flat) - size)
                parts.append(np.asarray(over(flat[first : first + size]))[i - first :])
            return np.concatenate(parts)

    return undisturbed(mapped).reshape(*z.shape[:2], -1)
