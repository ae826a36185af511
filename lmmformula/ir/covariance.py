"""Covariance kinds: theta <-> relative Cholesky factor L <-> standard deviations and correlations.

A random-effects term with k columns has, per level, a k-vector of effects with covariance
``sigma^2 Sigma(theta)``, ``Sigma = L L'``, L lower triangular (Bates et al. 2015, eq. 4; kinds as
in glmmTMB). theta is relative to the residual standard deviation and has no unit.

==== ==================================================== =========
kind Sigma                                                n_theta
==== ==================================================== =========
iid  theta^2 I                                            1
diag diag(theta^2)                                        k
us   L L', theta = lower triangle of L, column by column  k(k+1)/2
cs   D R D, R_ij = rho for i != j, D = diag(sd)           k + 1
ar1  sd^2 rho^|i-j|                                       2
==== ==================================================== =========

cs and ar1 hold their correlation as an unconstrained number: ``rho = lo + (1 - lo) / (1 + exp(-t))``
with ``lo = -1/(k-1)`` for cs and -1 for ar1.

For every kind the sign of a column of L does not change Sigma, so an optimiser may move through
zero: theta is unconstrained and :meth:`CovarianceKind.canonical` gives the representative with a
non-negative diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.across import Across
from lmmformula.ir.covariance_roles import Role, Transformations
from lmmformula.typing import Array

__all__ = [
    "AR1",
    "IID",
    "KINDS",
    "CompoundSymmetry",
    "CovarianceKind",
    "Diagonal",
    "Role",
    "Transformations",
    "Unstructured",
    "sd_cor",
]


class CovarianceKind(Protocol):
    """Map between theta and L for one term of `k` columns."""

    name: ClassVar[str]
    linear: ClassVar[bool]
    """Whether L is linear in theta, so that its second derivative vanishes."""
    closed_under: ClassVar[Transformations]
    """Which A turn Sigma into another member, A Sigma A'."""
    serial: ClassVar[bool]
    """Whether the columns are a series, whose parameters one level of many columns determines."""

    @property
    def across(self) -> Across | None:
        """The structure across levels, whose parameters are the last of theta; None where levels are independent."""
        ...

    @property
    def k(self) -> int: ...
    @property
    def n_theta(self) -> int: ...
    @property
    def roles(self) -> tuple[Role, ...]:
        """What each element of theta is."""
        ...

    def start(self) -> Array:
        """Theta with L = I (as near as the kind allows)."""
        ...

    def cholesky(self, theta: Array) -> Array:
        """L, shape (k, k), lower triangular."""
        ...

    def jacobian(self, theta: Array) -> Array:
        """dL/dtheta, shape (n_theta, k, k)."""
        ...

    def from_covariance(self, sigma: Array) -> Array:
        """Theta of the member of this kind nearest to the relative covariance `sigma`."""
        ...

    def canonical(self, theta: Array) -> Array:
        """The same Sigma with a non-negative diagonal of L."""
        ...

    def transformed(self, theta: Array, a: Array) -> Array:
        """Theta of A Sigma A', for an A under which the kind is closed."""
        ...

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """A name for every element of theta."""
        ...


def sd_cor(cov: Array) -> tuple[Array, Array]:
    """Standard deviations (k,) and correlations (k, k); a zero variance has correlation nan."""
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cor = cov / np.outer(sd, sd)
    np.fill_diagonal(cor, 1.0)
    return sd, cor


class Independent:
    """What a kind answers about levels that are independent."""

    __slots__ = ()

    @property
    def across(self) -> Across | None:
        return None


@dataclass(frozen=True, slots=True)
class IID(Independent):
    """One variance shared by all columns, which are independent."""

    name: ClassVar[str] = "iid"
    closed_under: ClassVar[Transformations] = "common"
    serial: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    k: int

    @property
    def n_theta(self) -> int:
        return 1

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.DIAGONAL,)

    def start(self) -> Array:
        return np.ones(1)

    def cholesky(self, theta: Array) -> Array:
        return np.eye(self.k) * theta[0]

    def jacobian(self, theta: Array) -> Array:
        return np.eye(self.k)[None]

    def from_covariance(self, sigma: Array) -> Array:
        return np.sqrt(np.maximum(np.trace(sigma) / self.k, 0.0))[None]

    def canonical(self, theta: Array) -> Array:
        return np.abs(theta)

    def transformed(self, theta: Array, a: Array) -> Array:
        return theta * a[0, 0]

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return (columns[0],) if len(columns) == 1 else ("sd",)


