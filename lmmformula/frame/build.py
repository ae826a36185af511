"""Table and formula to the canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family, resolve
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, LinearPart, ModelSpec, RandomTerm
from lmmformula.frame.arguments import RowArgument, row_argument
from lmmformula.frame.available import check_available
from lmmformula.frame.design import Design, make_design, variables_of
from lmmformula.frame.further import further_formulas
from lmmformula.frame.grouping import Grouping
from lmmformula.frame.held_columns import held_columns
from lmmformula.frame.levels import Levels, levels_of
from lmmformula.frame.member_columns import differ, member_matrix, of_member
from lmmformula.frame.model_frame import ModelFrame, evaluate
from lmmformula.frame.monotonic import monotonic_effects
from lmmformula.frame.own_covariances import apart, with_owners
from lmmformula.frame.placing import placed, placed_column
from lmmformula.frame.predictors import (
    contrasts_of,
    fixed_block,
    group_block,
    placed_block,
    refuse_weights,
    term_label,
)
from lmmformula.frame.random_columns import columns_meet, identified_columns
from lmmformula.frame.rank import apart_in_some_rows, independent_columns
from lmmformula.frame.recording import no_response, recipe_of, weights_given
from lmmformula.frame.residuals import refuse_other_families, residual_block
from lmmformula.frame.response import read_response, with_repeats
from lmmformula.frame.seeing import observed, with_bounds
from lmmformula.frame.smooths.expand import expanded
from lmmformula.frame.table import open_table
from lmmformula.frame.term_recipe import TermRecipe
from lmmformula.frame.thresholds import Learned, without_constant, without_specific
from lmmformula.frame.width import refuse_wide
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.gram_ways import may_be_by_level
from lmmformula.ir.problem import Problem
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Arguments, Context, Data

__all__ = ["assembled", "build", "further_parts"]

Array = NDArray[np.float64]


def build(
    spec: ModelSpec,
    data: Data,
    *,
    family: str | Family = "gaussian",
    auxiliary: Sequence[ModelSpec | None] = (),
    weights: Data = None,
    offset: Data = None,
    contrasts: Arguments | None = None,
    missing: Literal["drop", "raise"] = "drop",
    context: Context | None = None,
    levels_below_rows: bool = True,
    memory_limit: float | None = None,
) -> Problem:
    """Canonical form of a formula on a table.

    Parameters
    ----------
    spec : ModelSpec
        The parsed formula.
    data : frame, dict of columns, or path
        An eager frame of any library that narwhals reads, or a path to a CSV or Parquet file.
    family : Family or str
        Decides how the response is read; kept in the problem.
    auxiliary : sequence of ModelSpec or None
        One-sided formulas of the family's auxiliary predictors, in its order; None stands for an intercept. Those of
        ``bf(y ~ x, sigma ~ z)`` are put beside them, and may have random effects.
    weights, offset : str or array, optional
        Name of a column, or one number for each row of `data`.
    contrasts : mapping, optional
        Variable of the fixed part -> contrast: a name such as ``"contr.sum"`` or a matrix.
    missing : {"drop", "raise"}
        Rows with a missing value in any variable used: left out with a warning, or an error.
    context : mapping, optional
        Functions and constants that the formula may use besides the registry.
    levels_below_rows : bool
        Refuse terms with as many effects as rows; a family without residual variance allows them.
    memory_limit : float, optional
        Bytes that columns may take; by default what is available.

    Returns
    -------
    Problem
    """
    record = with_repeats(resolve(family), spec.response)
    record = record.with_parameters([name for name, _ in spec.distributional])
    spec, learned = without_specific(spec, record)
    check_available(spec, context or {})
    levels_below_rows = levels_below_rows and not record.known and bool(record.auxiliaries)
    if spec.residual is not None:
        refuse_other_families(spec.residual, record)
    if missing not in ("drop", "raise"):
        raise DataError(f'missing must be "drop" or "raise", not {missing!r}')
    table = open_table(data)
    if table.n_rows == 0:
        raise DataError("the table has no rows")
    arguments = (
        row_argument(weights, "weights", table),
        row_argument(offset, "offset", table),
    )
    parts, random = further_parts(spec, record, auxiliary)
    frame = evaluate(spec, (*parts, learned.part), table, arguments, missing, context or {}, random)
    own = (spec, parts, random)
    return assembled(
        own,
        frame,
        arguments,
        record,
        contrasts or {},
        levels_below_rows=levels_below_rows,
        memory_limit=memory_limit,
        learned=learned,
    ).freeze()


Parts: TypeAlias = tuple[LinearPart, ...]
Random: TypeAlias = tuple[tuple[RandomTerm, ...], ...]


def further_parts(
    spec: ModelSpec, family: Family, auxiliary: Sequence[ModelSpec | None] = ()
) -> tuple[Parts, Random]:
    """Fixed and random effects of the auxiliary predictors, in the family's order."""
    further = further_formulas(spec, family, auxiliary)
    parts = tuple(LinearPart(intercept=True, terms=()) if s is None else s.fixed for s in further)
    return parts, tuple(() if s is None else s.random for s in further)


