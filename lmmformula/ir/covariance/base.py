r"""What a covariance kind is asked, and the answers that follow from its correlation matrix.

A kind has standard deviations d, one or one for each column, and correlation parameters r, each a number between two ends:
``Sigma = D R(r) D``. From R alone follow:

* theta = (d, t), t real with ``r = lo + (hi - lo) / (1 + exp(-t))``; ``L = D C``, ``C C' = R``;
* ``dL/dr = D C phi(C^-1 dR C^-T)``, phi the lower triangle with half the diagonal (Murray 2016, eq. 8), dR by a complex step
  (Squire & Trapp 1998): R is to be analytic in r, so that the derivative is exact to rounding;
* the kind's member nearest to a matrix: r that makes ``|R(r) - cor|`` least, by Gauss-Newton steps;
* PQL's step of the variances: the M-step of EM, ``min log|Sigma| + tr(Sigma^-1 S)``, by BFGS;
* L over any array module from signed d and r, where posteriors put priors; names of the parameters; coordinates of profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.across import Across
from lmmformula.ir.covariance.matrices import cholesky_rows, sd_cor, semidefinite_cholesky
from lmmformula.ir.covariance_roles import Role, Transformations
from lmmformula.typing import Array, Entries, Namespace, Numbers

__all__ = ["EDGE", "CovarianceKind", "Kind", "UnitForm"]

UnitForm = Literal["identity", "partial correlations"]
"""Formulas of the factor C of a correlation matrix: I, or :mod:`lmmformula.ir.covariance.unstructured`'s."""

EDGE = 1.0 - 1e-7
"""Stands for a correlation of one where a profile has to leave it."""
_STEP = 1e-150


class CovarianceKind(Protocol):
    """Map between theta and L for one term of `k` columns, whatever goes on across its levels."""

    @property
    def name(self) -> str: ...
    @property
    def k(self) -> int: ...
    @property
    def n_theta(self) -> int: ...
    @property
    def linear(self) -> bool:
        """Whether L is linear in theta, so that its second derivative vanishes."""
        ...

    @property
    def closed_under(self) -> Transformations:
        """Which A turn Sigma into another member, A Sigma A'."""
        ...

    @property
    def serial(self) -> bool:
        """Whether the columns are a series, whose parameters one level of many columns determines."""
        ...

    @property
    def across(self) -> Across | None:
        """The structure across levels, whose parameters are the last of theta; None where levels are independent."""
        ...

    @property
    def within(self) -> Kind:
        """The kind within a level, which knows standard deviations and correlations: itself where levels are independent."""
        ...

    @property
    def roles(self) -> tuple[Role, ...]:
        """What each element of theta is."""
        ...

    @property
    def directions(self) -> tuple[Array, ...] | None:
        """A basis of the Sigma of this kind; None where the effects' covariance is not linear in its parameters."""
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

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        """Theta after PQL's step, from L, the number of levels, the trace block T of M^-1 and B = u'u / phi."""
        ...

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """A name for every element of theta."""
        ...


