"""What a formula learns from rows that are read batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family, resolve
from lmmformula.families.distribution import Distribution
from lmmformula.formula.deparse import deparse
from lmmformula.formula.monotonic import MONOTONIC, is_monotonic
from lmmformula.formula.smooths import SMOOTHS, is_smooth
from lmmformula.formula.spec import Expr, LinearPart, ModelSpec, Name, RandomTerm
from lmmformula.frame.arguments import RowArgument
from lmmformula.frame.available import check_available
from lmmformula.frame.design import make_design, variables_of
from lmmformula.frame.further import further_formulas
from lmmformula.frame.grouping import Grouping, group_members
from lmmformula.frame.member_columns import differ
from lmmformula.frame.model_frame import ModelFrame, raw_names, refuse_infinite, single_values
from lmmformula.frame.nearly import warn_if_numbers
from lmmformula.frame.placing import of_columns
from lmmformula.frame.predictors import contrasts_of, term_label
from lmmformula.frame.recording import no_response, weights_given
from lmmformula.frame.response import read_response, with_repeats
from lmmformula.frame.sources import Source, workers_of
from lmmformula.frame.streamed.coding import Member, term_levels
from lmmformula.frame.streamed.counting import Combinations, combined_there
from lmmformula.frame.streamed.distinct import DistinctNumbers
from lmmformula.frame.streamed.draft import Draft
from lmmformula.frame.streamed.encoding import CodedTerm, Coding, whole_response
from lmmformula.frame.streamed.survey import Found, batches, survey
from lmmformula.frame.streamed.variables import Variables
from lmmformula.frame.thresholds import refuse_in_batches
from lmmformula.frame.values import Basis, Factor, Value
from lmmformula.frame.variables import (
    column_names,
    model_variables,
    needs_complete_rows,
    report_dropped,
    used_context,
)
from lmmformula.frame.width import refuse_wide
from lmmformula.typing import Arguments, Context, Data

__all__ = ["learn"]


def learn(
    spec: ModelSpec,
    source: Source,
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
    times: str = "",
) -> Draft:
    """What is known of a model before its rows are encoded: one pass, or a few.

    Complete rows, levels, codings, what functions learn, warnings and errors are those of
    :func:`lmmformula.frame.build.build` on the same rows in memory. A first pass finds complete rows and levels; a second one
    follows where the value of an expression is missing in rows that an expression of all rows had a part in, another where
    factors are crossed.

    Parameters
    ----------
    spec : ModelSpec
    source : Source
    family, auxiliary, contrasts, missing, context, levels_below_rows, memory_limit
        As for ``build``.
    weights, offset : str, optional
        Name of a column.
    times : str
        Column that says how many rows of the data each row stands for, whose likelihood then counts it as often; empty where
        each stands for itself.

    Returns
    -------
    Draft

    Raises
    ------
    PlanError
        For weights or offsets in arrays, and for expressions of all rows that do not fit in memory.
    """
    given = context or {}
    check_available(spec, given)
    if spec.residual is not None:
        raise PlanError(
            f"{spec.residual.text} needs all rows of a group at hand, and these are read a batch at a time: read the data "
            "into memory, or a sample of them."
        )
    record = with_repeats(resolve(family), spec.response)
    refuse_in_batches(record, source.name)
    if times:
        record = replace(record, repeated=True)
    levels_below_rows = levels_below_rows and not record.known
    if missing not in ("drop", "raise"):
        raise DataError(f'missing must be "drop" or "raise", not {missing!r}')
    further = further_formulas(spec, record, auxiliary)
    parts = tuple(LinearPart(intercept=True, terms=()) if s is None else s.fixed for s in further)
    random = tuple(() if s is None else s.random for s in further)
    terms = [*spec.random, *(term for own in random for term in own)]
    if (kinds := next(((t.text, t.by) for t in terms if t.by is not None), None)) is not None:
        raise PlanError(
            f"({kinds[0]}) of rows that are read in batches is not available: write a term with dummy() for each level of "
            f"{deparse(kinds[1])}, or sample=, or rows in memory."
        )
    if (own := next((t.text for t in terms if differ(variables_of(t.design.terms))), None)) is not None:
        raise PlanError(
            f"({own}) of rows that are read in batches is not available: mmc() has columns for each of a row's levels. Read "
            "the data into memory, or a sample of them."
        )
    arguments = {
        role: _column(value, role, source)
        for role, value in (("weights", weights), ("offset", offset))
        if value is not None
    }
    _refuse_smooths((spec.fixed, *parts), given)
    exprs = model_variables(spec, parts, terms)
    columns = raw_names(exprs, source.names, given)
    needed = set(column_names(e for e in exprs if needs_complete_rows(e)))
    variables = Variables(
        spec.text,
        tuple(columns),
        tuple(name for name in column_names(exprs) if name in needed and name in columns),
        tuple(exprs),
        frozenset(e for e in single_values(spec) if e is not None),
        used_context(given, exprs, columns),
        arguments,
        times=times,
    )
    members = frozenset(e for term in terms for e in (*group_members(term.group), *term.members))
    plain = frozenset(_not_grouping(spec, parts, terms))
    found = survey(source, variables, members, plain, missing, memory_limit)
    if found.counts:
        report_dropped(found.n_data - found.n, found.n_data, found.counts, missing)
    refuse_infinite(found.infinite, found.n)
    for expr in model_variables(spec, parts, terms, groups=False):
        if expr in found.text_rows:
            warn_if_numbers(getattr(expr, "value", ""), *found.text_rows[expr])
    frame = _frame(spec, found, given)
    refuse_wide([spec.fixed, *parts, *(t.design for t in terms)], frame, frame.n, memory_limit)
    draft = _draft(spec, source, record, found, frame, arguments, contrasts or {}, levels_below_rows)
    return _with_auxiliary(draft, parts, random, terms, found, given)


def _not_grouping(spec: ModelSpec, parts: Sequence[LinearPart], terms: Sequence[RandomTerm]) -> list[Expr]:
    weights = [t.member_weights for t in terms if t.member_weights is not None]
    return [*model_variables(spec, parts, terms, groups=False), *weights]


def _column(given: Data, role: str, source: Source) -> str:
    if not isinstance(given, str):
        raise PlanError(
            f"{role}= is an array, and the rows of {source.name} are read a batch at a time: give the name of a column of the "
            "data."
        )
    return given


def _frame(spec: ModelSpec, found: Found, given: Context) -> ModelFrame:
    """The model frame of no rows in particular."""
    n = _length(found)
    own = found.variables
    return ModelFrame(
        text=spec.text,
        n=n,
        columns=found.columns,
        values=found.values,
        memory=own.memory,
        rows=None,
        n_rows_data=found.n_data,
        context=own.context,
        labels=None,
        given=given,
        within=own.known_parts,
    )


def _length(found: Found) -> int:
    from lmmformula.frame.sources import BATCH_ROWS

    return min(found.n, BATCH_ROWS)


def _draft(
    spec: ModelSpec,
    source: Source,
    family: Family,
    found: Found,
    frame: ModelFrame,
    arguments: dict[str, str],
    contrasts: Arguments,
    levels_below_rows: bool,
) -> Draft:
    """The draft with the mean's fixed part, whose response the family can read."""
    if spec.response is None:
        raise no_response(spec)
    weights_given(spec, "weights" in arguments)
    _read_types(spec, family, frame, found.distinct)
    fixed = make_design(spec.fixed, frame, contrasts_of(contrasts, spec))
    coding = Coding(spec, found.variables, family, fixed, ())
    own = {role: RowArgument(name, np.zeros(0), None, name) for role, name in arguments.items()}
    return Draft(
        source, coding, frame, found.n, found.n_data, own.get("weights"), own.get("offset"), levels_below_rows
    )