def assembled(
    own: tuple[ModelSpec, Parts, Random],
    frame: ModelFrame,
    arguments: tuple[RowArgument | None, ...],
    family: Family,
    contrasts: Arguments,
    *,
    levels_below_rows: bool,
    memory_limit: float | None,
    learned: Learned | None = None,
) -> Problem:
    """The problem of a formula, once its variables are known.

    Parameters
    ----------
    own : ModelSpec, and fixed and random effects of its auxiliary predictors
    frame : ModelFrame
        With their variables, and perhaps others.
    learned : Learned, optional
        Of auxiliary predictors whose number the response tells.
    """
    spec, parts, random = own
    learned = learned or Learned()
    every, terms, frame = expanded(
        [spec.fixed, *parts, learned.part], [spec.random, *random, learned.random], frame
    )
    terms, frame = apart(terms, frame)
    spec, learned = replace(spec, fixed=every[0], random=terms[0]), Learned(every[-1], terms[-1])
    parts, random = tuple(every[1:-1]), tuple(terms[1:-1])
    designs = [t.design for own in (spec.random, *random) for t in own]
    refuse_wide([spec.fixed, *parts, *designs], frame, frame.n, memory_limit)
    problem = _assemble(spec, frame, arguments, family, contrasts, levels_below_rows=levels_below_rows)
    if spec.residual is not None:
        problem = replace(problem, residual=residual_block(spec.residual, frame))
    if parts or not problem.family.is_linear:
        more = len(problem.family.auxiliaries) - len(parts)  # learned from the response
        parts, random = (*parts, *[learned.part] * more), (*random, *[learned.random] * more)
        problem = _with_auxiliary(problem, frame, parts, random)
    return problem


def _with_auxiliary(
    problem: Problem,
    frame: ModelFrame,
    parts: Sequence[LinearPart],
    random: Sequence[Sequence[RandomTerm]],
) -> Problem:
    """The problem with the columns and random effects of its auxiliary predictors."""
    designs = [make_design(part, frame) for part in parts]
    blocks = [_fixed_block(design, frame) for design in designs]
    for j, parameter in enumerate(problem.family.auxiliaries):
        if not parameter.intercept:
            blocks[j] = without_constant(*blocks[j])
            _refuse_empty(blocks[j][0], parameter.name)
    kept = tuple((design, keep) for design, (_, keep) in zip(designs, blocks, strict=True))
    recipe, aux = replace(problem.recipe, aux=kept), tuple(b for b, _ in blocks)
    if not any(random):
        return replace(problem, aux=aux, recipe=recipe)
    groups: dict[tuple[Expr, ...], Grouping] = {}
    both = [[_group_block(t, frame, groups, levels_below_rows=False) for t in own] for own in random]
    terms = tuple(tuple(block for block, _ in own) for own in both)
    recipe = replace(recipe, aux_terms=tuple(tuple(r for _, r in own) for own in both))
    return replace(problem, aux=aux, aux_terms=terms, recipe=recipe)


def _refuse_empty(block: FixedBlock, name: str) -> None:
    """Refuse a formula that is only the constant which its parameter cannot have."""
    if not block.names:
        raise PlanError(
            f"the formula of {name} has no columns besides a constant, whose place the thresholds have: name what it depends "
            f"on, {name} ~ x."
        )


def _fixed_block(
    design: Design, frame: ModelFrame, terms: Sequence[GroupBlock] = ()
) -> tuple[FixedBlock, tuple[int, ...]]:
    """The columns that earlier ones do not determine; of many rows by the levels of random-effects terms."""
    columns = held_columns(design, frame, terms, frame.n) if terms else None
    if columns is not None and apart_in_some_rows(columns, frame.n):
        kept = tuple(range(columns.p))
        return fixed_block(design, kept, columns, frame.n), kept
    matrix = design.matrix(frame, frame.n)
    kept = tuple(independent_columns(matrix, design.names).tolist())
    return fixed_block(design, kept, Tall(matrix), frame.n), kept


