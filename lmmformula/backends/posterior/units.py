"""A posterior of random effects in standard units, and the same in the user's: b = b~ / units for each column of a term."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmmformula.backends.posterior.record import Posterior
from lmmformula.ir.problem import Problem
from lmmformula.ir.variance_parameters import term_parameters
from lmmformula.typing import Array

__all__ = ["from_user", "to_user"]


def to_user(posterior: Posterior, problem: Problem) -> Posterior:
    """`posterior` of the scaled `problem`, in the user's units; coordinates of the sampler stay as they are."""
    return _multiplied(
        posterior, problem, [None if t.units is None else 1.0 / t.units for t in problem.terms]
    )


def from_user(posterior: Posterior, problem: Problem) -> Posterior:
    """The inverse of :func:`to_user`."""
    return _multiplied(posterior, problem, [t.units for t in problem.terms])


def _multiplied(posterior: Posterior, problem: Problem, factors: list[Array | None]) -> Posterior:
    """Random effects and their standard deviations times a factor for each column, where a term has any."""
    if all(f is None for f in factors):
        return posterior
    scale = np.ones(len(posterior.names))
    for own, factor in zip(term_parameters(problem), factors, strict=True):
        if factor is not None:
            for name, c in zip(own.sds, factor[: len(own.sds)], strict=True):
                scale[posterior.names.index(name)] = c
    every = [1.0 if f is None else f for f in factors]

    def moved(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(a * f for a, f in zip(arrays, every, strict=True))

    return replace(
        posterior,
        variances=posterior.variances * scale,
        effects=None if posterior.effects is None else moved(posterior.effects),
        effect_means=moved(posterior.effect_means),
        effect_sds=moved(posterior.effect_sds),
    )
