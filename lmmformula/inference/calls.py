"""What the methods of a fit may be called with, where the table of arguments does not say it by name alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lmmformula.arguments import attribute_here
from lmmformula.arguments.checking import Rest
from lmmformula.arguments.kinds import Kind, optional, text, word
from lmmformula.arguments.kinds_of_data import table
from lmmformula.inference.interval_types import TYPES
from lmmformula.methods import BUILDING, OPTIONS
from lmmformula.typing import AnyFunction

__all__ = ["FURTHER", "KINDS", "no_attribute"]


@dataclass(frozen=True, slots=True)
class _WhenCalled:
    """Functions of rooms that a fit does not load before the method is called that needs them."""

    functions: Callable[[], Iterable[AnyFunction]]

    def __iter__(self) -> Iterator[AnyFunction]:
        return iter(self.functions())


def _intervals() -> Iterable[AnyFunction]:
    from lmmformula.inference.intervals_by_method import INTERVALS

    return INTERVALS.values()


def _replicates() -> Iterable[AnyFunction]:
    from lmmformula.inference.bootstrap import bootstrap

    return (bootstrap,)


def _profiles() -> Iterable[AnyFunction]:
    from lmmformula.inference.profile import profile

    return (profile,)


FURTHER: Mapping[str, Rest] = {
    "conf_int": _WhenCalled(_intervals),
    "bootstrap": _WhenCalled(_replicates),
    "profile": _WhenCalled(_profiles),
    "update": ("method", *BUILDING, OPTIONS, "seed", "priors", "progress"),
}
"""Method -> what its ``**options`` are: names, or the functions that take them on."""

_INTERVALS = optional(word(*TYPES))

KINDS: Mapping[str, Mapping[str, Kind]] = {
    "bootstrap": {"type": _INTERVALS},
    "conf_int": {"type": _INTERVALS},
    "update": {"formula": optional(text("a formula such as '~ . - x'")), "data": optional(table())},
    "to_marginaleffects": {"data": optional(table())},
}
"""Method -> argument -> what it may be, where that is not what the name means elsewhere."""


def no_attribute(name: str) -> str:
    """The message for an attribute that a fit does not have: its name here, if other packages call it so."""
    said = f"a fit has no attribute {name!r}"
    here = "" if name.startswith("__") else attribute_here(name)
    return (
        f"{said}; here it is {here}" if here else said
    )  # Python ends the sentence, with a suggestion of its own
