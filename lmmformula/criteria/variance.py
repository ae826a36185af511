r"""What the variance parameters do to a criterion: Lambda, Q and their derivatives, in one place for every criterion.

``b = Lambda u``, ``u ~ N(0, sigma^2 Q^-1)``, Lambda = I (x) L(theta), Q = Q(phi) (x) I across the levels of a term
(:mod:`lmmformula.ir.across`). By the determinant and inversion lemmas, with ``M = Lambda'Z'WZ Lambda + Q``::

    log|V|           = log|M| - log|Q| - sum log w
    V^-1             = W - W Z Lambda M^-1 Lambda' Z' W
    Lambda'Z'V^-1 v  = Q M^-1 Lambda'Z'W v                                                                 (1)

All criteria have the same two derivatives. Write A_j = L^-1 dL/dtheta_j, and for arrays x, y over levels (m, k) the k x k sum
``<x, y>_Q = x'Qy``. T = sum_st Q_st (M^-1)_ts. A criterion brings U = <u, u>_Q times its kappa, REML's
H = M^-1 Lambda'Z'WX R^-1 by <H, H>_Q, Laplace's adjoint v by <u, v>_Q. With K = m I - T - U - ...::

    dd/dtheta_j = 2 <L^-T K, dL_j>                                                                         (2)
    dd/dphi_j   = tr(M^-1 dQ_j) - k tr(Q^-1 dQ_j) + tr <u, u>_dQ kappa + ...      (the same sums with dQ for Q)   (3)

where in (3) each sum that K subtracts is added. (tr(M^-1 dQ) - k tr(Q^-1 dQ) is the derivative of log|M| - log|Q|; u is at the
minimum of its quadratic form, so only u'dQ u is left of that one.) For independent levels, Q = I, these are the formulas of
Schall (1991) and of Bates et al. (2015).

How u moves. Lambda'Z's = Q u at the mode, s the scores (W(y - X beta - Z Lambda u) of a Gaussian response), hence::

    du/dtheta_j = M^-1 z_j - A_j u,    z_j = Q (A_j + A_j')u;        du/dphi_j = M^-1 z_j,    z_j = -dQ_j u          (4)

and with x_j = Q^-1 z_j the average information (Gilmour, Thompson & Cullis 1995) is ``x_i'z_j - z_i'M^-1 z_j`` less what a
criterion projects out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lmmformula.engines.base import Factor, Stacked
from lmmformula.ir.across import Bends, Precision
from lmmformula.ir.covariance.base import CovarianceKind
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.frozen import computed_once
from lmmformula.ir.groups import Group
from lmmformula.ir.structured import phi_of, precision_of
from lmmformula.numerics.batched import flat
from lmmformula.numerics.tall import inner_products
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lmmformula.engines.base import Factor, Prepared
    from lmmformula.ir.problem import Problem

__all__ = [
    "Derivative",
    "Modes",
    "Point",
    "Variances",
    "floored",
    "inner",
    "relative_factors",
    "second_derivative",
]

ROUNDING = 1e-15
"""Of a deviance, for each number that is summed."""

STEP = 1e-4
"""Of differences of a Jacobian, whose coordinates have no unit."""

_FLOOR = 1e-5
"""Smallest diagonal of L that is inverted in (2) and (4); see `floored`."""


class Model(Protocol):
    """A criterion."""

    @property
    def problem(self) -> Problem: ...
    @property
    def prepared(self) -> Prepared: ...


class Modes(Protocol):
    """Where the spherical effects are at one theta."""

    @property
    def model(self) -> Model: ...
    @property
    def factors(self) -> tuple[Array, ...]:
        """L of each group."""
        ...

    @property
    def u(self) -> tuple[Array, ...]:
        """Modes of the spherical effects, by group."""
        ...


class Point(Modes, Protocol):
    """What every likelihood answers at one theta."""

    @property
    def theta(self) -> Array: ...
    @property
    def variances(self) -> Variances: ...
    @property
    def factor(self) -> Factor:
        """M, factorised."""
        ...


def floored(factor: Array) -> Array:
    """L with its diagonal kept away from zero, so that derivatives can divide by it.

    The deviance is even in each column of L, hence moves by O(floor^2) only.
    """
    diagonal = factor.diagonal()
    small = np.abs(diagonal) < _FLOOR
    if not small.any():
        return factor
    out = factor.copy()
    out[np.diag_indices(len(out))] = np.where(small, np.where(diagonal < 0, -_FLOOR, _FLOOR), diagonal)
    return out


def inner(x: Array, y: Array) -> Array:
    """Sum over levels of x_s y_s' for (m, k) arrays, or over levels and columns for (m, k, c) ones, (k, k)."""
    if x.ndim == 2:
        return x.T @ y
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1) @ y.transpose(1, 0, 2).reshape(y.shape[1], -1).T


