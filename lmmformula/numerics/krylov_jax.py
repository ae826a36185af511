r"""Products with I - K, conjugate gradients and subspace iteration in JAX, for a device of one's choice.

The operator is ``I - K = H - N'N`` with H and N by rows, and N once more by columns (:mod:`lmmformula.engines.krylov.schur`),
all three in slabs (:mod:`lmmformula.numerics.slabs`). Their indices go to the device once, their values once for every W and
theta. Whole iterations run there: one call, one block in, one block and the coefficients out.

A program is compiled for each shape: of the slabs, which are those of a problem, and of the block. Blocks are filled up with
zero columns, which end at once, to a power of two of at most `COLUMNS`, so that there are few shapes.

Importing this module imports JAX. Everything here runs with 64-bit numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.numerics.conjugate_gradients import Solution
from lmmformula.numerics.slabs import Slabs
from lmmformula.numerics.x64 import x64
from lmmformula.typing import AnyFunction, Array, JaxArray, Numbers

__all__ = ["Device", "Operator", "Patterns", "Rounds", "placed_patterns", "placed_values"]

Device: TypeAlias = Any
"""A device of JAX, which exports no type of it."""
COLUMNS = 16
"""Columns of a block that is worked on at a time."""


class Pattern(NamedTuple):
    """`Slabs` on the device."""

    sources: tuple[Numbers, ...]
    cols: tuple[Numbers, ...]
    back: Numbers


class Matrix(NamedTuple):
    """A sparse matrix on the device."""

    values: tuple[JaxArray, ...]
    cols: tuple[JaxArray, ...]
    back: JaxArray | None


class Patterns(NamedTuple):
    """Patterns of N by rows, N by columns, both filled from N's values by rows, and of H."""

    n: Pattern
    turned: Pattern
    h: Pattern


class Rounds(NamedTuple):
    """When subspace iteration ends: see :mod:`lmmformula.engines.krylov.deflation`."""

    least: int
    most: int
    sharp: float


def placed_patterns(n: Slabs, turned: Slabs, h: Slabs, device: Device) -> Patterns:
    """The patterns, copied to the device."""
    with x64():
        return Patterns(*(_placed(s, device) for s in (n, turned, h)))


def _placed(slabs: Slabs, device: Device) -> Pattern:
    held = Pattern(slabs.sources, slabs.cols, slabs.back)
    return jax.device_put(held, device)


def placed_values(patterns: Patterns, n: Array, h: Array, device: Device) -> Operator:
    """The operator with these values, in the order of `SchurComplement`."""
    with x64():
        n, h = jax.device_put((n, h), device)
        by_row, turned, own = _filled(patterns, n, h)
    return Operator(by_row, turned, own, device)


class Operator:
    """I - K on a device; takes and returns numpy's arrays.

    Attributes
    ----------
    n, turned, h : Matrix
    device : jax.Device
    """

    def __init__(self, n: Matrix, turned: Matrix, h: Matrix, device: Device) -> None:
        self.n, self.turned, self.h, self.device = n, turned, h, device

    def apply(self, x: Array) -> Array:
        """(I - K) x for a block (q, c)."""
        return self._blockwise(_apply, (self.n, self.turned, self.h), x)

    def times_n(self, x: Array) -> Array:
        """N x."""
        return self._blockwise(_product, self.n, x)

    def times_n_transposed(self, a: Array) -> Array:
        """N'a."""
        return self._blockwise(_product, self.turned, a)

    def _blockwise(self, function: AnyFunction, operand: tuple[object, ...], x: Array) -> Array:
        """A product for `COLUMNS` columns at a time."""
        parts = []
        with x64():
            for start in range(0, x.shape[1], COLUMNS):
                some = x[:, start : start + COLUMNS]
                found = function(operand, jax.device_put(widened(some), self.device))
                parts.append(np.asarray(found)[:, : some.shape[1]])
        return np.concatenate(parts, axis=1) if len(parts) > 1 else np.ascontiguousarray(parts[0])

    def conjugate_gradients(self, b: Array, tolerance: float, max_steps: int) -> Solution:
        """(I - K)^-1 b in one call, as :mod:`lmmformula.numerics.conjugate_gradients`; b has at most `COLUMNS` columns."""
        c = b.shape[1]
        with x64():
            held = jax.device_put(widened(b), self.device)
            found = jax.device_get(_solved(self.n, self.turned, self.h, held, tolerance, max_steps))
        x, residuals, steps, alpha, beta = found
        some = int(steps.max(initial=0))
        return Solution(
            np.ascontiguousarray(x[:, :c]),
            residuals[:c],
            residuals[:c] <= tolerance,
            steps[:c].astype(np.int64),
            alpha[:some, :c],
            beta[:some, :c],
        )

    def subspace(self, start: Array, bulk: float, rounds: Rounds) -> tuple[Array, Array]:
        """Ritz values and vectors of K after rounds of subspace iteration from `start`, (q, w)."""
        with x64():
            held = jax.device_put(start, self.device)
            values, basis = _iterated(self.n, self.turned, self.h, held, bulk, rounds)
            return np.asarray(values), np.asarray(basis)


def widened(x: Array) -> Array:
    """The block with zero columns up to a power of two."""
    c = x.shape[1]
    width = 1 << max(c - 1, 0).bit_length()
    return np.pad(x, ((0, 0), (0, width - c))) if width > c else np.ascontiguousarray(x)


