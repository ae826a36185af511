"""A covariance kind within levels together with a structure across them: theta is that of the kind, then phi."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.across import Across, Precision, Share
from lmmformula.ir.covariance import CovarianceKind, Kind
from lmmformula.ir.covariance_roles import Role, Transformations
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Index

__all__ = [
    "StructureParameter",
    "Structured",
    "across_elements",
    "at_phi",
    "group_count",
    "member_spread",
    "phi_of",
    "phis_of",
    "precision_of",
    "row_spread",
    "shown_levels",
    "spherical_draws",
    "structure_parameters",
    "theta_near",
]


MOST_DENSE = 4_000
"""Levels of which a dense matrix is formed."""


@dataclass(frozen=True, eq=False)
class Structured:
    """Effects ``b ~ N(0, Q(phi)^-1 (x) Sigma(theta))``.

    Attributes
    ----------
    within : Kind
    across : Across
    """

    within: Kind
    across: Across

    @property
    def name(self) -> str:
        return self.within.name

    @property
    def linear(self) -> bool:
        return False

    @property
    def closed_under(self) -> Transformations:
        return self.within.closed_under

    @property
    def serial(self) -> bool:
        return True

    @property
    def k(self) -> int:
        return self.within.k

    @property
    def n_theta(self) -> int:
        return self.within.n_theta + len(self.across.roles)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (*self.within.roles, *self.across.roles)

    @property
    def directions(self) -> None:
        return None

    def _split(self, theta: Array) -> tuple[Array, Array]:
        return theta[: self.within.n_theta], theta[self.within.n_theta :]

    def start(self) -> Array:
        return np.concatenate([self.within.start(), self.across.start()])

    def cholesky(self, theta: Array) -> Array:
        return self.within.cholesky(self._split(theta)[0])

    def jacobian(self, theta: Array) -> Array:
        """Zero for the elements of phi, which do not move L."""
        own = self.within.jacobian(self._split(theta)[0])
        return np.concatenate([own, np.zeros((len(self.across.roles), self.k, self.k))])

    def from_covariance(self, sigma: Array) -> Array:
        return np.concatenate([self.within.from_covariance(sigma), self.across.start()])

    def canonical(self, theta: Array) -> Array:
        own, phi = self._split(theta)
        held = self.across.canonical(phi) if isinstance(self.across, Share) else phi
        return np.concatenate([self.within.canonical(own), held])

    def transformed(self, theta: Array, a: Array) -> Array:
        own, phi = self._split(theta)
        return np.concatenate([self.within.transformed(own, a), phi])

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        own, phi = self._split(theta)
        return np.concatenate([self.within.updated(own, lower, m, trace, spread), phi])

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return (*self.within.names(columns), *self.across.names)


def group_count(term: GroupBlock) -> int:
    """Levels of a term that are shown; of one with an effect at each position within groups the number of these."""
    across, shown = term.covariance.across, shown_levels(term.covariance.across, term.m)
    groups = getattr(across, "groups", None)
    return shown if groups is None or term.columns == ("(Intercept)",) else len(np.unique(groups))


def shown_levels(across: Across | None, m: int) -> int:
    """How many of m levels are shown: further ones that a structure needs stand behind them."""
    return getattr(across, "shown", m)


def phi_of(kind: CovarianceKind, theta: Array) -> slice:
    """Where phi stands in the theta of a term; empty where levels are independent."""
    return slice(len(theta) - (0 if kind.across is None else len(kind.across.roles)), len(theta))


def phis_of(problem: Problem, theta: Array) -> list[Array]:
    """phi of every term."""
    parts = zip(problem.terms, problem.theta_slices(), strict=True)
    return [theta[s][phi_of(t.covariance, theta[s])] for t, s in parts]


def precision_of(kind: CovarianceKind, theta: Array) -> Precision | None:
    """Q of a term at its theta; None where levels are independent."""
    return None if kind.across is None else kind.across.precision(theta[phi_of(kind, theta)])


def across_elements(problem: Problem) -> Index:
    """Positions in theta of the parameters of structures across levels, of all terms."""
    found = []
    for term, where in zip(problem.terms, problem.theta_slices(), strict=True):
        n = where.stop - where.start
        own = range(n)[phi_of(term.covariance, np.empty(n))]
        found += [where.start + j for j in own]
    return np.array(found, dtype=np.intp)


def at_phi(problem: Problem, theta: Array, phis: Sequence[Array]) -> Array:
    """theta with the phi of each term in its place."""
    out = theta.copy()
    for own, where in zip(phis, problem.theta_slices(), strict=True):
        if len(own):
            out[where.stop - len(own) : where.stop] = own
    return out


@dataclass(frozen=True, slots=True, eq=False)
class StructureParameter:
    """An element of some term's phi.

    Attributes
    ----------
    name : str
        ``range|one``, ``rho|id``; with the column, ``range_exp(x, y)|one``, where another term has that name already.
    term, element : int
    at : int
        Its place in theta.
    across : Across
    """

    name: str
    term: int
    element: int
    at: int
    across: Across

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the element: a share ends at 0 and 1, any other has no end."""
        return (0.0, 0.5 * np.pi) if isinstance(self.across, Share) else (-np.inf, np.inf)

    def natural(self, phi: float) -> float:
        """What a reader knows it as, of the element alone; beyond its limits that of the nearer one."""
        held = min(max(phi, self.limits[0]), self.limits[1])
        return float(self.across.natural(np.full(len(self.across.roles), held))[self.element])

    def is_one(self, phi: float) -> bool:
        """Whether it is a share at its upper end."""
        return isinstance(self.across, Share) and phi == self.limits[1]


