"""The family at every row of a model."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lmmformula.families.family import Family
from lmmformula.families.records import Aux, Maybe
from lmmformula.families.records import Rows as FamilyRows
from lmmformula.ir.rows import Chunk, Rows, RowVector
from lmmformula.typing import Array

__all__ = ["family_constant", "family_rows", "start_aux", "start_eta"]

_LISTS = ("d_aux", "score_aux", "weight_aux")


def family_rows(
    family: Family,
    rows: Rows,
    eta: RowVector,
    aux: Aux,
    *,
    information: Literal["observed", "expected"],
    derivatives: bool,
    constant: Maybe,
) -> FamilyRows:
    """``family.rows`` at eta, its fields vectors over the rows: the same numbers whatever the chunks."""

    def values(chunk: Chunk, eta: Array, constant: Maybe, *aux: Maybe) -> tuple[Maybe, ...]:
        found = family.rows(
            chunk.y,
            eta,
            aux,
            chunk.weights,
            information=information,
            derivatives=derivatives,
            constant=constant,
        )
        core = (found.loglik, found.score, found.weight)
        if found.weight_eta is None:
            return core
        return (*core, found.weight_eta, *found.d_aux, *found.score_aux, *found.weight_aux)

    fields = rows.map(values, eta, constant, *aux)
    loglik, score, weight, *more = fields
    if not more:
        return FamilyRows(loglik, score, weight)
    lists = (tuple(more[1 + j * len(aux) : 1 + (j + 1) * len(aux)]) for j in range(3))
    return FamilyRows(loglik, score, weight, more[0], *lists)


def family_constant(family: Family, rows: Rows) -> Maybe:
    """The part of the log density in y alone."""
    return rows.map(lambda chunk: (family.constant(chunk.y, chunk.weights),))[0]


def start_eta(family: Family, rows: Rows) -> RowVector:
    """A linear predictor near each response."""
    return rows.map(lambda chunk: (family.start(chunk.y, chunk.weights),), coarse=True)[0]


def start_aux(family: Family, rows: Rows, eta: RowVector) -> tuple[float, ...]:
    """Auxiliary predictors to start from, given a linear predictor: means over the chunks of their moment estimates."""

    def moments(chunk: Chunk, eta: Array) -> Array:
        return chunk.n * np.array(family.start_aux(chunk.y, eta, chunk.weights))

    return tuple(rows.reduce(moments, eta, coarse=True) / rows.n)
