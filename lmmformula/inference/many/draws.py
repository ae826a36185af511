"""Responses drawn from a fit, many at a time: the numbers that :func:`lmmformula.inference.simulate.draw` gives one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.simulate import draw
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["drawn_responses", "gaussian_responses"]

AT_ONCE = 4_000_000
"""Numbers of the responses that are held at a time."""


def drawn_responses(fit: Fitted, n: int, rng: np.random.Generator) -> Iterator[Array]:
    """n responses in parts (rows, some), in the order in which they would be drawn one by one."""
    size = max(1, AT_ONCE // max(1, fit.problem.n))
    for start in range(0, n, size):
        count = min(size, n - start)
        if fit.problem.is_linear and all(t.is_blockwise for t in fit.problem.terms):
            yield gaussian_responses(fit, count, rng)
        else:
            yield np.stack([draw(fit, rng) for _ in range(count)], axis=1)


def gaussian_responses(fit: Fitted, n: int, rng: np.random.Generator) -> Array:
    """``X beta + offset + sum_t Z_t L_t u_t sigma + sigma W^-1/2 e`` for standard normal u and e, (rows, n)."""
    problem, estimate = fit.problem, fit.estimate
    problem.refuse_elsewhere("drawing of many responses")
    sizes = [t.q for t in problem.terms]
    normal = rng.standard_normal((n, sum(sizes) + problem.n))
    mean = problem.X.matrix @ estimate.beta
    if problem.offset is not None:
        mean = mean + problem.offset
    noise = normal[:, sum(sizes) :].T
    out = estimate.sigma * noise
    if problem.weights is not None:
        out /= np.sqrt(problem.weights)[:, None]
    out += mean[:, None]
    at = 0
    for term, s, q in zip(problem.terms, problem.theta_slices(), sizes, strict=True):
        lower = estimate.sigma * term.covariance.cholesky(estimate.theta[s])
        effects = normal[:, at : at + q].reshape(n, term.m, term.k) @ lower.T
        at += q
        for j in range(term.k):
            rows = effects[:, :, j].T[term.codes]
            out += rows if term.basis is None else rows * term.basis[:, j, None]
    return out
