"""The family of each response: that of its formula, that of a mapping, or the one of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from lmmformula.errors import PlanError
from lmmformula.families import Family
from lmmformula.formula.spec import ModelSpec

__all__ = ["Families", "family_of"]

Families: TypeAlias = str | Family | Mapping[str, str | Family]
"""A family, or one for each of several responses."""


def family_of(spec: ModelSpec, family: Families) -> str | Family:
    """The family of a response: its own, that of a mapping by its name, or the one of all."""
    if spec.family:
        return spec.family
    if not isinstance(family, Mapping):
        return family
    name = "" if spec.response is None else spec.response.label
    if name not in family:
        raise PlanError(
            f"family= has no entry for the response `{name}`; it has {', '.join(map(str, family))}. Names are those on the "
            "left of the formulas."
        )
    return family[name]
