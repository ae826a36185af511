"""Table and formulas of several responses to one problem: one model frame, complete in every variable of every formula.

As in brms, an observation with a missing value in any response or predictor is left out of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family, resolve
from lmmformula.families.known_errors import known_errors
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import LinearPart, ModelSpec, RandomTerm
from lmmformula.frame.arguments import row_argument
from lmmformula.frame.available import check_available
from lmmformula.frame.build import assembled, further_parts
from lmmformula.frame.design import variables_of
from lmmformula.frame.entrances import Wanted
from lmmformula.frame.model_frame import evaluate
from lmmformula.frame.opening import in_memory_entrance
from lmmformula.frame.own_families import Families, family_of
from lmmformula.frame.recipe import Recipe
from lmmformula.frame.response import with_repeats
from lmmformula.frame.several_recipe import SeveralRecipe, long_labels
from lmmformula.frame.table import Table, open_table
from lmmformula.ir.problem import Problem
from lmmformula.ir.stacking import members_of, stacked
from lmmformula.typing import Argument, Arguments, Context, Data

if TYPE_CHECKING:
    from lmmformula.frame.sources.base import Source

__all__ = ["build_responses", "of_responses"]


@dataclass(frozen=True, slots=True)
class _Own:
    """One response's formula, family, and its auxiliary predictors."""

    spec: ModelSpec
    family: Family
    parts: tuple[LinearPart, ...]
    random: tuple[tuple[RandomTerm, ...], ...]


def build_responses(
    spec: ModelSpec,
    data: Data,
    families: Mapping[str, Family],
    *,
    rescor: bool | None = None,
    weights: Data = None,
    offset: Data = None,
    contrasts: Arguments | None = None,
    missing: Literal["drop", "raise"] = "drop",
    context: Context | None = None,
    memory_limit: float | None = None,
) -> Problem:
    """Canonical form of formulas of several responses on a table.

    Parameters
    ----------
    spec : ModelSpec
        With `responses`.
    data : frame, dict of columns, or path
    families : mapping
        Of each response by its name.
    rescor : bool, optional
        Whether residuals of an observation are correlated; None: where they can be, as in brms.
    weights, offset, contrasts, missing, context, memory_limit
        See :func:`lmmformula.frame.build.build`; weights and offsets are those of every response.

    Returns
    -------
    Problem
    """
    table = open_table(data)
    if table.n_rows == 0:
        raise DataError("the table has no rows")
    known = context or {}
    arguments = (row_argument(weights, "weights", table), row_argument(offset, "offset", table))
    each = [_own(own, families[_name(own)], known) for own in spec.responses]
    _refuse_other_rows(spec)
    frame = evaluate(spec, _fixed(each), table, arguments, missing, known, _random(each))
    problems = []
    for own in each:
        parts, random = own.parts, own.random
        if not parts:  # sigma has a constant, whether it is profiled or not
            count = len(own.family.auxiliaries)
            parts, random = (LinearPart(intercept=True, terms=()),) * count, ((),) * count
        problem = assembled(
            (own.spec, parts, random),
            frame,
            arguments,
            own.family,
            _contrasts(contrasts or {}, own.spec, each),
            levels_below_rows=own.family.has_residual,
            memory_limit=memory_limit,
        )
        if problem.monotonic is not None:
            raise PlanError(
                f"the formula of {_name(own.spec)} has a monotonic effect, {problem.monotonic.effects[0].label}, which models "
                "of several responses do not take: fit the responses one by one, or write the ordered factor itself."
            )
        problems.append(problem)
    names = tuple(map(_name, spec.responses))
    recipe = SeveralRecipe(
        spec.text, names, tuple(_flat(own.recipe) for own in problems), members_of(problems)
    )
    return replace(
        stacked(problems, names, rescor, spec.text, modelled=any(own.parts for own in each)),
        recipe=recipe,
        labels=long_labels(names, table.labels, table.n_rows),
    ).freeze()


