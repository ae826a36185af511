"""Which registered families stand for all where a test costs a fit each."""

from __future__ import annotations

from dataclasses import fields

from lmmformula.families import FAMILIES, Family

__all__ = ["FITTED", "OWN", "auxiliaries_of"]

OWN = [name for name, f in FAMILIES.items() if "base" not in {field.name for field in fields(f.distribution)}]
"""Families that are not made of others."""

FITTED = [
    *OWN,
    "zero_inflated_poisson",
    "zero_inflated_nbinom1",
    "zero_inflated_nbinom2",
    "zero_inflated_binomial",
    "truncated_nbinom2",
    "hurdle_poisson",
    "hurdle_gamma",
    "zero_one_inflated_beta",
]
"""And some made of them: one of each way and kind of response."""


def auxiliaries_of(family: Family) -> tuple[float, ...]:
    """Constant predictors of a family's parameters at which it is simulated."""
    return tuple(a.typical for a in family.auxiliaries)
