r"""Unconstrained coordinates for the variances, with their prior densities and Jacobians.

Every coordinate x_j is a real number with a prior density of its own, independent of the others:

* a standard deviation whose prior is finite at zero is *folded*: s = c sinh x, sd = |s|. Near zero that is linear, so
  that mass at sd = 0 is neither cut off nor sent to minus infinity as log sd would; far from zero it is logarithmic,
  where the likelihood of few levels is skewed. The density of x is ``p(|s|) c cosh(x) / 2``. c is the standard
  deviation that the data can just tell from zero: the information on a variance tau^2 at 0 is about ``sum_l g_l^2 /
  (2 sigma^4)``, g_l = sum of squares of the column in level l, hence ``c = sigma (sum_l g_l^2 / 2)^(-1/4)``;
* one whose prior vanishes or has a pole there is ``c exp x``; one with bounds is a logistic function of x;
* a correlation is ``lo + (1 - lo) (1 + tanh x) / 2`` with a Beta(b, b) density on (lo, 1): the partial correlations
  of an LKJ matrix (lo = -1), or the shared correlation of cs and ar1. In x that is ``2^(1-2b) sech(x)^(2b) / B(b,
  b)``, smooth and log-concave;
* sigma is ``c exp x``;
* the mixing variance of a coefficient with a t prior, ``lambda ~ InvGamma(df/2, df/2)``, is ``exp x``.

The factor of an unstructured term is L = diag(s) C with the signs of s kept, C the Cholesky factor of the correlations
of the partial correlations p = tanh x: ``C_ij = p_ij prod_{l<j} sqrt(1 - p_il^2)``. It is smooth through s = 0, and
changing the sign of s_i together with those of all p_ij changes neither likelihood nor LKJ density: the posterior of x
is 2^K equal copies of that of the variances, joined where an sd is zero. Reported correlations carry the sign of s_i
s_j. For cs the sign is dropped first.

dL/ds and dL/dp come from complex steps (Squire & Trapp 1998): L is an analytic function of both, so the derivative is
exact to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmmformula.backends.posterior.model.scalars import Between, Coordinate, Folded, Mixing, scale_coordinate
from lmmformula.errors import PlanError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import Group
from lmmformula.ir.prior_distributions import StudentT
from lmmformula.ir.priors import Priors, TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = [
    "Coordinates",
    "TermPlaces",
    "covariance_coordinates",
    "detectable_sd",
    "term_coordinates",
    "term_factor",
    "term_values",
]

_STEP = 1e-150


# -- factors ------------------------------------------------------------------------------------------------------


def term_factor(kind: str, k: int, s: Sequence[Any], r: Sequence[Any], xp: Any = np) -> Any:
    """L of one term, (..., k, k), from signed standard deviations and correlation parameters, arrays (...,).

    `r` are partial correlations, column by column, for "us", and the shared correlation for "cs" and "ar1".
    """
    if kind == "cs":
        s = [v * xp.sign(v.real) for v in s]
    one, none = 1.0 + 0.0 * s[0], 0.0 * s[0]
    rows = [[none] * k for _ in range(k)]
    if not r:
        for i in range(k):
            rows[i][i] = one
    elif kind == "us":
        _partial_rows(rows, k, r, one, xp)
    elif kind == "cs":
        _shared_rows(rows, k, r[0], one, xp)
    else:
        root = xp.sqrt(1.0 - r[0] * r[0])
        for i in range(k):
            for j in range(i + 1):
                rows[i][j] = one * r[0] ** (i - j) * (root if j else 1.0)
    scales = list(s) if len(s) == k else [s[0]] * k
    return xp.stack([xp.stack([scales[i] * v for v in rows[i]], -1) for i in range(k)], -2)


def _partial_rows(rows: list[list[Any]], k: int, r: Sequence[Any], one: Any, xp: Any) -> None:
    """C of canonical partial correlations, in place."""
    left = [one] * k
    place = 0
    for j in range(k):
        rows[j][j] = left[j]
        for i in range(j + 1, k):
            rows[i][j] = r[place] * left[i]
            left[i] = left[i] * xp.sqrt(1.0 - r[place] * r[place])
            place += 1


def _shared_rows(rows: list[list[Any]], k: int, rho: Any, one: Any, xp: Any) -> None:
    """The Cholesky factor of (1 - rho) I + rho 11', in place: pivots (1 - rho)(1 + j rho) / (1 + (j - 1) rho)."""
    for j in range(k):
        before = 1.0 + (j - 1) * rho
        pivot = xp.sqrt((1.0 - rho) * (1.0 + j * rho) / before)
        rows[j][j] = one * pivot
        for i in range(j + 1, k):
            rows[i][j] = one * rho * (1.0 - rho) / (before * pivot)