def _group_block(
    term: RandomTerm, frame: ModelFrame, groups: dict[tuple[Expr, ...], Grouping], *, levels_below_rows: bool
) -> tuple[GroupBlock, TermRecipe]:
    own, places = placed(term, frame, frame.given, frame.text)
    if places is not None:
        named = placed_column(own, term.covariance)
        return placed_block(own, make_design(own.design, frame), places, named)
    term = own
    levels = levels_of(term, frame, frame.n, groups, frame.given, frame.text)
    by_member = differ(variables_of(term.design.terms))
    design = make_design(term.design, of_member(frame, 0) if by_member else frame)
    label = term_label(term, design)
    basis: Array | None = None
    if by_member:
        basis = np.asarray(member_matrix(design, frame, frame.n, len(term.members)), dtype=np.float64)
    elif not design.is_constant:
        basis = design.matrix(frame, frame.n)
    kept = None if basis is None else identified_columns(_flat(basis), design.names, label)
    block, recipe = group_block(
        term,
        design,
        levels,
        kept,
        basis,
        lambda own: own is None or _meet(own, levels),
        n=frame.n,
        levels_below_rows=levels_below_rows,
    )
    return with_owners(block, term), recipe


def _flat(basis: Array) -> Array:
    """Columns (n, k), or those (n, r, k) of several members one below the other."""
    return basis.reshape(-1, basis.shape[-1])


def _meet(basis: Array, levels: Levels) -> bool:
    """Whether some level has rows in two columns."""
    codes = levels.codes
    if codes.ndim == 2 and basis.ndim == 2:
        basis = np.repeat(basis[:, None], codes.shape[1], axis=1)
    return columns_meet(_flat(basis), codes.ravel(), len(levels.labels))


def _assemble(
    spec: ModelSpec,
    frame: ModelFrame,
    arguments: tuple[RowArgument | None, ...],
    family: Family,
    contrasts: Arguments,
    *,
    levels_below_rows: bool,
) -> Problem:
    response, weights, offset = spec.response, *arguments
    if response is None:
        raise no_response(spec)
    trials = None if response.trials is None else frame(response.trials)
    values = tuple(frame(part) for part in response.parts)
    family = family.of_response(values, response.label, [deparse(part) for part in response.parts])
    known = observed(response, frame, family)
    y, prior = read_response(values, response.label, family, trials, _weights(spec, frame, weights), known)
    family = with_bounds(family, y)
    design = make_design(spec.fixed, frame, contrasts_of(contrasts, spec))
    many = may_be_by_level(len(spec.random), frame.n, len(design.names))
    X, kept = (None, ()) if many else _fixed_block(design, frame)
    groups: dict[tuple[Expr, ...], Grouping] = {}
    blocks, recipes = [], []
    for term in spec.random:
        block, recipe = _group_block(term, frame, groups, levels_below_rows=levels_below_rows)
        blocks.append(block)
        recipes.append(recipe)
    if X is None:
        X, kept = _fixed_block(design, frame, blocks)
    if not family.distribution.intercept:
        X, kept = without_constant(X, kept)
    recipe = recipe_of(spec, frame, design, kept, recipes, weights, offset)
    return Problem(
        y=y,
        X=X,
        terms=tuple(blocks),
        weights=prior,
        offset=_offset(spec.fixed, frame, offset),
        family=family.learn(y, prior),
        formula=spec.text,
        rows=np.arange(frame.n_rows_data) if frame.rows is None else frame.rows,
        n_rows_data=frame.n_rows_data,
        recipe=recipe,
        labels=frame.labels,
        monotonic=monotonic_effects(design, kept, X, frame),
    )


def _weights(spec: ModelSpec, frame: ModelFrame, argument: RowArgument | None) -> Array | None:
    expr = weights_given(spec, argument is not None)
    if argument is not None:
        values, name = frame.subset(argument.values), argument.name
    elif expr is not None:
        values, name = frame.number(expr), deparse(expr)
    else:
        return None
    refuse_weights(name, int((values < 0).sum()), int((values == 0).sum()))
    return values


def _offset(part: LinearPart, frame: ModelFrame, argument: RowArgument | None) -> Array | None:
    values = [frame.number(expr) for expr in part.offsets]
    if argument is not None:
        values.append(frame.subset(argument.values))
    return sum(values[1:], values[0]) if values else None
