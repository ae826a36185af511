"""Distributions with a probability of their own at ends of the range: hurdles at zero, inflation at zero and one.

A row is at an atom with a probability that has its own predictor, else it comes from a base that cannot be there:

    l = log P(atom)  at an atom,      log(1 - P(atoms)) + l_base(y)  elsewhere,

so that the parts factorise (Mullahy 1986 for counts, Ospina & Ferrari 2012 for proportions): derivatives of the
mean's predictor are the base's at rows elsewhere and zero at atoms. The base is evaluated at a value of its own in
the place of an atom.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.checks import check_closed_unit, check_some
from lmmformula.families.distribution import Distribution, Support
from lmmformula.families.probabilities import expit, logit, probability
from lmmformula.families.records import Array, Aux, Density, Information, Maybe, MeanRange, Part
from lmmformula.families.special import namespace, softplus
from lmmformula.families.truncated import Truncated
from lmmformula.typing import Namespace

__all__ = ["Hurdle", "ZeroOneInflated", "hurdle"]


@dataclass(frozen=True, slots=True)
class Inflated(Distribution):
    """A base and atoms beside it.

    Parameters
    ----------
    base : Distribution
        Its mean is mu, its auxiliary predictors come first.
    """

    base: Distribution

    @abstractmethod
    def at_atom(self, y: Array) -> NDArray[np.bool_]:
        """Whether each row is at an atom."""

    @abstractmethod
    def log_atoms(self, y: Array, own: Aux, xp: Namespace) -> Array:
        """Log probability of a row's atom, or of being at none."""

    @abstractmethod
    def atom_slopes(self, y: Array, own: Aux) -> tuple[Array, ...]:
        """Derivatives of :meth:`log_atoms` in its predictors."""

    @abstractmethod
    def elsewhere(self, own: Aux) -> Array:
        """Probability of being at no atom."""

    @property
    def inside(self) -> float:
        """A value of the base."""
        return 0.5 if self.mean_range == "unit" else 1.0

    def _bases(self) -> int:
        return len(self.base.auxiliaries)

    def _moved(self, y: Array) -> Array:
        """The response with values of the base in place of atoms, over the namespace it comes from."""
        return namespace(y).where(self.at_atom(y), self.inside, y)

    def constant(self, y: Array, w: Maybe) -> Maybe:
        return np.where(self.at_atom(y), 0.0, self.base.constant(self._moved(y), w))

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        k = self._bases()
        base = self.base.log_density(self._moved(y), c, aux[:k], 1.0, xp)
        return xp.where(self.at_atom(y), 0.0, base) + self.log_atoms(y, aux[k:], xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density | None:
        k, at = self._bases(), self.at_atom(y)
        found = self.base.density(self._moved(y), c, aux[:k], 1.0, 0.0, derivatives=derivatives)
        if found is None:
            return None

        def kept(value: Maybe) -> Array:
            return np.where(at, 0.0, value)

        loglik = constant + kept(found.loglik) + self.log_atoms(y, aux[k:], np)
        own = self.atom_slopes(y, aux[k:]) if derivatives else ()
        none = (0.0,) * len(own)
        parts = tuple(
            Part(
                kept(p.d1),
                kept(p.d2),
                kept(p.d3),
                (*map(kept, p.d1_aux), *none),
                (*map(kept, p.d2_aux), *none),
            )
            for p in found.parts
        )
        return Density(loglik, parts, (*map(kept, found.d_aux), *own))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        k = self._bases()
        y = self.base.draw(rng, mu, aux[:k], 1.0)
        return np.where(
            rng.random(np.shape(mu)) < self.elsewhere(aux[k:]),
            y,
            self._drawn_atom(rng, np.shape(mu), aux[k:]),
        )

    @abstractmethod
    def _drawn_atom(self, rng: np.random.Generator, shape: tuple[int, ...], own: Aux) -> Array:
        """Atoms of rows that are at one."""

    def _spread(self, mu: Array, aux: Aux) -> tuple[Array, Array]:
        """Mean and variance of the base."""
        aux = aux[: self._bases()]
        return self.base.mean(mu, aux), self.base.dispersion(aux) * self.base.unit_variance(mu, aux)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """Of the base, rows at atoms having none of their own."""
        found = self.base.deviance(self._moved(y), mu, aux[: self._bases()], 1.0)
        return w * np.where(self.at_atom(y), 0.0, found)


@dataclass(frozen=True, slots=True)
class Hurdle(Inflated):
    """Zeros by a hurdle, other responses by a base without them; the last auxiliary predictor is logit P(Y = 0)."""

    name: ClassVar[str] = "hurdle"
    zero_name: ClassVar[str] = "hu"
    other_name: ClassVar[tuple[str, ...]] = ("zi",)
    atoms: ClassVar[tuple[float, ...]] = (0.0,)

    @property
    def label(self) -> str:
        own = self.base.label
        return f"hurdle_{own.removeprefix('truncated_')}"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        zeros = probability(
            self.zero_name, "probability of a zero", "Zeros", role="zeros", aliases=self.other_name
        )
        return (*self.base.auxiliaries, zeros)

    def learn(self, y: Array, w: Maybe) -> Distribution:
        own = self.base.learn(y[y != 0], 1.0)
        return self if own is self.base else replace(self, base=own)

    def at_atom(self, y: Array) -> NDArray[np.bool_]:
        return y == 0

    def log_atoms(self, y: Array, own: Aux, xp: Namespace) -> Array:
        return -softplus(xp.where(y == 0, -own[0], own[0]), xp)

    def atom_slopes(self, y: Array, own: Aux) -> tuple[Array, ...]:
        return ((y == 0) - expit(own[0]),)

    def elsewhere(self, own: Aux) -> Array:
        return expit(-np.asarray(own[0]))

    def _drawn_atom(self, rng: np.random.Generator, shape: tuple[int, ...], own: Aux) -> Array:
        return np.zeros(shape)

    @property
    def narrows(self) -> bool:
        return self.base.narrows

    @property
    def informs(self) -> bool:
        return self.base.informs

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        if not self.informs:
            raise self._uninformed()
        *own, z = aux
        kept, zero = expit(-np.asarray(z)), expit(z)
        found = self.base.information(c, tuple(own), 1.0, derivatives=derivatives)
        return tuple(
            Information(
                kept * i.value, kept * i.d1, (*(kept * a for a in i.aux), -zero * kept * np.asarray(i.value))
            )
            for i in found
        )

    def mean(self, mu: Array, aux: Aux) -> Array:
        return self.elsewhere(aux[-1:]) * self._spread(mu, aux)[0]

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        kept, (mean, variance) = self.elsewhere(aux[-1:]), self._spread(mu, aux)
        return kept * (variance + (1.0 - kept) * mean**2)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        kept = self.elsewhere(aux[-1:])
        positive = np.asarray(y) > 0
        base = self.base.cdf(np.where(positive, y, self.inside), mu, aux[:-1], 1.0)
        return np.where(np.asarray(y) < 0, 0.0, 1.0 - kept + kept * np.where(positive, base, 0.0))

    def events(self, y: Array, w: Maybe) -> Array:
        positive = y != 0
        ones = np.broadcast_to(np.asarray(w, float), np.shape(y))
        return self.base.events(y[positive], ones[positive])

    def start(self, y: Array, w: Maybe) -> Array:
        zero = y == 0
        typical = np.mean(y[~zero]) if not zero.all() else self.inside
        return self.base.start(np.where(zero, typical, y), 1.0)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        zero = y == 0
        mu = np.broadcast_to(mu, np.shape(y))
        share = np.clip(np.mean(zero), 0.01, 0.99)
        return (*self.base.start_aux(y[~zero], mu[~zero], 1.0), float(logit(share)))

    def check(self, y: Array, w: Maybe, label: str) -> None:
        zero = y == 0
        check_some(~zero, label, "0", self.label)
        ones = np.broadcast_to(np.asarray(w, float), np.shape(y))
        self.base.check(y[~zero], ones[~zero], label)


@dataclass(frozen=True, slots=True)
class HurdleCounts(Hurdle):
    """Of counts: the base is truncated at zero."""

    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "identity", "sqrt")
    discrete: ClassVar[bool] = True
    atoms: ClassVar[tuple[float, ...]] = ()


