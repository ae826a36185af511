"""What the methods of a fit may be called with, where the table of arguments does not say it by name alone."""

from __future__ import annotations

from collections.abc import Mapping

from lmmformula.arguments import attribute_here
from lmmformula.arguments.checking import Rest
from lmmformula.arguments.kinds import Kind, anything, optional, whole
from lmmformula.inference import bootstrap, profile, wald
from lmmformula.methods import BUILDING, OPTIONS

__all__ = ["FURTHER", "KINDS", "no_attribute"]

FURTHER: Mapping[str, Rest] = {
    "conf_int": wald.INTERVALS.values(),
    "bootstrap": (bootstrap.bootstrap,),
    "profile": (profile.profile,),
    "update": ("method", *BUILDING, *OPTIONS, "seed", "priors", "progress"),
}
"""Method -> what its ``**options`` are: names, or the functions that take them on."""

KINDS: Mapping[str, Mapping[str, Kind]] = {
    "update": {"formula": anything("a formula such as '~ . - x'"), "data": optional(anything("a table"))},
    "extend": {"draws": whole(1)},
    "to_marginaleffects": {"data": optional(anything("a table"))},
}
"""Method -> argument -> what it may be, where that is not what the name means elsewhere."""


def no_attribute(name: str) -> str:
    """The message for an attribute that a fit does not have: its name here, if other packages call it so."""
    said = f"a fit has no attribute {name!r}"
    here = "" if name.startswith("__") else attribute_here(name)
    return f"{said}; here it is {here}." if here else f"{said}."
