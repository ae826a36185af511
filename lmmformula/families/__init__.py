"""Families of the response: one observation at a time, without random effects and without covariance.

A family is a distribution seen through a link. `distribution.py` says what a distribution provides,
`links.py` what a link does, `compose.py` joins them by the chain rule, `autodiff.py` differentiates what has no
closed form, `registry.py` names them. A new family is one class with its log density, entered by `register_family`.
"""

from __future__ import annotations

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Distribution
from lmmformula.families.family import Family, make_family, zero_inflated
from lmmformula.families.links import LINKS, Link
from lmmformula.families.records import Rows
from lmmformula.families.registry import FAMILIES, OUTCOMES, register_family, resolve, unregister_family

__all__ = [
    "FAMILIES",
    "LINKS",
    "OUTCOMES",
    "Auxiliary",
    "Distribution",
    "Family",
    "Link",
    "Rows",
    "make_family",
    "register_family",
    "resolve",
    "unregister_family",
    "zero_inflated",
]