@dataclass(frozen=True, slots=True, eq=False)
class Derivative:
    """How one term's L moves with its theta.

    Attributes
    ----------
    group : int
    columns : slice
        The term's columns in the group.
    index : slice
        The term's elements of theta.
    d_factor : (n_theta, k, k) array
        dL/dtheta_j.
    rate : (n_theta, k, k) array
        A_j + A_j' with A_j = L^-1 dL_j.
    reduced : bool
        Whether L has columns that are zero for any theta.
    """

    group: int
    columns: slice
    index: slice
    d_factor: Array
    rate: Array
    reduced: bool = False


@dataclass(frozen=True, eq=False)
class Variances:
    """L and Q of every group at one theta.

    Attributes
    ----------
    terms : tuple of GroupBlock
    groups : tuple of Group
    theta : (n_theta,) array
    own : tuple of (k_a, k_a) arrays
        L of theta.
    factors : tuple of (k_a, k_a) arrays
        The same with zeros on the diagonal replaced by a floor, unless asked for exactly.
    across : tuple of (Precision or None)
        Q_a; empty where all are the identity.
    """

    terms: Sequence[GroupBlock]
    groups: Sequence[Group]
    theta: Array
    own: tuple[Array, ...]
    factors: tuple[Array, ...]
    across: tuple[Precision | None, ...]

    @classmethod
    def at(
        cls, terms: Sequence[GroupBlock], groups: Sequence[Group], theta: Array, *, exact: bool = False
    ) -> Variances:
        """Evaluate the kinds of the terms at `theta`."""
        theta = np.asarray(theta, dtype=float)
        own = relative_factors(terms, groups, theta)
        across: tuple[Precision | None, ...] = ()
        if any(group.across is not None for group in groups):
            across = tuple(_precision(terms, group, theta) for group in groups)
        factors = own if exact else tuple(floored(f) for f in own)
        return cls(terms, groups, theta, own, factors, across)

    def with_factors(self, own: Sequence[Array]) -> Variances:
        """The same with other L, of which theta knows nothing."""
        own = tuple(own)
        return replace(self, own=own, factors=tuple(floored(f) for f in own))

    @property
    def is_exact(self) -> bool:
        """Whether L was taken as it is, with no element kept off zero."""
        return all(f is o for f, o in zip(self.factors, self.own, strict=True))

    @property
    def is_off_zero(self) -> bool:
        """Whether no element of L has to be kept off zero, so that asking for it exactly makes no difference."""
        return all(floored(f) is f for f in self.factors)

    @computed_once
    def inverse_factors(self) -> tuple[Array, ...]:
        """L^-1 of each group."""
        return tuple(np.linalg.inv(f) for f in self.factors)

    # -- Q -------------------------------------------------------------------------------------------------------

    @property
    def logdet(self) -> float:
        """log |Q (x) I|."""
        parts = zip(self.across, self.groups, strict=False)
        return sum(group.k * q.logdet for q, group in parts if q is not None)

    @property
    def rounding(self) -> float:
        """What rounding leaves of error in a deviance: levels beside their neighbours are differences, of numbers like Q_ii."""
        return ROUNDING * sum(float(q.matrix.diagonal().sum()) for q in self.across if q is not None)

    def times(self, u: Stacked) -> Stacked:
        """Q u."""
        if not self.across:
            return u
        return tuple(v if q is None else q.times(v) for q, v in zip(self.across, u, strict=True))

    def quadratic(self, u: Stacked) -> float:
        """u'Qu."""
        return sum(float(np.vdot(v, w)) for v, w in zip(u, self.times(u), strict=True))

    # -- derivatives -----------------------------------------------------------------------------------------------

    @computed_once
    def derivatives(self) -> tuple[Derivative, ...]:
        """dL/dtheta of each term."""
        out = []
        for a, group in enumerate(self.groups):
            for i, columns, index in self._members(group):
                jacobian = self.terms[i].covariance.jacobian(self.theta[index])
                rate = self.inverse_factors[a][columns, columns] @ jacobian
                kind = self.terms[i].covariance.within
                both, reduced = rate + np.swapaxes(rate, 1, 2), kind.rank < kind.k
                out.append(Derivative(a, columns, index, jacobian, both, reduced))
        return tuple(out)

    def _members(self, group: Group) -> list[tuple[int, slice, slice]]:
        """Term, its columns and its elements of theta."""
        where = _slices(self.terms)
        return [(i, columns, where[i]) for i, columns in group.members]

    @computed_once
    def _across_derivatives(self) -> list[tuple[int, int, csr_array, float]]:
        """Group, element of theta, dQ and dlog|Q| for every element of every phi."""
        out = []
        for a, group in enumerate(self.groups if self.across else ()):
            if group.across is None:
                continue
            ((i, _, index),) = self._members(group)
            theta = self.theta[index]
            phi = phi_of(self.terms[i].covariance, theta)
            found = enumerate(group.across.derivatives(theta[phi]))
            out += [(a, index.start + phi.start + j, dq, slope) for j, (dq, slope) in found]
        return out

    def slopes(self, ks: Sequence[Array]) -> tuple[Array, ...]:
        """dd/dL of each group, (k, k), of which the lower triangle is meant: 2 L^-T K L^-1 L."""
        parts = zip(self.inverse_factors, ks, self.own, strict=True)
        return tuple(2.0 * (inverse.T @ k @ (inverse @ own)) for inverse, k, own in parts)

    def gradient(
        self, ks: Sequence[Array], factor: Factor, pairs: Sequence[tuple[float, Stacked, Stacked]]
    ) -> Array:
        """dd/dtheta by (2) and (3), (n_theta,).

        Parameters
        ----------
        ks : sequence of (k_a, k_a) arrays
            K.
        factor : Factor
            M of log|M|.
        pairs : sequence of (weight, x, y)
            The sums ``weight <x, y>_Q`` that K subtracts.
        """
        out = np.zeros(len(self.theta))
        slopes = self.slopes(ks)
        for part in self.derivatives:
            own = slopes[part.group][part.columns, part.columns]
            out[part.index] = part.d_factor.reshape(len(part.d_factor), -1) @ own.ravel()
        return out + self.gradient_across(factor, pairs)

    def gradient_across(self, factor: Factor, pairs: Sequence[tuple[float, Stacked, Stacked]]) -> Array:
        """dd/dphi by (3) in its places, zero elsewhere, (n_theta,); arguments as of :meth:`gradient`."""
        out = np.zeros(len(self.theta))
        for a, j, dq, slope in self._across_derivatives:
            moved = float(np.trace(factor.inverse().against(a, dq))) - self.groups[a].k * slope
            for weight, x, y in pairs:
                moved += weight * float(np.vdot(x[a], (dq @ y[a].reshape(len(y[a]), -1)).reshape(y[a].shape)))
            out[j] = moved
        return out

    def moves(self, u: Stacked) -> tuple[Stacked, Stacked]:
        """x_j and z_j = Q x_j of (4) for every element of theta, per group (m, k, n_theta)."""
        x = tuple(np.zeros((*v.shape, len(self.theta))) for v in u)
        for part in self.derivatives:
            moved = u[part.group][:, part.columns] @ part.rate
            x[part.group][:, part.columns, part.index] = moved.transpose(1, 2, 0)
        if not self.across:
            return x, x
        z = tuple(np.array(v) for v in self.times(x))
        for a, j, dq, _ in self._across_derivatives:
            z[a][:, :, j] = -(dq @ u[a])
            if (q := self.across[a]) is not None:
                x[a][:, :, j] = q.solve(z[a][:, :, j])
        return x, z

    def seen(self, h: Stacked) -> Array:
        """``H'Q (A_j + A_j') H`` and ``-H'dQ_j H``, (n_theta, p, p): with H of REML, R^-T X'V^-1 V_j V^-1X R^-1."""
        out = np.zeros((len(self.theta), h[0].shape[-1], h[0].shape[-1]))
        qh = self.times(h)
        for part in self.derivatives:
            left, right = qh[part.group][:, part.columns], h[part.group][:, part.columns]
            out[part.index] = np.einsum("mip,tij,mjq->tpq", left, part.rate, right, optimize=True)
        for a, j, dq, _ in self._across_derivatives:
            out[j] = -flat(h[a]).T @ flat((dq @ h[a].reshape(len(h[a]), -1)).reshape(h[a].shape))
        return out

    def information(self, x: Stacked, z: Stacked, solved: Stacked) -> Array:
        """``x_i'z_j - z_i'M^-1 z_j``, (n_theta, n_theta), from x, z and M^-1 z."""
        return inner_products(x, z) - inner_products(z, solved)

    def bend_across(self, info: Array, gradient: Array) -> None:
        """Add the slope in each phi of a share or correlation r times ``(d2r / dphi2) / (dr / dphi)``, where that is positive.

        The average information is a curvature in r, which in phi vanishes at the ends of r although the criterion curves.
        """
        for group in self.groups if self.across else ():
            if isinstance(group.across, Bends):
                ((i, _, index),) = self._members(group)
                at = range(index.start, index.stop)[phi_of(self.terms[i].covariance, self.theta[index])]
                bend = group.across.bend(self.theta[at.start : at.stop])
                info[at, at] += np.maximum(gradient[at.start : at.stop] * bend, 0.0)

    def bend_outwards(self, info: Array, gradient: Array) -> None:
        """Add the curvature along theta of a criterion that falls as the residual variance goes to zero beside the others.

        There theta, relative to the residual, has no end: with t the elements that scale a term and r = 1 / (1 + |t|^2) the
        residual's share, d is about linear in r, and its curvature along t is

            (dd/dr) (e'd2r e) = -(g't) (3 - 4 r) / |t|^2,       e = t / |t|

        taken where it is positive. Terms with a structure across levels are those that may take a residual's place.
        """
        scales = [role.scales for term in self.terms for role in term.covariance.roles]
        t = np.where(scales, self.theta, 0.0)
        square = float(t @ t)
        steep = -float(gradient @ t) * (3.0 - 4.0 / (1.0 + square))
        if self.across and steep > 0.0 and 3.0 * square > 1.0:
            info += steep / square**2 * np.outer(t, t)

    def bend(self, info: Array, ks: Sequence[Array]) -> None:
        """Add ``2 <Gamma, dL_i dL_j' + d2L_ij L'>``, Gamma = L^-T K L^-1: the curvature of Sigma = L L' itself.

        It is exact, and makes a boundary optimum (a zero column of L) look like the interior minimum that it is in the
        coordinates L, where the deviance is even in each column.

        Where Sigma has a lower rank than columns, Gamma is negative in directions that the data have and Sigma has not. The
        average information, an expectation under the model, does not outweigh it: only the part of Gamma that is positive
        is taken, and steps stay steps down.
        """
        for part in self.derivatives:
            inverse = self.inverse_factors[part.group][part.columns, part.columns]
            gamma = inverse.T @ ks[part.group][part.columns, part.columns] @ inverse
            if part.reduced:
                values, vectors = np.linalg.eigh(0.5 * (gamma + gamma.T))
                gamma = (vectors * np.maximum(values, 0.0)) @ vectors.T
            moved = (gamma @ part.d_factor).reshape(len(part.d_factor), -1)
            info[part.index, part.index] += 2.0 * moved @ part.d_factor.reshape(len(moved), -1).T
        slopes = self.slopes(ks)
        for a, columns, index, second in self._second_derivatives:
            info[index, index] += np.einsum("ijkl,kl->ij", second, slopes[a][columns, columns])

    def bend_of_precision(self, k_matrices: Sequence[Array]) -> Array:
        """``m tr(rho_j rho_k) - <B_jk, K>`` of independent levels, (n_theta, n_theta): what theta bends beside the modes.

        With Pi = (L L')^-1, the precision of a level's effects, and A_j = L^-1 dL_j: ``L' dPi_j L = -(A_j + A_j') = -rho_j``,
        ``B_jk = L' d2Pi_jk L = A_k'rho_j + rho_j A_k + A_k A_j + (A_k A_j)' - L^-1 d2L_jk - (L^-1 d2L_jk)'``.
        """
        out = np.zeros((len(self.theta), len(self.theta)))
        second = {(a, index.start): bent for a, _, index, bent in self._second_derivatives}
        for part in self.derivatives:
            inverse = self.inverse_factors[part.group][part.columns, part.columns]
            k = k_matrices[part.group][part.columns, part.columns]
            k = 0.5 * (k + k.T)
            a, rho, m = inverse @ part.d_factor, part.rate, self.groups[part.group].m
            bent = 2.0 * np.einsum("jab,kbc,ac->jk", rho, a, k) + 2.0 * np.einsum("kab,jbc,ac->jk", a, a, k)
            if (d2 := second.get((part.group, part.index.start))) is not None:
                bent -= 2.0 * np.einsum("ab,jkbc,ac->jk", inverse, d2, k)
            out[part.index, part.index] = m * np.einsum("jab,kba->jk", rho, rho) - bent
        return out

    @computed_once
    def _second_derivatives(self) -> list[tuple[int, slice, slice, Array]]:
        """Group, columns, elements of theta and d2L of each term whose L is not linear in theta."""
        return [
            (a, columns, index, second_derivative(self.terms[i].covariance, self.theta[index]))
            for a, group in enumerate(self.groups)
            for i, columns, index in self._members(group)
            if not self.terms[i].covariance.linear
        ]