@dataclass(frozen=True, slots=True)
class HurdlePositive(Hurdle):
    """Of positive responses."""

    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log", "inverse", "identity")

    @property
    def support(self) -> Support:
        return "nonnegative"


@dataclass(frozen=True, slots=True)
class HurdleLogarithm(Hurdle):
    """Of positive responses whose logarithm has the location mu."""

    mean_range: ClassVar[MeanRange] = "real"
    links: ClassVar[tuple[str, ...]] = ("identity",)

    @property
    def support(self) -> Support:
        return "nonnegative"


@dataclass(frozen=True, slots=True)
class HurdleUnit(Hurdle):
    """Of proportions between 0 and 1, 0 included; brms and glmmTMB speak of zero inflation here."""

    mean_range: ClassVar[MeanRange] = "unit"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "cauchit")
    zero_name: ClassVar[str] = "zi"
    other_name: ClassVar[tuple[str, ...]] = ("hu",)

    @property
    def label(self) -> str:
        return f"zero_inflated_{self.base.label}"

    @property
    def support(self) -> Support:
        return "half-open unit"


def hurdle(base: Distribution) -> Hurdle:
    """`base` with zeros by a hurdle; counts from zero up are truncated first.

    Raises
    ------
    PlanError
        For a base that has zeros among other numbers.
    """
    if base.support == "counts":
        return HurdleCounts(Truncated(base))
    if base.support == "positive counts":
        return HurdleCounts(base)
    if base.support == "positive":
        return HurdleLogarithm(base) if base.mean_range == "real" else HurdlePositive(base)
    if base.support == "open unit":
        return HurdleUnit(base)
    raise PlanError(
        f"a hurdle at zero needs a response without other zeros, and {base.label!r} has {base.support}."
    )


