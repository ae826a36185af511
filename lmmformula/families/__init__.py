"""Families of the response: one observation at a time, without random effects and without covariance.

A family is a distribution seen through a link. `distribution.py` says what a distribution provides,
`links.py` what a link does, `compose.py` joins them by the chain rule, `registry.py` names them.
A new family is one class in the coordinate that suits it and one entry in the registry.
"""

from __future__ import annotations

from lmmformula.families.distribution import Auxiliary, Distribution
from lmmformula.families.family import Family, make_family, zero_inflated
from lmmformula.families.links import LINKS, Link
from lmmformula.families.records import Rows
from lmmformula.families.registry import FAMILIES, resolve

__all__ = [
    "FAMILIES",
    "LINKS",
    "Auxiliary",
    "Distribution",
    "Family",
    "Link",
    "Rows",
    "make_family",
    "resolve",
    "zero_inflated",
]