@dataclass(frozen=True)
class Kind:
    """A covariance kind within a level. One that states `name`, `ranges` and `correlation` is complete.

    Attributes
    ----------
    name : str
    description : str
        For readers of a report.
    shared_sd : bool
        Whether all columns have one standard deviation.
    unfree : str
        Why standard deviations and correlations are no coordinates of it, which profiles and priors need; empty if they are.
    apart : bool
        Whether it can be told from a residual variance where each level has one row for each column.
    signed : bool
        Whether a negative standard deviation makes sense, since the correlations take its sign.
    k : int
    """

    name = ""
    description = ""
    shared_sd = False
    unfree = ""
    signed = False
    linear = False
    serial = False
    apart = False
    across = None
    k: int

    # -- what a kind states ----------------------------------------------------------------------------------------

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Ends of each correlation parameter, between which R is positive definite."""
        return ()

    def correlation(self, r: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        """R, (..., k, k), of the correlation parameters, arrays (...,); analytic in them."""
        return np.eye(self.k)

    # -- what follows: shape ---------------------------------------------------------------------------------------

    @property
    def within(self) -> Kind:
        return self

    @property
    def closed_under(self) -> Transformations:
        return "common" if self.shared_sd else "columns"

    @property
    def rank(self) -> int:
        """Of Sigma: free effects of a level."""
        return self.k

    @property
    def n_sd(self) -> int:
        return 1 if self.shared_sd else self.k

    @property
    def n_theta(self) -> int:
        return self.n_sd + len(self.ranges)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (*(Role.DIAGONAL,) * self.n_sd, *(Role.CORRELATION,) * len(self.ranges))

    @property
    def correlated(self) -> bool:
        """Whether columns are correlated, by parameters or by definition."""
        if self.k == 1:
            return False
        return bool(self.ranges) or bool(np.any(self.correlation(()) != np.eye(self.k)))

    @property
    def unit_form(self) -> UnitForm | None:
        """The formula of C for loops that cannot call :meth:`unit_rows`; None if it has none of those that they know."""
        return None if self.correlated else "identity"

    @property
    def one_correlation(self) -> bool:
        """Whether one parameter stands for all correlations."""
        return self.k > 1 and len(self.ranges) == 1

    @property
    def one_variance(self) -> bool:
        """Whether Sigma is a multiple of the identity."""
        return self.k == 1 or (self.shared_sd and not self.correlated)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """For each correlation parameter two columns whose correlation it is."""
        if self.k == 1 or not self.ranges:
            return ()
        slopes, out = self._slopes(self._middle), []
        for slope in slopes:
            below = [(a, b) for a in range(self.k) for b in range(a + 1, self.k) if slope[a, b] != 0.0]
            out.append(next(pair for pair in below if pair not in out))
        return tuple(out)

    @property
    def directions(self) -> tuple[Array, ...] | None:
        """A basis of the Sigma of this kind; None where they are no linear space."""
        if self.ranges or (self.correlated and not self.shared_sd):
            return None
        eye = np.eye(self.k)
        return (self.correlation(()),) if self.shared_sd else tuple(np.outer(e, e) for e in eye)

    # -- theta -----------------------------------------------------------------------------------------------------

    @property
    def _middle(self) -> list[float]:
        """Zero, or the middle of the range where that is no correlation of this kind."""
        return [0.0 if low < 0.0 < high else 0.5 * (low + high) for low, high in self.ranges]

    def _sds(self, theta: Array) -> Array:
        """Row scales, (k,)."""
        return np.full(self.k, theta[0]) if self.shared_sd else theta[: self.k]

    def r_of(self, theta: Array) -> list[float]:
        """The correlation parameters."""
        ends = zip(self.ranges, theta[self.n_sd :], strict=True)
        return [low + (high - low) * _logistic(t) for (low, high), t in ends]

    def _t(self, r: Sequence[float], edge: float = 1e-6) -> Array:
        """The logits, kept off the ends."""
        ends = np.array(self.ranges).reshape(-1, 2)
        low, high = ends[:, 0], ends[:, 1]
        p = np.clip((np.asarray(r, dtype=float) - low) / (high - low), edge, 1.0 - edge)
        return np.log(p / (1.0 - p))

    def _slopes(self, r: Sequence[float]) -> Array:
        """dR/dr, (parameters, k, k)."""
        steps = 1j * _STEP * np.eye(len(r)) + np.asarray(r, dtype=float)
        return np.stack([self.correlation([np.asarray(v) for v in row]).imag / _STEP for row in steps])

    def start(self) -> Array:
        return np.concatenate([np.ones(self.n_sd), self._t(self._middle)])

    def cholesky(self, theta: Array) -> Array:
        return self._sds(theta)[:, None] * self._root(self.r_of(theta))

    def _root(self, r: Sequence[float]) -> Array:
        """Lower triangular; with columns of zeros where rounding has put a correlation on the end of its range."""
        correlation = self.correlation([np.asarray(v) for v in r])
        try:
            return np.linalg.cholesky(correlation)
        except np.linalg.LinAlgError:
            return semidefinite_cholesky(correlation)

    def jacobian(self, theta: Array) -> Array:
        r, out = self.r_of(theta), np.zeros((self.n_theta, self.k, self.k))
        root = self._root(r)
        if self.shared_sd:
            out[0] = root
        else:
            out[np.arange(self.k), np.arange(self.k)] = root
        if not r or not np.diagonal(root).all():  # at the end of a range the logit moves nothing
            return out
        for j, (slope, (low, high)) in enumerate(zip(self._slopes(r), self.ranges, strict=True), self.n_sd):
            phi = np.tril(np.linalg.solve(root, np.linalg.solve(root, slope).T))
            phi[np.diag_indices(self.k)] *= 0.5
            p = _logistic(theta[j])
            out[j] = self._sds(theta)[:, None] * (root @ phi) * ((high - low) * p * (1.0 - p))
        return out

    def from_covariance(self, sigma: Array) -> Array:
        sd, cor = sd_cor(sigma)
        own = [float(np.sqrt(np.mean(sd**2)))] if self.shared_sd else sd
        return np.concatenate([own, self._t(self.nearest(cor))])

    def nearest(self, cor: Array) -> list[float]:
        """r of the R nearest to correlations, nan where these are undefined."""
        r = np.array(self._middle)
        known = np.tril(np.isfinite(cor), -1)
        if not len(r) or not known.any():
            return r.tolist()
        for _ in range(50):
            new = self._nearer(cor, known, r)
            if np.abs(new - r).max() <= 1e-14:
                break
            r = new
        return r.tolist()

    def _nearer(self, cor: Array, known: NDArray[np.bool_], r: Array) -> Array:
        """A step of Gauss and Newton from r, halved until it leads nearer."""
        low, high = np.array(self.ranges).T
        margin = 1e-6 * (high - low)

        def gap(at: Array) -> Array:
            return (cor - self.correlation([np.asarray(v) for v in at]))[known]

        left = gap(r)
        move, *_ = np.linalg.lstsq(self._slopes(r.tolist())[:, known].T, left, rcond=None)
        new = np.clip(r + move, low + margin, high - margin)
        while np.abs(new - r).max() > 1e-15 and float(gap(new) @ gap(new)) > float(left @ left):
            new = 0.5 * (r + new)
        return new

    def canonical(self, theta: Array) -> Array:
        return np.concatenate([np.abs(theta[: self.n_sd]), theta[self.n_sd :]])

    def transformed(self, theta: Array, a: Array) -> Array:
        return np.concatenate([theta[: self.n_sd] * np.diagonal(a)[: self.n_sd], theta[self.n_sd :]])

    def updated(self, theta: Array, lower: Array, m: int, trace: Array, spread: Array) -> Array:
        return _maximised(self, lower @ (spread + trace) @ lower.T / m)

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        count = len(self.ranges)
        rhos = ("rho",) if count == 1 else tuple(f"rho{j + 1}" for j in range(count))
        return (*(("sd",) if self.shared_sd else columns), *rhos)

    # -- standard deviations and correlations, over any array module -------------------------------------------------

    def factor(self, s: Sequence[Numbers], r: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        """L, (..., k, k), from signed standard deviations and correlation parameters, arrays (...,)."""
        if len(s) > 1 and self.correlated and not self.signed:
            s = [v * xp.sign(v.real) for v in s]
        one = 1.0 + 0.0 * s[0]
        rows = self.unit_rows(r, one, xp)
        scales = list(s) if len(s) == self.k else [s[0]] * self.k
        return xp.stack([xp.stack([a * v for v in row], -1) for a, row in zip(scales, rows, strict=True)], -2)

    def unit_rows(self, r: Sequence[Numbers], one: Numbers, xp: Namespace) -> list[list[Numbers]]:
        """Rows of C, C C' = R, each element of the shape of `one`."""
        if self.correlated:
            return [[one * v for v in row] for row in cholesky_rows(self.correlation(r, xp), xp)]
        return [[one if i == j else 0.0 * one for j in range(self.k)] for i in range(self.k)]

    def turned(self, column: int) -> tuple[int, ...]:
        """Correlation parameters that change their sign with the standard deviation of a column."""
        return ()

    def reported(self, s: Sequence[Array], r: Sequence[Array]) -> list[Array]:
        """The correlations of :attr:`pairs`."""
        return list(r)

    def filled(self, correlations: Array) -> Array:
        """R, (..., k, k), of the correlations of :attr:`pairs`, (..., parameters)."""
        return self.correlation(list(np.moveaxis(correlations, -1, 0)))

    def parameters_near(self, cor: Array) -> list[float]:
        """Correlation parameters of a definite correlation matrix; none for one column."""
        return self.nearest(cor) if self.pairs else []

    def prior_shapes(self, eta: float) -> list[tuple[float, float, float]]:
        """Ends and b of the Beta(b, b) prior of each correlation parameter, where lkj(eta) is stated."""
        return [(*ends, eta) for ends in self.ranges]

    # -- profiles: correlations from real numbers t, one of them that of a wanted pair --------------------------------

    def place(self, pair: tuple[int, ...]) -> int:
        """Which t the correlation of `pair` is, where `pair` leads the order."""
        return self.pairs.index((pair[0], pair[1]))

    def limits(self, pair: tuple[int, ...]) -> tuple[float, float]:
        """Range of the correlation of two columns."""
        return self.ranges[self.place(pair)] if pair in self.pairs else (-1.0, 1.0)

    def t_of(self, pair: tuple[int, ...], rho: float) -> float:
        """The t of a correlation of `pair`."""
        low, high = self.limits(pair)
        p = np.clip((rho - low) / (high - low), 0.5 * (1.0 - EDGE), 0.5 * (1.0 + EDGE))
        return float(np.log(p / (1.0 - p)))

    def profile_matrix(self, t: Entries, order: Sequence[int]) -> Entries:
        """R of t, analytic; `order` of the columns is that of an unrestricted kind."""
        if not len(t):
            return self.correlation(())
        ends = zip(self.ranges, t, strict=True)
        return self.correlation(
            [low + (high - low) * 0.5 * (1.0 + np.tanh(0.5 * v)) for (low, high), v in ends]
        )

    def profile_coordinates(self, cor: Array, order: Sequence[int]) -> list[float]:
        """t of correlations, nan where these are undefined."""
        return [self.t_of(pair, float(np.nan_to_num(cor[pair]))) for pair in self.pairs]


def _logistic(t: float) -> float:
    return float(0.5 * (1.0 + np.tanh(0.5 * t)))


def _maximised(kind: Kind, target: Array) -> Array:
    """The member of `kind` that minimises log|Sigma| + tr(Sigma^-1 target)."""
    from scipy.optimize import minimize

    def objective(theta: Array) -> tuple[float, Array]:
        lower = kind.cholesky(theta)
        inverse = np.linalg.inv(lower)
        scaled = inverse @ target @ inverse.T
        value = 2.0 * float(np.log(np.abs(np.diagonal(lower))).sum()) + float(np.trace(scaled))
        core = inverse.T @ (np.eye(len(lower)) - scaled)
        return value, 2.0 * np.einsum("jab,ab->j", kind.jacobian(theta), core)

    start = kind.from_covariance(target)
    return kind.canonical(minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x)
