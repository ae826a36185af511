r"""What is known of the fixed effects: their covariance matrix, and the reference distributions of linear combinations.

With ``C = Var(beta)``, a single combination ``l'beta`` over its standard error ``sqrt(l'C l)`` is referred to a t on
:meth:`Uncertainty.df` degrees of freedom (infinite: z), and L beta = 0 to ::

    F = (L beta)' (L C L')^-1 (L beta) / q,      q = rank L

on q and nu degrees of freedom (nu infinite: q F is chi-square on q). The kinds differ in C, nu, and a scale of F:

- :class:`Wald`: C by the curvature of the likelihood, nu infinite.
- :class:`Satterthwaite`: nu of one combination by :mod:`lmmformula.inference.wald`. For several (Fai & Cornelius 1996) the
  eigenvectors of L C L' split F into q independent t^2 with degrees of freedom nu_m; matching the mean of F on (q, nu) to
  theirs gives ``nu = 2 E / (E - q), E = sum nu_m / (nu_m - 2)``.
- :class:`KenwardRoger`: C adjusted, F scaled: :mod:`lmmformula.inference.kenward_roger`.

References
----------
Fai & Cornelius (1996), J. Statist. Comput. Simul. 54, 363-378.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.kenward_roger import kenward_roger
from lmmformula.inference.student import critical
from lmmformula.inference.wald import satterthwaite
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = [
    "DDF",
    "Joint",
    "JointTest",
    "KenwardRoger",
    "Satterthwaite",
    "Uncertainty",
    "Wald",
    "gaussian_uncertainty",
    "refuse_unknown",
    "row_variances",
]


@dataclass(frozen=True, slots=True)
class JointTest:
    """A test of L beta = 0.

    Attributes
    ----------
    f : float
        F before scaling.
    q : int
        Rank of L, the numerator's degrees of freedom.
    df : float
        The denominator's; infinite where `q` times F is chi-square.
    scale : float
        Of F (Kenward & Roger).
    """

    f: float
    q: int
    df: float
    scale: float = 1.0

    @property
    def statistic(self) -> float:
        """F after scaling."""
        return self.f * self.scale

    @property
    def p_value(self) -> float:
        """Of F, or of the chi-square."""
        from scipy.special import chdtrc, fdtrc

        if np.isinf(self.df):
            return float(chdtrc(self.q, self.q * self.statistic))
        return float(fdtrc(self.q, self.df, self.statistic))


class Uncertainty(ABC):
    """Covariance matrix of the fixed effects, and tests of their combinations."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What the tests are called: "Satterthwaite", "Kenward-Roger", "Wald", or a robust estimator's name."""

    @property
    def kind(self) -> str:
        """Which covariance matrix: "model-based", or a robust estimator's name."""
        return "model-based"

    @property
    def grouped(self) -> str | None:
        """The variable whose values are the clusters of a robust estimator; None for the model's."""
        return None

    @property
    def how(self) -> str:
        """By which method tests are made, to follow "table" or "tests"."""
        return f"with {self.label}'s method"

    @property
    @abstractmethod
    def covariance(self) -> Array:
        """C, (p, p)."""

    @abstractmethod
    def df(self, rows: Array) -> Array:
        """Degrees of freedom of the t test of each row of `rows` (r, p): infinite for z."""

    def errors(self, rows: Array) -> Array:
        """Standard error of each row of `rows` (r, p); coefficients that a row gives no weight have no part in it."""
        return np.sqrt(row_variances(rows, self.covariance))

    def reach(self, level: float) -> Array:
        """Half-width of the interval of each coefficient, (p,)."""
        rows = np.eye(len(self.covariance))
        return critical(level, self.df(rows)) * np.sqrt(np.diagonal(self.covariance))

    @abstractmethod
    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        """Test of ``rows @ beta = offsets`` (of zero, if there are none); rows may depend on each other."""


@dataclass(frozen=True, eq=False)
class Wald(Uncertainty):
    """z and chi-square."""

    fit: Fitted

    @property
    def label(self) -> str:
        return "Wald"

    @property
    def covariance(self) -> Array:
        return self.fit.vcov

    def df(self, rows: Array) -> Array:
        return np.full(len(rows), np.inf)

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        found = whitened(rows, self.covariance, self.fit.estimate.beta, offsets)
        return JointTest(found.f, found.q, np.inf)


@dataclass(frozen=True, eq=False)
class Joint(Uncertainty):
    """z and chi-square of functions of more parameters than beta, by the delta method.

    Attributes
    ----------
    joint_covariance : (P, P) array
        Of all parameters.
    parameters : (P,) array
        Their estimates, or whatever the offsets of :meth:`joint` are measured from.
    """

    joint_covariance: Array
    parameters: Array

    @property
    def label(self) -> str:
        return "Wald"

    @property
    def covariance(self) -> Array:
        return self.joint_covariance

    def df(self, rows: Array) -> Array:
        return np.full(len(rows), np.inf)

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        found = whitened(rows, self.covariance, self.parameters, offsets)
        return JointTest(found.f, found.q, np.inf)


