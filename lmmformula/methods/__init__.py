"""Methods of fitting, a record each: when it suits, its options, its engines, the plan that it makes.

A *method* is what a user asks for ("auto", "krylov"), a *criterion* what it comes to for a model ("reml", "laplace"): that
depends only on whether the model is linear, a Gaussian response with one residual variance.
"""

from lmmformula.methods import shipped as shipped
from lmmformula.methods.options import Options, option
from lmmformula.methods.record import (
    METHODS,
    OPTIONS,
    Method,
    Request,
    method_named,
    options_table,
    register_method,
    unknown_option,
    unregister_method,
)

__all__ = [
    "BUILDING",
    "METHODS",
    "OPTIONS",
    "Method",
    "Options",
    "Request",
    "method_named",
    "option",
    "options_table",
    "register_method",
    "unknown_option",
    "unregister_method",
]

BUILDING = (
    "family",
    "weights",
    "offset",
    "contrasts",
    "ziformula",
    "dispformula",
    "missing",
    "rescor",
    "context",
    "data2",
    "entrance",
    "memory_limit",
)
"""Arguments that make the model, whatever fits it."""
