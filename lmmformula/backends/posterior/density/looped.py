"""The marginal density of variances as numbers alone, for compiled loops that take many gradients without a word of Python.

Mathematics stand in :mod:`lmmformula.numerics.variance_kernels`. Coordinates, covariance kinds and priors are asked for their
coefficients (`row`, `unit_form`, `terms`); where one of them has none there is no such form, and the density is traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from lmmformula.backends.posterior.density.fused import Fused
from lmmformula.backends.posterior.model.coordinates import Coordinates, TermPlaces
from lmmformula.typing import Array, Entries, Index

__all__ = ["Looped"]

LoopArguments: TypeAlias = "tuple[Entries | int, ...]"


@dataclass(frozen=True, eq=False)
class Looped:
    """The density's numbers in the order of the loops.

    Attributes
    ----------
    d : int
        Number of coordinates.
    arguments : tuple
        What :func:`lmmformula.numerics.variance_kernels.variance_slopes` takes between x and the gradient.
    """

    d: int
    arguments: LoopArguments

    @classmethod
    def of(cls, fused: Fused, coordinates: Coordinates) -> Looped | None:
        """Lay out; None where a coordinate, a kind or a prior cannot be stated as coefficients."""
        rows = [c.row for c in coordinates.own]
        table = np.array([row.numbers for row in rows if row is not None])
        terms = _terms(fused, coordinates.terms)
        if len(table) < len(rows) or terms is None or coordinates.shrunk is not None:
            return None
        model, mixing = fused.bordered.model, np.full(coordinates.p, -1)
        for j, place in coordinates.mixing:
            mixing[j] = place
        n, p = model.problem.n_observed, len(model.log_var0)
        numbers = np.array([n - p, model.constant, coordinates.sigma], dtype=float)
        own = (table, terms, mixing.astype(np.int64), numbers, np.ascontiguousarray(model.log_var0))
        places, a, counts, *rest = fused.arrays
        return cls(coordinates.d, (*own, places, a, counts, fused.merged, *rest))

    @cached_property
    def address(self) -> int:
        """Of the loop that evaluates it, for loops that call it."""
        from lmmformula.numerics.variance_kernels import variance_slopes

        return variance_slopes.address(np.empty(self.d), *self.arguments, np.empty(self.d))

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log density and gradient at one x (d,)."""
        from lmmformula.numerics.variance_kernels import variance_slopes

        gradient = np.empty(self.d)
        return variance_slopes(np.ascontiguousarray(x), *self.arguments, gradient), gradient


def _terms(fused: Fused, terms: tuple[TermPlaces, ...]) -> Index | None:
    """A row for each term; None where a kind's factor has no formula that the loops know, or structures have parameters."""
    bordered, found, at = fused.bordered, {}, 0
    for e in (bordered.eliminated, *bordered.dense):
        group = bordered.model.groups[e]
        for i, columns in group.members:
            found[i] = at + columns.start * (group.k + 1), group.k
        at += group.k * group.k
    rows = []
    for i, term in enumerate(terms):
        form = term.kind.unit_form
        if form is None or term.phis:
            return None
        cor = term.cors[0] if term.cors and form == "partial correlations" else -1
        rows.append((term.kind.k, term.sds[0], int(len(term.sds) > 1), cor, *found[i]))
    return np.array(rows, dtype=np.int64).reshape(-1, 6)
