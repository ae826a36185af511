"""What of an earlier call's options a call with another method can have."""

from __future__ import annotations

from collections.abc import Mapping

from lmmformula.methods.record import AnyMethod, method_named

__all__ = ["inherited"]


def inherited(
    given: Mapping[str, object], method: str, linear: bool, engine: str | None = None, *, same: bool = False
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Arguments of an earlier call that a call with `method` can have, and a sentence for each that it cannot.

    Parameters
    ----------
    given : mapping
        Options and ``priors`` of the earlier call.
    method : str
        Of the later one.
    linear : bool
        Whether its model is.
    engine : str, optional
        That the later call asks for.
    same : bool
        Whether the earlier call was with that method.
    """
    record = method_named(method)
    asked = engine or given.get("engine", "auto")
    engines = {asked, *(record.engines if len(record.engines) == 1 else ())}
    kept: dict[str, object] = {}
    left: list[str] = []
    for name, value in given.items():
        if name == "priors" and same and record.penalises:
            kept[name] = value
        elif why := _why_not(record, name, value, linear, engines):
            left.append(f"left out of the earlier call: {name}={value!r}, as {why}")
        else:
            kept[name] = value
    return kept, tuple(left)


def _why_not(record: AnyMethod, name: str, value: object, linear: bool, engines: set[str]) -> str:
    """Why an argument does not go on to `record`, which will use one of the `engines` at most; empty if it does."""
    if name == "priors":
        if record.penalises:
            return f"they would penalise method={record.name!r}: give them again if that is meant"
        return "" if record.has_priors else f"method={record.name!r} has no priors"
    if why := record.lacks(name, value, linear):
        return why.rstrip(".").removesuffix("; leave it out")
    if (own := record.options.engine_of(name)) and own not in engines:
        return f"{name!r} is an option of engine={own!r} only"
    return record.refuses_engine(str(value)) if name == "engine" else ""
