"""What every distribution of a response provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lmmformula.families.records import Array, Aux, Density, Information, Maybe, Rows

__all__ = ["Auxiliary", "Direct", "Distribution", "Range", "Scale", "WeightsAre"]

Scale = Literal["real", "positive", "unit"]
"""Where the mean lives, and with that the coordinates of a density: (mu,), (log mu,), (log mu, log(1 - mu))."""

WeightsAre = Literal["precision", "trials", "repeats"]
"""What a prior weight w means: variance / w; number of trials of a proportion; the row counted w times."""

Range = Literal["positive", "above one", "unit"]
"""Where an auxiliary parameter lives: e^a, 1 + e^a or 1 / (1 + e^-a) of its predictor a."""

Direct = Callable[..., Rows]
"""``(y, eta, aux, weights, constant, derivatives) -> Rows`` in closed form, for one link."""


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """A parameter besides the mean, estimated on an unbounded scale.

    Attributes
    ----------
    name : str
        As shown to the user.
    meaning : str
        Its place in the variance, in a few words.
    value : callable
        Linear predictor a -> the user's value.
    predictor : callable
        The user's value -> a.
    is_scale : bool
        Whether it is the family's scale or dispersion, what R calls sigma.
    range : {"positive", "above one", "unit"}
        What `value` does.
    link : {"log", "logm1", "logit"}
        brms' name of the link from the value to `a`; "logm1" is log(value - 1).
    prior : str
        Default prior, brms' where brms has the parameter. A scale of a response on the real line has a default in units of
        the response instead.
    aliases : tuple of str
        Other names under which a prior may be given.
    power : float
        r of ``sigma -> c^r sigma`` where the response is multiplied by c, see :attr:`Distribution.scales`.
    """

    name: str
    meaning: str
    value: Callable[[Array], Array] = np.exp
    predictor: Callable[[Array], Array] = np.log
    is_scale: bool = True
    range: Range = "positive"
    link: Literal["log", "logm1", "logit"] = "log"
    prior: str = "half_student_t(3, 0, 2.5)"
    aliases: tuple[str, ...] = ()
    power: float = 0.0

    def linked(self, name: str) -> str:
        """The link as mathematics: ``log(sigma)``, ``log(df - 1)``."""
        return f"log({name} - 1)" if self.link == "logm1" else f"{self.link}({name})"


@dataclass(frozen=True, slots=True)
class Distribution(ABC):
    """Distribution of one observation given its mean (or location) mu and auxiliary predictors.

    Attributes
    ----------
    name : str
    scale : {"real", "positive", "unit"}
    links : tuple of str
        Links on offer, the default first.
    canonical : str
        The link for which observed and expected information agree ("" if there is none).
    weights_are : {"precision", "trials", "repeats"}
    discrete : bool
    forgives : bool
        Whether tails are so long that single rows, however far out, cost little.
    has_scale : bool
        Whether a residual variance is estimated, so that random effects need fewer levels than there are rows.
    scales : bool
        Whether c y has the same distribution as y with the mean c mu and auxiliary parameters by their powers of c.
    direct : mapping of str to callable
        Closed forms for single links, where composition would cost or lose something.
    """

    name: ClassVar[str]
    scale: ClassVar[Scale]
    links: ClassVar[tuple[str, ...]]
    canonical: ClassVar[str] = ""
    weights_are: ClassVar[WeightsAre] = "repeats"
    discrete: ClassVar[bool] = False
    forgives: ClassVar[bool] = False
    has_scale: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    direct: ClassVar[Mapping[str, Direct]] = {}

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        """Parameters besides the mean."""
        return ()

    @property
    def label(self) -> str:
        """How the distribution is written in ``family=``, without its link."""
        return self.name

    @abstractmethod
    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        """Log density in the coordinates `c`; `w` is 1.0 where weights repeat rows (the caller multiplies)."""

    @abstractmethod
    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        """Expected information in each coordinate."""

    def constant(self, y: Array, w: Maybe) -> Maybe:
        """Terms of the log density in y alone: the dear part of a count density, worth computing once."""
        return 0.0

    @abstractmethod
    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        """``V(mu)`` in ``var y = dispersion V(mu)``."""

    def dispersion(self, aux: Aux) -> Maybe:
        """phi in ``var y = phi V(mu) / w``; 1 where the variance function is the whole variance."""
        return 1.0

    def mean(self, mu: Array, aux: Aux) -> Array:
        """Expectation of y, where it is not mu."""
        return mu

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """Squared deviance residual ``2 w [l(y; mu=y) - l(y; mu)]`` at unit dispersion, not below 0."""
        with np.errstate(divide="ignore"):
            saturated, fitted = np.maximum(np.log(y), -700.0), np.log(mu)
        at_y = self.density(y, (saturated,), aux, 1.0, 0.0, derivatives=False).loglik
        at_mu = self.density(y, (fitted,), aux, 1.0, 0.0, derivatives=False).loglik
        return w * np.maximum(2 * (at_y - at_mu), 0.0)

    @abstractmethod
    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        """One response for each row."""

    @abstractmethod
    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """``P(Y <= y)``."""

    def events(self, y: Array, w: Maybe) -> float:
        """How many of what is counted were seen, of the rarer kind; infinite for measurements."""
        return np.inf

    def step(self, w: Maybe) -> Maybe:
        """Distance between neighbouring values of a discrete response."""
        return 1.0

    def start(self, y: Array, w: Maybe) -> Array:
        """A mean inside the range, near each observation."""
        return y

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        """Moment estimates of the auxiliary predictors (constant ones)."""
        return ()

    @abstractmethod
    def check(self, y: Array, w: Maybe, label: str) -> None:
        """Refuse a response that the distribution cannot give."""
