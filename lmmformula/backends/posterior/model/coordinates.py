r"""Unconstrained coordinates for the variances, with their prior densities and Jacobians.

Every coordinate x_j is a real number with a prior density of its own, independent of the others:

* a standard deviation whose prior is finite at zero is *folded*: s = c sinh x, sd = |s|. Near zero that is linear, so
  that mass at sd = 0 is neither cut off nor sent to minus infinity as log sd would; far from zero it is logarithmic,
  where the likelihood of few levels is skewed. The density of x is ``p(|s|) c cosh(x) / 2``. c is the standard
  deviation that the data can just tell from zero: the information on a variance tau^2 at 0 is about ``sum_l g_l^2 /
  (2 sigma^4)``, g_l = sum of squares of the column in level l, hence ``c = sigma (sum_l g_l^2 / 2)^(-1/4)``;
* one whose prior vanishes or has a pole there is ``c exp x``; one with bounds is a logistic function of x;
* a correlation is ``lo + (1 - lo) (1 + tanh x) / 2`` with a Beta(b, b) density on (lo, 1): the partial correlations
  of an LKJ matrix (lo = -1), or what a kind has for them. In x that is ``2^(1-2b) sech(x)^(2b) / B(b, b)``, smooth and
  log-concave;
* a range of a structure across levels is ``c exp x``, a correlation or share between two ends a logistic function of x
  (:mod:`lmmformula.ir.across.naturals`);
* sigma is ``c exp x``;
* the mixing variance of a coefficient with a t prior, ``lambda ~ InvGamma(df/2, df/2)``, is ``exp x``;
* the numbers that slopes with a horseshoe or R2D2 have, each and in common, are ``exp x``, a share between 0 and 1 a logistic
  function of x (:mod:`lmmformula.ir.prior_shrinkage`).

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

import numpy as np

from lmmformula.backends.posterior.model.scalars import (
    Between,
    Coordinate,
    Folded,
    Inside,
    Logged,
    Mixing,
    scale_coordinate,
    structure_coordinate,
)
from lmmformula.errors import PlanError
from lmmformula.ir.across.naturals import Free, Natural, naturals_of
from lmmformula.ir.blocks import Gram
from lmmformula.ir.covariance import Kind
from lmmformula.ir.groups import Group
from lmmformula.ir.prior_distributions import Beta, StudentT
from lmmformula.ir.prior_shrinkage import Together
from lmmformula.ir.priors import Priors, TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Namespace, Numbers

__all__ = [
    "Coordinates",
    "TermPlaces",
    "covariance_coordinates",
    "detectable_sd",
    "term_coordinates",
    "term_values",
]

_STEP = 1e-150


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
    phis: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        return self.priors.parameters.kind

    def factor(self, values: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        """L, (..., k, k), from the values of all coordinates."""
        return self.kind.factor([values[j] for j in self.sds], [values[j] for j in self.cors], xp)

    @property
    def naturals(self) -> tuple[Natural, ...]:
        """Elements of phi."""
        across = self.priors.parameters.across
        return () if across is None or not self.phis else naturals_of(across)

    def phi(self, values: Sequence[Numbers]) -> Array:
        """phi of the values of all coordinates at one x."""
        own = zip(self.naturals, self.phis, strict=True)
        return np.array([natural.inward(float(values[j])) for natural, j in own])

    def phi_rates(self, own: Sequence[Coordinate], x: Array, values: Sequence[Numbers]) -> Array:
        """dphi/dx of each element at its coordinate."""
        each = zip(self.naturals, self.phis, strict=True)
        return np.array([natural.rate(float(values[j])) * own[j].slope(float(x[j])) for natural, j in each])

    def slopes(self, own: Sequence[Coordinate], x: Array, values: Sequence[Numbers]) -> Array:
        """dL/dx at its coordinates, (sds and cors, k, k)."""
        places, n = (*self.sds, *self.cors), len(self.sds)
        at = [values[j] + 1j * _STEP * (np.arange(len(places)) == i) for i, j in enumerate(places)]
        moved = self.kind.factor(at[:n], at[n:]).imag / _STEP
        return moved * np.array([own[j].slope(float(x[j])) for j in places])[:, None, None]

    def folded(self, own: Sequence[Coordinate], first: int = 0) -> list[tuple[int, tuple[int, ...]]]:
        """Places, counted from `first`, of folded standard deviations, each with the correlations that change sign with it."""
        return [
            (first + place, tuple(first + self.cors[c] for c in self.kind.turned(i)))
            for i, place in enumerate(self.sds)
            if isinstance(own[place], Folded)
        ]


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Where the numbers of slopes stand that are shrunk together.

    Attributes
    ----------
    prior : Together
    columns, each : tuple of int
        Coefficients, and the places of the number that each has for itself.
    shared : tuple of int
    sigma : int
    """

    prior: Together
    columns: tuple[int, ...]
    each: tuple[int, ...]
    shared: tuple[int, ...]
    sigma: int

    @classmethod
    def of(cls, priors: Priors, sigma: int, own: list[Coordinate]) -> Shrunk:
        """Their places, with their coordinates added to `own`."""
        columns = priors.shrunk
        prior = priors.coefficients[columns[0]].distribution
        first = len(own)
        own += [Logged(prior.own, 1.0) for _ in columns]
        own += [Inside.of(d, 0.0, 1.0) if isinstance(d, Beta) else Logged(d, 1.0) for d in prior.shared]
        places = tuple(range(first, len(own)))
        return cls(prior, columns, places[: len(columns)], places[len(columns) :], sigma)

    def log_variances(self, values: Sequence[Numbers], xp: Namespace = np) -> dict[int, Numbers]:
        """Coefficient -> log v_j, (...), from the values of all coordinates."""
        each = xp.stack([values[j] for j in self.each], -1)
        out = self.prior.log_variances(each, tuple(values[j] for j in self.shared), values[self.sigma], xp)
        return {j: out[..., i] for i, j in enumerate(self.columns)}

    def slopes(
        self, own: Sequence[Coordinate], x: Array, values: Sequence[Numbers]
    ) -> list[tuple[int, int, float]]:
        """(coefficient, place, d log v_j / dx at the place), by complex steps."""
        out = []
        for place in (*self.each, *self.shared, self.sigma):
            size = float(values[place])
            moved = [np.asarray(v, dtype=complex) for v in values]
            moved[place] = moved[place] * (1.0 + 1j * _STEP)
            rate = float(own[place].slope(float(x[place]))) / size
            for j, log_variance in self.log_variances(moved).items():
                out.append((j, place, float(log_variance.imag) / _STEP * rate))
        return out


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between x (d,) and the variances.

    Attributes
    ----------
    own : tuple of Coordinate
        Length d: terms in order (standard deviations, correlations, elements of phi), sigma, mixing variances.
    terms : tuple of TermPlaces
    sigma : int
        Place of sigma.
    mixing : tuple of (int, int)
        Coefficient and place of its mixing variance, for coefficients with t priors.
    p : int
    shrunk : Shrunk or None
        Coefficients whose variances have a prior together.
    """

    own: tuple[Coordinate, ...]
    terms: tuple[TermPlaces, ...]
    sigma: int
    mixing: tuple[tuple[int, int], ...]
    p: int
    shrunk: Shrunk | None = None

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
        shrunk = Shrunk.of(priors, place, own) if priors.shrunk else None
        return cls(tuple(own), terms, place, tuple(mixing), len(priors.coefficients), shrunk)

    @property
    def d(self) -> int:
        return len(self.own)

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations, each with the partial correlations that change sign with it."""
        return tuple(place for term in self.terms for place in term.folded(self.own))

    # -- evaluation: x (..., d), any array module ------------------------------------------------------------------

    def values(self, x: Numbers, xp: Namespace = np) -> list[Numbers]:
        """Signed standard deviations, correlation parameters, sigma, log mixing variances."""
        return [c.value(x[..., j], xp) for j, c in enumerate(self.own)]

    def log_prior(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """Log prior density of x."""
        return sum(c.log_density(x[..., j], xp) for j, c in enumerate(self.own))

    def factors(self, values: Sequence[Numbers], xp: Namespace = np) -> list[Numbers]:
        """L of each term, (..., k, k)."""
        return [t.factor(values, xp) for t in self.terms]

    def log_mixing(self, values: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        """What to add to the log prior variances of the coefficients, (..., p)."""
        none = 0.0 * values[self.sigma]
        logs = {j: values[place] for j, place in self.mixing}
        if self.shrunk is not None:
            logs |= self.shrunk.log_variances(values, xp)
        parts = [logs.get(j, none) for j in range(self.p)]
        return xp.stack(parts, -1) if parts else xp.zeros((*none.shape, 0))

    # -- derivatives: one x (d,) ------------------------------------------------------------------------------------

    def mixing_slopes(self, x: Array) -> list[tuple[int, int, float]]:
        """(coefficient, place, derivative of its log prior variance with respect to x there), where that is not zero."""
        out = [(j, place, 1.0) for j, place in self.mixing]
        return out if self.shrunk is None else out + self.shrunk.slopes(self.own, x, self.values(x))

    def factor_slopes(self, x: Array) -> list[Array]:
        """dL/dx of each term, (its coordinates, k, k)."""
        values = self.values(x)
        return [t.slopes(self.own, x, values) for t in self.terms]

    @property
    def structured(self) -> bool:
        """Whether a structure across levels has parameters."""
        return any(t.phis for t in self.terms)

    def phis(self, values: Sequence[Numbers]) -> list[Array]:
        """phi of each term at one x."""
        return [t.phi(values) for t in self.terms]

    def log_prior_gradient(self, x: Array) -> Array:
        return np.array([c.density_slope(float(x[j])) for j, c in enumerate(self.own)])

    # -- reading ----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what :meth:`parameters` gives."""
        return (*(name for t in self.terms for name in t.priors.parameters.names), "sigma")

    def parameters(self, x: Array) -> Array:
        """Standard deviations, correlations, elements of phi and sigma, (..., len(names)), for x (..., d)."""
        values = self.values(x)
        return np.stack([*term_values(self.terms, values), values[self.sigma]], axis=-1)

    def from_covariances(
        self, covariances: Sequence[Array], sigma: float, phis: Sequence[Array] | None = None
    ) -> Array:
        """x of given absolute covariance matrices, kept off zero and away from perfect correlation, and of phi."""
        x = covariance_coordinates(self.own, self.terms, covariances, 1e-3 * sigma, phis)
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
        across = term.parameters.across
        known = () if across is None else naturals_of(across)
        own += [structure_coordinate(natural, p) for natural, p in zip(known, term.phis, strict=True)]
        phis = tuple(range(at + n_sd + len(cors), first + len(own)))
        places.append(TermPlaces(term, tuple(range(at, at + n_sd)), cors, phis))
    return own, tuple(places)


def term_values(terms: Sequence[TermPlaces], values: Numbers) -> list[Array]:
    """Standard deviations, correlations and natural phi of every term, arrays (...,), from the values of all coordinates."""
    out: list[Array] = []
    for t in terms:
        out += [np.abs(values[j]) for j in t.sds]
        out += t.kind.reported([values[j] for j in t.sds], [values[j] for j in t.cors])
        out += [values[j] for j in t.phis]
    return out


def _correlation_coordinates(term: TermPriors) -> list[Coordinate]:
    if term.cor is None:
        return []
    return [Between(*shape) for shape in term.parameters.kind.prior_shapes(term.cor.distribution.eta)]


def covariance_coordinates(
    own: Sequence[Coordinate],
    terms: Sequence[TermPlaces],
    covariances: Sequence[Array],
    least: float,
    phis: Sequence[Array] | None = None,
) -> Array:
    """x (len(own),) of covariance matrices and phi, kept off zero and away from perfect correlation; zero elsewhere."""
    x = np.zeros(len(own))
    for i, (t, cov) in enumerate(zip(terms, covariances, strict=True)):
        sd = np.sqrt(np.maximum(np.diagonal(cov), 0.0))
        sds = np.array([np.sqrt(np.mean(sd**2))]) if len(t.sds) < len(sd) else sd
        for j, value in zip(t.sds, sds, strict=True):
            low = 0.3 * getattr(own[j], "scale", least)
            x[j] = own[j].inverse(max(float(value), low))
        for j, value in zip(t.cors, _correlation_parameters(t, cov, sd), strict=True):
            x[j] = own[j].inverse(value)
        if phis is not None and t.phis:
            _begin_phi(x, own, t, phis[i])
    return x


def _begin_phi(x: Array, own: Sequence[Coordinate], term: TermPlaces, phi: Array) -> None:
    """Put phi into x, each element within the bulk of what it may be."""
    across = term.priors.parameters.across
    assert across is not None
    free = [isinstance(natural, Free) for natural in term.naturals]
    values = np.where(free, phi, across.natural(phi))
    for j, natural, value in zip(term.phis, term.naturals, values, strict=True):
        low, high = natural.bulk
        x[j] = own[j].inverse(float(np.clip(value, low, high)))


def _correlation_parameters(term: TermPlaces, cov: Array, sd: Array) -> list[float]:
    """Partial correlations, or the shared one, of a covariance matrix that may be singular."""
    safe = np.where(sd > 0, sd, 1.0)
    cor = 0.95 * cov / np.outer(safe, safe)
    np.fill_diagonal(cor, 1.0)
    return term.kind.parameters_near(cor)
