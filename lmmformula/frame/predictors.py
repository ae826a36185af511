"""Blocks of the canonical form from what is known of their columns and levels, wherever the rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning, PlanError, RankDeficientWarning, warn
from lmmformula.formula.render import deparse, render_group
from lmmformula.formula.spec import ModelSpec, RandomTerm
from lmmformula.frame.contrasts import Contrast, contrast_from
from lmmformula.frame.design import Design, variables_of
from lmmformula.frame.grouping import group_members
from lmmformula.frame.levels import Levels
from lmmformula.frame.random_columns import check_counts, identified_kind
from lmmformula.frame.term_recipe import TermRecipe
from lmmformula.ir.covariance import CovarianceKind, Unstructured
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.structured import Structured, shown_levels
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Arguments

__all__ = ["contrasts_of", "fixed_block", "group_block", "placed_block", "refuse_weights", "term_label"]

Array = NDArray[np.float64]


def contrasts_of(given: Arguments, spec: ModelSpec) -> dict[str, Contrast]:
    """Contrasts by variable; like lme4's, they reach the fixed part only."""
    fixed = {deparse(e) for e in variables_of(spec.fixed.terms)}
    for name in given:
        if name not in fixed:
            elsewhere = {deparse(e) for term in spec.random for e in variables_of(term.design.terms)}
            if name not in elsewhere:
                raise DataError(
                    f"contrasts= names `{name}`, which is not in the formula; fixed part: {sorted(fixed)}"
                )
            text = f"contrasts= names `{name}`, which only random effects use: they keep their default coding"
            warn(text, LmmformulaWarning)
    return {name: contrast_from(value) for name, value in given.items()}


def fixed_block(design: Design, kept: Sequence[int], columns: Tall, n: int) -> FixedBlock:
    """The columns `kept` of a design, with a warning that names the others.

    Parameters
    ----------
    design : Design
    kept : sequence of int
        Columns that earlier ones do not determine.
    columns : Tall
        All columns, on whichever of the n rows are here.
    n : int
    """
    p = len(kept)
    if p >= n:
        raise DataError(
            f"{p:,} fixed-effects columns for {n:,} rows: nothing is left to estimate a variance from; "
            "leave out terms, or make a factor with many levels a random effect"
        )
    dropped: tuple[str, ...] = ()
    if p < len(design.names):
        gone = sorted(set(range(len(design.names))) - set(kept))
        dropped = tuple(design.names[j] for j in gone)
        shown = ", ".join(dropped[:10]) + (f", ... ({len(dropped)} in all)" if len(dropped) > 10 else "")
        text = (
            f"{len(dropped)} of {len(design.names)} fixed-effects columns dropped "
            f"because earlier columns determine them: {shown}"
        )
        warn(text, RankDeficientWarning)
        columns = Tall(np.ascontiguousarray(columns.matrix[:, list(kept)]))
    return FixedBlock(
        columns,  # pyright: ignore[reportArgumentType] - its matrix is theirs
        tuple(design.names[j] for j in kept),
        tuple(design.assign[j] for j in kept),
        design.term_labels,
        dropped,
    )


def term_label(term: RandomTerm, design: Design) -> str:
    """A term as lme4 prints it; a PlanError for one without columns."""
    label = term.text or f"{' + '.join(t.label for t in term.design.terms) or '1'} | {term.group_label}"
    if not design.names:
        raise PlanError(f"({label}) has no columns: write (1 | {term.group_label}), or leave the term out")
    return label


def group_block(
    term: RandomTerm,
    design: Design,
    levels: Levels,
    kept: tuple[int, ...] | None,
    basis: Array | None,
    meet: Callable[[Array | None], bool],
    *,
    n: int,
    levels_below_rows: bool,
) -> tuple[GroupBlock, TermRecipe]:
    """A random-effects term with what replays it.

    Parameters
    ----------
    term : RandomTerm
    design : Design
    levels : Levels
    kept : tuple of int or None
        Columns of the design that others do not determine; None for all.
    basis : array or None
        All columns of the design, on whichever of the n rows are here; None for a single one of ones.
    meet : callable
        Of the basis with the columns kept: whether some level has rows in two of them.
    n : int
    levels_below_rows : bool
        Refuse as many effects as rows.
    """
    label, own = term_label(term, design), group_members(term.group)
    several = (term.members, term.member_weights, term.member_scale) if term.members else None
    indicator = design.term_labels[0] if term.by_level else ""
    named = term.columns if kept is None else tuple(term.columns[j] for j in kept if term.columns)
    recipe = TermRecipe(
        own, term.group_label, design, levels.cells, kept, several, named=named, indicator=indicator
    )
    basis, columns, m = recipe.own(basis), recipe.columns, len(levels.labels)
    kind: CovarianceKind = identified_kind(
        term.covariance, len(columns), lambda: meet(basis), label, term.counts
    )
    if levels.across is not None:
        kind = Structured(kind, levels.across)
    elif (
        own and not kind.serial
    ):  # a serial correlation can be told from the residual variance within one level
        strict = levels_below_rows and not kind.within.apart
        check_counts(label, term.group_label, m, kind.within.rank, n, strict=strict)
    shown = shown_levels(levels.across, m)
    block = GroupBlock(
        term.group_label,
        columns,
        levels.labels,
        levels.codes,
        basis,
        kind,
        label,
        shares=levels.shares,
        smooth=term.smooth,
        of_mean=bool(term.smooth) and not own,
        shared=_shared(term),
        owners=None if shown == m else np.arange(m) < shown,
    )
    return block, recipe


def _shared(term: RandomTerm) -> str:
    """What terms of other predictors have in common with this one if their effects are correlated; empty without an ID."""
    if term.correlation_id is None:
        return ""
    return "\n".join((term.correlation_id, render_group(term), term.by_level))


def placed_block(
    term: RandomTerm, design: Design, levels: Levels, column: str
) -> tuple[GroupBlock, TermRecipe]:
    """A term of one effect at each position within its groups, with what replays it.

    Parameters
    ----------
    term : RandomTerm
        With an intercept alone, and the coordinates of its positions.
    design : Design
        That intercept.
    levels : Levels
        The positions, with a structure across them.
    column : str
        Name of the effect.
    """
    assert levels.across is not None
    label = term_label(term, design)
    own = (*group_members(term.group), *term.along)
    recipe = TermRecipe(
        own, term.group_label, design, levels.cells, coordinates=len(term.along), named=(column,)
    )
    kind = Structured(Unstructured(1), levels.across)
    return GroupBlock(term.group_label, (column,), levels.labels, levels.codes, None, kind, label), recipe


def refuse_weights(name: str, negative: int, zero: int) -> None:
    """Refuse weights that are negative or zero in so many rows."""
    if negative:
        raise DataError(f"weights `{name}` are negative in {negative:,} rows")
    if zero:
        raise DataError(
            f"weights `{name}` are zero in {zero:,} rows: drop these rows, which cannot say anything"
        )
