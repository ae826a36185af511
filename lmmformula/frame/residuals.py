"""Groups and positions of a correlation of residuals, from the columns of the model frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, ResidualTerm
from lmmformula.frame.functions import as_factor
from lmmformula.frame.grouping import group_factor
from lmmformula.frame.known_residuals import known_residuals
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.values import Factor, drop_unused
from lmmformula.ir.residual import ResidualBlock, residual_kind

__all__ = ["refuse_other_families", "residual_block"]

Array = NDArray[np.float64]

MANY = 2_000
"""Rows of a group that are looked at for what a parameter relates."""
_WHOLE = ("ar", "ma", "arma")
"""Structures of whole steps in time."""


def refuse_other_families(term: ResidualTerm, family: Family) -> None:
    """Refuse a correlation of residuals of a family that has none.

    Raises
    ------
    PlanError
    """
    if family.is_linear:
        return
    raise PlanError(
        f"{term.text} is a correlation of Gaussian residuals, and {family} has none. A random effect for each time does the "
        "same on the scale of the linear predictor: ar1(0 + time | group), or exp(0 + pos(x, y) | group) in space."
    )


def residual_block(term: ResidualTerm, frame: ModelFrame) -> ResidualBlock:
    """The structure of residuals of the rows of `frame`.

    Raises
    ------
    DataError
        For times that are no whole numbers where steps are counted, for two rows of one group at one position, and where no
        two rows of a group are of those that a parameter relates.
    """
    if term.cov is not None:
        return known_residuals(term, frame)
    group = "" if term.group is None else deparse(term.group)
    codes = np.zeros(frame.n, dtype=np.int32)
    if term.group is not None:
        codes = group_factor((term.group,), frame).factor.codes
    labels: tuple[str, ...] = ()
    if term.kind == "cosy":
        positions = np.zeros((frame.n, 0))
    elif term.kind == "unstr":
        visits = drop_unused(as_factor(frame(term.along[0])))
        positions, labels = visits.codes[:, None].astype(float), tuple(map(str, visits.levels))
    elif not term.along:
        positions = _order(codes)[:, None]
    else:
        positions = np.column_stack([_coordinate(expr, term, frame) for expr in term.along])
    if positions.shape[1] and not term.nugget:
        _refuse_ties(term, codes, positions, group)
    kind = residual_kind(term.kind, codes, positions, labels, term.nugget)
    block = ResidualBlock(kind, codes, positions, group, term.text)
    _refuse_undetermined(term, block)
    return block


def _refuse_undetermined(term: ResidualTerm, block: ResidualBlock) -> None:
    """Refuse a parameter that moves no covariance of two rows that there are, as `ma()` of times two steps apart."""
    kind, start = block.kind, block.kind.start()
    open_ = np.ones(kind.n_phi, dtype=bool)
    order = np.argsort(block.codes, kind="stable")
    cuts = np.flatnonzero(np.diff(block.codes[order], prepend=-1, append=-1))
    for i, j in pairwise(cuts.tolist()):  # the first few groups tell, but for what no group does
        moves = kind.relative(block.positions[order[i : min(j, i + MANY)]][None], start)[1]
        open_ &= ~(moves != 0.0).any(axis=(1, 2, 3))
        if not open_.any():
            break
    if open_.any():
        name = next(name for name, is_open in zip(kind.names, open_, strict=False) if is_open)
        raise DataError(
            f"{term.text}: no two rows of one {block.group or 'series'} are of those that {name} relates, so it cannot be "
            "told. The likely cause is one row in each group, or times that are never one step apart (number them 1, 2, 3, "
            "or use ar() or car1(), for which gaps count)."
        )


def _order(codes: NDArray[np.int32]) -> Array:
    """Place of each row among those of its group, in the order of the rows."""
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    out = np.empty(len(codes))
    out[order] = np.arange(len(codes)) - starts[codes[order]]
    return out


def _coordinate(expr: Expr, term: ResidualTerm, frame: ModelFrame) -> Array:
    value = frame(expr)
    if term.kind in _WHOLE:
        if isinstance(value, Factor):
            return value.codes.astype(float)
        times = frame.number(expr)
        if bad := int((times != np.round(times)).sum()):
            raise DataError(
                f"{term.text}: `{deparse(expr)}` is no whole number in {bad:,} of {frame.n:,} rows, and {term.kind}() counts "
                "steps. Use car1(time, gr = g), which takes any times."
            )
        return times
    return frame.number(expr)


def _refuse_ties(term: ResidualTerm, codes: NDArray[np.int32], positions: Array, group: str) -> None:
    """Two residuals of one group at one position would be one and the same."""
    order = np.lexsort([*positions.T, codes])
    where = np.column_stack([codes, positions])[order]
    again = (where[1:] == where[:-1]).all(axis=1)
    if not again.any():
        return
    rows = order[np.flatnonzero(again)[0] :][:2]
    at = ", ".join(f"{deparse(e)} = {v:g}" for e, v in zip(term.along, positions[rows[0]], strict=False))
    hint = (
        "add nugget = TRUE, which lets such rows differ"
        if term.kind == "sp_exp"
        else "the likely cause is a gr= that is too coarse, or rows that are there twice"
    )
    raise DataError(
        f"{term.text}: {int(again.sum()):,} rows have the position of another row of the same {group or 'data'}, the first at "
        f"{at}; {hint}."
    )
