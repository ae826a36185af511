"""Gaussian criteria of many responses on one design, evaluated together."""

from lmmformula.criteria.batched.base import Criteria, Evaluated
from lmmformula.criteria.batched.coupled import CoupledDesign
from lmmformula.criteria.batched.grouped import GroupedDesign
from lmmformula.criteria.batched.plain import PlainDesign
from lmmformula.criteria.batched.products import Products, products
from lmmformula.criteria.factors import Factors

__all__ = [
    "CoupledDesign",
    "Criteria",
    "Evaluated",
    "Factors",
    "GroupedDesign",
    "PlainDesign",
    "Products",
    "products",
]
