r"""Counts of categories: the multinomial distribution (Agresti 2013, Categorical Data Analysis, sec. 1.2.2).

With the predictors and probabilities of :mod:`lmmformula.families.categorical`, and n_k of n trials in category k

    l = log n! - sum_k log n_k! + sum_k n_k log p_k,

so that scores are n_k - n p_k and every other derivative is n times that of one trial. What has a number a row has the counts
as digits of one number, ``y = sum_k n_k R^(k-1)`` with R above every count, which floats hold up to 2^53.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.families.categorical import Categorical
from lmmformula.families.checks import numbers, whole
from lmmformula.families.distribution import WeightsAre
from lmmformula.families.records import Array, Aux, Maybe
from lmmformula.families.special import counted, gammaln, namespace
from lmmformula.typing import Namespace

__all__ = ["Multinomial"]

_LARGEST = 2.0**53
COUNTS = "be columns of counts, one for each category"


@dataclass(frozen=True, slots=True)
class Multinomial(Categorical):
    """Counts of K categories with a logit for each but the first.

    Attributes
    ----------
    categories : tuple of str
        The columns of the response; the first is the reference.
    radix : float
        More than the trials of any row, which are the weights.
    """

    name: ClassVar[str] = "multinomial"
    weights_are: ClassVar[WeightsAre] = "trials"
    tallies: ClassVar[bool] = True
    radix: float = 0.0

    def of_columns(self, parts: Sequence[object], names: Sequence[str], label: str) -> Self:
        """The distribution of a response whose columns count its categories.

        Raises
        ------
        DataError
            For one column, or columns that are not counts.
        PlanError
            For counts too large to be kept.
        """
        if len(parts) < 2:
            raise DataError(
                f"family {self.name!r} takes a column of counts for each category, cbind(a, b, c) ~ ..., but the response "
                f"`{label}` is one column; a column that names each row's category is family='categorical'"
            )
        trials = np.sum([numbers(part, label, COUNTS) for part in parts], axis=0)
        most = float(np.nanmax(trials, initial=1.0))
        found = replace(self, categories=tuple(names), radix=most + 1.0)
        if found.radix ** len(parts) > _LARGEST:
            raise PlanError(
                f"up to {most:,.0f} trials a row in {len(parts)} categories are more than this family keeps (that number plus "
                f"one, to the power of the number of categories, is above 2^53). Stack the data, a row for each category with "
                "its count n, and fit family='categorical' with y | weights(n): the likelihood is the same up to a constant."
            )
        return found

    def encoded(self, counts: Array) -> Array:
        """One number a row of counts (n, K), whose sums must not be above those of the data.

        Raises
        ------
        DataError
        """
        if counts.ndim != 2 or counts.shape[1] != len(self.categories):
            raise DataError(f"a response of {self.name} has {len(self.categories)} columns of counts.")
        wrong = ~((counts >= 0.0) & whole(counts)) & ~np.isnan(counts)
        if wrong.any():
            row = int(np.flatnonzero(wrong.any(axis=1))[0])
            raise DataError(
                f"family {self.name!r} counts categories, but {int(wrong.any(axis=1).sum()):,} of {len(counts):,} rows have "
                f"negative or broken numbers (first: row {row + 1} with {', '.join(f'{v:g}' for v in counts[row])})"
            )
        if (counts.sum(axis=1) >= self.radix).any():
            raise DataError(f"a row has at most {self.radix - 1.0:,.0f} trials, as in the data of the fit.")
        return counts @ self._places

    @property
    def _places(self) -> Array:
        return self.radix ** np.arange(float(len(self.categories)))

    def _counts(self, y: Array) -> Array:
        xp = namespace(y)
        rest, digits = y, []
        for _ in self.categories:
            above = xp.floor(rest / self.radix)
            digits.append(rest - above * self.radix)
            rest = above
        return xp.stack(digits)

    def counts(self, y: Array) -> Array:
        """Counts of the rows, (n, K)."""
        return np.moveaxis(self._counts(y), 0, -1)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        counts = self._counts(y)
        total = xp.logaddexp(0.0, c[0])
        for own in aux:
            total = xp.logaddexp(total, own)
        scores = zip(counts[1:], (c[0], *aux), strict=True)
        return sum((counted(n, eta, xp) for n, eta in scores), 0.0 * c[0]) - counts.sum(axis=0) * total

    def constant(self, y: Array, w: Maybe) -> Maybe:
        counts = self._counts(y)
        xp = namespace(y)
        return gammaln(counts.sum(axis=0) + 1.0, xp) - gammaln(counts + 1.0, xp).sum(axis=0)

    def mean(self, mu: Array, aux: Aux) -> Array:
        raise self._several("mean")

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        raise self._several("variance")

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        raise self._several("distribution function")

    def _several(self, what: str) -> PlanError:
        return PlanError(
            f"a response of family {self.name!r} is a count for each category, and has no {what} that is one number; "
            "predict() gives the probability of each category."
        )

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        p = np.moveaxis(self.probabilities(mu, aux), 0, -1)
        return rng.multinomial(np.asarray(w, int), p) @ self._places

    def events(self, y: Array, w: Maybe) -> Array:
        return np.sum(self._counts(y), axis=1)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        counts = self.events(y, w)
        if (counts == 0.0).any():
            gone = ", ".join(c for c, n in zip(self.outcomes, counts, strict=True) if n == 0.0)
            raise DataError(
                f"`{label}` counts nothing in {gone}: its parameters cannot be estimated. Leave the category out."
            )
