"""What can be said of a family without a response: its parts, their names, and what kind of distribution it is."""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Distribution, Normal, WeightsAre
from lmmformula.families.links import Link

__all__ = ["Traits"]


@dataclass(frozen=True, slots=True, repr=False)
class Traits:
    """A distribution seen through a link.

    Attributes
    ----------
    distribution : Distribution
    link_function : Link
    repeated : bool
        Prior weights repeat rows whatever the distribution makes of them: a row of weight w adds w log p(y), as w equal
        rows would (brms' ``y | weights(w)``).
    known : bool
        The residual variance of a row is 1 / its weight, with nothing to estimate (brms' ``y | se(s)``).
    """

    distribution: Distribution
    link_function: Link
    repeated: bool = False
    known: bool = False

    @property
    def name(self) -> str:
        """Name without link, as in ``family=``."""
        return self.distribution.label

    @property
    def link(self) -> str:
        """Name of the link."""
        return self.link_function.word or self.link_function.name

    @property
    def normal(self) -> Normal | None:
        """How the response is normal around eta, so that random effects integrate out exactly; None where it is not."""
        return self.distribution.normal if self.is_canonical else None

    @property
    def is_linear(self) -> bool:
        """Whether the response is normal around eta itself."""
        return self.normal is not None and self.normal.itself

    @property
    def has_residual(self) -> bool:
        """Whether y is normal around its mean, so that random effects need fewer levels than there are rows."""
        own = self.distribution.normal
        return own is not None and own.itself

    @property
    def estimates_sigma(self) -> bool:
        """Whether there is a residual variance that the data tell."""
        return self.has_residual and not self.known

    @property
    def has_dispersion(self) -> bool:
        """Whether the one auxiliary parameter is a dispersion that cancels from working responses and scales their weights."""
        return [a.role for a in self.auxiliaries] == ["dispersion"]

    @property
    def scale_at(self) -> int | None:
        """Place among the auxiliaries of what R calls sigma; None if there is no such parameter."""
        return next((j for j, a in enumerate(self.auxiliaries) if a.is_scale), None)

    @property
    def zeros_at(self) -> int | None:
        """Place among the auxiliaries of the probability of a structural zero."""
        return next((j for j, a in enumerate(self.auxiliaries) if a.role == "zeros"), None)

    @property
    def takes_zeros(self) -> bool:
        """Whether zeros are counts like others, which a mean near 0 explains."""
        return self.distribution.support == "counts" and self.zeros_at is None

    @property
    def is_canonical(self) -> bool:
        """Whether observed and expected information agree for every y."""
        return self.distribution.canonical == self.link

    @property
    def informs(self) -> bool:
        """Whether there is an expected information: what quasi-likelihoods and ``information="expected"`` need."""
        return self.distribution.informs

    @property
    def is_discrete(self) -> bool:
        """Whether the response has probability on single values."""
        return self.distribution.discrete

    @property
    def has_atoms(self) -> bool:
        """Whether what is known of a row can have a probability: any value (:attr:`is_discrete`), some, or an interval."""
        return self.is_discrete or bool(self.distribution.atoms) or self.hides

    @property
    def hides(self) -> bool:
        """Whether of some responses only bounds are known (``y | cens(c)``)."""
        return self.distribution.hides

    @property
    def forgives(self) -> bool:
        """Whether tails are so long that single rows, however far out, cost little."""
        return self.distribution.forgives

    @property
    def log_scale(self) -> bool:
        """Whether exp(coefficient) is a ratio of means or odds."""
        return self.link_function.log_scale

    @property
    def eta_power(self) -> float | None:
        """q of ``eta -> c^q eta`` where the response is multiplied by c; None where eta is not in units of the response."""
        return self.link_function.power if self.distribution.scales else None

    @property
    def runs_off(self) -> bool:
        """Whether separated responses send eta to infinity: where it is a logarithm, a logit or the like, without a unit.

        An eta in units of the response stays near the responses, however wide its standard error is in those units.
        """
        return self.link_function.power is None

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        """Parameters besides the mean, with their names and the user's values."""
        return self.distribution.auxiliaries

    @property
    def weights_are(self) -> WeightsAre:
        """What a prior weight w means: ``"precision"`` (variance / w), ``"trials"`` or ``"repeats"``."""
        return "repeats" if self.repeated else self.distribution.weights_are

    @property
    def weights_word(self) -> str:
        """What a table of the fit calls its weights."""
        return {"precision": "Prior weights", "trials": "Trials", "repeats": "Repeats of rows"}[
            self.weights_are
        ]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Categories of the response in their order; none where it is a number."""
        return self.distribution.outcomes

    @property
    def is_latent(self) -> bool:
        """Whether the response says on which side of thresholds a latent variable around eta lies."""
        own = self.distribution
        return own.discrete and (own.mean_range == "unit" or bool(own.link_prefix))

    def link_of(self, auxiliary: Auxiliary) -> str:
        """The link of an auxiliary parameter; that of the mean where they are alike."""
        return self.link if self.distribution.alike else auxiliary.link
