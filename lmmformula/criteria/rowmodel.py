"""The rows of a generalised model: linear predictors, the family at them, and what a step of Newton's needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from lmmformula.criteria.family_rows import family_constant, family_rows
from lmmformula.criteria.joint import JointSystem
from lmmformula.criteria.variance import Variances
from lmmformula.engines.base import Factor, Prepared, Stacked
from lmmformula.families.records import Maybe
from lmmformula.families.records import Rows as FamilyRows
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Rows, RowVector, total
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

    @cached_property
    def data(self) -> Rows:
        """The problem's rows."""
        return self.problem.data.over(self.prepared.blocks)

    def rows(
        self, eta: RowVector, aux: tuple[Maybe, ...], information: Information, *, derivatives: bool = True
    ) -> FamilyRows:
        """The family's log density and derivatives at eta."""
        return family_rows(
            self.problem.family,
            self.data,
            eta,
            aux,
            information=information,
            derivatives=derivatives,
            constant=self.constant,
        )

    @cached_property
    def constant(self) -> Maybe:
        """The part of the log density in y alone."""
        return family_constant(self.problem.family, self.data)

    def loglik(self, eta: RowVector, aux: tuple[Maybe, ...]) -> float:
        """Sum of the log density over the rows."""
        return total(self.data, self.rows(eta, aux, "observed", derivatives=False).loglik)

    def predictor(self, beta: Array | None, factors: Sequence[Array], u: Sequence[Array]) -> RowVector:
        """X beta + offset + Z Lambda u; Z Lambda u alone if `beta` is None."""
        effects = [v @ f.T for v, f in zip(u, factors, strict=True)]
        return self.data.apply(beta, effects, offset=beta is not None)

    def to_effects(self, factors: Sequence[Array], r: RowVector) -> Stacked:
        """Lambda'Z'r, per group (m, k)."""
        return tuple(s @ f for s, f in zip(self.data.adjoint(r), factors, strict=True))

    # -- levels ------------------------------------------------------------------------------------------------

    def variances(self, theta: Array, *, exact: bool = False) -> Variances:
        """L and Q at theta."""
        return Variances.at(self.problem.terms, self.prepared.blocks.groups, theta, exact=exact)

    def factor(self, variances: Variances, weights: RowVector) -> Factor:
        """M for the given weights."""
        gram = self.data.gram(weights)
        return self.prepared.factor(gram, variances.factors, variances.across)

    def system(self, variances: Variances, weights: RowVector) -> JointSystem:
        """The Newton system of (u, beta) for the given weights."""
        return JointSystem(self.factor(variances, weights), weights, self.data, variances.factors)

    def zero_modes(self) -> Stacked:
        """u = 0."""
        return tuple(np.zeros((g.m, g.k)) for g in self.prepared.blocks.groups)