# -- compiled -----------------------------------------------------------------------------------------------------------


@jax.jit
def _filled(patterns: Patterns, n: JaxArray, h: JaxArray) -> tuple[Matrix, ...]:
    """The three matrices; what fills up a slab reads a zero behind the values."""
    zero = jnp.zeros(1)
    n, h = jnp.concatenate([n, zero]), jnp.concatenate([h, zero])
    return tuple(
        Matrix(tuple(_rows(values, s) for s in pattern.sources), pattern.cols, pattern.back)
        for pattern, values in zip(patterns, (n, n, h), strict=True)
    )


def _rows(x: JaxArray, at: JaxArray) -> JaxArray:
    """x[at], where `at` is known to be within bounds."""
    return x.at[at].get(mode="promise_in_bounds")


def _times(matrix: Matrix, x: JaxArray) -> JaxArray:
    """The matrix times a block: for each slab one gather and one sum over an axis.

    XLA's compiler for processors keeps what is gathered, one block of the columns for each entry.
    """
    parts = [
        (v[..., None] * _rows(x, j)).sum(axis=1) for v, j in zip(matrix.values, matrix.cols, strict=True)
    ]
    return parts[0] if matrix.back is None else _rows(jnp.concatenate(parts), matrix.back)


def _operated(n: Matrix, turned: Matrix, h: Matrix, x: JaxArray) -> JaxArray:
    return _times(h, x) - _times(turned, _times(n, x))


@jax.jit
def _product(matrix: Matrix, x: JaxArray) -> JaxArray:
    return _times(matrix, x)


@jax.jit
def _apply(matrices: tuple[Matrix, Matrix, Matrix], x: JaxArray) -> JaxArray:
    return _operated(*matrices, x)


class _State(NamedTuple):
    """Conjugate gradients after `count` steps; arrays over columns unless they are blocks."""

    count: Numbers
    x: JaxArray
    r: JaxArray
    p: JaxArray
    squared: JaxArray
    residuals: JaxArray
    active: JaxArray
    steps: JaxArray
    alpha: JaxArray
    beta: JaxArray


@partial(jax.jit, static_argnames="max_steps")
def _solved(
    n: Matrix, turned: Matrix, h: Matrix, b: JaxArray, tolerance: JaxArray, max_steps: int
) -> tuple[JaxArray, ...]:
    """Hestenes and Stiefel's iteration; a column that has converged, or along which I - K is not positive, stands still."""
    squared = (b * b).sum(axis=0)
    active = squared > 0.0
    norms = jnp.where(active, jnp.sqrt(squared), 1.0)

    def go_on(s: _State) -> JaxArray:
        return s.active.any() & (s.count < max_steps)

    def step(s: _State) -> _State:
        ap = _operated(n, turned, h, s.p)
        curvature = (s.p * ap).sum(axis=0)
        moves = s.active & (curvature > 0.0)
        alpha = jnp.where(moves, s.squared / jnp.where(moves, curvature, 1.0), 0.0)
        r = s.r - alpha * ap
        new = jnp.where(moves, (r * r).sum(axis=0), s.squared)
        beta = jnp.where(moves, new / jnp.where(moves, s.squared, 1.0), 0.0)
        residuals = jnp.where(moves, jnp.sqrt(new) / norms, s.residuals)
        return _State(
            s.count + 1,
            s.x + alpha * s.p,
            r,
            r + beta * s.p,
            new,
            residuals,
            moves & (residuals > tolerance),
            s.steps + moves,
            s.alpha.at[s.count].set(alpha),
            s.beta.at[s.count].set(beta),
        )

    none = jnp.zeros((max_steps, b.shape[1]))
    begin = _State(
        0, jnp.zeros_like(b), b, b, squared, active * 1.0, active, jnp.zeros_like(active, int), none, none
    )
    end = jax.lax.while_loop(go_on, step, begin)
    return end.x, end.residuals, end.steps, end.alpha, end.beta


@jax.jit
def _iterated(
    n: Matrix, turned: Matrix, h: Matrix, start: JaxArray, bulk: JaxArray, rounds: Rounds
) -> tuple[JaxArray, JaxArray]:
    """Multiplications by K, each with a rotation to Ritz vectors; after the last round the rotation alone."""

    def go_on(s: tuple[JaxArray, ...]) -> JaxArray:
        return ~s[4]

    def step(s: tuple[JaxArray, ...]) -> tuple[JaxArray, ...]:
        count, block = s[:2]
        basis = jnp.linalg.qr(block)[0]
        image = basis - _operated(n, turned, h, basis)
        values, rotation = jnp.linalg.eigh(basis.T @ image)
        basis, image = basis @ rotation, image @ rotation
        residual = jnp.sqrt(((image - basis * values) ** 2).sum(axis=0))
        inside = (jnp.abs(values) <= bulk) | (residual <= rounds.sharp * jnp.abs(values))
        done = ((count >= rounds.least) & inside.all()) | (count >= rounds.most)
        return count + 1, image, values, basis, done

    width = start.shape[1]
    begin = (jnp.asarray(0), start, jnp.zeros(width), start, jnp.asarray(False))
    end = jax.lax.while_loop(go_on, step, begin)
    return end[2], end[3]