def structure_parameters(problem: Problem) -> tuple[StructureParameter, ...]:
    """Parameters of the structures across levels, of all terms."""
    out: dict[str, StructureParameter] = {}
    for i, (term, where) in enumerate(zip(problem.terms, problem.theta_slices(), strict=True)):
        across = term.covariance.across
        for j, name in enumerate(() if across is None else across.names):
            assert across is not None
            label = f"{name}|{term.group}"
            if label in out:
                label = f"{name}_{term.columns[0]}|{term.group}"
            while label in out:
                label += "#"
            out[label] = StructureParameter(label, i, j, where.stop - len(across.names) + j, across)
    return tuple(out.values())


def theta_near(kind: CovarianceKind, theta: Array, sigma: Array) -> Array:
    """theta with the member of the kind nearest to the relative covariance `sigma`, its phi as it was."""
    out, phi = kind.from_covariance(sigma), phi_of(kind, theta)
    out[phi] = theta[phi]
    return out


def row_spread(term: GroupBlock, theta: Array) -> Array | None:
    """s_r with ``Var(z_r'b) = s_r z'Sigma z`` for each row's columns z, (n,); None where it is 1.

    ``sum_jl share_j share_l (Q^-1)_(code_j, code_l)``: of one level a row the diagonal of Q^-1.

    Raises
    ------
    PlanError
        For rows of several levels out of more than `MOST_DENSE` dependent ones.
    """
    if term.is_blockwise:
        return None
    if term.shares is None:
        q = precision_of(term.covariance, theta)
        return None if q is None else q.variances[term.codes]
    return member_spread(term, theta).sum(axis=(1, 2))


def member_spread(term: GroupBlock, theta: Array) -> Array:
    """``share_j share_l (Q^-1)_(code_j, code_l)`` of each two of a row's levels, (n, r, r)."""
    q = precision_of(term.covariance, theta)
    assert term.shares is not None
    if q is None:
        same = term.codes[:, :, None] == term.codes[:, None, :]
    elif term.m > MOST_DENSE:
        raise PlanError(
            f"({term.label}) has {term.m:,} dependent levels, of which rows have several: too many for this."
        )
    else:
        same = np.linalg.inv(q.matrix.toarray())[term.codes[:, :, None], term.codes[:, None, :]]
    return term.shares[:, :, None] * term.shares[:, None, :] * same


def spherical_draws(term: GroupBlock, theta: Array, rng: np.random.Generator) -> Array:
    """u of a term with precision ``Q (x) I``, (m, k)."""
    z, q = rng.standard_normal((term.m, term.k)), precision_of(term.covariance, theta)
    return z if q is None else q.drawn(z)