@dataclass(frozen=True, eq=False)
class Satterthwaite(Uncertainty):
    """t and F of a linear model with one residual variance."""

    fit: Fitted

    @property
    def label(self) -> str:
        return "Satterthwaite"

    @property
    def how(self) -> str:
        problem = self.fit.problem
        return super().how if problem.terms or problem.residual is not None else "on n - p residual df"

    @property
    def covariance(self) -> Array:
        return self.fit.estimate.vcov

    def df(self, rows: Array) -> Array:
        return satterthwaite(self.fit, rows)

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        """Fai & Cornelius's F test.

        Its df depend on the units of the rows of L. The rows are taken as they come, which is lmerTest's choice, unless
        their variances are too far apart to be diagonalised; F is computed in rows of unit variance.
        """
        found = whitened(rows, self.covariance, self.fit.estimate.beta, offsets)
        raw, vectors = np.linalg.eigh(rows @ self.covariance @ rows.T)
        as_they_come = found.q == len(rows) and raw[0] > 1e-10 * raw[-1]
        return JointTest(
            found.f, found.q, joint_df(self.df(vectors.T @ rows if as_they_come else found.rows))
        )


@dataclass(frozen=True, eq=False)
class KenwardRoger(Uncertainty):
    """t and F with Kenward & Roger's covariance matrix.

    Raises
    ------
    PlanError
        By every question, for a fit for which it is not defined.
    """

    fit: Fitted

    @property
    def label(self) -> str:
        return "Kenward-Roger"

    @property
    def covariance(self) -> Array:
        return kenward_roger(self.fit).vcov

    def df(self, rows: Array) -> Array:
        return kenward_roger(self.fit).df(rows)

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        known = kenward_roger(self.fit)
        found = whitened(rows, known.plain, self.fit.estimate.beta, offsets)
        f, scale, q, df = known.test(found.rows, found.effects)
        return JointTest(f, q, df, scale)


@dataclass(frozen=True, slots=True, eq=False)
class Whitened:
    """Combinations of the fixed effects made independent of each other.

    Attributes
    ----------
    rows : (q, p) array
        Eigenvectors of the correlation matrix of the rows that were given, applied to these in units of their errors.
    effects : (q,) array
        Their estimates, less what the hypothesis says.
    variances : (q,) array
    """

    rows: Array
    effects: Array
    variances: Array

    @property
    def q(self) -> int:
        """Rank."""
        return len(self.effects)

    @property
    def f(self) -> float:
        """The mean of the independent squares; nan if there is none, where the data determine no effect."""
        return float(np.sum(self.effects**2 / self.variances)) / self.q if self.q else np.nan


def row_variances(rows: Array, covariance: Array) -> Array:
    """l' C l of each row, (r,).

    Coefficients that the data do not determine have infinite variances. A row that gives none of them a weight has its own
    variance, one that rests on one of them an infinite one. Of several nothing is known, as their sum may be determined: nan.
    """
    own = np.diagonal(covariance)
    loose = ~np.isfinite(own)
    if not loose.any():
        return np.einsum("ri,ij,rj->r", rows, covariance, rows)
    out = np.einsum("ri,ij,rj->r", rows, np.where(loose[:, None] | loose, 0.0, covariance), rows)
    resting = (rows[:, loose] != 0.0).sum(axis=1)
    unknown = (resting > 1) | (rows[:, np.isnan(own)] != 0.0).any(axis=1)
    return np.where(unknown, np.nan, np.where(resting == 1, np.inf, out))


def whitened(rows: Array, covariance: Array, beta: Array, offsets: Array | None = None) -> Whitened:
    """Independent combinations that span `rows` (r, p), of which there may be fewer."""
    effects = rows @ beta - (0.0 if offsets is None else offsets)
    unit = 1.0 / np.sqrt(np.einsum("ri,ij,rj->r", rows, covariance, rows))
    scaled = rows * unit[:, None]
    values, vectors = np.linalg.eigh(scaled @ covariance @ scaled.T)
    keep = values > 1e-9 * values[-1]
    turn = vectors[:, keep].T
    return Whitened(turn @ scaled, turn @ (unit * effects), values[keep])


def joint_df(df: Array) -> float:
    """Denominator df of the mean of independent t^2 on `df` degrees of freedom each."""
    if len(df) == 1 or np.ptp(df) < 1e-8:
        return float(np.mean(df))
    if (df <= 2).any():
        return 2.0
    excess = float(np.sum(2.0 / (df - 2.0)))  # E - q
    return 2.0 * (excess + len(df)) / excess


def gaussian_uncertainty(fit: Fitted, ddf: str) -> Uncertainty:
    """That of a linear model with one residual variance, by one of :data:`DDF`."""
    refuse_unknown(ddf)
    return DDF[ddf](fit)


def refuse_unknown(ddf: str) -> None:
    """Refuse what is no way to degrees of freedom.

    Raises
    ------
    DataError
    """
    if ddf not in DDF:
        raise DataError(f"ddf={ddf!r} is unknown; use one of {', '.join(map(repr, DDF))}.")


DDF: dict[str, Callable[[Fitted], Uncertainty]] = {
    "satterthwaite": Satterthwaite,
    "kenward-roger": KenwardRoger,
    "normal": Wald,
}
"""Ways to the degrees of freedom of t and F tests."""
