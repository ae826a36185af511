r"""Linear predictors whose coefficients, variances and random effects are sampled.

    eta = offset + X beta + sum_i A_i b_i,     beta = b_0 + R^-1 delta,     b_i = L_i u_i per level,  u_i ~ N(0, I)

delta are fixed effects on orthonormal columns (R'R = X'WX with the weights W of a first fit), so that their scales are about
one and they are uncorrelated but for the random effects. u_i are the spherical random effects ("non-centred":
Papaspiliopoulos, Roberts & Skold 2007): a priori they do not depend on the variances, which removes the funnel between
b and its standard deviation. Variances have the coordinates of :mod:`lmmformula.backends.posterior.model.coordinates`.

A parameter of the family that is one number - a dispersion, a probability - is a predictor of one column whose prior is
stated for its value v(a): in a the density has the factor |dv/da|, which is 1, v, v - 1 or v (1 - v); between other ends than
0 and 1 it is stated for the place between them.

A vector x holds the *outer* coordinates of all predictors (delta, then variances, predictor by predictor), then the
*inner* ones, their u. Functions take the array module as in :mod:`lmmformula.backends.posterior.model.coordinates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lmmformula.backends.posterior.model.coordinates import (
    TermPlaces,
    covariance_coordinates,
    term_coordinates,
    term_values,
)
from lmmformula.backends.posterior.model.scalars import Coordinate, Held
from lmmformula.backends.posterior.model.simplex import Simplexes
from lmmformula.errors import PlanError
from lmmformula.families.auxiliary import Auxiliary, Range
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.prior_distributions import Point
from lmmformula.ir.priors import AuxPriors, Prior, Priors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Namespace, Numbers

__all__ = [
    "Constant",
    "Predictor",
    "aligned",
    "aux_blocks",
    "aux_predictors",
    "detectable",
    "laid_out",
    "mean_predictor",
    "predictor_of",
    "with_aux",
]


@dataclass(frozen=True, slots=True)
class Constant:
    """Prior of a parameter that is one number, in terms of its predictor a."""

    name: str
    prior: Prior
    range: Range
    ends: tuple[float, float] = (0.0, 1.0)

    def _stated(self, a: Numbers, xp: Namespace) -> Numbers:
        """What the prior is of: the parameter, or its place between the ends of the range "unit"."""
        if self.range == "unit":
            return 1.0 / (1.0 + xp.exp(-a))
        if self.range == "real":
            return a
        return xp.exp(a) + (1.0 if self.range == "above one" else 0.0)

    def value(self, a: Numbers, xp: Namespace = np) -> Numbers:
        """The parameter."""
        stated = self._stated(a, xp)
        if self.range != "unit":
            return stated
        low, high = self.ends
        return low + (high - low) * stated

    @property
    def held(self) -> float | None:
        """The predictor of a value that is known; None of one that is not."""
        own = self.prior.distribution
        if not isinstance(own, Point):
            return None
        if self.range == "above one" and not own.value > 1.0:
            raise PlanError(f"priors[{self.name!r}] = '{own}': {self.name} lies above 1.")
        inward = {
            "real": lambda v: v,
            "positive": np.log,
            "above one": lambda v: np.log(v - 1.0),
            "unit": lambda v: np.log(v / (1.0 - v)),
        }
        return float(inward[self.range](own.value))

    def log_density(self, a: Numbers, xp: Namespace = np) -> Numbers:
        """log p(v(a)) + log|dv/da| of what the prior is of."""
        jacobian = 0.0 if self.range == "real" else a
        if self.range == "unit":
            jacobian = -xp.logaddexp(0.0, a) - xp.logaddexp(0.0, -a)
        return self.prior.distribution.logpdf(self._stated(a, xp), xp) + jacobian

    def density_slope(self, a: float) -> float:
        """Its derivative."""
        v = float(self._stated(a, np))
        rate = {"real": 1.0, "positive": v, "above one": v - 1.0, "unit": v * (1.0 - v)}[self.range]
        own = float(self.prior.distribution.slope(v)) * rate
        if self.range == "real":
            return own
        return own + (1.0 - 2.0 * v if self.range == "unit" else 1.0)


@dataclass(frozen=True, eq=False)
class Predictor:
    """One linear predictor.

    Attributes
    ----------
    name : str
        Of the auxiliary parameter; empty for the mean.
    block : FixedBlock
    back : (p, p) array
        R^-1.
    centre : (p,) array
        b_0.
    constant : Constant or None
    coefficients : tuple of Prior
    contrast : (p, p) array
        T: priors are of T beta.
    terms : tuple of GroupBlock
    own : tuple of Coordinate
        Of the variances.
    places : tuple of TermPlaces
        Positions in `own`.
    offset : (n,) array or None
    simplexes : Simplexes or None
        Of monotonic effects: delta are then those of coordinates c of the coefficients, beta = beta(c).
    outer, inner : slice
        Positions in x.
    """

    name: str
    block: FixedBlock
    back: Array
    centre: Array
    constant: Constant | None
    coefficients: tuple[Prior, ...]
    contrast: Array
    terms: tuple[GroupBlock, ...]
    own: tuple[Coordinate, ...]
    places: tuple[TermPlaces, ...]
    offset: Array | None = None
    simplexes: Simplexes | None = None
    outer: slice = field(default_factory=lambda: slice(0, 0))
    inner: slice = field(default_factory=lambda: slice(0, 0))

    @property
    def p(self) -> int:
        return len(self.centre)

    @property
    def n_outer(self) -> int:
        return self.p + len(self.own)

    @property
    def n_inner(self) -> int:
        return sum(t.q for t in self.terms)

    # -- parts of x (..., d) -------------------------------------------------------------------------------------------

    def coordinates(self, x: Numbers) -> Numbers:
        """Coordinates of the coefficients, (..., p): but for monotonic effects these themselves."""
        return self.centre + x[..., self.outer][..., : self.p] @ self.back.T

    def beta(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """Coefficients, (..., p)."""
        c = self.coordinates(x)
        return c if self.simplexes is None else self.simplexes.beta(c, xp)

    def pulled(self, x: Array, slope: Array) -> Array:
        """Derivative in delta of what has the derivative `slope` in beta, at one x."""
        if self.simplexes is not None:
            slope = self.simplexes.jacobian(self.coordinates(x)).T @ slope
        return self.back.T @ slope

    def values(self, x: Numbers, xp: Namespace = np) -> list[Numbers]:
        """Signed standard deviations and correlation parameters, arrays (...,)."""
        own = x[..., self.outer][..., self.p :]
        return [c.value(own[..., j], xp) for j, c in enumerate(self.own)]

    def factors(self, x: Numbers, xp: Namespace = np) -> list[Numbers]:
        """L of each term, (..., k, k)."""
        values = self.values(x, xp)
        return [t.factor(values, xp) for t in self.places]

    def phis(self, x: Array) -> list[Array]:
        """phi of each term, for one x."""
        values = self.values(x)
        return [t.phi(values) for t in self.places]

    def phi_rates(self, x: Array) -> list[tuple[tuple[int, ...], Array]]:
        """For each term its elements' places among the outer coordinates and dphi/dx there."""
        values, own = self.values(x), x[self.outer][self.p :]
        return [(tuple(self.p + j for j in t.phis), t.phi_rates(self.own, own, values)) for t in self.places]

    def effects(self, x: Numbers, xp: Namespace = np) -> list[Numbers]:
        """b of each term, (..., m, k)."""
        u, out, start = x[..., self.inner], [], 0
        for term, lower in zip(self.terms, self.factors(x, xp), strict=True):
            own = u[..., start : start + term.q].reshape(*u.shape[:-1], term.m, term.k)
            out.append(own @ xp.swapaxes(lower, -1, -2))
            start += term.q
        return out

    def eta(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """The predictor on the rows, (n,), for one x."""
        out = self.block.matrix @ self.beta(x, xp)
        if self.offset is not None:
            out = out + self.offset
        for term, b in zip(self.terms, self.effects(x, xp), strict=True):
            out = out + term.apply(b) if xp is np else out + _applied(term, b, xp)
        return out

    # -- priors --------------------------------------------------------------------------------------------------------

    def log_prior(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """Log prior density of the outer coordinates, up to a constant; of one x where there are monotonic effects."""
        own = x[..., self.outer]
        out = 0.0 * own.sum(-1)
        if self._held:
            out = out + self._held.log_density(own[..., 0], xp)
        elif self.constant is not None:
            out = out + self.constant.log_density(self.beta(x)[..., 0], xp)
        elif self.p:
            moved, steps = self.beta(x, xp) @ self.contrast.T, self._steps
            for j, prior in enumerate(self.coefficients):
                if j not in steps:
                    out = out + prior.distribution.logpdf(moved[..., j], xp)
            if self.simplexes is not None:
                c = self.coordinates(x)
                out = out + self.simplexes.log_density(c, xp)
                for j in self._averages:
                    out = out + self.coefficients[j].distribution.logpdf(c[j], xp)
        for j, c in enumerate(self.own):
            out = out + c.log_density(own[..., self.p + j], xp)
        return out

    def log_prior_gradient(self, x: Array) -> Array:
        """Its gradient in this predictor's outer coordinates, (n_outer,)."""
        beta, own = self.beta(x), x[self.outer]
        if self._held:
            ahead = np.array([self._held.density_slope(float(own[0]))])
            return np.concatenate([ahead, np.zeros(len(self.own))])
        if self.constant is not None:
            slope = np.array([self.constant.density_slope(float(beta[0]))])
        else:
            moved, steps = self.contrast @ beta, self._steps
            each = [
                0.0 if j in steps else own_prior.distribution.slope(v)
                for j, (own_prior, v) in enumerate(zip(self.coefficients, moved, strict=True))
            ]
            slope = self.contrast.T @ np.array(each, dtype=float)
        variances = [c.density_slope(float(own[self.p + j])) for j, c in enumerate(self.own)]
        return np.concatenate([self.pulled(x, slope) + self._simplex_slope(x), variances])

    @property
    def _held(self) -> Held | None:
        """The coordinate of a parameter that is one number and known."""
        held = None if self.constant is None else self.constant.held
        return None if held is None else Held(held)

    @property
    def _steps(self) -> frozenset[int]:
        return frozenset() if self.simplexes is None else self.simplexes.columns

    @property
    def _averages(self) -> tuple[int, ...]:
        """Coordinates that are average steps."""
        return () if self.simplexes is None else tuple(own.columns[0] for own in self.simplexes.effects)

    def _simplex_slope(self, x: Array) -> Array:
        """Derivative in delta of the log prior of average steps and simplexes."""
        if self.simplexes is None:
            return np.zeros(self.p)
        c = self.coordinates(x)
        slope = self.simplexes.density_slope(c)
        for j in self._averages:
            slope[j] += float(self.coefficients[j].distribution.slope(c[j]))
        return self.back.T @ slope

    def factor_slopes(self, x: Array) -> list[tuple[tuple[int, ...], Array]]:
        """For each term its places among the outer coordinates and dL/dx there, (places, k, k)."""
        values, own = self.values(x), x[self.outer][self.p :]
        return [
            (tuple(self.p + j for j in (*t.sds, *t.cors)), t.slopes(self.own, own, values))
            for t in self.places
        ]

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def variance_names(self) -> tuple[str, ...]:
        return tuple(name for t in self.places for name in t.priors.parameters.names)

    def variances(self, x: Array) -> Array:
        """Standard deviations, correlations and natural phi, (..., names)."""
        parts = term_values(self.places, self.values(x))
        return np.stack(parts, axis=-1) if parts else np.zeros((*x.shape[:-1], 0))

    @property
    def aux_names(self) -> tuple[str, ...]:
        """Names of an auxiliary predictor's numbers: the parameter, or ``sigma:(Intercept)``."""
        if self.constant is not None:
            return (self.name,)
        return tuple(f"{self.name}:{c}" for c in self.block.names)

    def aux_values(self, x: Array) -> Array:
        """The numbers of these names, (..., names)."""
        beta = self.beta(x)
        return beta if self.constant is None else self.constant.value(beta)

    # -- starting ------------------------------------------------------------------------------------------------------

    def begin(self, beta: Array, covariances: Sequence[Array], phis: Sequence[Array] | None = None) -> Array:
        """Outer coordinates of coefficients, and of covariance matrices and phi of the terms."""
        c = beta if self.simplexes is None else self.simplexes.coordinates(beta)
        free = self.p and not self._held
        delta = np.linalg.solve(self.back, c - self.centre) if free else np.zeros(self.p)
        return np.concatenate([delta, covariance_coordinates(self.own, self.places, covariances, 1e-3, phis)])


def _applied(term: GroupBlock, b: Numbers, xp: Namespace) -> Numbers:
    """Z b, (n,), in any array module."""
    if aligned(term):
        spread = xp.broadcast_to(b[:, None], (term.m, len(term.codes) // term.m, term.k))
        rows = spread.reshape(-1, term.k)
    else:
        rows = b[term.codes]
    return rows[:, 0] if term.basis is None else xp.sum(term.basis * rows, axis=1)


def aligned(term: GroupBlock) -> bool:
    """Whether rows stand level by level, as many for each: sums over levels are then sums along an axis."""
    n = len(term.codes)
    return n % term.m == 0 and bool((term.codes == np.repeat(np.arange(term.m), n // term.m)).all())


def detectable(term: GroupBlock, weights: Array) -> Array:
    """The standard deviation of each column that rows of these precisions can just tell from zero, (k,)."""
    n = len(term.codes)
    basis = np.ones((n, 1)) if term.basis is None else term.basis
    codes = term.codes.reshape(n, -1)
    shares = np.ones((n, 1)) if term.shares is None else np.where(codes < 0, 0.0, term.shares)
    out = []
    for column in np.moveaxis(basis, -1, 0):
        own = (shares * column.reshape(n, -1)) ** 2 * weights[:, None]
        squares = np.bincount(np.maximum(codes, 0).ravel(), own.ravel(), term.m)
        out.append((0.5 * float(squares @ squares) + 1e-300) ** -0.25)
    return np.array(out)


def predictor_of(
    name: str,
    block: FixedBlock,
    terms: tuple[GroupBlock, ...],
    priors: Priors | AuxPriors,
    beta: Array,
    weights: Array,
    constant: Constant | None = None,
    offset: Array | None = None,
    simplexes: Simplexes | None = None,
) -> Predictor:
    """A predictor without places in x; `beta` and the precisions `weights` of the rows are those of a first fit."""
    p, rows = len(beta), block.matrix * np.sqrt(weights)[:, None]
    if simplexes is not None:
        beta = simplexes.coordinates(beta)
        rows = np.vstack([rows @ simplexes.jacobian(beta), simplexes.information()])
    r = np.asarray(np.linalg.qr(rows, mode="r")) if p else np.zeros((0, 0))
    own, places = term_coordinates(priors.terms, [detectable(t, weights) for t in terms])
    back = np.linalg.inv(r) if p else r
    if constant is not None and (held := constant.held) is not None:
        beta, back = np.array([held]), np.zeros((1, 1))
    return Predictor(
        name,
        block,
        back,
        beta,
        constant,
        priors.coefficients,
        priors.contrast,
        terms,
        tuple(own),
        places,
        offset,
        simplexes,
    )


def mean_predictor(problem: Problem, priors: Priors, beta: Array, weights: Array) -> Predictor:
    """The mean's predictor; `beta` and the precisions `weights` of the rows are those of a first fit."""
    safe = np.maximum(weights, 1e-6 * float(np.max(weights)))
    simplexes = Simplexes(priors.simplexes, problem.p) if priors.simplexes else None
    return predictor_of(
        "", problem.X, problem.terms, priors, beta, safe, None, problem.offset, simplexes=simplexes
    )


def aux_blocks(problem: Problem) -> tuple[FixedBlock, ...]:
    """Columns of every auxiliary predictor: a constant where it has no formula."""
    if problem.aux:
        return problem.aux
    ones = FixedBlock.constant(problem.n)
    return tuple(ones for _ in problem.family.auxiliaries)


def with_aux(problem: Problem) -> Problem:
    """The same problem with a block for every auxiliary predictor."""
    return replace(problem, aux=aux_blocks(problem))


def _constant(parameter: Auxiliary, prior: Prior) -> Constant:
    return Constant(parameter.name, prior, parameter.range, parameter.ends)


def aux_predictors(problem: Problem, priors: Priors, alpha: Sequence[Array]) -> tuple[Predictor, ...]:
    """The family's auxiliary predictors; `alpha` are their coefficients in a first fit."""
    out = []
    for j, (parameter, block) in enumerate(zip(problem.family.auxiliaries, aux_blocks(problem), strict=True)):
        own = priors.aux[j]
        constant = None if own.value is None else _constant(parameter, own.value)
        terms = problem.aux_terms[j] if problem.aux_terms else ()
        ones = np.full(problem.n, 2.0)  # rows of a normal response say 2 about log sigma
        out.append(predictor_of(parameter.name, block, terms, own, alpha[j], ones, constant, None))
    return tuple(out)


def laid_out(predictors: Sequence[Predictor], first: int = 0) -> tuple[tuple[Predictor, ...], int, int]:
    """Predictors with their places in x after `first` outer coordinates; the outer and the whole length."""
    outer, placed = first, []
    for own in predictors:
        placed.append(replace(own, outer=slice(outer, outer + own.n_outer)))
        outer += own.n_outer
    inner, out = outer, []
    for own in placed:
        out.append(replace(own, inner=slice(inner, inner + own.n_inner)))
        inner += own.n_inner
    return tuple(out), outer, inner
