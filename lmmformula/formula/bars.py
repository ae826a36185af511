"""What makes a summand a random term: a bar in parentheses, or a covariance around a bar."""

from __future__ import annotations

from lmmformula.formula.areas import is_areas
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import AROUND_A_BAR
from lmmformula.formula.spec import Binary, Call, Expr
from lmmformula.formula.walk import is_bar, nodes, strip, summands

__all__ = [
    "CONSTRUCTORS",
    "HOMOGENEOUS",
    "OPTIONS",
    "PLACED",
    "TERM_FUNCTIONS",
    "bar_hint",
    "has_random",
    "is_random",
    "is_term_function",
]

CONSTRUCTORS: dict[str, str] = {
    "us": "us",
    "diag": "diag",
    "cs": "cs",
    "ar1": "ar1",
    "zerocorr": "diag",
    "homdiag": "homdiag",
    "homcs": "homcs",
    "hetar1": "hetar1",
    "toep": "toep",
    "homtoep": "homtoep",
    "rr": "rr",
    "ou": "ou",
    "exp": "exp",
    "gau": "gau",
    "mat": "mat",
    "propto": "propto",
}
"""Functions that may stand around a bar, with the covariance they name.

Others are entered by :func:`lmmformula.ir.covariance.register_kind`, with the kind itself."""

PLACED = frozenset({"ar1", "ou", "exp", "gau", "mat", "propto"})
"""Those whose columns are positions: times, points, or rows of a known matrix."""

HOMOGENEOUS: dict[str, dict[bool, str]] = {
    "diag": {True: "homdiag", False: "diag"},
    "cs": {True: "homcs", False: "cs"},
    "toep": {True: "homtoep", False: "toep"},
    "ar1": {True: "ar1", False: "hetar1"},
}
"""The covariance that ``hom=`` chooses, as in lme4 2.0: one variance for all columns, or one for each."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "rr": ("d",),
    "mat": ("nu",),
    "propto": ("cov",),
    **dict.fromkeys(HOMOGENEOUS, ("hom",)),
}
"""What may stand beside the bar, by position or by name: a rank, a smoothness, a matrix, whether variances are equal."""

TERM_FUNCTIONS: set[str] = set()
"""Functions whose columns have random effects: a summand ``f(x)`` is a term of one level, not a fixed effect.

A name is entered by :func:`lmmformula.frame.signature.register_term`, with the function that makes the columns."""

_LOGICAL = frozenset(
    {
        "I",
        "factor",
        "ordered",
        "as.factor",
        "as.ordered",
        "as.numeric",
        "as.integer",
        "as.logical",
        "as.character",
        "sum",
        "any",
        "all",
        "which",
    }
)
"""Functions of one value for which ``f(a | b)`` is ordinary logic."""


def is_random(expr: Expr) -> bool:
    """Whether a summand is a random term: a bar in parentheses, or a call around a bar."""
    inner = strip(expr)
    if is_term_function(inner) or is_areas(inner):
        return True
    if isinstance(inner, Call):
        if inner.function in CONSTRUCTORS or inner.function in AROUND_A_BAR:
            return any(is_bar(strip(arg.value)) for arg in inner.args)
        single = len(inner.args) == 1 and inner.args[0].name is None
        return single and inner.function not in _LOGICAL and is_bar(strip(inner.args[0].value))
    return inner is not expr and is_bar(inner)


def is_term_function(expr: Expr) -> bool:
    """Whether a summand is a call whose columns have random effects."""
    return isinstance(expr, Call) and expr.function in TERM_FUNCTIONS


def has_random(expr: Expr) -> bool:
    """Whether a bar between columns and groups stands anywhere in the expression."""
    return any(is_bar(node) or is_random(node) for node in nodes(expr, inside_calls=False))


def bar_hint(expr: Binary) -> str:
    """The random term that a bar without parentheses most likely means, in parentheses."""
    items = summands(expr.left)
    last = f"({deparse(items[-1][1])} {expr.operator} {deparse(expr.right)})"
    before = "".join(
        f" {sign} {deparse(item)}" if i else deparse(item) for i, (sign, item) in enumerate(items[:-1])
    )
    return f"{before} + {last}" if before else last
