"""What distributions of categories 1, ..., K share, whatever makes their probabilities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.families.checks import check_weights
from lmmformula.families.distribution import Distribution, Support
from lmmformula.families.records import Array, Aux, Maybe, MeanRange
from lmmformula.families.response import one_column

__all__ = ["Outcomes"]


@dataclass(frozen=True, slots=True)
class Outcomes(Distribution):
    """One of K categories. A prior weight counts its row that many times."""

    mean_range: ClassVar[MeanRange] = "real"
    link_prefix: ClassVar[str] = "latent_"
    discrete: ClassVar[bool] = True

    @property
    def support(self) -> Support:
        return "categories"

    @property
    @abstractmethod
    def outcomes(self) -> tuple[str, ...]:
        """Categories in their order."""

    def of_columns(self, parts: Sequence[object], names: Sequence[str], label: str) -> Distribution:
        return self.of_response(one_column(parts, label), label)

    @property
    def _scores(self) -> Array:
        return np.arange(1.0, len(self.outcomes) + 1.0)

    def mean(self, mu: Array, aux: Aux) -> Array:
        """Mean of the category's number."""
        return np.tensordot(self._scores, self.probabilities(mu, aux), axes=1)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        """Variance of the category's number."""
        p = self.probabilities(mu, aux)
        return np.tensordot(self._scores**2, p, axes=1) - np.tensordot(self._scores, p, axes=1) ** 2

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        raise self._lacks(
            "deviance of a row, since no mean explains a category best; quantile residuals suit"
        )

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        below = np.cumsum(self.probabilities(mu, aux)[:-1], axis=0)
        return 1.0 + np.sum(rng.random(below.shape[1:]) >= below, axis=0)

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        p = self.probabilities(mu, aux)
        reached = np.reshape(self._scores, (-1,) + (1,) * np.ndim(y)) <= np.asarray(y)
        return np.minimum(np.sum(np.where(reached, p, 0.0), axis=0), 1.0)

    def events(self, y: Array, w: Maybe) -> Array:
        counts = np.bincount(np.asarray(y, int) - 1, np.broadcast_to(w, np.shape(y)), len(self.outcomes))
        return np.asarray(counts, float)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        check_weights(w, label, zero=True)
        counts = self.events(y, w)
        if (counts == 0.0).any():
            gone = ", ".join(c for c, n in zip(self.outcomes, counts, strict=True) if n == 0.0)
            raise DataError(
                f"`{label}` has no rows (or only rows of weight 0) of the category {gone} out of {', '.join(self.outcomes)}: "
                "its parameters cannot be estimated. Leave the category out of the data."
            )
