r"""The ML deviance over unconstrained coordinates, with one parameter held: what a likelihood profile minimises.

A profile minimises the deviance over psi = (log sigma, then per term the log standard deviations and the correlations
through a real number t each). An unstructured correlation matrix has the Cholesky factor
``C_ij = z_ij (1 - sum_{l<j} C_il^2)^(1/2)``, z = tanh t the partial correlations (Lewandowski, Kurowicka & Joe 2009). The first
two columns' correlation is z itself, so the columns are reordered to put a wanted pair first: every standard deviation and
correlation is then one coordinate, held by leaving it out of the search. With K of :mod:`lmmformula.criteria.profiled`
(equation 2) at kappa = 1 / sigma^2 and Sigma_a relative to sigma^2::

    dd/dpsi = sum_a <K_a, L_a^-1 (dSigma_a/dpsi) L_a^-T>,     and for log sigma also  2 (n - r2 / sigma^2)    (1)

dSigma/dpsi by complex steps, exact to rounding. A fixed effect is held at b within each evaluation: at given variances the
constrained minimum moves along C e_j, ``r2(b) = r2 + (b - beta_j)^2 / C_jj`` with C = (X'V^-1X)^-1.

A standard deviation of zero is -infinity in psi; log sd = log(1e-7 sigma) stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.ir.covariance import CovarianceKind, sd_cor
from lmmformula.ir.problem import GroupBlock
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array

__all__ = ["ZERO", "Held", "Parameter", "Surface", "TermMap"]

ZERO = 1e-7
"""Share of sigma that stands for a standard deviation of zero; the deviance moves by its square."""
_EDGE = 1.0 - 1e-7
"""Stands for a correlation of one."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the profile.

    Attributes
    ----------
    name : str
    kind : {"sd", "cor", "sigma", "beta"}
    term : int
        Term, or position of the coefficient.
    columns : tuple of int
        Columns of the term: one for a standard deviation, two for a correlation.
    """

    name: str
    kind: str
    term: int = -1
    columns: tuple[int, ...] = ()


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
            low = self.kind._low()  # type: ignore[attr-defined]
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
        low = self.kind._low()  # type: ignore[attr-defined]
        p = np.clip((rho - low) / (1 - low), 0.5 * (1 - _EDGE), 0.5 * (1 + _EDGE))
        return float(np.log(p / (1 - p)))

    def psi_of(self, cov: Array, floor: float) -> Array:
        """The psi of a covariance matrix; standard deviations below `floor` are raised to it, without correlation."""
        sd, cor = sd_cor(cov)
        sd, k = np.maximum(sd, floor), self.kind.k
        if self.kind.name != "us":
            t = [self.t_of(float(np.nan_to_num(cor[1, 0])))] if self.size > self.n_sd else []
            return np.array([*np.log(sd[: self.n_sd]), *t])
        ordered = np.nan_to_num(cor)[np.ix_(self.order, self.order)]
        np.fill_diagonal(ordered, 1.0)
        # Shrunk a little: on the boundary tanh has no slope and the search would not leave it.
        chol = np.linalg.cholesky(0.999 * ordered + 0.001 * np.eye(k) + 1e-9 * np.eye(k))
        t = []
        for i in range(k):
            left = 1.0
            for j in range(i):
                z = float(np.clip(chol[i, j] / np.sqrt(max(left, 1e-12)), -0.9999, 0.9999))
                t.append(np.arctanh(z))
                left *= 1 - z**2
        return np.array([*np.log(sd), *t])


@dataclass(frozen=True, eq=False)
class Held(ProfiledPoint):
    """The criterion with one fixed effect held: direction' beta_orthonormal = value.

    Attributes
    ----------
    direction : (p,) array
    value : float
    """

    direction: Array
    value: float

    @cached_property
    def beta_orthonormal(self) -> Array:
        free = np.linalg.solve(self.r_x, np.linalg.solve(self.r_x.T, self._cross))
        along = np.linalg.solve(self.r_x, np.linalg.solve(self.r_x.T, self.direction))
        return free + along * ((self.value - self.direction @ free) / (self.direction @ along))

    @property
    def _cross(self) -> Array:
        p = self.model.problem.p
        return self._solution[1][:p, p]

    @cached_property
    def r2(self) -> float:
        p, b = self.model.problem.p, self.beta_orthonormal
        fitted = self.r_x @ b
        return float(self._solution[1][p, p] - 2.0 * self._cross @ b + fitted @ fitted)


class Surface:
    """The ML deviance over psi in the user's units, for one order of columns.

    Parameters
    ----------
    model : Profiled
        The criterion, by ML, in the units of `standard`.
    target : Parameter or None
        The parameter to hold.
    standard : Standard, optional
        The way from those units to the user's; by default they are the same.
    """

    def __init__(self, model: Profiled, target: Parameter | None, standard: Standard | None = None) -> None:
        self.model, self.target = model, target
        self.standard = Standard.identity(model.problem) if standard is None else standard
        terms = model.problem.terms
        self.maps = tuple(TermMap(t.covariance, self._order(i, t)) for i, t in enumerate(terms))
        ends = np.cumsum([1, *(m.size for m in self.maps)])
        self.slices = tuple(slice(int(a), int(b)) for a, b in pairwise(ends))
        self.size = int(ends[-1])

    def _order(self, i: int, term: GroupBlock) -> tuple[int, ...]:
        first = (
            self.target.columns if self.target and self.target.kind == "cor" and self.target.term == i else ()
        )
        return (*first, *(j for j in range(term.k) if j not in first))

    @property
    def pinned(self) -> int | None:
        """Coordinate held by the target; None for a fixed effect."""
        if self.target is None or self.target.kind == "beta":
            return None
        if self.target.kind == "sigma":
            return 0
        start = self.slices[self.target.term].start
        if self.target.kind == "sd":
            return start + (self.target.columns[0] if self.maps[self.target.term].n_sd > 1 else 0)
        return start + self.maps[self.target.term].n_sd

    def coordinate(self, value: float, sigma: float) -> float:
        """The psi of the target's value."""
        if self.target is not None and self.target.kind == "cor":
            return self.maps[self.target.term].t_of(value)
        return float(np.log(max(value, ZERO * sigma)))

    def psi_of(self, theta: Array, sigma: float, floor: float = 1e-2) -> Array:
        """The psi of an estimate, kept off the boundary by `floor` times sigma."""
        problem, parts = self.model.problem, [np.log([sigma])]
        for term, m, s in zip(problem.terms, self.maps, problem.theta_slices(), strict=True):
            lower = sigma * term.covariance.cholesky(theta[s])
            parts.append(m.psi_of(lower @ lower.T, floor * sigma))
        return np.concatenate(parts)

    def evaluate(self, psi: Array, held: float | None) -> tuple[float, Array]:
        """Deviance and its gradient (1); a fixed-effect target is held at `held`."""
        model, problem = self.model, self.model.problem
        sigma2 = float(np.exp(2.0 * psi[0])) / self.standard.sigma_out(1.0) ** 2
        steps = [psi[s] + 1e-30j * np.eye(m.size) for s, m in zip(self.slices, self.maps, strict=True)]
        complexes = [
            [a @ (m.covariance(row) / sigma2) @ a.T for row in rows]
            for m, rows, a in zip(self.maps, steps, self._inward, strict=True)
        ]
        theta = np.zeros(problem.n_theta)
        for term, rows, s in zip(problem.terms, complexes, problem.theta_slices(), strict=True):
            theta[s] = term.covariance.from_covariance(rows[0].real)
        point = model(theta)
        if held is not None and self.target is not None:
            point = self._hold(point, held)
        slopes = np.zeros(self.size)
        slopes[0] = 2.0 * (problem.n_observed - point.r2 / sigma2)
        ks = point.k_matrices(1.0 / sigma2)
        for a, group in enumerate(model.prepared.blocks.groups):
            for i, columns in group.members:
                inverse = np.linalg.inv(point.factors[a][columns, columns])
                gamma = inverse.T @ ks[a][columns, columns] @ inverse
                slopes[self.slices[i]] = [np.sum(gamma * row.imag) * 1e30 for row in complexes[i]]
                slopes[0] -= 2.0 * np.sum(gamma * complexes[i][0].real)
        return point.deviance_at(sigma2) + self.standard.deviance_shift(), slopes

    @cached_property
    def _inward(self) -> list[Array]:
        """b~ of each term from b."""
        return [np.linalg.inv(self.standard.effects(i)) for i in range(len(self.maps))]

    def spread(self, theta: Array, sigma: float) -> float:
        """Standard error of the fixed effect that is the target, at (theta, sigma)."""
        assert self.target is not None
        row = self.standard.coefficients[self.target.term]
        vcov = self.model(self.standard.theta_in(theta)).unscaled_vcov
        return float(np.sqrt(row @ vcov @ row)) * sigma / self.standard.sigma_out(1.0)

    def _hold(self, point: ProfiledPoint, held: float) -> ProfiledPoint:
        assert self.target is not None
        ols, row = self.model.ols, self.standard.coefficients[self.target.term]
        direction = np.linalg.solve(ols.r.T, row)
        known = {f.name: getattr(point, f.name) for f in fields(point)}
        return Held(**known, direction=direction, value=held - row @ ols.coefficients)