@dataclass(frozen=True, slots=True)
class ZeroOneInflated(Inflated):
    """Proportions with zeros and ones (brms' parameters): P(Y in {0, 1}) = zoi, P(Y = 1 | Y in {0, 1}) = coi."""

    name: ClassVar[str] = "zero_one_inflated"
    mean_range: ClassVar[MeanRange] = "unit"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog", "cauchit")
    atoms: ClassVar[tuple[float, ...]] = (0.0, 1.0)

    @property
    def label(self) -> str:
        return f"zero_one_inflated_{self.base.label}"

    @property
    def support(self) -> Support:
        return "closed unit"

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        zoi = probability("zoi", "probability of 0 or 1", "Zeros and ones")
        coi = probability("coi", "probability of 1 given 0 or 1", "Ones among them")
        return (*self.base.auxiliaries, zoi, coi)

    def at_atom(self, y: Array) -> NDArray[np.bool_]:
        return (y == 0) | (y == 1)

    def log_atoms(self, y: Array, own: Aux, xp: Namespace) -> Array:
        at = self.at_atom(y)
        either = -softplus(xp.where(at, -own[0], own[0]), xp)
        return either + xp.where(at, -softplus(xp.where(y == 1, -own[1], own[1]), xp), 0.0)

    def atom_slopes(self, y: Array, own: Aux) -> tuple[Array, ...]:
        at = self.at_atom(y)
        return at - expit(own[0]), np.where(at, (y == 1) - expit(own[1]), 0.0)

    def elsewhere(self, own: Aux) -> Array:
        return expit(-np.asarray(own[0]))

    def _drawn_atom(self, rng: np.random.Generator, shape: tuple[int, ...], own: Aux) -> Array:
        return (rng.random(shape) < expit(own[1])).astype(float)

    def mean(self, mu: Array, aux: Aux) -> Array:
        kept, one = self.elsewhere(aux[-2:]), expit(aux[-1])
        return kept * self._spread(mu, aux)[0] + (1.0 - kept) * one

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        kept, one, (mean, variance) = self.elsewhere(aux[-2:]), expit(aux[-1]), self._spread(mu, aux)
        within = kept * variance + (1.0 - kept) * one * (1.0 - one)
        return within + kept * (1.0 - kept) * (mean - one) ** 2

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        kept, one = self.elsewhere(aux[-2:]), expit(aux[-1])
        base = self.base.cdf(np.clip(y, 0.0, 1.0), mu, aux[:-2], 1.0)
        inside = (1.0 - kept) * (1.0 - one) + kept * base
        return np.where(np.asarray(y) < 0, 0.0, np.where(np.asarray(y) >= 1, 1.0, inside))

    def start(self, y: Array, w: Maybe) -> Array:
        at = self.at_atom(y)
        typical = np.mean(y[~at]) if not at.all() else self.inside
        return self.base.start(np.where(at, typical, y), 1.0)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        at = self.at_atom(y)
        mu = np.broadcast_to(mu, np.shape(y))
        zoi = float(logit(float(np.clip(np.mean(at), 0.01, 0.99))))
        ones = float(np.mean(y[at])) if at.any() else 0.5
        coi = float(logit(min(max(ones, 0.05), 0.95)))
        return (*self.base.start_aux(y[~at], mu[~at], 1.0), zoi, coi)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_closed_unit(y, label, self.label)
        at = self.at_atom(y)
        check_some(~at, label, "0 or 1", self.label)
        if not at.any():
            raise DataError(
                f"`{label}` has neither 0 nor 1, so their probability would be 0 in family {self.label!r}; use "
                f"family={self.base.label!r}"
            )