def _read_types(spec: ModelSpec, family: Family, frame: ModelFrame, distinct: dict[Expr, Value]) -> None:
    """Refuse responses that are no numbers where numbers are needed, and the like: what types and levels alone say."""
    response = spec.response
    assert response is not None
    values = tuple(distinct.get(part, frame(part)) for part in response.parts)
    trials = None if response.trials is None else frame(response.trials)
    plain = family.has_residual and trials is None
    if response.weights is not None:
        frame.number(response.weights)
    for expr in spec.fixed.offsets:
        frame.number(expr)
    several = any(isinstance(v, Basis) for v in values)
    if several or (plain and (len(values) > 1 or any(isinstance(v, Factor) for v in values))):
        read_response(values, response.label, family, trials, None)
    if not plain:
        given = None if trials is None else np.full(2, 2.0)
        typed = [v if isinstance(v, Factor) else np.ones(2) for v in values]
        family.read(typed, trials=given, weights=None, name=response.label)


def _with_auxiliary(
    draft: Draft,
    parts: tuple[LinearPart, ...],
    random: tuple[tuple[RandomTerm, ...], ...],
    terms: Sequence[RandomTerm],
    found: Found,
    given: Context,
) -> Draft:
    """The draft with all terms, and the predictors of the family that it has for this response."""
    coding, spec, frame = draft.coding, draft.coding.spec, draft.frame
    used = {e for t in terms for e in (*group_members(t.group), *t.members)}
    own = {e: Member.of(e, value) for e, value in found.distinct.items() if e in used}
    own |= {Name(name): Member.of_texts(Name(name), texts) for name, texts in found.texts.items()}
    combinations = _combinations(draft, terms, own)
    known: dict[tuple[Expr, ...], Grouping] = {}

    def coded(term: RandomTerm) -> CodedTerm:
        term = of_columns(term, frame)
        levels = term_levels(term, own, combinations, known, given, spec.text)
        design = make_design(term.design, frame)
        term_label(term, design)
        return CodedTerm(term, design, levels)

    coding = replace(coding, terms=tuple(coded(term) for term in spec.random))
    family = _learned(replace(draft, coding=coding))
    coding = replace(coding, family=family)
    if parts or not family.is_linear:
        more = len(family.auxiliaries) - len(parts)
        parts = (*parts, *[LinearPart(intercept=True, terms=())] * more)
        random = (*random, *[()] * more)
        designs = tuple(make_design(part, frame) for part in parts)
        beside = tuple(tuple(coded(t) for t in own) for own in random) if any(random) else ()
        coding = replace(coding, aux=designs, aux_terms=beside)
    return replace(draft, coding=coding)


