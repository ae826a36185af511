r"""Coefficients and random effects of a normal response drawn back for many draws together, by perturbed equations.

With beta = b_0 + R_0^-1 delta, b = Lambda u and J, D, g of :mod:`lmmformula.criteria.marginal`, (u, delta) given the variances
is normal with precision K / sigma^2,

    K = ( Lambda'Z'WZ Lambda + I   Lambda'Z'WQ          )         K m = ( Lambda'Z'W y_0              )
        (           .              Q'WQ + sigma^2 J'DJ  )               ( Q'W y_0 - sigma^2 J'D g     )

and ``K^-1 xi`` with ``xi = (Lambda'Z'W^(1/2) e_1 + e_2, Q'W^(1/2) e_1 + sigma J'D^(1/2) e_3)`` has covariance K^-1
(Papandreou & Yuille 2010). Means and noise of many draws are solved for together by conjugate gradients, each draw with its
own K, all with the K of the mean draw as preconditioner, which one factorisation gives: the posterior of the variances of a
large problem is narrow, so that few iterations do. A draw takes these in place of a factorisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.recovery.stacked import NOISE, SOLVES, in_slabs
from lmmformula.criteria.batched.stacked import StackedEffects
from lmmformula.criteria.marginal import MarginalPoint
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.groups import joined
from lmmformula.numerics.preconditioned import preconditioned
from lmmformula.typing import Array, Index, SparseMatrix

__all__ = ["Perturbed", "PerturbedPiece", "suits_perturbation"]

CELLS = 1_000_000
"""Rows, or effects, times draws that are worked on together."""


def suits_perturbation(density: VarianceDensity) -> bool:
    """Whether rows lie in memory, each of one level of every group, and levels are independent."""
    model = density.model
    blocks = model.base.prepared.blocks
    return (
        isinstance(blocks, Blocks)
        and bool(blocks.groups)
        and model.problem.held is None
        and all(g.is_blockwise and not g.several for g in blocks.groups)
        and not density.coordinates.structured
    )


@dataclass(frozen=True, slots=True, eq=False)
class PerturbedPiece:
    """Draws `places`: means and noise of delta (S, p) and of b, per group (S, m, k), noise in units of y; `solved` (S,)."""

    places: Index
    delta: Array
    delta_noise: Array
    means: list[Array]
    noise: list[Array]
    solved: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Slab:
    """L of each group over sigma (S, k, k), sigma (S,) and D (p, S), for each of two right-hand sides of some draws."""

    lowers: tuple[Array, ...]
    sigma: Array
    precision: Array


@dataclass(frozen=True, eq=False)
class Perturbed:
    """What draws have in common.

    Attributes
    ----------
    density : VarianceDensity
    centre : (d,) array
        The draw whose K is the preconditioner.
    """

    density: VarianceDensity
    centre: Array

    def pieces(self, x: Array, seed: np.random.SeedSequence) -> Iterator[PerturbedPiece]:
        """Draws for rows of x (S, d), a slab after the other."""
        problem = self.density.model.problem
        width = max(1, CELLS // max(problem.n, problem.q))
        return in_slabs(lambda places, rng: self._piece(x, places, rng), len(x), width, seed)

    def _piece(self, x: Array, places: Index, rng: np.random.Generator) -> PerturbedPiece:
        own, model = self.density.coordinates, self.density.model
        values = own.values(x[places])
        sigma = np.asarray(values[own.sigma])
        lowers = [low / sigma[:, None, None] for low in joined(model.groups, own.factors(values))]
        log_var = model.log_var0[:, None] + np.zeros(len(places))
        if own.mixing:
            log_var = log_var + np.asarray(own.log_mixing(values)).T
        twice = _Slab(
            tuple(np.concatenate([low, low]) for low in lowers),
            np.tile(sigma, 2),
            np.exp(-np.tile(log_var, 2)),
        )
        size = len(places)
        right = self._right(twice, size)
        rough = self._rough(twice, size, rng)
        found = preconditioned(
            lambda v: self._product(v, twice),
            self._first,
            np.concatenate([right, rough], axis=1),
            NOISE,
            SOLVES,
        )
        mean, noise = (part * sigma for part in np.split(found.x, 2, axis=1))
        q, once = model.problem.q, [low[:size] for low in twice.lowers]
        return PerturbedPiece(
            places,
            mean[q:].T,
            noise[q:].T,
            self._stacked.turned(mean[:q], once),
            self._stacked.turned(noise[:q], once),
            np.asarray(found.converged.reshape(2, size).all(axis=0)),
        )

    # -- equations, in units of sigma ------------------------------------------------------------------------------

    def _right(self, slab: _Slab, size: int) -> Array:
        """Right-hand sides of the means over sigma, (q + p, S)."""
        model, sigma = self.density.model, slab.sigma[:size]
        p = len(model.log_var0)
        gram = model.base.gram
        side = np.concatenate([rhs[:, :, p].ravel() for rhs in gram.rhs])[:, None] / sigma
        pull = model.shape.T @ (slab.precision[:, :size] * model.shift[:, None])
        lowers = [low[:size] for low in slab.lowers]
        return np.concatenate(
            [self._stacked.pulled(side, lowers), gram.vv[:p, p, None] / sigma - sigma * pull]
        )

    def _rough(self, slab: _Slab, size: int, rng: np.random.Generator) -> Array:
        """xi, (q + p, S)."""
        model = self.density.model
        problem, p = model.problem, len(model.log_var0)
        e = rng.standard_normal((problem.n, size))
        if problem.weights is not None:
            e *= np.sqrt(problem.weights)[:, None]
        lowers = [low[:size] for low in slab.lowers]
        upper = self._stacked.pulled(self._z.T @ e, lowers) + rng.standard_normal((problem.q, size))
        half = np.sqrt(slab.precision[:, :size]) * rng.standard_normal((p, size))
        return np.concatenate([upper, self._q.T @ e + slab.sigma[:size] * (model.shape.T @ half)])

    def _product(self, v: Array, slab: _Slab) -> Array:
        """K v."""
        model, q = self.density.model, self.density.model.problem.q
        p = len(model.log_var0)
        b, delta = self._stacked.scaled(v[:q], slab.lowers), v[q:]
        upper = self._stacked.pulled(self._zz @ b + self._zq @ delta, slab.lowers) + v[:q]
        ridge = model.shape.T @ (slab.precision * (model.shape @ delta))
        return np.concatenate(
            [upper, self._zq.T @ b + model.base.gram.vv[:p, :p] @ delta + slab.sigma**2 * ridge]
        )

    def _first(self, r: Array) -> Array:
        """K^-1 r of the mean draw, by its factor and the Cholesky factor of what is left for delta."""
        point, q = self._point, self.density.model.problem.q
        a = self._solved(r[:q])
        side = self._side
        half = point.r_inverse
        delta = half @ (half.T @ (r[q:] - side.T @ a))
        return np.concatenate([a - self._solved_side @ delta, delta])

    @cached_property
    def _point(self) -> MarginalPoint:
        """The density at the mean draw."""
        return self.density(self.centre).marginal

    @cached_property
    def _side(self) -> Array:
        """Lambda'Z'WQ of the mean draw, (q, p)."""
        lowers = [np.repeat(low[None], self._zq.shape[1], 0) for low in self._point.factors]
        return self._stacked.pulled(self._zq, lowers)

    @cached_property
    def _solved_side(self) -> Array:
        return self._solved(self._side)

    def _solved(self, r: Array) -> Array:
        """M^-1 r of the mean draw."""
        return self._stacked.solved(self._point.factor, r)

    # -- products --------------------------------------------------------------------------------------------------

    @cached_property
    def _stacked(self) -> StackedEffects:
        return StackedEffects(self.density.model.groups)

    @cached_property
    def _z(self) -> SparseMatrix:
        from scipy.sparse import csr_array, hstack

        blocks = self.density.model.base.prepared.blocks
        assert isinstance(blocks, Blocks)  # `suits_perturbation` has asked
        return csr_array(hstack([own.design() for own in blocks.own]))

    @cached_property
    def _zz(self) -> SparseMatrix:
        """Z'WZ."""
        from scipy.sparse import csr_array, diags_array

        weights, z = self.density.model.problem.weights, self._z
        return csr_array(z.T @ (z if weights is None else diags_array(weights) @ z))

    @cached_property
    def _zq(self) -> Array:
        """Z'WQ, (q, p)."""
        p = len(self.density.model.log_var0)
        return np.concatenate([rhs[:, :, :p].reshape(-1, p) for rhs in self.density.model.base.gram.rhs])

    @cached_property
    def _q(self) -> Array:
        """Q, (n, p)."""
        model = self.density.model
        return model.problem.X.matrix @ model.base.ols.r_inverse
