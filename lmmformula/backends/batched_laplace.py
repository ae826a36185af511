r"""Maximum likelihood by Laplace's approximation of many responses on one design, all searches moving together.

The criteria are those of :mod:`lmmformula.criteria.batched.laplace`, in coordinates of unit standard error that the fit of one
response gives (the same for all). Newton's steps of :mod:`lmmformula.numerics.stacked_newton` take the Hessian from forward
differences of the exact gradient, p + d further evaluations, each from the modes of the point; at the end central differences
give the covariance matrix 2 H^-1 of all parameters, with elements of theta that are zero held there. Responses whose search
does not end, or that leave a coefficient undetermined (separation), are marked as not converged: whoever asks fits them one by
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.batched import NEAR_ZERO, Stack, canonical_signs
from lmmformula.backends.optimum import WIDE, boundary_elements, off_boundary
from lmmformula.criteria.batched.laplace import LaplaceMany
from lmmformula.ir.blocks import Blocks
from lmmformula.numerics.stacked_newton import minimise_stack
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.criteria.laplace import Laplace, LaplacePoint

__all__ = ["LaplaceBatch", "unbatched_laplace"]

STEP = 1e-5
"""Of differences of a gradient, in standard errors."""
SLAB = 30_000
"""Rows times responses of a slab."""


def unbatched_laplace(model: Laplace) -> bool:
    """Whether responses on this design are fitted one by one."""
    problem, blocks = model.problem, model.prepared.blocks
    family = problem.family
    return bool(
        len(blocks.groups) != 1
        or not isinstance(blocks, Blocks)
        or problem.held is not None
        or problem.aux
        or family.auxiliaries
        or not family.is_canonical
        or model.profile_beta
        or any(not (t.is_blockwise and t.covariance.linear) for t in problem.terms)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    value: Array
    gradient: Array
    hessian: Array


@dataclass(frozen=True, eq=False)
class LaplaceBatch:
    """A design on which many responses are fitted.

    Attributes
    ----------
    point : LaplacePoint
        Where one response was fitted.
    scale : (p + d, p + d) array
        psi = scale x.
    tolerance : float
    """

    point: LaplacePoint
    scale: Array
    tolerance: float

    def fit(self, y: Array, start: Array | None = None) -> Stack:
        """Estimates of the responses y (n, B); searches begin at those of the point, its theta or `start`."""
        width = max(16, SLAB // max(1, len(y)))
        with blas_threads(0), np.errstate(all="ignore"):
            parts = [self._slab(y[:, i : i + width], start) for i in range(0, y.shape[1], width)]
        return Stack.joined(parts)

    def _slab(self, y: Array, start: Array | None) -> Stack:
        model = self.point.model
        problem, p = model.problem, model.problem.p
        own = model.prepared.blocks.own[0]  # type: ignore[union-attr]
        criteria = LaplaceMany.of_responses(problem, own, y)
        psi = np.concatenate(
            [self.point.beta, off_boundary(self.point.theta if start is None else np.asarray(start))]
        )
        first = np.repeat(np.linalg.solve(self.scale, psi)[None], y.shape[1], axis=0)
        found = minimise_stack(
            lambda x, which: self._points(criteria, x, which, central=False),
            first,
            np.full(len(first), 10.0 * max(1.0, np.sqrt(problem.n / 1e4))),
            tolerance=self.tolerance,
        )
        theta = self._settled(criteria, found.x @ self.scale.T)
        last = self._points(
            criteria, np.linalg.solve(self.scale, theta.T).T, np.arange(len(theta)), central=True
        )
        back = np.linalg.inv(self.scale)
        hessian = back.T @ last.hessian @ back
        covariance, determined = self._covariance(hessian, theta)
        size, every = model.data.fixed.largest(), np.arange(p)
        loose = (np.sqrt(np.abs(covariance[:, every, every])) * size > WIDE).any(axis=1)
        good = found.converged & np.isfinite(last.value) & determined & ~loose
        return Stack(
            theta[:, p:],
            theta[:, :p],
            np.ones(len(theta)),
            covariance[:, :p, :p],
            np.where(np.isfinite(last.value), last.value, np.nan),
            good,
            found.evaluations,
            None,
            None,
        )

    def _points(self, criteria: LaplaceMany, x: Array, which: Index, *, central: bool) -> _Points:
        """Criteria in the coordinates x, their Hessians by differences of gradients."""
        at = criteria.at(x @ self.scale.T, which)
        gradient = at.gradient @ self.scale
        size = x.shape[1]
        hessian = np.empty((len(x), size, size))
        for j in range(size):
            high = x.copy()
            high[:, j] += STEP
            above = criteria.at(high @ self.scale.T, which, keep=False).gradient @ self.scale
            if central:
                low = x.copy()
                low[:, j] -= STEP
                below = criteria.at(low @ self.scale.T, which, keep=False).gradient @ self.scale
                hessian[:, j] = (above - below) / (2.0 * STEP)
            else:
                hessian[:, j] = (above - gradient) / STEP
        return _Points(at.value, gradient, 0.5 * (hessian + np.swapaxes(hessian, 1, 2)))

    def _settled(self, criteria: LaplaceMany, psi: Array) -> Array:
        """psi with variances of zero exactly there, where the deviance does not rise."""
        problem, p = self.point.model.problem, self.point.model.problem.p
        psi[:, p:] = canonical_signs(problem, psi[:, p:])
        bounded = boundary_elements(problem, psi[0, p:])
        for j in p + np.flatnonzero(bounded):
            some = np.flatnonzero(np.abs(psi[:, j]) < NEAR_ZERO)
            if not len(some):
                continue
            trial = psi[some].copy()
            trial[:, j] = 0.0
            then = criteria.at(trial, some, keep=False).value
            now = criteria.at(psi[some], some, keep=False).value
            psi[some[then <= now + 1e-9], j] = 0.0
        psi[:, p:] = canonical_signs(problem, psi[:, p:])
        return psi

    def _covariance(self, hessian: Array, psi: Array) -> tuple[Array, NDArray[np.bool_]]:
        """2 H^-1 with what is zero held, and whether H is positive definite."""
        p, size = self.point.model.problem.p, psi.shape[1]
        bounded = boundary_elements(self.point.model.problem, psi[0, p:])
        held = np.zeros(psi.shape, dtype=bool)
        held[:, p:] = bounded & (psi[:, p:] == 0.0)
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