@dataclass(frozen=True, slots=True)
class Diagonal(Independent):
    """Independent columns, each with its own variance (``||``)."""

    name: ClassVar[str] = "diag"
    closed_under: ClassVar[Transformations] = "columns"
    serial: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    k: int

    @property
    def n_theta(self) -> int:
        return self.k

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.DIAGONAL,) * self.k

    def start(self) -> Array:
        return np.ones(self.k)

    def cholesky(self, theta: Array) -> Array:
        return np.diag(theta)

    def jacobian(self, theta: Array) -> Array:
        out = np.zeros((self.k, self.k, self.k))
        i = np.arange(self.k)
        out[i, i, i] = 1.0
        return out

    def from_covariance(self, sigma: Array) -> Array:
        return np.sqrt(np.maximum(np.diag(sigma), 0.0))

    def canonical(self, theta: Array) -> Array:
        return np.abs(theta)

    def transformed(self, theta: Array, a: Array) -> Array:
        return theta * np.diagonal(a)

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return columns


@dataclass(frozen=True, slots=True)
class Unstructured(Independent):
    """Any covariance matrix: theta is the lower triangle of L, column by column (lme4's order)."""

    name: ClassVar[str] = "us"
    closed_under: ClassVar[Transformations] = "linear"
    serial: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    k: int

    @property
    def n_theta(self) -> int:
        return self.k * (self.k + 1) // 2

    @property
    def roles(self) -> tuple[Role, ...]:
        return _triangle_roles(self.k)

    @property
    def _index(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return _lower_triangle(self.k)

    def start(self) -> Array:
        rows, cols = self._index
        return (rows == cols).astype(float)

    def cholesky(self, theta: Array) -> Array:
        out = np.zeros((self.k, self.k))
        out[self._index] = theta
        return out

    def jacobian(self, theta: Array) -> Array:
        return _unit_lower(self.k)

    def from_covariance(self, sigma: Array) -> Array:
        return semidefinite_cholesky(sigma)[self._index]

    def canonical(self, theta: Array) -> Array:
        factor = self.cholesky(theta)
        if not np.diag(
            factor
        ).all():  # the factor of a singular Sigma is not unique: take the one with zero columns
            return self.from_covariance(factor @ factor.T)
        return (factor * np.where(np.diag(factor) < 0, -1.0, 1.0))[self._index]

    def transformed(self, theta: Array, a: Array) -> Array:
        """By rotations of the columns of A L, which never form a square, so that singular factors keep their digits."""
        moved = a @ self.cholesky(theta)
        for i in range(self.k):
            for j in range(i + 1, self.k):
                if moved[i, j] != 0.0:
                    size = np.hypot(moved[i, i], moved[i, j])
                    c, s = moved[i, i] / size, moved[i, j] / size
                    moved[:, [i, j]] = moved[:, [i, j]] @ np.array([[c, -s], [s, c]])
                    moved[i, j] = 0.0
        return self.canonical(moved[self._index])

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        rows, cols = self._index
        return tuple(
            columns[i] if i == j else f"{columns[i]}.{columns[j]}" for i, j in zip(rows, cols, strict=True)
        )


@lru_cache(maxsize=64)
def _lower_triangle(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the lower triangle, column by column."""
    cols, rows = np.triu_indices(k)
    return rows, cols


@lru_cache(maxsize=64)
def _triangle_roles(k: int) -> tuple[Role, ...]:
    rows, cols = _lower_triangle(k)
    return tuple(Role.DIAGONAL if i == j else Role.LOWER for i, j in zip(rows, cols, strict=True))


@lru_cache(maxsize=64)
def _unit_lower(k: int) -> Array:
    """The unit matrices of the lower triangle, (k(k+1)/2, k, k); read-only because shared."""
    rows, cols = _lower_triangle(k)
    out = np.zeros((len(rows), k, k))
    out[np.arange(len(rows)), rows, cols] = 1.0
    out.setflags(write=False)
    return out


def semidefinite_cholesky(sigma: Array) -> Array:
    """Lower triangular L with L L' = sigma for a positive semidefinite `sigma` (zero pivots give zero columns)."""
    k = sigma.shape[0]
    out, rest = np.zeros((k, k)), np.array(sigma, dtype=float)
    floor = 1e-14 * max(float(np.trace(sigma)), 0.0)
    for j in range(k):
        if rest[j, j] > floor:
            out[j:, j] = rest[j:, j] / np.sqrt(rest[j, j])
            rest -= np.outer(out[:, j], out[:, j])
    return out


def _logistic(t: float) -> float:
    return float(0.5 * (1.0 + np.tanh(0.5 * t)))


class _Correlated(Independent):
    """Shared by cs and ar1: L = D chol(R(rho)), theta = (standard deviations, t), rho = rho(t)."""

    __slots__ = ()
    linear: ClassVar[bool] = False
    k: int

    def _low(self) -> float:
        raise NotImplementedError

    def _sds(self, theta: Array) -> Array:
        """Row scales, shape (k,)."""
        raise NotImplementedError

    def correlation(self, rho: float) -> Array:
        """R(rho), shape (k, k)."""
        raise NotImplementedError

    def d_correlation(self, rho: float) -> Array:
        """dR/drho."""
        raise NotImplementedError

    def rho(self, theta: Array) -> float:
        """Correlation in (lo, 1)."""
        low = self._low()
        return low + (1.0 - low) * _logistic(theta[-1])

    def _t(self, rho: float) -> float:
        low = self._low()
        p = min(max((rho - low) / (1.0 - low), 1e-6), 1.0 - 1e-6)
        return float(np.log(p / (1.0 - p)))

    def cholesky(self, theta: Array) -> Array:
        return self._sds(theta)[:, None] * np.linalg.cholesky(self.correlation(self.rho(theta)))

    def _d_cholesky_d_t(self, theta: Array) -> Array:
        """dL/dt with ``dC = C phi(C^-1 dR C^-T)`` (Murray 2016, eq. 8), phi = lower triangle, half diagonal."""
        rho, low = self.rho(theta), self._low()
        chol = np.linalg.cholesky(self.correlation(rho))
        p = _logistic(theta[-1])
        half = np.linalg.solve(chol, self.d_correlation(rho))
        phi = np.tril(np.linalg.solve(chol, half.T))
        phi[np.diag_indices(self.k)] *= 0.5
        return self._sds(theta)[:, None] * (chol @ phi) * ((1.0 - low) * p * (1.0 - p))

    def canonical(self, theta: Array) -> Array:
        return np.concatenate([np.abs(theta[:-1]), theta[-1:]])


@dataclass(frozen=True, slots=True)
class CompoundSymmetry(_Correlated):
    """Own variance for each column and one correlation shared by all pairs."""

    name: ClassVar[str] = "cs"
    closed_under: ClassVar[Transformations] = "columns"
    serial: ClassVar[bool] = False
    k: int

    @property
    def n_theta(self) -> int:
        return self.k + 1

    @property
    def roles(self) -> tuple[Role, ...]:
        return (*(Role.DIAGONAL,) * self.k, Role.CORRELATION)

    def _low(self) -> float:
        return -1.0 / max(self.k - 1, 1)

    def _sds(self, theta: Array) -> Array:
        return theta[:-1]

    def correlation(self, rho: float) -> Array:
        return np.full((self.k, self.k), rho) + (1.0 - rho) * np.eye(self.k)

    def d_correlation(self, rho: float) -> Array:
        return np.ones((self.k, self.k)) - np.eye(self.k)

    def start(self) -> Array:
        return np.concatenate([np.ones(self.k), [self._t(0.0)]])

    def jacobian(self, theta: Array) -> Array:
        chol = np.linalg.cholesky(self.correlation(self.rho(theta)))
        out = np.zeros((self.n_theta, self.k, self.k))
        for i in range(self.k):
            out[i, i] = chol[i]
        out[-1] = self._d_cholesky_d_t(theta)
        return out

    def from_covariance(self, sigma: Array) -> Array:
        sd, cor = sd_cor(sigma)
        off = cor[np.tril_indices(self.k, -1)]
        rho = float(np.nanmean(off)) if off.size and np.isfinite(off).any() else 0.0
        return np.concatenate([sd, [self._t(rho)]])

    def transformed(self, theta: Array, a: Array) -> Array:
        return np.append(theta[:-1] * np.diagonal(a), theta[-1])

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return (*columns, "rho")


@dataclass(frozen=True, slots=True)
class AR1(_Correlated):
    """One variance, correlation rho^|i-j| between columns i and j (equally spaced, in column order)."""

    name: ClassVar[str] = "ar1"
    closed_under: ClassVar[Transformations] = "common"
    serial: ClassVar[bool] = True
    k: int

    @property
    def n_theta(self) -> int:
        return 2

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.DIAGONAL, Role.CORRELATION)

    def _low(self) -> float:
        return -1.0

    def _sds(self, theta: Array) -> Array:
        return np.full(self.k, theta[0])

    def _lags(self) -> Array:
        i = np.arange(self.k)
        return np.abs(i[:, None] - i[None, :]).astype(float)

    def correlation(self, rho: float) -> Array:
        return rho ** self._lags()

    def d_correlation(self, rho: float) -> Array:
        lags = self._lags()
        return lags * rho ** np.maximum(lags - 1.0, 0.0)

    def start(self) -> Array:
        return np.array([1.0, self._t(0.0)])

    def jacobian(self, theta: Array) -> Array:
        chol = np.linalg.cholesky(self.correlation(self.rho(theta)))
        return np.stack([chol, self._d_cholesky_d_t(theta)])

    def from_covariance(self, sigma: Array) -> Array:
        sd, cor = sd_cor(sigma)
        off = np.diag(cor, -1)
        rho = float(np.nanmean(off)) if off.size and np.isfinite(off).any() else 0.0
        return np.array([float(np.sqrt(np.mean(sd**2))), self._t(rho)])

    def transformed(self, theta: Array, a: Array) -> Array:
        return np.array([theta[0] * a[0, 0], theta[1]])

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return ("sd", "rho")


KINDS: dict[str, type] = {c.name: c for c in (IID, Diagonal, Unstructured, CompoundSymmetry, AR1)}
"""Registry: name -> kind; "iid" has no syntax in formulas and serves problems built by hand. A new kind begins with a class and
a row here, and docs/CONTRIBUTING.md lists the modules that must learn its parameters."""