def _combinations(
    draft: Draft, terms: Sequence[RandomTerm], members: dict[Expr, Member]
) -> dict[tuple[Expr, ...], DistinctNumbers]:
    """Combinations of crossed factors that occur, by one pass over the rows."""
    groups = {group for t in terms if len(group := group_members(t.group)) > 1}
    out, variables = Combinations(tuple(groups)), draft.coding.variables
    if not groups:
        return {}
    if (workers := workers_of(draft.source)) is not None:
        return combined_there(workers, variables, members, out).found
    for rows in batches(draft.source, variables):
        out.add(members, rows)
    return out.found


def _learned(draft: Draft) -> Family:
    """The family of this response; its rows are gone through only for one that learns from them."""
    family, response = draft.coding.family, draft.coding.spec.response
    assert response is not None
    if type(family.distribution).learn is Distribution.learn:
        return family
    values, trials, weights = whole_response(draft.coding, batches(draft.source, draft.coding.variables))
    y, prior = read_response(values, response.label, family, trials, weights)
    return family.learn(y, prior)


def _refuse_smooths(parts: Iterable[LinearPart], context: Context) -> None:
    """Refuse smooths, whose bases are learned from all rows at once, and monotonic effects, whose steps are sought in memory.

    Raises
    ------
    PlanError
    """
    for part in parts:
        for term in part.terms:
            if MONOTONIC not in context and any(map(is_monotonic, term.factors)):
                raise PlanError(
                    f"which steps of {term.label} are zero is sought with all rows in memory, and these are read a batch at a "
                    "time. Read the data into memory, or a sample of them, fit(sample=), or take the ordered factor itself."
                )
            call = term.factors[0]
            if len(term.factors) == 1 and is_smooth(call) and not any(name in context for name in SMOOTHS):
                raise PlanError(
                    f"the basis of {term.label} is learned from all rows at once, and these are read a batch at a time. "
                    "Read the data into memory or fit a sample of the rows, fit(sample=); or take a basis with knots that "
                    "you give, such as ns(x, knots = c(1, 2, 3), Boundary.knots = c(0, 4))."
                )
