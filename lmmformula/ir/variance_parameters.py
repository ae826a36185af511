"""The variance parameters of a term as a reader names them: standard deviations and correlations, in units of y.

==== ================================ ==========================================
kind standard deviations              correlations
==== ================================ ==========================================
iid  one, shared by the columns       none
diag one for each column              none
us   one for each column              one for each pair of columns
cs   one for each column              one, shared by all pairs, in (-1/(k-1), 1)
ar1  one, shared by the columns       one, of neighbours, in (-1, 1)
==== ================================ ==========================================

A term of one column has a standard deviation only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lmmformula.errors import PlanError
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem

__all__ = ["TermParameters", "named_terms", "plain", "term_parameters"]


@dataclass(frozen=True, slots=True)
class TermParameters:
    """Names of one term's variance parameters.

    Attributes
    ----------
    group : str
    kind : str
        Name of the covariance kind.
    k : int
        Columns of the term.
    sds, cors : tuple of str
        ``sd:Subject:Days``, ``cor:Subject:Intercept:Days``; without the column where it is shared.
    correlation : {"none", "matrix", "shared"}
    """

    group: str
    kind: str
    k: int
    sds: tuple[str, ...]
    cors: tuple[str, ...]
    correlation: Literal["none", "matrix", "shared"]


def plain(column: str) -> str:
    """R's ``(Intercept)`` as brms writes it."""
    return "Intercept" if column == "(Intercept)" else column


_SHARED_SD = ("iid", "ar1")
_CORRELATION: dict[str, Literal["none", "matrix", "shared"]] = {
    "iid": "none",
    "diag": "none",
    "us": "matrix",
    "cs": "shared",
    "ar1": "shared",
}


def term_parameters(problem: Problem) -> tuple[TermParameters, ...]:
    """Names for every term of the mean; a name that occurs twice gets ``#2``."""
    return named_terms(problem.terms)


def named_terms(terms: Sequence[GroupBlock], prefix: str = "") -> tuple[TermParameters, ...]:
    """The same for any terms, every name with a prefix (``sigma:``)."""
    seen: dict[str, int] = {}

    def once(name: str) -> str:
        seen[name] = seen.get(name, 0) + 1
        return prefix + (name if seen[name] == 1 else f"{name}#{seen[name]}")

    return tuple(_of_term(term, once) for term in terms)


def _of_term(term: GroupBlock, once: Callable[[str], str]) -> TermParameters:
    kind, columns = term.covariance.name, [plain(c) for c in term.columns]
    if kind not in _CORRELATION:
        raise PlanError(
            f"the term ({term.label or term.group}) has covariance kind {kind!r}, for which no Bayesian parameters are "
            f"defined; available: {', '.join(_CORRELATION)}."
        )
    correlation = _CORRELATION[kind] if term.k > 1 else "none"
    if term.k > 1 and kind in _SHARED_SD:
        sds = (once(f"sd:{term.group}"),)
    else:
        sds = tuple(once(f"sd:{term.group}:{c}") for c in columns)
    if correlation == "matrix":
        pairs = [(a, b) for j, a in enumerate(columns) for b in columns[j + 1 :]]
        cors = tuple(once(f"cor:{term.group}:{a}:{b}") for a, b in pairs)
    else:
        cors = (once(f"cor:{term.group}"),) if correlation == "shared" else ()
    return TermParameters(term.group, kind, term.k, sds, cors, correlation)
