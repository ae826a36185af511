"""The language: formula text to :class:`ModelSpec`, without NumPy and without data."""

from lmmformula.formula.deparse import deparse
from lmmformula.formula.model import model_spec
from lmmformula.formula.parse import parse
from lmmformula.formula.reducing import droppable, without_fixed, without_random
from lmmformula.formula.render import render
from lmmformula.formula.spec import LinearPart, ModelSpec, RandomTerm, Response, Term
from lmmformula.formula.updating import means_other_columns, updated

__all__ = [
    "LinearPart",
    "ModelSpec",
    "RandomTerm",
    "Response",
    "Term",
    "deparse",
    "droppable",
    "means_other_columns",
    "model_spec",
    "parse",
    "render",
    "updated",
    "without_fixed",
    "without_random",
]