def of_responses(
    spec: ModelSpec,
    opened: Table | Source,
    wanted: Wanted,
    family: Families,
    further: tuple[str | None, ...],
    rescor: bool | None,
    **arguments: Argument,
) -> Problem:
    """The problem of several responses, whose rows have to be in memory."""
    if any(one is not None for one in further):
        raise PlanError(
            "ziformula= and dispformula= are for one response. Of several, each has its own in the formula: "
            "bf(y1 ~ x, sigma ~ z) + bf(y2 ~ x, zi ~ z)."
        )
    if not isinstance(opened, Table):
        raise PlanError(
            f"a model of several responses takes rows in memory, and those of {opened.name} are read a batch at a time: read "
            "the table first, or fit one model for each response."
        )
    in_memory_entrance(wanted.entrance)
    if None not in (rescor, spec.rescor) and rescor != spec.rescor:
        raise PlanError(f"rescor={rescor} contradicts set_rescor() in the formula; keep one of them.")
    families = {own.response.label: resolve(family_of(own, family)) for own in spec.responses if own.response}
    if isinstance(family, Mapping) and (unknown := [name for name in family if name not in families]):
        raise PlanError(
            f"family= names {unknown[0]!r}, which is no response of this model; it has {', '.join(families)}."
        )
    said = spec.rescor if rescor is None else rescor
    return build_responses(spec, opened, families, rescor=said, **arguments)


def _name(spec: ModelSpec) -> str:
    assert spec.response is not None
    return spec.response.label


def _own(spec: ModelSpec, family: Family, context: Context) -> _Own:
    check_available(spec, context)
    if spec.response is not None and spec.response.imputed:
        raise PlanError(
            f"{_name(spec)} | mi(): observations without one of several responses are left out of all of them here, so that "
            "nothing would be imputed. Fit one model for each response, or, of Gaussian ones, rows one below the other with "
            "unstr(response, gr = observation), where some may be missing."
        )
    record = with_repeats(family, spec.response)
    if spec.residual is not None:
        raise PlanError(
            f"{spec.residual.text} in the formula of {_name(spec)}: residuals of several responses are correlated within an "
            "observation, set_rescor(TRUE), and nothing else. Leave the term out, or fit one model for each response."
        )
    if record.known:  # one density for each response, as those of other families
        record = known_errors(record, besides=False)
    parts, random = further_parts(spec, record)
    return _Own(spec, record, parts, random)


def _refuse_other_rows(spec: ModelSpec) -> None:
    """Refuse responses of different rows: those of an observation are all there."""
    chosen = {own.response.chosen for own in spec.responses if own.response is not None}
    if len(chosen) > 1:
        given = ", ".join(
            f"{_name(own)}: {'all' if own.response is None or own.response.chosen is None else deparse(own.response.chosen)}"
            for own in spec.responses
        )
        raise PlanError(
            f"y | subset() chooses different rows for different responses ({given}), and a model of several responses takes "
            "observations with all of them. Give all responses the same subset(), or fit one model for each."
        )


def _fixed(each: Sequence[_Own]) -> list[LinearPart]:
    return [part for own in each for part in (own.spec.fixed, *own.parts)]


def _random(each: Sequence[_Own]) -> list[tuple[RandomTerm, ...]]:
    return [terms for own in each for terms in (own.spec.random, *own.random)]


def _contrasts(given: Arguments, spec: ModelSpec, each: Sequence[_Own]) -> Arguments:
    """Those of variables of this formula, and those of variables of none, of which each formula tells."""
    here = {deparse(e) for e in variables_of(spec.fixed.terms)}
    elsewhere = {deparse(e) for one in each for e in variables_of(one.spec.fixed.terms)} - here
    return {name: value for name, value in given.items() if name in here or name not in elsewhere}


def _flat(recipe: Recipe) -> Recipe:
    """The recipe with the random effects of all linear predictors among its terms."""
    count = len(recipe.terms) + sum(map(len, recipe.aux_terms))
    return recipe.in_one([(i,) for i in range(count)])
