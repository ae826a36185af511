"""What checks look at: a fit, the rows that are looked at, their residuals, and simulations, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.checking.columns import evenly, in_words
from lmmformula.inference.checking.replicates import of_estimates, sampled
from lmmformula.inference.checking.scaled import Scaled, positions, scaled_residuals
from lmmformula.inference.residuals import linear_predictor, pearson_scale
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["Look"]

MOST_ROWS = 20_000
"""Rows that are looked at unless the user names them: evenly spaced ones of more."""


@dataclass(frozen=True, eq=False)
class Look:
    """A fit under examination.

    Attributes
    ----------
    fit : Fit
    seed : int
    n : int
        Simulations.
    rows : (N,) array of int, or None
        Positions of the rows that are looked at; all for None.
    time, coords : str, array or None
        As given.
    """

    fit: Fitted
    seed: int
    n: int
    rows: Index | None = None
    time: Data = field(default=None, repr=False)
    coords: Data = field(default=None, repr=False)

    @classmethod
    def at(cls, fit: Fitted, seed: int, n: int, rows: Data, time: Data, coords: Data) -> Look:
        total = fit.problem.n
        chosen = evenly(total, MOST_ROWS) if rows is None else positions(total, rows)
        return cls(fit, seed, n, chosen, time, coords)

    @property
    def size(self) -> int:
        """Number of rows looked at."""
        return self.fit.problem.n if self.rows is None else len(self.rows)

    @property
    def in_words(self) -> str:
        """Empty if all rows are looked at."""
        return "" if self.rows is None else in_words(len(self.rows), self.fit.problem.n)

    def taken(self, values: Array) -> Array:
        """Entries of the rows looked at."""
        return values if self.rows is None else values[self.rows]

    @cached_property
    def residuals(self) -> Array:
        """Residuals given the random effects, standard normal if the model is right, (N,).

        Quantile residuals; where :attr:`has_law` says that these have none, Pearson's over the root of the dispersion, whose
        variance is 1 for every row, while their other moments depend on the mean.
        """
        kind = "quantile" if self.has_law else "pearson"
        values = self.fit.residuals(kind, np.random.default_rng([4, self.seed])).to_numpy()
        return self.taken(values / self.fit.sigma if kind == "pearson" else values)

    @cached_property
    def is_binary(self) -> bool:
        """Whether responses are 0/1, whose variance is a function of their mean."""
        family, data = self.fit.problem.family, self.fit.problem.data
        if not (family.is_discrete and family.distribution.mean_range == "unit"):
            return False
        weights = data.whole(data.weights)
        return weights is None or family.repeated or bool((weights == 1.0).all())

    @property
    def has_law(self) -> bool:
        """Whether a row has a distribution: not where a quasi-likelihood has a dispersion that the family lacks.

        A 0/1 response has one distribution for each mean, whatever dispersion is estimated beside it.
        """
        return self.is_binary or not self.fit.estimate.quasi_dispersion

    def replicated(self) -> Iterator[Array]:
        """Pearson residuals of responses that the family has at the estimates, one by one, (N,)."""
        mean, scale = self.taken(self.fit.fittedvalues.to_numpy()), self.taken(pearson_scale(self.fit))
        drawn = of_estimates(
            self.fit, self.n, np.random.default_rng([5, self.seed]), conditional=True, rows=self.rows
        )
        return ((y - mean) * scale for y in drawn)

    @cached_property
    def predictor(self) -> Array:
        """Linear predictor with the random effects, (N,)."""
        return self.taken(linear_predictor(self.fit))

    @cached_property
    def sample(self) -> Problem:
        """The model of the rows looked at."""
        return sampled(self.fit.problem, self.rows)

    @property
    def columns(self) -> Array:
        """X, (N, p)."""
        return self.sample.X.matrix

    @cached_property
    def simulated(self) -> Scaled:
        """Scaled residuals with random effects drawn anew."""
        return scaled_residuals(self.fit, self.n, self.seed, rows=self.rows)

    @cached_property
    def generator(self) -> np.random.Generator:
        """For checks that simulate by themselves."""
        return np.random.default_rng([3, self.seed])
