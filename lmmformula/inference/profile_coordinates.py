r"""Unconstrained coordinates of covariance matrices, one of which is a parameter that a profile holds.

A term has the log standard deviations and a real number t for each correlation parameter of its kind, which maps them to its
correlations (``Kind.profile_matrix``). Columns are ordered to put a wanted pair first: every standard deviation and correlation
is then one coordinate, held by leaving it out of the search.

The matrices are those of A b~, b~ the effects in the fit's standard units: A is the identity where the target is elsewhere, and
has the user's effects in the rows of the target. So units and origins of columns matter to no search but for a parameter that
itself depends on the origin, such as the standard deviation of an intercept.

A standard deviation of zero is -infinity; the log of 1e-7 of its unit stands for it, the one it has for b~ of unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmmformula.inference.parameters import Parameter
from lmmformula.ir.covariance import Kind, sd_cor
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array, Entries

__all__ = ["ZERO", "TermMap", "Terms"]

ZERO = 1e-7
"""Share of its unit that stands for a standard deviation of zero; the deviance moves by its square."""


@dataclass(frozen=True, slots=True)
class TermMap:
    """psi of one term <-> its covariance matrix.

    Attributes
    ----------
    kind : Kind
    order : tuple of int
        Columns of an unstructured term, a wanted pair first.
    """

    kind: Kind
    order: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.kind.n_sd + len(self.kind.pairs)

    def covariance(self, psi: Entries) -> Entries:
        """Sigma in units of the response, (k, k); analytic in psi."""
        n = self.kind.n_sd
        sd = np.exp(psi[:n]) * np.ones(self.kind.k)
        return sd[:, None] * self.kind.profile_matrix(psi[n:], self.order) * sd

    def off_boundary(self, cov: Array, floor: float) -> Array:
        """A covariance matrix nearby that a search can leave: no standard deviation below `floor`, no correlation of one.

        On the boundary the log and tanh have no slope.
        """
        sd, cor = sd_cor(cov)
        sd, cor = np.maximum(sd, floor), np.nan_to_num(cor)
        np.fill_diagonal(cor, 1.0)
        if self.kind.closed_under == "linear":
            cor = 0.999 * cor + (0.001 + 1e-9) * np.eye(len(cor))
        return sd[:, None] * cor * sd

    def psi_of(self, cov: Array) -> Array:
        """The psi of a definite covariance matrix."""
        sd, cor = sd_cor(cov)
        return np.array([*np.log(sd[: self.kind.n_sd]), *self.kind.profile_coordinates(cor, self.order)])


class Terms:
    """The coordinates of all terms, after `first` others, with the columns ordered for one target.

    Parameters
    ----------
    standard : Standard
    target : Parameter or None
        The parameter to hold.
    first : int
        Coordinates before those of the terms.
    """

    def __init__(self, standard: Standard, target: Parameter | None, first: int) -> None:
        self.standard, self.target = standard, target
        self.problem = problem = standard.problem
        self.maps = tuple(
            TermMap(t.covariance.within, self._order(i, t)) for i, t in enumerate(problem.terms)
        )
        ends = np.cumsum([first, *(m.size for m in self.maps)])
        self.slices = tuple(slice(int(a), int(b)) for a, b in pairwise(ends))
        self.stop = int(ends[-1])
        self.moves = tuple(self._move(i, t) for i, t in enumerate(problem.terms))
        """A of each term: its coordinates are those of A b~."""
        self.inverses = tuple(np.linalg.inv(a) for a in self.moves)

    def _order(self, i: int, term: GroupBlock) -> tuple[int, ...]:
        first = (
            self.target.columns if self.target and self.target.kind == "cor" and self.target.term == i else ()
        )
        return (*first, *(j for j in range(term.k) if j not in first))

    def _move(self, i: int, term: GroupBlock) -> Array:
        """A: the identity, but for the target's term, whose rows for the target give the user's effects."""
        if self.target is None or self.target.kind not in ("sd", "cor") or self.target.term != i:
            return np.eye(term.k)
        users = self.standard.effects(i)
        if term.covariance.closed_under != "linear":
            return users
        out, rows = np.eye(term.k), list(self.target.columns)
        out[rows] = users[rows]
        return out if abs(np.linalg.det(out[np.ix_(rows, rows)])) > 0.0 else users

    @property
    def pinned(self) -> int:
        """Coordinate of a standard deviation or correlation that is the target."""
        assert self.target is not None
        start, own = self.slices[self.target.term].start, self.maps[self.target.term].kind
        if self.target.kind == "sd":
            return start + (self.target.columns[0] if own.n_sd > 1 else 0)
        return start + own.n_sd + own.place(self.target.columns)

    def coordinate(self, value: float, sigma: float) -> float:
        """The coordinate of the target's value."""
        assert self.target is not None
        if self.target.kind == "cor":
            return self.maps[self.target.term].kind.t_of(self.target.columns, value)
        return float(np.log(max(value, ZERO * self.unit(sigma))))

    def unit(self, sigma: float) -> float:
        """Of the target's standard deviation, in the user's units."""
        assert self.target is not None
        inner = sigma / self.standard.sigma_out(1.0)
        return inner * float(np.linalg.norm(self.moves[self.target.term][self.target.columns[0]]))

    @property
    def limits(self) -> tuple[float, float]:
        """Range of the target."""
        assert self.target is not None
        if self.target.kind == "sd":
            return 0.0, np.inf
        return self.maps[self.target.term].kind.limits(self.target.columns)

    def theta(self, coordinates: Array, size: float = 1.0) -> Array:
        """theta in standard units, where coordinates are of multiples of `size`; what is not of a term stays zero."""
        theta = np.zeros(self.problem.n_theta)
        parts = zip(self.problem.terms, self.problem.theta_slices(), self.slices, strict=True)
        for (term, own, place), of, inverse in zip(parts, self.maps, self.inverses, strict=True):
            cov: Array = np.real(of.covariance(coordinates[place]))
            back = inverse / size
            theta[own] = term.covariance.from_covariance(back @ cov @ back.T)
        return theta

    def of(self, theta: Array, sigma: float, floor: float = 1e-2) -> list[Array]:
        """The coordinates of each term at an estimate, kept off the boundary by `floor` units."""
        inner, parts = self.standard.theta_in(theta), []
        size = sigma / self.standard.sigma_out(1.0)
        for i, (term, s) in enumerate(zip(self.problem.terms, self.problem.theta_slices(), strict=True)):
            lower = size * term.covariance.cholesky(inner[s])
            inside = self.maps[i].off_boundary(lower @ lower.T, floor * size)
            parts.append(self.maps[i].psi_of(self.moves[i] @ inside @ self.moves[i].T))
        return parts
