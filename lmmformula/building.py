"""From the arguments of a call to the problem: what a formula, a table and their companions say together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lmmformula.errors import DataError, PlanError
from lmmformula.families import Family, resolve, zero_inflated
from lmmformula.formula import ModelSpec, model_spec
from lmmformula.frame import Table, Wanted, in_memory_entrance, keep_argument, open_data, stream
from lmmformula.frame import build as build_problem
from lmmformula.frame.own_families import Families, family_of
from lmmformula.ir.problem import Problem
from lmmformula.methods import BUILDING
from lmmformula.typing import Argument, Arguments, Context, Data

__all__ = ["beside", "built", "kept", "lasting", "split"]


def built(
    formula: str,
    data: Data,
    wanted: Wanted,
    *,
    family: Families,
    weights: Data,
    offset: Data,
    contrasts: Mapping[str, str] | None,
    ziformula: str | None,
    dispformula: str | None,
    missing: Literal["drop", "raise"],
    rescor: bool | None = None,
    context: Context | None,
    data2: Context | None = None,
    memory_limit: float | str | None,
) -> Problem:
    """The problem of arguments that have been checked, its rows by the entrance that is wanted."""
    opened = open_data(data)
    spec = model_spec(formula, columns=opened.names) if _has_dot(formula) else model_spec(formula)
    given = {"weights": weights, "offset": offset, "contrasts": contrasts, "missing": missing}
    limit = None if memory_limit is None else float(memory_limit)
    if spec.responses:
        more = {"context": beside(context, data2), "memory_limit": limit, "rescor": rescor}
        from lmmformula.frame.responses import of_responses

        return of_responses(spec, opened, wanted, family, (ziformula, dispformula), **given, **more)
    if rescor is not None:
        raise PlanError(
            "rescor= says whether residuals of several responses are correlated, and this formula has one response: leave it "
            "out, or write one formula for each response."
        )
    record = resolve(family_of(spec, family))
    if ziformula is not None and record.zeros_at is None:
        record = zero_inflated(record)
    arguments: dict[str, Argument] = {
        "family": record,
        "auxiliary": _auxiliary(record, ziformula, dispformula),
        "levels_below_rows": record.has_residual,
        **given,
        "context": beside(context, data2),
        "memory_limit": limit,
    }
    if isinstance(opened, Table):
        in_memory_entrance(wanted.entrance)
        return build_problem(spec, opened, **arguments)
    return stream(spec, opened, wanted, **arguments)


def _auxiliary(family: Family, ziformula: str | None, dispformula: str | None) -> list[ModelSpec | None]:
    """Formulas of the family's auxiliary predictors, in its order; none where the criterion profiles them out."""
    if family.is_linear and dispformula is None:
        return []
    given: list[ModelSpec | None] = [None] * len(family.auxiliaries)
    if ziformula is not None and family.zeros_at is not None:
        given[family.zeros_at] = model_spec(ziformula)
    if dispformula is not None:
        if family.scale_at is None:
            raise PlanError(
                f"dispformula={dispformula!r}: family {family.name!r} has no dispersion parameter; leave it out."
            )
        given[family.scale_at] = model_spec(dispformula)
    return given


def beside(context: Context | None, data2: Context | None) -> Context | None:
    """Everything that the formula may name besides columns."""
    if data2 is None:
        return context
    given = context or {}
    if twice := [name for name in data2 if name in given and given[name] is not data2[name]]:
        raise DataError(f"`{twice[0]}` is given twice: in data2= and in context=; keep one of them.")
    return {**given, **data2}


def _has_dot(formula: str) -> bool:
    """Whether the formula may mean "every other column"; only then are the table's columns looked at first."""
    return isinstance(formula, str) and "." in formula


def split(arguments: Arguments) -> tuple[dict[str, Argument], dict[str, Argument]]:
    """Arguments that make the model, and the others; what limits memory is among both."""
    building = {name: value for name, value in arguments.items() if name in BUILDING}
    others = {name: value for name, value in arguments.items() if name not in BUILDING}
    if "memory_limit" in building:
        others["memory_limit"] = building["memory_limit"]
    return building, others


def kept(building: Arguments) -> dict[str, Argument]:
    """Arguments of a call for later use, as they are now: arrays, lists and mappings are copied."""
    return {name: keep_argument(value) for name, value in building.items()}


def lasting(options: Arguments) -> dict[str, Argument]:
    """Options that a later fit of the same call should have too."""
    return {name: value for name, value in options.items() if name != "start"}
