r"""Unconstrained coordinates of covariance matrices, one of which is a parameter that a profile holds.

A term has the log standard deviations and a real number t for each correlation. An unstructured correlation matrix has the
Cholesky factor ``C_ij = z_ij (1 - sum_{l<j} C_il^2)^(1/2)``, z = tanh t the partial correlations (Lewandowski, Kurowicka & Joe
2009). The first two columns' correlation is z itself, so the columns are reordered to put a wanted pair first: every standard
deviation and correlation is then one coordinate, held by leaving it out of the search.

The matrices are those of A b~, b~ the effects in the fit's standard units: A is the identity where the target is elsewhere, and
has the user's effects in the rows of the target. So units and origins of columns matter to no search but for a parameter that
itself depends on the origin, such as the standard deviation of an intercept.

A standard deviation of zero is -infinity; the log of 1e-7 of its unit stands for it, the one it has for b~ of unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.inference.parameters import Parameter
from lmmformula.ir.covariance import CovarianceKind, sd_cor
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array

__all__ = ["ZERO", "TermMap", "Terms"]

ZERO = 1e-7
"""Share of its unit that stands for a standard deviation of zero; the deviance moves by its square."""
_EDGE = 1.0 - 1e-7
"""Stands for a correlation of one."""


@dataclass(frozen=True, slots=True)
class TermMap:
    """psi of one term <-> its covariance matrix.

    Attributes
    ----------
    kind : CovarianceKind
    order : tuple of int
        Columns of an unstructured term, a wanted pair first.
    """

    kind: CovarianceKind
    order: tuple[int, ...]

    @property
    def n_sd(self) -> int:
        return 1 if self.kind.name in ("iid", "ar1") else self.kind.k

    @property
    def size(self) -> int:
        k, name = self.kind.k, self.kind.name
        return self.n_sd + (k * (k - 1) // 2 if name == "us" else name in ("cs", "ar1"))

    @property
    def least(self) -> float:
        """Least correlation."""
        return -1.0 if self.kind.name == "us" else float(self.kind._low())  # type: ignore[attr-defined]

    def covariance(self, psi: NDArray[Any]) -> NDArray[Any]:
        """Sigma in units of the response, (k, k); analytic in psi."""
        k = self.kind.k
        sd = np.exp(psi[: self.n_sd]) * np.ones(k)
        return sd[:, None] * self._correlation(psi[self.n_sd :]) * sd

    def _correlation(self, t: NDArray[Any]) -> NDArray[Any]:
        k, name = self.kind.k, self.kind.name
        if name in ("iid", "diag") or not len(t):
            return np.eye(k)
        if name != "us":
            low = self.least
            return self.kind.correlation(low + (1 - low) * 0.5 * (1 + np.tanh(0.5 * t[0])))  # type: ignore[attr-defined]
        chol = np.zeros((k, k), dtype=t.dtype)
        z, place = np.tanh(t), 0
        for i in range(k):
            left = np.ones((), dtype=t.dtype)
            for j in range(i):
                chol[i, j] = z[place] * np.sqrt(left)
                left = left * (1 - z[place] ** 2)
                place += 1
            chol[i, i] = np.sqrt(left)
        out = np.empty((k, k), dtype=t.dtype)
        out[np.ix_(self.order, self.order)] = chol @ chol.T
        return out

    def t_of(self, rho: float) -> float:
        """The t of the correlation that is a coordinate: the one of the first two columns."""
        if self.kind.name == "us":
            return float(np.arctanh(np.clip(rho, -_EDGE, _EDGE)))
        low = self.least
        p = np.clip((rho - low) / (1 - low), 0.5 * (1 - _EDGE), 0.5 * (1 + _EDGE))
        return float(np.log(p / (1 - p)))

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
        k = self.kind.k
        if self.kind.name != "us":
            t = [self.t_of(float(np.nan_to_num(cor[1, 0])))] if self.size > self.n_sd else []
            return np.array([*np.log(sd[: self.n_sd]), *t])
        ordered = np.nan_to_num(cor)[np.ix_(self.order, self.order)]
        np.fill_diagonal(ordered, 1.0)
        chol = np.linalg.cholesky(ordered)
        t = []
        for i in range(k):
            left = 1.0
            for j in range(i):
                z = float(np.clip(chol[i, j] / np.sqrt(max(left, 1e-24)), -_EDGE, _EDGE))
                t.append(np.arctanh(z))
                left *= 1 - z**2
        return np.array([*np.log(sd), *t])


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
        self.maps = tuple(TermMap(t.covariance, self._order(i, t)) for i, t in enumerate(problem.terms))
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
        start, own = self.slices[self.target.term].start, self.maps[self.target.term]
        if self.target.kind == "sd":
            return start + (self.target.columns[0] if own.n_sd > 1 else 0)
        return start + own.n_sd

    def coordinate(self, value: float, sigma: float) -> float:
        """The coordinate of the target's value."""
        assert self.target is not None
        if self.target.kind == "cor":
            return self.maps[self.target.term].t_of(value)
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
        return (self.maps[self.target.term].least, 1.0) if self.target.kind == "cor" else (0.0, np.inf)

    def of(self, theta: Array, sigma: float, floor: float = 1e-2) -> list[Array]:
        """The coordinates of each term at an estimate, kept off the boundary by `floor` units."""
        inner, parts = self.standard.theta_in(theta), []
        size = sigma / self.standard.sigma_out(1.0)
        for i, (term, s) in enumerate(zip(self.problem.terms, self.problem.theta_slices(), strict=True)):
            lower = size * term.covariance.cholesky(inner[s])
            inside = self.maps[i].off_boundary(lower @ lower.T, floor * size)
            parts.append(self.maps[i].psi_of(self.moves[i] @ inside @ self.moves[i].T))
        return parts