def detectable_sd(problem: Problem, groups: Sequence[Group], gram: Gram, sigma: float) -> tuple[Array, ...]:
    """c of the module's head for each column of each term, in units of y."""
    out: list[Array] = [np.empty(0)] * len(problem.terms)
    for group, diag in zip(groups, gram.diag, strict=True):
        squares = np.einsum("mii->mi", diag)
        c = sigma * (0.5 * np.sum(squares**2, axis=0) + 1e-300) ** -0.25
        for i, columns in group.members:
            out[i] = c[columns]
    return tuple(out)


# -- all of a problem ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TermPlaces:
    """Where one term's parameters stand among the coordinates."""

    priors: TermPriors
    sds: tuple[int, ...]
    cors: tuple[int, ...]

    @property
    def kind(self) -> str:
        return self.priors.parameters.kind

    @property
    def k(self) -> int:
        return self.priors.parameters.k


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between x (d,) and the variances.

    Attributes
    ----------
    own : tuple of Coordinate
        Length d: terms in order (standard deviations, then correlations), sigma, mixing variances.
    terms : tuple of TermPlaces
    sigma : int
        Place of sigma.
    mixing : tuple of (int, int)
        Coefficient and place of its mixing variance, for coefficients with t priors.
    p : int
    """

    own: tuple[Coordinate, ...]
    terms: tuple[TermPlaces, ...]
    sigma: int
    mixing: tuple[tuple[int, int], ...]
    p: int

    @classmethod
    def of(cls, priors: Priors, scales: Sequence[Array], sigma: float) -> Coordinates:
        """Coordinates for `priors`; `scales` are :func:`detectable_sd`, `sigma` a rough residual sd."""
        if priors.sigma is None:
            raise PlanError(
                "the model has no single residual standard deviation, so its variances cannot be marginal."
            )
        own, terms = term_coordinates(priors.terms, scales)
        place = len(own)
        own.append(scale_coordinate(priors.sigma, sigma, fold=False))
        mixing = []
        for j, prior in enumerate(priors.coefficients):
            if isinstance(prior.distribution, StudentT):
                mixing.append((j, len(own)))
                own.append(Mixing(prior.distribution.df))
        return cls(tuple(own), terms, place, tuple(mixing), len(priors.coefficients))

    @property
    def d(self) -> int:
        return len(self.own)

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations, each with the partial correlations that change sign with it."""
        out = []
        for term in self.terms:
            pairs = [(a, b) for a in range(term.k) for b in range(a + 1, term.k)]
            for i, place in enumerate(term.sds):
                if isinstance(self.own[place], Folded):
                    turned = [c for c, pair in zip(term.cors, pairs, strict=False) if i in pair]
                    out.append((place, tuple(turned) if term.kind == "us" else ()))
        return tuple(out)

    # -- evaluation: x (..., d), any array module ------------------------------------------------------------------

    def values(self, x: Any, xp: Any = np) -> list[Any]:
        """Signed standard deviations, correlation parameters, sigma, log mixing variances."""
        return [c.value(x[..., j], xp) for j, c in enumerate(self.own)]

    def log_prior(self, x: Any, xp: Any = np) -> Any:
        """Log prior density of x."""
        return sum(c.log_density(x[..., j], xp) for j, c in enumerate(self.own))

    def factors(self, values: Sequence[Any], xp: Any = np) -> list[Any]:
        """L of each term, (..., k, k)."""
        return [
            term_factor(t.kind, t.k, [values[j] for j in t.sds], [values[j] for j in t.cors], xp)
            for t in self.terms
        ]

    def log_mixing(self, values: Sequence[Any], xp: Any = np) -> Any:
        """What to add to the log prior variances of the coefficients, (..., p)."""
        none = 0.0 * values[self.sigma]
        places = dict(self.mixing)
        parts = [values[places[j]] if j in places else none for j in range(self.p)]
        return xp.stack(parts, -1) if parts else xp.zeros((*none.shape, 0))

    # -- derivatives: one x (d,) ------------------------------------------------------------------------------------

    def factor_slopes(self, x: Array) -> list[Array]:
        """dL/dx of each term, (its coordinates, k, k)."""
        values, out = self.values(x), []
        for t in self.terms:
            places = (*t.sds, *t.cors)
            at = [values[j] + 1j * _STEP * (np.arange(len(places)) == i) for i, j in enumerate(places)]
            moved = term_factor(t.kind, t.k, at[: len(t.sds)], at[len(t.sds) :])
            inner = np.array([self.own[j].slope(x[j]) for j in places])
            out.append(moved.imag / _STEP * inner[:, None, None])
        return out

    def log_prior_gradient(self, x: Array) -> Array:
        return np.array([c.density_slope(float(x[j])) for j, c in enumerate(self.own)])

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what :meth:`parameters` gives."""
        own = [name for t in self.terms for name in (*t.priors.parameters.sds, *t.priors.parameters.cors)]
        return (*own, "sigma")

    def parameters(self, x: Array) -> Array:
        """Standard deviations, correlations and sigma, (..., len(names)), for x (..., d)."""
        values = self.values(x)
        return np.stack([*term_values(self.terms, values), values[self.sigma]], axis=-1)

    def from_covariances(self, covariances: Sequence[Array], sigma: float) -> Array:
        """x of given absolute covariance matrices, kept off zero and away from perfect correlation."""
        x = covariance_coordinates(self.own, self.terms, covariances, 1e-3 * sigma)
        x[self.sigma] = self.own[self.sigma].inverse(sigma)
        return x

    def sample_prior(self, rng: np.random.Generator, size: int) -> Array:
        """x drawn from the prior, (size, d)."""
        return np.column_stack([c.sample(rng, size) for c in self.own])


def term_coordinates(
    terms: Sequence[TermPriors], scales: Sequence[Array], first: int = 0
) -> tuple[list[Coordinate], tuple[TermPlaces, ...]]:
    """Coordinates of the standard deviations and correlations of terms, and their places, counted from `first`."""
    own: list[Coordinate] = []
    places = []
    for term, c in zip(terms, scales, strict=True):
        at, n_sd = first + len(own), len(term.sds)
        per_sd = c if n_sd == len(c) else [float(np.mean(c))]
        own += [scale_coordinate(sd, float(s), fold=True) for sd, s in zip(term.sds, per_sd, strict=True)]
        own += _correlation_coordinates(term)
        cors = tuple(range(at + n_sd, first + len(own)))
        places.append(TermPlaces(term, tuple(range(at, at + n_sd)), cors))
    return own, tuple(places)


def term_values(terms: Sequence[TermPlaces], values: Any) -> list[Array]:
    """Standard deviations and correlations of every term, arrays (...,), from the values of all coordinates."""
    out: list[Array] = []
    for t in terms:
        out += [np.abs(values[j]) for j in t.sds]
        if t.kind == "us" and t.cors:
            lower = term_factor(t.kind, t.k, [values[j] for j in t.sds], [values[j] for j in t.cors])
            unit = lower / np.maximum(np.linalg.norm(lower, axis=-1), 1e-300)[..., None]
            cor = unit @ np.swapaxes(unit, -1, -2)
            out += [cor[..., a, b] for a in range(t.k) for b in range(a + 1, t.k)]
        else:
            out += [values[j] for j in t.cors]
    return out


def _correlation_coordinates(term: TermPriors) -> list[Coordinate]:
    if term.cor is None:
        return []
    k, lkj = term.parameters.k, term.cor.distribution
    if term.parameters.correlation == "matrix":
        return [Between(-1.0, 1.0, lkj.concentration(k, j)) for j in range(k) for _ in range(j + 1, k)]
    low = -1.0 / (k - 1) if term.parameters.kind == "cs" else -1.0
    return [Between(low, 1.0, lkj.eta)]


def covariance_coordinates(
    own: Sequence[Coordinate], terms: Sequence[TermPlaces], covariances: Sequence[Array], least: float
) -> Array:
    """x (len(own),) of covariance matrices, kept off zero and away from perfect correlation; zero elsewhere."""
    x = np.zeros(len(own))
    for t, cov in zip(terms, covariances, strict=True):
        sd = np.sqrt(np.maximum(np.diagonal(cov), 0.0))
        shared = len(t.sds) < t.k
        sds = np.array([np.sqrt(np.mean(sd**2))]) if shared else sd
        for j, value in zip(t.sds, sds, strict=True):
            low = 0.3 * getattr(own[j], "scale", least)
            x[j] = own[j].inverse(max(float(value), low))
        for j, value in zip(t.cors, _correlation_parameters(t, cov, sd), strict=True):
            x[j] = own[j].inverse(value)
    return x


def _correlation_parameters(term: TermPlaces, cov: Array, sd: Array) -> list[float]:
    """Partial correlations, or the shared one, of a covariance matrix that may be singular."""
    if not term.cors:
        return []
    safe = np.where(sd > 0, sd, 1.0)
    cor = 0.95 * cov / np.outer(safe, safe)
    np.fill_diagonal(cor, 1.0)
    k = term.k
    if term.kind == "ar1":
        return [float(np.mean(np.diagonal(cor, -1)))]
    if term.kind == "cs":
        return [float(cor[np.tril_indices(k, -1)].mean())]
    c = np.linalg.cholesky(cor)
    left = np.sqrt(np.maximum(1.0 - np.cumsum(c**2, axis=1) + c**2, 1e-12))
    return [float(c[i, j] / left[i, j]) for j in range(k) for i in range(j + 1, k)]
