r"""Maximum likelihood and REML of many responses on one design, all searches moving together.

The criteria are those of :mod:`lmmformula.criteria.batched`, even in each column of L: the search runs unconstrained in the
elements of L, by Newton's steps with exact Hessians (:mod:`lmmformula.numerics.stacked_newton`), so that an estimate on the
boundary is an interior minimum. Responses are taken in slabs, whose arrays stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.optimum import boundary_elements, off_boundary
from lmmformula.criteria.batched import (
    CoupledDesign,
    Criteria,
    Factors,
    GroupedDesign,
    PlainDesign,
    Products,
    products,
)
from lmmformula.criteria.profiled import Profiled
from lmmformula.ir.problem import Problem
from lmmformula.numerics.stacked_newton import minimise_stack
from lmmformula.numerics.threads import blas_threads
from lmmformula.typing import Array, Index

__all__ = ["NEAR_ZERO", "Batch", "Stack", "canonical_signs", "unbatched"]

LARGEST_PAIR = 400
"""Effects of the dense factors, and twice as many of the eliminated one, up to which crossed factors are batched."""
SLAB = 60_000
"""Elements of an array of all levels of a slab of responses."""
STARTS = (0.25, 1.0, 4.0)
"""Multiples of L = I of which a search without a start takes the best."""
NEAR_ZERO = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Estimates of B responses, in the units of the problem of the criterion.

    Attributes
    ----------
    theta : (B, d) array
        With a non-negative diagonal of L.
    beta : (B, p) array
    sigma : (B,) array
    vcov : (B, p, p) array
        Covariance matrices of beta.
    deviance : (B,) array
        -2 log (restricted) likelihood.
    converged : (B,) bool array
    evaluations : (B,) int array
    hessian : (B, d + 1, d + 1) array or None
        Of the deviance in (theta, log sigma), beta profiled out; None where there is no sigma.
    moves : (B, d + 1, p, p) array or None
        Derivatives of vcov in (theta, log sigma).
    aux : (B, a) array or None
        Coefficients of the auxiliary predictors, one after the other.
    modes : (B, m, k) array or None
        Random effects of the grouping factor, where they were asked for and one is alone.

    A response that could not be fitted has nan everywhere.
    """

    theta: Array
    beta: Array
    sigma: Array
    vcov: Array
    deviance: Array
    converged: NDArray[np.bool_]
    evaluations: Index
    hessian: Array | None
    moves: Array | None
    aux: Array | None = None
    modes: Array | None = None

    @property
    def n(self) -> int:
        """B."""
        return len(self.theta)

    @classmethod
    def joined(cls, parts: list[Stack]) -> Stack:
        """One stack of several."""
        if len(parts) == 1:
            return parts[0]
        whole: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            columns = [getattr(part, name) for part in parts]
            whole[name] = None if columns[0] is None else np.concatenate(columns)
        return cls(**whole)


def unbatched(model: Profiled) -> str:
    """Why responses on this design are fitted one by one; empty if they can be fitted together."""
    problem = model.problem
    if not problem.is_linear or problem.held is not None or problem.family.repeated or problem.family.known:
        return "only Gaussian responses with one residual variance, in memory, are fitted together"
    if not problem.p:
        return "responses without fixed effects are fitted one by one"
    for term in problem.terms:
        if not (term.is_blockwise and term.covariance.linear):
            return f"the criterion of the term ({term.label}) is evaluated response by response"
    sizes = sorted((group.q for group in model.prepared.blocks.groups), reverse=True)
    if len(sizes) > 1 and (sum(sizes[1:]) > LARGEST_PAIR or sizes[0] > 2 * LARGEST_PAIR):
        return f"the grouping factors couple {sum(sizes):,} effects, too many for a matrix of each response"
    return ""


