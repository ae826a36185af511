"""A fit again, with other arguments: what of the earlier call goes on, and what a new method has no use for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.families import resolve
from lmmformula.formula import means_other_columns, updated
from lmmformula.frame import open_data
from lmmformula.methods import METHODS, OPTIONS
from lmmformula.methods.inheriting import inherited

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted, FittedT
    from lmmformula.typing import Argument, Data

__all__ = ["update"]


def update(fit: FittedT, formula: str | None, data: Data, arguments: dict[str, Argument]) -> FittedT:
    """The call that made `fit`, with another formula, data or arguments.

    Options of the earlier call go on where the method of the new one has them; the plan of the new fit says which were left
    out, and why. Options given in this call are the caller's word: one that does not suit is refused.

    Raises
    ------
    DataError
        For a loaded fit, which does not carry its data, without new ones.
    """
    source = fit.recall.given if data is None else data
    if source is None:
        raise DataError(
            "the fit does not carry its data, as it was loaded, or refitted to a response that is an expression: pass "
            "data= to update()."
        )
    text = fit.recall.formula if formula is None else _changed(fit, formula, source)
    earlier = {name: value for name, value in fit.recall.arguments.items() if name not in arguments}
    goes_on, left = _inherited(fit, formula, earlier, arguments)
    again = fit.recall.function(text, source, **{**goes_on, **arguments})
    if not left:
        return again
    return replace(again, plan=replace(again.plan, reasons=(*again.plan.reasons, *left)))


def _changed(fit: Fitted, formula: str, source: Data) -> str:
    """The formula that a change such as ``~ . - x`` makes of the fit's."""
    old = fit.recall.formula
    columns = (
        open_data(source if fit.recall.given is None else fit.recall.given).names
        if means_other_columns(old)
        else None
    )
    return updated(old, formula, columns)


def _inherited(
    fit: Fitted, formula: str | None, earlier: dict[str, Argument], arguments: dict[str, Argument]
) -> tuple[dict[str, Argument], tuple[str, ...]]:
    """Arguments of the earlier call that go on, and why others do not."""
    method = {**earlier, **arguments}.get("method", "auto")
    optional = {name: value for name, value in earlier.items() if name in OPTIONS or name == "priors"}
    if not optional or not isinstance(method, str) or method.lower() not in METHODS:
        return earlier, ()
    linear, same = _is_linear(fit, formula, arguments), method == earlier.get("method", "auto")
    kept, left = inherited(optional, method, linear, arguments.get("engine"), same=same)
    return {name: value for name, value in earlier.items() if name not in optional or name in kept}, left


def _is_linear(fit: Fitted, formula: str | None, arguments: dict[str, Argument]) -> bool:
    """Whether the new model is linear, as far as its arguments tell; that of the fit where they change nothing."""
    if formula is None and not {"family", "dispformula", "ziformula"} & set(arguments):
        return fit.problem.is_linear
    both = {**fit.recall.arguments, **arguments}
    return resolve(both.get("family", "gaussian")).is_linear and both.get("dispformula") is None
