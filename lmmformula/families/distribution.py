"""What every distribution of a response provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.checks import (
    check_counts,
    check_finite,
    check_open_unit,
    check_positive,
    check_weights,
)
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Rows
from lmmformula.typing import Namespace

__all__ = ["Direct", "Distribution", "Normal", "Support", "WeightsAre"]

WeightsAre = Literal["precision", "trials", "repeats"]
"""What a prior weight w means: variance / w; number of trials of a proportion; the row counted w times."""

Support = Literal[
    "reals",
    "positive",
    "nonnegative",
    "counts",
    "positive counts",
    "proportions",
    "open unit",
    "half-open unit",
    "closed unit",
    "categories",
]
"""Values of a response: (-inf, inf), (0, inf), [0, inf), 0, 1, 2, ..., 1, 2, ..., k of n trials, (0, 1), [0, 1), [0, 1], or one
of K categories."""


class Normal(NamedTuple):
    """How a response is normal around its linear predictor (with the identity link): z(y) ~ N(eta, sigma^2 / w).

    Attributes
    ----------
    words : str
        What z is.
    of : callable
        y -> z.
    log_slope : callable
        y -> log dz/dy.
    itself : bool
        Whether z is y.
    """

    words: str
    of: Callable[[Array], Array]
    log_slope: Callable[[Array], Maybe]
    itself: bool


Direct = Callable[..., Rows]
"""``(y, eta, aux, weights, constant, derivatives) -> Rows`` in closed form, for one link."""


@dataclass(frozen=True, slots=True)
class Distribution(ABC):
    """Distribution of one observation given its mean (or location) mu and auxiliary predictors.

    :meth:`log_density` is all that a likelihood needs. What is written besides is faster (:meth:`density`) or serves one
    purpose each, and is refused by the family's name where it is missing: :meth:`information` for quasi-likelihoods,
    :meth:`unit_variance` for Pearson residuals and R2, :meth:`draw` to simulate, :meth:`cdf` for quantile residuals,
    :meth:`tails` for censored and truncated responses.

    Attributes
    ----------
    name : str
    mean_range : {"real", "positive", "unit"}
    links : tuple of str
        Links on offer, the default first.
    canonical : str
        The link for which observed and expected information agree ("" if there is none).
    weights_are : {"precision", "trials", "repeats"}
    discrete : bool
    atoms : tuple of float
        Values that have a probability of their own where the response is otherwise continuous.
    expands : bool
        Whether :meth:`log_density` keeps to the functions of :data:`lmmformula.families.taylor.SERIES`, so that its derivatives
        come without compiling; others are differentiated by JAX.
    adds : bool
        Whether a sum of independent responses with the same auxiliary parameters is of the family, at the sum of their means.
    forgives : bool
        Whether tails are so long that single rows, however far out, cost little.
    normal : Normal, optional
        Set where a transformation of the response is normal around mu: random effects then integrate out exactly.
    scales : bool
        Whether c y has the same distribution as y with the mean c mu and auxiliary parameters by their powers of c.
    weight_power : float
        r of ``w -> c^r w`` where the response is multiplied by c: weights that are in its units.
    quadratic : bool
        Whether the log density is quadratic in the mean, so that Laplace's approximation of one is the likelihood.
    mean_columns : int
        Linear predictors of the mean. More than one is for criteria that say so; none does yet.
    intercept : bool
        Whether a constant may be added to eta; False where thresholds take its place.
    link_prefix : str
        Before the name of a link in :data:`lmmformula.families.links.LINKS`: "latent_" where eta itself is what a density
        takes, and the link names the distribution of a latent variable.
    alike : bool
        Whether the model's formula is that of every auxiliary predictor too.
    tallies : bool
        Whether a row counts how often each category occurs, in a column each (:meth:`encoded`).
    options : mapping of str to tuple of str
        Fields that are words, with those that they can be.
    direct : mapping of str to callable
        Closed forms for single links, where composition would cost or lose something.
    """

    name: ClassVar[str]
    mean_range: ClassVar[MeanRange]
    links: ClassVar[tuple[str, ...]]
    canonical: ClassVar[str] = ""
    weights_are: ClassVar[WeightsAre] = "repeats"
    discrete: ClassVar[bool] = False
    atoms: ClassVar[tuple[float, ...]] = ()
    expands: ClassVar[bool] = False
    adds: ClassVar[bool] = False
    forgives: ClassVar[bool] = False
    normal: ClassVar[Normal | None] = None
    scales: ClassVar[bool] = False
    weight_power: ClassVar[float] = 0.0
    quadratic: ClassVar[bool] = False
    mean_columns: ClassVar[int] = 1
    intercept: ClassVar[bool] = True
    link_prefix: ClassVar[str] = ""
    alike: ClassVar[bool] = False
    tallies: ClassVar[bool] = False
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    direct: ClassVar[Mapping[str, Direct]] = {}

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        """Parameters besides the mean."""
        return ()

    @property
    def support(self) -> Support:
        """Which values a response can have."""
        if self.mean_range == "real":
            return "reals"
        if self.mean_range == "unit":
            return "proportions" if self.discrete else "open unit"
        return "counts" if self.discrete else "positive"

    @property
    def label(self) -> str:
        """How the distribution is written in ``family=``, without its link."""
        return self.name

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Categories of the response, in their order; none where it is a number."""
        return ()

    @property
    def parameters_in_words(self) -> str:
        """The auxiliary parameters, where their number depends on the response."""
        return ""

    @property
    def mean_name(self) -> str:
        """What the parameter of the model's own formula is called, where it is one of several alike."""
        return ""

    def through(self, link: str) -> Distribution:
        """The distribution that a link makes of this one, where it is more than a function of the mean."""
        return self

    def of_response(self, part: object, name: str) -> Distribution:
        """The distribution of the evaluated response `name`, where its values are categories of which it says the names."""
        return self

    def of_columns(self, parts: Sequence[object], names: Sequence[str], label: str) -> Distribution:
        """The distribution of an evaluated response, `parts` being its columns; most know all without it."""
        return self

    def with_parameters(self, names: Sequence[str]) -> Distribution:
        """The distribution of a model with formulas of parameters of these names, some of which exist with a formula alone."""
        return self

    def latent_scale(self, aux: Aux) -> Maybe:
        """Of a latent variable, its standard deviation where that of the link is 1."""
        return 1.0

    def encoded(self, counts: Array) -> Array:
        """The number that stands for each row of counts (n, K)."""
        raise self._lacks("counts of categories")

    def counts(self, y: Array) -> Array:
        """The way back, (n, K)."""
        raise self._lacks("counts of categories")

    def probabilities(self, mu: Array, aux: Aux) -> Array:
        """Of each category, (K, n)."""
        raise self._lacks("probabilities of categories, which its response is not")

    def learn(self, y: Array, w: Maybe) -> Distribution:
        """The distribution of this response, where the response says how many auxiliary parameters there are."""
        return self

    @abstractmethod
    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        """Log density of each row less :meth:`constant`, over an array namespace.

        Parameters
        ----------
        y : (n,) array
        c : tuple of (n,) arrays
            Coordinates of the mean, see :attr:`mean_range`.
        aux : tuple of (n,) arrays or numbers
        w : (n,) array or number
            Prior weights; 1.0 where weights repeat rows (the caller multiplies).
        xp : module
            numpy or jax.numpy. Both branches of ``xp.where`` are differentiated: keep the one not taken finite.
        """

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density | None:
        """:meth:`log_density` plus `constant` with derivatives in closed form; None to differentiate it automatically."""
        return None

    @property
    def narrows(self) -> bool:
        """Whether a parameter takes the spread of the response around its mean to nothing."""
        return not self.discrete

    @property
    def informs(self) -> bool:
        """Whether there is an :meth:`information`."""
        return type(self).information is not Distribution.information

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        """Expected information in each coordinate."""
        raise self._uninformed()

    def constant(self, y: Array, w: Maybe) -> Maybe:
        """Terms of the log density in y alone: the dear part of a count density, worth computing once."""
        return 0.0

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        """``V(mu)`` in ``var y = dispersion V(mu)``."""
        raise self._lacks("variance function (`unit_variance`)")

    def row_variance(self, mu: Array, aux: Aux, w: Maybe) -> Array:
        """V(mu) of a row of weight w, where it depends on that: ``var y = dispersion V / w``."""
        return self.unit_variance(mu, aux)

    def dispersion(self, aux: Aux) -> Maybe:
        """phi in ``var y = phi V(mu) / w``; 1 where the variance function is the whole variance."""
        return 1.0

    def mean(self, mu: Array, aux: Aux) -> Array:
        """Expectation of y, where it is not mu."""
        return mu

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """Squared deviance residual ``2 w [l(y; mu=y) - l(y; mu)]`` at unit dispersion, not below 0."""
        best = y if self.mean_range == "real" else np.maximum(y, 1e-304)
        at_y, at_mu = (self.log_density(y, self._coordinates(m), aux, 1.0, np) for m in (best, mu))
        return w * np.maximum(2 * (at_y - at_mu), 0.0)

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        """One response for each row."""
        raise self._lacks("draws (`draw`), so it cannot be simulated")

    def ordered(self) -> slice:
        """Which auxiliary parameters are without a likelihood unless they increase, and may else change places; mostly none."""
        return slice(0, 0)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """``P(Y <= y)``."""
        raise self._lacks("distribution function (`cdf`), which quantile residuals need")

    def tails(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> tuple[Array, Array]:
        """``log P(Y <= y)`` and ``log P(Y > y)`` over an array namespace, each accurate where it is small.

        Of the functions that series have (:data:`lmmformula.families.taylor.SERIES`), from which come its derivatives. Discrete
        distributions need none: their probabilities are added up.
        """
        raise self._lacks("logarithm of its distribution function (`tails`), which cens() and trunc() need")

    def below(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """``P(Y < y)``."""
        if self.discrete:
            return self.cdf(y - self.step(w), mu, aux, w)
        at = self.cdf(y, mu, aux, w)
        for atom in self.atoms:
            found = y == atom
            if found.any():  # the largest number below an atom
                at = np.where(
                    found, self.cdf(np.full(np.shape(y), np.nextafter(atom, -np.inf)), mu, aux, w), at
                )
        return at

    @property
    def hides(self) -> bool:
        """Whether of some responses only bounds are known."""
        return False

    @property
    def is_plain(self) -> bool:
        """Whether responses are numbers alone, so that many of the same rows can be fitted together."""
        return True

    def measured(self, y: Array) -> NDArray[np.bool_] | None:
        """Rows whose likelihood is a density in units of the response, not a probability; None for all of them."""
        return None

    def events(self, y: Array, w: Maybe) -> Array:
        """How many of each kind of what is counted were seen, to be added up over rows; infinite for measurements."""
        return np.array([np.inf])

    def step(self, w: Maybe) -> Maybe:
        """Distance between neighbouring values of a discrete response."""
        return 1.0

    def start(self, y: Array, w: Maybe) -> Array:
        """A mean inside the range, near each observation."""
        return y + (y == 0) / 6.0 if self.discrete and self.mean_range == "positive" else y

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        """Moment estimates of the auxiliary predictors (constant ones)."""
        return tuple(a.typical for a in self.auxiliaries)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        """Refuse a response that the distribution cannot give."""
        if self.mean_range == "real":
            check_finite(y, label)
        elif self.mean_range == "unit":
            check_open_unit(y, label, self.name)
        else:
            (check_counts if self.discrete else check_positive)(y, label, self.name)
        check_weights(w, label, zero=self.weights_are != "precision")

    def _coordinates(self, mu: Array) -> tuple[Array, ...]:
        if self.mean_range == "real":
            return (mu,)
        with np.errstate(divide="ignore"):
            return (np.log(mu),) if self.mean_range == "positive" else (np.log(mu), np.log1p(-mu))

    def _lacks(self, what: str) -> PlanError:
        return PlanError(f"family {self.label!r} gives no {what}; use method='laplace', or give it one.")

    def _uninformed(self) -> PlanError:
        return self._lacks(
            "expected information (`information`), which quasi-likelihoods and their weights need"
        )
