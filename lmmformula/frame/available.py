"""Parts of the language that parse but that no backend can fit yet."""

from __future__ import annotations

from collections.abc import Container, Iterator

from lmmformula.errors import FormulaError, PlanError
from lmmformula.formula.elsewhere import known_elsewhere
from lmmformula.formula.monotonic import MONOTONIC, refuse_monotonic_within
from lmmformula.formula.smooths import SMOOTHS, refuse_smooths_within
from lmmformula.formula.spec import Call, Expr, LinearPart, ModelSpec
from lmmformula.formula.walk import nodes
from lmmformula.frame.signature import FUNCTIONS

__all__ = ["check_available", "unavailable_call"]


def check_available(spec: ModelSpec, context: Container[str] = ()) -> None:
    """Raise a PlanError that names the first part without an implementation; `context` has functions of the caller's."""
    for own in (spec, *(further for _, further in spec.distributional)):
        if not any(name in context for name in SMOOTHS):
            refuse_smooths_within(own)
        if MONOTONIC not in context:
            refuse_monotonic_within(own)
        for expr in _expressions(own):
            for node in nodes(expr):
                if (
                    isinstance(node, Call)
                    and (refusal := unavailable_call(node, own.text, context)) is not None
                ):
                    raise refusal


def unavailable_call(call: Call, text: str, context: Container[str]) -> PlanError | None:
    """What to say of a function that another package has and this one does not; None for any other."""
    name = call.function.rpartition("::")[2]
    if name in FUNCTIONS or name in context or (what := known_elsewhere(name)) is None:
        return None
    place = (call.span[0], call.span[0] + len(call.function))
    return PlanError(str(FormulaError(f"{name}(): {what}", text, place)))


def _expressions(spec: ModelSpec) -> Iterator[Expr]:
    if spec.response is not None:
        yield from spec.response.parts
    for part in (spec.fixed, *(term.design for term in spec.random)):
        yield from _factors(part)
    for term in spec.random:
        yield from (*term.group, *term.along)
    if spec.residual is not None:
        yield from spec.residual.exprs()


def _factors(part: LinearPart) -> Iterator[Expr]:
    for term in part.terms:
        yield from term.factors
    yield from part.offsets
