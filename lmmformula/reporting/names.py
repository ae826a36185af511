"""Methods and engines as people write them."""

from __future__ import annotations

from lmmformula.engines.registry import ENGINES
from lmmformula.methods import METHODS

__all__ = ["engine_name", "method_name"]


def method_name(method: str) -> str:
    """A method of :func:`lmmformula.fit` in words, or what an alternative of a plan is called."""
    name, _, more = method.partition(", ")
    found = METHODS.get(name)
    return method if found is None else f"{found.words}{', ' if more else ''}{more}"


def engine_name(engine: str) -> str:
    """An engine in words; one that is not known as it stands."""
    return ENGINES[engine].words if engine in ENGINES else engine
