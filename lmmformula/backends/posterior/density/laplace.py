r"""The posterior of everything but the mean's random effects, which Laplace's approximation integrates out.

    log p(x | y) ~ -d(beta, L, a) / 2 + log p(x),      x = (delta, variances, auxiliary coefficients)

with d of :mod:`lmmformula.criteria.laplace` (1) and its analytic gradient (2): exact for a normal response, and the better
the more rows a level has. The search for the modes of the random effects starts where it ended at the mode of x, or where
parabolas through a few such ends predict it, not where the last evaluation left it, so that the density is a function and a
chain does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmmformula.backends.batched_laplace import rows_apart, unbatched_laplace
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.laplace_start import start_beta
from lmmformula.backends.optimum import off_boundary
from lmmformula.backends.posterior.density.base import Pointwise
from lmmformula.backends.posterior.density.scale import Scale, find_mode, linear_places
from lmmformula.backends.posterior.model.predictor import (
    Predictor,
    aux_predictors,
    laid_out,
    mean_predictor,
    with_aux,
)
from lmmformula.criteria.batched.crossed import CrossedLaplace, CrossedPoints
from lmmformula.criteria.batched.direct import Design, DirectDesign, direct_design
from lmmformula.criteria.batched.laplace import LaplaceMany, Moded
from lmmformula.criteria.family_rows import start_aux
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.engines.base import Engine, Prepared
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.groups import joined
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import phis_of
from lmmformula.numerics.threads import blas_threads, in_order
from lmmformula.typing import Array

__all__ = ["LaplaceDensity", "LaplaceDensityPoint"]

SLAB = 30_000
"""Rows times draws that are evaluated together."""
TOGETHER = 120_000
"""The same where levels of several groups meet: a dozen numbers of each row and draw are to stay in the cache."""
SETTLED = 1e-9
"""Newton decrement of a level's h after which the last step of its search is made: log densities are right to 1e-8 or so."""
DEAR = 1_000
"""Rows from which on a value of a draw that is evaluated with others takes a millisecond or so."""
_FARTHEST = 3.0
"""Standard deviations from the mode up to which modes of random effects are predicted."""
ROUGH = 1e-4
"""Newton decrement of the deviance at which the fit that gives the start may end."""


