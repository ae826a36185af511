r"""Maximum likelihood by Laplace's approximation of many responses on one design, all searches moving together.

The criteria are those of :mod:`lmmformula.criteria.batched.laplace`, in coordinates of unit standard error that the fit of
one response gives (the same for all). Searches go by exact gradients and Hessians that follow them
(:func:`lmmformula.numerics.stacked_newton.follow_stack`), which start from that of the fit, by differences. Where the
covariance matrix 2 H^-1 of all parameters is wanted, each response gets its own Hessian at the end, by central differences,
elements of theta that are zero held, and one Newton step with it, which all but squares the error that is left. Responses
whose search does not end, or that leave a coefficient undetermined (separation), are marked as not converged: whoever asks
fits them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.batched import NEAR_ZERO, Stack, canonical_signs
from lmmformula.backends.optimum import WIDE, boundary_elements, off_boundary
from lmmformula.criteria.batched.laplace import LaplaceMany
from lmmformula.ir.blocks import Blocks
from lmmformula.numerics.stacked_newton import follow_stack
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.criteria.laplace import Laplace, LaplacePoint

__all__ = ["LaplaceBatch", "rows_apart", "unbatched_laplace"]

STEP = 1e-5
"""Of differences of a gradient, in standard errors."""
CLOSE = 1e-12
"""Newton decrement at which searches end, since what they promise by Hessians that follow is not exact."""
SLAB = 30_000
"""Rows times responses of a slab."""


def unbatched_laplace(model: Laplace) -> bool:
    """Whether responses on this design are fitted one by one."""
    return len(model.prepared.blocks.groups) > 1 or rows_apart(model)


def rows_apart(model: Laplace) -> bool:
    """Whether rows of this design cannot be evaluated for many predictors at once: elsewhere, of several or coupled levels."""
    problem, blocks = model.problem, model.prepared.blocks
    family = problem.family
    return bool(
        not isinstance(blocks, Blocks)
        or problem.held is not None
        or not family.distribution.is_plain
        or len(problem.aux) != len(family.auxiliaries)
        or any(problem.aux_terms)
        or family.outcomes  # of which a response may lack one
        or not (family.is_canonical or model.information == "observed")
        or model.profile_beta
        or any(not (t.is_blockwise and t.covariance.linear) for t in problem.terms)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Slopes:
    value: Array
    gradient: Array


@dataclass(frozen=True, eq=False)
class LaplaceBatch:
    """A design on which many responses are fitted.

    Attributes
    ----------
    point : LaplacePoint
        Where one response was fitted.
    scale : (d, d) array
        psi = scale x.
    tolerance : float
    """

    point: LaplacePoint
    scale: Array
    tolerance: float

    def fit(self, y: Array, start: Array | None = None, *, errors: bool = True, modes: bool = False) -> Stack:
        """Estimates of the responses y (n, B); searches begin at those of the point, its theta or `start`."""
        width = max(16, SLAB // max(1, len(y)))
        with blas_threads(0), np.errstate(all="ignore"):
            first, hessian = self._start(start)
            parts = [
                self._slab(y[:, i : i + width], first, hessian, errors=errors, modes=modes)
                for i in range(0, y.shape[1], width)
            ]
        return Stack.joined(parts)

    def _start(self, start: Array | None) -> tuple[Array, Array]:
        """x that searches begin at, (d,), and the Hessian of the point's own response there."""
        model, layout = self.point.model, self.point.model.layout
        psi = self.point.psi.copy()
        psi[layout.theta] = off_boundary(self.point.theta if start is None else np.asarray(start))
        first = np.linalg.solve(self.scale, psi)
        own = self._criteria(model.problem.data.whole(model.problem.data.y)[:, None])
        hessian = self._hessian(own, first[None], np.arange(1))[0]
        return first, np.where(np.isfinite(hessian), hessian, 2.0 * np.eye(len(first)))

    def _criteria(self, y: Array) -> LaplaceMany:
        model = self.point.model
        own = model.prepared.blocks.own  # type: ignore[union-attr]
        return LaplaceMany.of_responses(model.problem, own[0] if own else None, y)

    def _slab(self, y: Array, first: Array, hessian: Array, *, errors: bool, modes: bool) -> Stack:
        model, layout = self.point.model, self.point.model.layout
        criteria, every = self._criteria(y), np.arange(y.shape[1])
        found = follow_stack(
            lambda x, which: self._slopes(criteria, x, which),
            np.repeat(first[None], len(every), axis=0),
            np.full(len(every), 10.0 * max(1.0, np.sqrt(model.problem.n / 1e4))),
            np.repeat(hessian[None], len(every), axis=0),
            tolerance=min(self.tolerance, CLOSE),
        )
        psi = self._settled(criteria, found.x @ self.scale.T)
        if errors:
            psi, value, own = self._polished(criteria, psi)
        else:
            value, own = criteria.at(psi, every).value, found.hessian
        back = np.linalg.inv(self.scale)
        covariance, determined = self._covariance(back.T @ own @ back, psi)
        p = layout.beta.stop
        loose = (np.sqrt(np.abs(np.einsum("bii->bi", covariance)[:, :p])) * self._sizes > WIDE).any(axis=1)
        return Stack(
            psi[:, layout.theta],
            psi[:, layout.beta],
            np.ones(len(psi)),
            covariance[:, layout.beta, layout.beta],
            np.where(np.isfinite(value), value, np.nan),
            found.converged & np.isfinite(value) & determined & ~loose,
            found.evaluations,
            None,
            None,
            psi[:, layout.theta.stop :],
            criteria.effects(psi[:, layout.theta]) if modes else None,
        )

    @cached_property
    def _sizes(self) -> Array:
        """Largest elements of the columns of X."""
        return self.point.model.data.fixed.largest()

    def _polished(self, criteria: LaplaceMany, psi: Array) -> tuple[Array, Array, Array]:
        """psi after a Newton step of what is not held at zero, where it is sound; values there, Hessians in x before it."""
        every, back = np.arange(len(psi)), np.linalg.inv(self.scale)
        x = psi @ back.T
        here = self._slopes(criteria, x, every)
        hessian = self._hessian(criteria, x, every)
        twice, sound = self._covariance(back.T @ hessian @ back, psi)
        step = -0.5 * np.einsum("bij,bj->bi", twice, here.gradient @ back)
        moved = psi + np.where(sound[:, None], step, 0.0)
        then = criteria.at(moved, every).value
        better = sound & (then <= here.value + 1e-12 * np.abs(here.value))
        return np.where(better[:, None], moved, psi), np.where(better, then, here.value), hessian

    def _slopes(self, criteria: LaplaceMany, x: Array, which: Index, *, keep: bool = True) -> _Slopes:
        """Criteria in the coordinates x."""
        at = criteria.at(x @ self.scale.T, which, keep=keep)
        return _Slopes(at.value, at.gradient @ self.scale)

    def _hessian(self, criteria: LaplaceMany, x: Array, which: Index) -> Array:
        """Hessians in x by differences of gradients."""
        size = x.shape[1]
        out = np.empty((len(x), size, size))
        for j in range(size):
            step = STEP * np.eye(size)[j]
            above = self._slopes(criteria, x + step, which, keep=False).gradient
            below = self._slopes(criteria, x - step, which, keep=False).gradient
            out[:, j] = (above - below) / (2.0 * STEP)
        return 0.5 * (out + np.swapaxes(out, 1, 2))

    def _settled(self, criteria: LaplaceMany, psi: Array) -> Array:
        """psi with variances of zero exactly there, where the deviance does not rise."""
        problem, where = self.point.model.problem, self.point.model.layout.theta
        psi[:, where] = canonical_signs(problem, psi[:, where])
        bounded = boundary_elements(problem, psi[0, where])
        for j in where.start + np.flatnonzero(bounded):
            some = np.flatnonzero(np.abs(psi[:, j]) < NEAR_ZERO)
            if not len(some):
                continue
            trial = psi[some].copy()
            trial[:, j] = 0.0
            then = criteria.at(trial, some, keep=False).value
            now = criteria.at(psi[some], some, keep=False).value
            psi[some[then <= now + 1e-9], j] = 0.0
        psi[:, where] = canonical_signs(problem, psi[:, where])
        return psi

    def _covariance(self, hessian: Array, psi: Array) -> tuple[Array, NDArray[np.bool_]]:
        """2 H^-1 with what is zero held, and whether H is positive definite."""
        size, where = psi.shape[1], self.point.model.layout.theta
        bounded = boundary_elements(self.point.model.problem, psi[0, where])
        held = np.zeros(psi.shape, dtype=bool)
        held[:, where] = bounded & (psi[:, where] == 0.0)
        free = ~held[:, :, None] & ~held[:, None, :]
        own = np.where(free, hessian, 0.0) + np.eye(size) * held[:, :, None]
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(own).all(axis=(1, 2)))
        own = np.where(finite[:, None, None], own, np.eye(size))
        scaled = 1.0 / np.sqrt(np.maximum(np.abs(np.einsum("bii->bi", own)), 1e-300))
        unit = own * scaled[:, :, None] * scaled[:, None, :]
        good = finite & (np.linalg.eigvalsh(unit)[:, 0] > 1e-8)
        unit = np.where(good[:, None, None], unit, np.eye(size))
        out = 2.0 * np.linalg.inv(unit) * scaled[:, :, None] * scaled[:, None, :]
        return np.where(free, out, 0.0), good
