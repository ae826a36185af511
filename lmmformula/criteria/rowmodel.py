"""The rows of a generalised model: linear predictors, the family at them, and what a step of Newton's needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lmmformula.criteria.family_rows import family_rows
from lmmformula.criteria.joint import JointSystem
from lmmformula.criteria.variance import Variances
from lmmformula.engines.base import Factor, Prepared, Stacked
from lmmformula.families.records import Rows
from lmmformula.ir.problem import Problem
from lmmformula.numerics.batched import matmul
from lmmformula.numerics.tall import tall_times
from lmmformula.typing import Array

__all__ = ["Information", "RowModel"]

Information = Literal["observed", "expected"]
"""Weights ``-d2l/deta2`` as they are, or their expectation."""


@dataclass(frozen=True, eq=False)
class RowModel:
    """One problem with an engine.

    Attributes
    ----------
    problem : Problem
        Its family is asked for rows; its `aux` blocks are the designs of the auxiliary predictors.
    prepared : Prepared
    """

    problem: Problem
    prepared: Prepared

    def __post_init__(self) -> None:
        self.problem.family.one_mean("this likelihood")

    # -- rows --------------------------------------------------------------------------------------------------

    def rows(
        self, eta: Array, aux: tuple[Any, ...], information: Information, *, derivatives: bool = True
    ) -> Rows:
        """The family's log density and derivatives at eta."""
        return family_rows(
            self.problem,
            eta,
            aux,
            information=information,
            derivatives=derivatives,
            constant=self.constant,
        )

    @cached_property
    def constant(self) -> Any:
        """The part of the log density in y alone."""
        return self.problem.family.constant(self.problem.y, self.problem.weights)

    def fixed_part(self, beta: Array) -> Array:
        """X beta + offset."""
        eta = tall_times(self.problem.X.matrix, beta)
        return eta if self.problem.offset is None else eta + self.problem.offset

    def random_part(self, factors: Sequence[Array], u: Sequence[Array]) -> Array:
        """Z Lambda u."""
        return self.prepared.blocks.apply([v @ f.T for v, f in zip(u, factors, strict=True)])

    def to_effects(self, factors: Sequence[Array], r: Array) -> Stacked:
        """Lambda'Z'r, per group (m, k) or (m, k, c)."""
        sums = self.prepared.blocks.adjoint(r)
        if r.ndim == 1:
            return tuple(s @ f for s, f in zip(sums, factors, strict=True))
        return tuple(np.matmul(f.T, s) for s, f in zip(sums, factors, strict=True))

    # -- levels ------------------------------------------------------------------------------------------------

    def variances(self, theta: Array, *, exact: bool = False) -> Variances:
        """L and Q at theta."""
        return Variances.at(self.problem.terms, self.prepared.blocks.groups, theta, exact=exact)

    def factor(self, variances: Variances, weights: Array) -> Factor:
        """M for the given weights."""
        gram = self.prepared.blocks.gram(weights, np.zeros((self.problem.n, 0)))
        return self.prepared.factor(gram, variances.factors, variances.across)

    def system(self, variances: Variances, weights: Array) -> JointSystem:
        """The Newton system of (u, beta) for the given weights; the work on the columns of X waits until it is asked for."""

        def columns() -> tuple[Stacked, Array]:
            sums, square = self.prepared.blocks.weighted_columns(weights, self.problem.X.matrix)
            return tuple(matmul(f.T, s) for f, s in zip(variances.factors, sums, strict=True)), square

        return JointSystem(self.factor(variances, weights), weights, columns)

    def zero_modes(self) -> Stacked:
        """u = 0."""
        return tuple(np.zeros((g.m, g.k)) for g in self.prepared.blocks.groups)