def second_derivative(kind: CovarianceKind, theta: Array) -> Array:
    """d2L/dtheta2, (t, t, k, k): differences of the Jacobian along the correlations, as L is linear in what scales it."""
    out = np.zeros((len(theta), len(theta), kind.k, kind.k))
    for j, role in enumerate(kind.within.roles):
        if not role.scales:
            step = STEP * np.eye(len(theta))[j]
            change = (kind.jacobian(theta + step) - kind.jacobian(theta - step)) / (2.0 * STEP)
            out[j], out[:, j] = change, change
    return out


def relative_factors(terms: Sequence[GroupBlock], groups: Sequence[Group], theta: Array) -> tuple[Array, ...]:
    """L of each group: the terms' Cholesky factors side by side."""
    where, out = _slices(terms), []
    for group in groups:
        if len(group.members) == 1:
            ((i, _),) = group.members
            out.append(terms[i].covariance.cholesky(theta[where[i]]))
            continue
        lower = np.zeros((group.k, group.k))
        for i, columns in group.members:
            lower[columns, columns] = terms[i].covariance.cholesky(theta[where[i]])
        out.append(lower)
    return tuple(out)


def _slices(terms: Sequence[GroupBlock]) -> list[slice]:
    """Where each term's theta stands."""
    ends = [0, *accumulate(t.covariance.n_theta for t in terms)]
    return [slice(i, j) for i, j in pairwise(ends)]


def _precision(terms: Sequence[GroupBlock], group: Group, theta: Array) -> Precision | None:
    """Q of a group, which has one term if its levels are dependent."""
    if group.across is None:
        return None
    ((i, _),) = group.members
    return precision_of(terms[i].covariance, theta[_slices(terms)[i]])
