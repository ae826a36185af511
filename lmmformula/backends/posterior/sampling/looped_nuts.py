"""Chains on the marginal density of variances in compiled loops, without JAX.

The sampler is :func:`lmmformula.numerics.nuts_kernels.nuts_iterations`, masses are
:mod:`lmmformula.backends.posterior.sampling.adaptation`'s. A chain's state is (z, gradient, potential, words of its random
numbers, dual averages, T, iterations done, draws of the window), z in its own coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lmmformula.backends.posterior.density.looped import Looped
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.sampling.adaptation import Windows, map_of
from lmmformula.backends.posterior.sampling.nuts import STEP, Nuts
from lmmformula.backends.posterior.sampling.request import State
from lmmformula.errors import PlanError
from lmmformula.typing import Array, Numbers

__all__ = ["LoopedProgram"]

_LEAVES, _WORDS = 8, 4
"""Arrays of a chain's state, and words of its random numbers."""


@dataclass(frozen=True, eq=False)
class LoopedProgram:
    """Iterations of one density in the coordinates of one scale.

    Attributes
    ----------
    nuts : Nuts
    looped : Looped
    scale : Scale
    """

    nuts: Nuts
    looped: Looped
    scale: Scale
    windows: Windows = field(init=False)

    def __post_init__(self) -> None:
        none = Windows(self.nuts.warmup, ())
        object.__setattr__(self, "windows", Windows.of(self.nuts.warmup) if self.nuts.adapt_mass else none)

    def begin(self, z: Array, seed: int, chain: int, value: float, gradient: Array) -> State:
        """The state of a chain before its first iteration, at `z` with the potential's value and gradient."""
        words: Numbers = np.random.SeedSequence([seed, 3, chain]).generate_state(_WORDS, np.uint64)
        d, step = len(z), np.log(STEP)
        tuner = np.array([step, step, 0.0, 0.0, step])
        own = (np.array(z, dtype=float), np.array(gradient, dtype=float), np.array([value]), words, tuner)
        return (*own, np.eye(d), np.array(0), np.zeros((0, d)))

    def __call__(self, n: int, state: State) -> tuple[State, list[Array]]:
        """`n` iterations: the state after them, and their z and statistics.

        Raises
        ------
        PlanError
            If the state is not one of this program.
        """
        if len(state) != _LEAVES or np.shape(state[3]) != (_WORDS,):
            raise PlanError(
                "these chains cannot go on: an earlier version of lmmformula ran them by another program, whose state "
                "this one does not read. Fit the model again, with as many draws as are wanted."
            )
        parts: list[tuple[Array, Array]] = []
        while n > 0:
            done = int(state[6])
            end = self.windows.next(done)
            some = n if end is None else min(n, end - done)
            state, z, records = self._iterated(some, state)
            parts.append((z, records))
            n -= some
        z, records = (np.concatenate(own) for own in zip(*parts, strict=True))
        diverging, steps, *others = records.T
        return state, [z, diverging > 0.0, steps.astype(np.int64), *others]

    def _iterated(self, n: int, state: State) -> tuple[State, Array, Array]:
        """The same within a window; z in the coordinates of the scale."""
        from lmmformula.numerics.nuts_kernels import nuts_iterations

        z, gradient, value, words, tuner, turned, done, found = (np.array(leaf) for leaf in state)
        nuts, looped, d = self.nuts, self.looped, len(z)
        half = np.ascontiguousarray(self.scale.half @ turned)
        draws, records = np.empty((n, d)), np.empty((n, 5))
        tuned = max(0, min(n, nuts.warmup - int(done)))
        moving = (z, gradient, value, words, tuner, self.scale.mode, half)
        nuts_iterations(
            tuned,
            nuts.target_accept,
            nuts.max_depth,
            *moving,
            looped.address,
            *looped.arguments,
            draws,
            records,
        )
        out = np.einsum(
            "nj,ij->ni", draws, turned
        )  # a product by BLAS would depend on how many rows there are
        if int(done) >= self.windows.begin and self.windows.next(int(done)) is not None:
            found = np.concatenate([found, draws])
        done = done + n
        if int(done) in self.windows.ends:
            own = map_of(found)
            z, gradient, turned = np.linalg.solve(own, z), own.T @ gradient, turned @ own
            found, tuner = found[:0], np.array([tuner[1], tuner[1], 0.0, 0.0, tuner[1]])
        return (z, gradient, value, words, tuner, turned, done, found), out, records