@dataclass(frozen=True, eq=False)
class LaplaceDensity(Pointwise):
    """The density and its pieces.

    Attributes
    ----------
    model : Laplace
        The criterion, for the problem with a block for every auxiliary predictor.
    predictors : tuple of Predictor
        The mean's, then the auxiliary ones, with their places in the sampled vector of the general model.
    begin : (d,) array
        The maximum-likelihood fit, off its boundaries.
    found : Scale or None
        The mode, once it is known, and the scales that chains go on with.
    u : tuple of (m, k) arrays, or None
        Where searches for the modes of the random effects start.
    """

    model: Laplace
    predictors: tuple[Predictor, ...]
    begin: Array
    found: Scale | None = None
    u: tuple[Array, ...] | None = None

    @classmethod
    def of(
        cls, problem: Problem, engine: Engine, priors: Priors, prepared: Prepared | None = None
    ) -> LaplaceDensity:
        """Fit by maximum likelihood, and take scales from that."""
        full = with_aux(problem)
        model = Laplace.of(full, engine, prepared=prepared)
        beta, covariances, alpha, weights, phis = _first_fit(model, engine)
        predictors = (mean_predictor(full, priors, beta, weights), *aux_predictors(full, priors, alpha))
        placed, _, _ = laid_out(predictors)
        parts = [placed[0].begin(beta, covariances, phis)]
        parts += [own.begin(a, []) for own, a in zip(placed[1:], alpha, strict=True)]
        return cls(model, placed, np.concatenate(parts))

    @property
    def mean(self) -> Predictor:
        return self.predictors[0]

    @cached_property
    def _suits_batches(self) -> bool:
        return not (unbatched_laplace(self.model) or self.mean.simplexes is not None or self.u is None)

    @property
    def follows_modes(self) -> bool:
        """Whether the modes of many draws can be followed from those of a few."""
        blocks = self.model.prepared.blocks
        return bool(blocks.groups) and not (
            rows_apart(self.model) or self.mean.simplexes is not None or self.found is None
        )

    @cached_property
    def design(self) -> Design:
        """Z of all groups, where modes can be followed."""
        blocks = self.model.prepared.blocks
        assert isinstance(blocks, Blocks)  # rows lie in memory
        return Design(blocks.own)

    @cached_property
    def direct(self) -> DirectDesign | None:
        """How M of many draws is eliminated, where that leaves little."""
        return direct_design(self.design)

    @cached_property
    def _crossed(self) -> CrossedLaplace | None:
        """The criterion for many draws at once, where levels of several groups meet."""
        several = self.follows_modes and len(self.model.prepared.blocks.groups) > 1
        return (
            CrossedLaplace(self.model.problem, self.direct) if several and self.direct is not None else None
        )

    def standardised(self, x: Array) -> Array:
        """z of x = mode + half z, (S, d)."""
        assert self.found is not None
        return np.linalg.solve(self.found.half, (x - self.found.mode).T).T

    def together(self, x: Array) -> Iterator[Moded] | None:
        """The likelihood's part and the modes of the rows of x (S, d) in slabs, where all levels are independent."""
        if not self._suits_batches:
            return None
        return (self._slab(x[i : i + self._width]) for i in range(0, len(x), self._width))

    @property
    def _width(self) -> int:
        """Draws of a slab."""
        return max(16, SLAB // max(1, self.model.problem.n))

    @cached_property
    def _many(self) -> LaplaceMany:
        """The criterion for the draws of a slab, whose searches begin at the modes at the mode of x."""
        problem, blocks, width = self.model.problem, self.model.prepared.blocks, self._width
        own = blocks.own  # type: ignore[union-attr]
        y = np.broadcast_to(np.asarray(problem.y, dtype=float)[:, None], (problem.n, width))
        many = LaplaceMany.of_responses(problem, own[0] if own else None, y)
        assert self.u is not None
        many.modes[...] = self.u[0] if own else 0.0
        return replace(many, tolerance=SETTLED)

    @cached_property
    def _bends(self) -> tuple[Array, Array]:
        """First and second derivatives of the modes along each z, x = mode + half z, by steps of one; (d, m, k) each."""
        assert self.found is not None
        assert self.u is not None
        d, middle = self.d, self.u[0]
        moves = np.vstack([self.found.half.T, -self.found.half.T])
        parts = [
            self._moded(self.found.mode + moves[i : i + self._width]).u for i in range(0, 2 * d, self._width)
        ]
        high, low = np.split(np.concatenate(parts), 2)
        bends = 0.5 * (high - low), 0.5 * (high + low) - middle
        return tuple(np.where(np.isfinite(b).all(axis=(1, 2), keepdims=True), b, 0.0) for b in bends)  # type: ignore[return-value]

    def _slab(self, x: Array) -> Moded:
        """At at most a slab's draws, whose searches begin where a parabola along each z has their modes."""
        if not self._many.modes.size:
            return self._moded(x)
        z = np.clip(self.standardised(x), -_FARTHEST, _FARTHEST)
        first, second = self._bends
        start = np.tensordot(z, first, 1) + np.tensordot(z * z, second, 1)
        return self._moded(x, self._many.modes[: len(x)] + start)

    def _moded(self, x: Array, begin: Array | None = None) -> Moded:
        """At at most a slab's draws, by searches from `begin`."""
        with np.errstate(all="ignore"):
            return self._part(len(x), begin).modes_at(self._psi(x))

    def _part(self, size: int, begin: Array | None = None) -> LaplaceMany:
        """The criterion for so many draws."""
        many = self._many
        return replace(
            many,
            y=many.y[:, :size],
            constant=many.constant[:, :size],
            modes=many.modes[:size] if begin is None else begin,
        )

    def _psi(self, x: Array) -> Array:
        """Coefficients, L in terms of theta, and auxiliary coefficients of rows of x."""
        thetas = []
        for term, lower in zip(self.model.problem.terms, self.mean.factors(x), strict=True):
            units = term.covariance.jacobian(term.covariance.start())  # L is their sum by theta
            thetas.append(np.einsum("sij,dij->sd", lower, units) / np.einsum("dij,dij->d", units, units))
        return np.hstack([self.mean.beta(x), *thetas, *(p.beta(x) for p in self.predictors[1:])])

    def remainders(self, x: Array, slab: Moded, steps: Array) -> Array:
        """Of each level of a slab of :meth:`together`, what its log likelihood is beyond second order, (K, S, m).

        `steps` (K, S, m, k) are of u from the modes.
        """
        with np.errstate(all="ignore"):
            return self._part(len(x)).remainders(self._psi(x), slab, steps)

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        slabs = self.together(x)
        if slabs is None:
            if self.follows_modes:
                _ = self._parabolas  # before threads ask for them
            return super().log_densities(x)
        with blas_threads(0), np.errstate(all="ignore"):
            prior = np.sum([p.log_prior(x) for p in self.predictors], axis=0)
            out = prior - 0.5 * np.concatenate([np.zeros(0), *(slab.value for slab in slabs)])
        return np.where(np.isfinite(out), out, -np.inf)

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """Log density and gradient of each row of x (S, d); -inf and 0 where they cannot be computed."""
        if self._crossed is None:
            return super().values_and_gradients(x)
        values, gradients, at = np.full(len(x), np.nan), np.zeros(x.shape), 0
        for own in self._crossed_points(x, slopes=True):
            end = at + len(own.value)
            values[at:end], gradients[at:end] = self._differentiated(x[at:end], own)
            at = end
        for i in np.flatnonzero(~(np.isfinite(values) & np.isfinite(gradients).all(axis=1))):
            values[i], gradients[i] = self.value_and_gradient(x[i])
        return values, gradients

    def searched(self, x: Array, *, weighted: bool) -> tuple[Array, Array | None]:
        """Modes of the random effects of all groups, (S, q), and observed weights of the rows there, (S, n), of rows of x."""
        if self._crossed is None:
            points = list(in_order(lambda one: self(one).laplace, x))
            weights = np.array([_weights(p) for p in points]) if weighted else None
            return np.array([_flat(p.u) for p in points]), weights
        found = [(f.u, f.weight if weighted else f.weight[:0]) for f in self._crossed_points(x)]
        u, weights = (np.concatenate(own, axis=1).T for own in zip(*found, strict=True))
        for i in np.flatnonzero(~np.isfinite(u).all(axis=1)):
            point = self(x[i]).laplace
            u[i], weights[i] = _flat(point.u), _weights(point)[: weights.shape[1]]
        return u, weights if weighted else None

    def _crossed_points(self, x: Array, *, slopes: bool = False) -> Iterator[CrossedPoints]:
        """The likelihood's part at rows of x, a slab after the other."""
        crossed, width = self._crossed, max(1, TOGETHER // max(1, self.model.problem.n))
        assert crossed is not None
        _ = self._parabolas, crossed.direct.patterns  # before threads ask for them
        groups = self.model.prepared.blocks.groups

        def one(i: int) -> CrossedPoints:
            own = x[i : i + width]
            lowers = joined(groups, self.mean.factors(own))
            aux = [p.block.matrix @ p.beta(own).T for p in self.predictors[1:]]
            with np.errstate(all="ignore"):
                return crossed.at(self.mean.beta(own), lowers, aux, self._begun(own).T, slopes=slopes)

        return in_order(one, range(0, len(x), width))

    def _differentiated(self, x: Array, found: CrossedPoints) -> tuple[Array, Array]:
        """Log densities and gradients of a slab."""
        with np.errstate(all="ignore"):
            values = np.sum([p.log_prior(x) for p in self.predictors], axis=0) - 0.5 * found.value
        slopes, gradients = found.slopes, []
        assert slopes is not None
        aux = [p.block.matrix.T @ own for p, own in zip(self.predictors[1:], slopes.aux, strict=True)]
        for s, one in enumerate(x):
            lowers = [own[s] for own in slopes.lowers]
            parts = self.pulled(one, slopes.beta[s], lowers, [own[:, s] for own in aux])
            gradients.append(np.concatenate(parts))
        return values, np.array(gradients)

    def pulled(
        self, x: Array, d_beta: Array, d_factors: Sequence[Array], d_aux: Sequence[Array]
    ) -> list[Array]:
        """Gradient of the log density, by predictor, of the deviance's in beta, L of each group, and auxiliary coefficients."""
        parts, mean = [p.log_prior_gradient(x) for p in self.predictors], self.mean
        parts[0][: mean.p] -= 0.5 * mean.pulled(x, d_beta)
        slopes = mean.factor_slopes(x)
        for group, d_factor in zip(self.model.prepared.blocks.groups, d_factors, strict=True):
            for i, columns in group.members:
                places, moves = slopes[i]
                parts[0][list(places)] -= 0.5 * np.tensordot(moves, d_factor[columns, columns], 2)
        for part, p, own in zip(parts[1:], self.predictors[1:], d_aux, strict=True):
            part[: p.p] -= 0.5 * (p.back.T @ own)
        return parts

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations, each with the partial correlations that change sign with it."""
        own, first = self.mean.own, self.mean.p
        return tuple(place for term in self.mean.places for place in term.folded(own, first))

    @property
    def is_small(self) -> bool:
        """False."""
        return False

    @property
    def is_dense(self) -> bool:
        """True."""
        return True

    @property
    def is_dear(self) -> bool:
        """Of many rows, and where draws are evaluated one by one."""
        return self.model.problem.n > DEAR or not self._suits_batches

    def traced(self) -> None:
        """None: the search for the modes stays in numpy."""

    def __call__(self, x: Array) -> LaplaceDensityPoint:
        x = np.asarray(x, dtype=float)
        return LaplaceDensityPoint(self, x, self._predicted(x) if self.follows_modes else self.u)

    def _predicted(self, x: Array) -> tuple[Array, ...]:
        """Modes at one x by a parabola along each z, where the search for them begins."""
        assert self.u is not None
        begun, at, out = self._begun(x[None])[0], 0, []
        for own in self.u:
            out.append(begun[at : at + own.size].reshape(own.shape))
            at += own.size
        return tuple(out)

    def _begun(self, x: Array) -> Array:
        """The same of all groups together at rows of x, (S, q)."""
        assert self.u is not None
        z = np.clip(self.standardised(x), -_FARTHEST, _FARTHEST)
        first, second = self._parabolas
        return _flat(self.u) + z @ first + z**2 @ second

    @cached_property
    def _parabolas(self) -> tuple[Array, Array]:
        """As :attr:`_bends`, of all groups, (d, q) each, by searches from the modes at the mode of x."""
        assert self.found is not None

        def modes(x: Array) -> Array:
            try:
                found = LaplaceDensityPoint(self, x, self.u).laplace.u
            except (FitError, np.linalg.LinAlgError):
                found = self.u
            return _flat(found or ())

        at, half = self.found.mode, self.found.half.T
        middle, *moved = in_order(modes, [at, *(at + half), *(at - half)])
        high, low = np.split(np.array(moved), 2)
        return 0.5 * (high - low), 0.5 * (high + low) - middle

    def settled(self, scale: Scale | None = None) -> LaplaceDensity:
        """The same density with searches that start from the modes at the mode of x, which `scale` knows or is climbed to."""
        found = replace(self, u=self(self.begin).laplace.u).scale() if scale is None else scale
        return replace(self, found=found, u=self(found.mode).laplace.u)

    def scale(self) -> Scale:
        """The mode and the curvature there."""
        return find_mode(self, linear=linear_places(self.predictors)) if self.found is None else self.found


@dataclass(frozen=True, eq=False)
class LaplaceDensityPoint:
    """The density at one x; the search for the modes begins at `start`."""

    target: LaplaceDensity
    x: Array
    start: tuple[Array, ...] | None = None

    @cached_property
    def laplace(self) -> LaplacePoint:
        """The likelihood's part."""
        own = self.target
        aux = tuple(p.eta(self.x) for p in own.predictors[1:])
        groups = own.model.prepared.blocks.groups
        factors = joined(groups, own.mean.factors(self.x))
        phis = own.mean.phis(self.x) if self.structured else None
        return own.model.at(own.mean.beta(self.x), factors, aux, self.start, phis)

    @property
    def structured(self) -> bool:
        """Whether a structure across levels has parameters."""
        return any(t.phis for t in self.target.mean.places)

    @computed_once
    def value(self) -> float:
        prior = sum(float(p.log_prior(self.x)) for p in self.target.predictors)
        return prior - 0.5 * self.laplace.deviance

    @computed_once
    def gradient(self) -> Array:
        own, point = self.target, self.laplace
        d_aux = [p.block.matrix.T @ point.d_aux_rows(j) for j, p in enumerate(own.predictors[1:])]
        parts = own.pulled(self.x, point.d_beta, point.d_factors, d_aux)
        if self.structured:
            moved, slices = point.d_phi, own.model.problem.theta_slices()
            for (places, rates), where in zip(own.mean.phi_rates(self.x), slices, strict=True):
                d_phi = moved[where.stop - len(rates) : where.stop]
                parts[0][list(places)] -= 0.5 * d_phi * rates
        return np.concatenate(parts)


def _flat(u: Sequence[Array]) -> Array:
    """Effects of all groups, (q,)."""
    return np.concatenate([np.zeros(0), *(own.ravel() for own in u)])


def _weights(point: LaplacePoint) -> Array:
    """Observed weights at the modes, (n,), in the order of the data."""
    model = point.model
    found = model.rows(point.mode.eta, point.aux, "observed", derivatives=False)
    return np.broadcast_to(model.data.whole(found.weight), model.problem.n)


def _first_fit(model: Laplace, engine: Engine) -> tuple[Array, list[Array], list[Array], Array, list[Array]]:
    """beta, covariances, alpha, the precisions of the rows and phi of the terms, by maximum likelihood if that succeeds."""
    problem = model.problem
    try:
        point = LaplaceBackend(engine=engine, tolerance=ROUGH).fit(problem, model.prepared).point
        theta = off_boundary(point.theta)
        beta, aux = point.beta, [point.psi[s] for s in model.layout.aux]
        weights = np.maximum(point.observed.weight, 0.0)
    except FitError:
        beta, theta = start_beta(problem), np.concatenate([t.covariance.start() for t in problem.terms])
        eta = model.predictor(beta, (), ())
        scales = start_aux(problem.family, model.data, eta)
        aux = [np.eye(b.p)[0] * s for b, s in zip(model.data.aux, scales, strict=True)]
        rows = tuple(b.times(a) for b, a in zip(model.data.aux, aux, strict=True))
        weights = model.rows(eta, rows, "expected", derivatives=False).weight
    lowers = [
        t.covariance.cholesky(theta[s]) for t, s in zip(problem.terms, problem.theta_slices(), strict=True)
    ]
    if not (np.isfinite(weights).all() and weights.max() > 0):
        weights = np.ones(problem.n)
    return beta, [low @ low.T for low in lowers], aux, weights, phis_of(problem, theta)