@dataclass(frozen=True, eq=False)
class Batch:
    """A design on which many responses are fitted.

    Attributes
    ----------
    model : Profiled
        The criterion of any response on it.
    design : PlainDesign, GroupedDesign or CoupledDesign
    tolerance : float
        Newton decrement at which searches end.
    """

    model: Profiled
    design: PlainDesign | GroupedDesign | CoupledDesign
    tolerance: float = 1e-9

    @classmethod
    def of(cls, model: Profiled) -> Batch:
        """Of a problem that is not :func:`unbatched`."""
        groups, p = model.prepared.blocks.groups, model.problem.p
        factors = Factors.of(model.problem.terms, groups)
        reml, n_eff = model.reml, float(model.n_eff)
        x = tuple(r[..., :p] for r in model.gram.rhs)
        if not groups:
            return cls(model, PlainDesign(factors, p))
        if len(groups) == 1:
            grouped = GroupedDesign.of_levels(model.gram.diag[0], x[0], factors, reml=reml, n_eff=n_eff)
            return cls(model, grouped)
        coupled = CoupledDesign.of_gram(model.prepared.blocks, model.gram, x, factors, reml=reml, n_eff=n_eff)
        return cls(model, coupled)

    @property
    def slab(self) -> int:
        """Responses that are searched for together."""
        return max(32, SLAB // max(1, self._elements))

    @property
    def _elements(self) -> int:
        own = self.design
        if isinstance(own, CoupledDesign):
            return sum(m * k for m, k in own.shapes) ** 2 // 4
        return own.x[..., 0].size if isinstance(own, GroupedDesign) else 1

    def fit(self, y: Array, start: Array | None = None, *, errors: bool = True, modes: bool = False) -> Stack:
        """Estimates of the responses y (n, B), from `start` (d,) if there is one; with errors, without modes."""
        parts, width = [], max(self.slab, min(y.shape[1], 2_000_000 // max(1, len(y))))
        for at in range(0, y.shape[1], width):
            own = products(self.model, y[:, at : at + width])
            size = len(own.lengths)
            parts += [
                self._slab(own.part(slice(i, min(i + self.slab, size))), start)
                for i in range(0, size, self.slab)
            ]
        return Stack.joined(parts)

    def _slab(self, own: Products, start: Array | None) -> Stack:
        criteria = self.design.of_responses(own)
        with blas_threads(0), np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            first = self._first(criteria, start)
            radius = np.maximum(np.linalg.norm(first, axis=1), 0.1)
            found = minimise_stack(criteria.at, first, radius, tolerance=self.tolerance)
            theta = self._settled(criteria, found.x)
            return self._estimates(criteria, own, theta, found.converged, found.evaluations)

    def _first(self, criteria: Criteria, start: Array | None) -> Array:
        """Where the searches begin, (B, d)."""
        every = np.arange(criteria.n)
        if start is not None:
            return np.repeat(off_boundary(start)[None], criteria.n, axis=0)
        unit = self.model.start()
        if not len(unit):
            return np.zeros((criteria.n, 0))
        values = []
        for share in STARTS:
            tried = np.repeat(share * unit[None], criteria.n, axis=0)
            values.append(np.nan_to_num(criteria.at(tried, every).value, nan=np.inf))
        best = np.argmin(values, axis=0)
        return np.array(STARTS)[best][:, None] * unit

    def _settled(self, criteria: Criteria, theta: Array) -> Array:
        """Elements that are zero up to the tolerance become zero where the deviance does not rise."""
        problem, every = self.model.problem, np.arange(len(theta))
        theta = canonical_signs(self.model.problem, theta)
        for j in np.flatnonzero(boundary_elements(problem, theta[0]) if len(theta) else []):
            some = every[np.abs(theta[:, j]) < NEAR_ZERO]
            if not len(some):
                continue
            trial = theta[some].copy()
            trial[:, j] = 0.0
            now, then = criteria.at(theta[some], some).value, criteria.at(trial, some).value
            size = np.abs(now + _constant(self.model))
            kept = some[then <= now + 1e-12 * size]
            theta[kept, j] = 0.0
        return canonical_signs(self.model.problem, theta)

    def _estimates(
        self,
        criteria: Criteria,
        own: Products,
        theta: Array,
        converged: NDArray[np.bool_],
        evaluations: Index,
    ) -> Stack:
        model, size = self.model, len(theta)
        p, d, n_eff = model.problem.p, theta.shape[1], float(model.n_eff)
        last = criteria.at(theta, np.arange(size))
        good = np.isfinite(last.value) & np.isfinite(own.lengths)
        r2 = last.r2 * own.lengths**2
        sigma2 = r2 / n_eff
        back = np.linalg.inv(model.ols.r) if p else np.zeros((0, 0))
        beta = own.coefficients + (last.beta * own.lengths[:, None]) @ back.T
        unscaled = back @ last.inverse @ back.T
        deviance = last.value + n_eff * np.log(own.lengths**2) + _constant(model)
        hessian = np.zeros((size, d + 1, d + 1))
        kappa = n_eff / last.r2
        outer = last.along[:, :, None] * last.along[:, None, :]
        hessian[:, :d, :d] = last.hessian + (kappa**2 / n_eff)[:, None, None] * outer
        hessian[:, :d, d] = hessian[:, d, :d] = 2.0 * kappa[:, None] * last.along
        hessian[:, d, d] = 4.0 * n_eff
        half = back @ last.inverse
        moves = np.empty((size, d + 1, p, p))
        scale = sigma2[:, None, None]
        moves[:, :d] = scale[:, None] * np.matmul(
            half[:, None], np.matmul(last.moves, np.swapaxes(half, -1, -2)[:, None])
        )
        moves[:, d] = 2.0 * scale * unscaled
        out = Stack(
            theta,
            beta,
            np.sqrt(sigma2),
            scale * unscaled,
            deviance,
            converged & good,
            evaluations,
            hessian,
            moves,
        )
        if not good.all():
            for name in ("theta", "beta", "sigma", "vcov", "deviance", "hessian", "moves"):
                getattr(out, name)[~good] = np.nan
        return out


def canonical_signs(problem: Problem, theta: Array) -> Array:
    """theta (B, d) of the same covariances with non-negative diagonals of L, of kinds that are linear in theta."""
    if not theta.size:
        return theta
    bounded, signed = boundary_elements(problem, theta[0]), np.ones_like(theta)
    for term, where in zip(problem.terms, problem.theta_slices(), strict=True):
        units = term.covariance.jacobian(term.covariance.start())
        column = np.array([int(np.flatnonzero(unit.any(axis=0))[0]) for unit in units])
        for j in range(len(units)):
            if bounded[where.start + j]:
                same = where.start + np.flatnonzero(column == column[j])
                signed[:, same] = np.where(theta[:, where.start + j] < 0.0, -1.0, 1.0)[:, None]
    out = theta * signed
    for i in np.flatnonzero((out[:, bounded] == 0.0).any(axis=1)):
        out[i] = problem.canonical(out[i])
    return out


def _constant(model: Profiled) -> float:
    """What the deviance has besides the value of :class:`Evaluated`."""
    n = float(model.n_eff)
    out = n * (1.0 + np.log(2.0 * np.pi / n)) - model.log_weights
    return out + (2.0 * model.log_det_r if model.reml else 0.0)
