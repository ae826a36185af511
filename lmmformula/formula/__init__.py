"""The language: formula text to :class:`ModelSpec`, without NumPy and without data."""

from lmmformula.formula.deparse import deparse
from lmmformula.formula.model import model_spec
from lmmformula.formula.parse import parse
from lmmformula.formula.render import render
from lmmformula.formula.spec import LinearPart, ModelSpec, RandomTerm, Response, Term

__all__ = [
    "LinearPart",
    "ModelSpec",
    "RandomTerm",
    "Response",
    "Term",
    "deparse",
    "model_spec",
    "parse",
    "render",
]
