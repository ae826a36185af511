"""The variance parameters of a term as a reader names them: standard deviations and correlations, in units of y.

The covariance kind knows which there are (:mod:`lmmformula.ir.covariance`). A term of one column has no correlation. Where
levels are dependent the structure across them has parameters too (:mod:`lmmformula.ir.across`), in units of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmmformula.ir.across import Across
from lmmformula.ir.covariance import Kind
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem

__all__ = ["TermParameters", "named_terms", "plain", "term_parameters"]


@dataclass(frozen=True, slots=True)
class TermParameters:
    """Names of one term's variance parameters.

    Attributes
    ----------
    group : str
    kind : Kind
        The covariance within a level.
    sds, cors : tuple of str
        ``sd:Subject:Days``, ``cor:Subject:Intercept:Days``; without the column where it is shared.
    phis : tuple of str
        ``range:field``, ``rho:area``: elements of phi.
    across : Across or None
    """

    group: str
    kind: Kind
    sds: tuple[str, ...]
    cors: tuple[str, ...]
    phis: tuple[str, ...] = ()
    across: Across | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.sds, *self.cors, *self.phis)

    @property
    def k(self) -> int:
        """Columns of the term."""
        return self.kind.k


def plain(column: str) -> str:
    """R's ``(Intercept)`` as brms writes it."""
    return "Intercept" if column == "(Intercept)" else column


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
    kind, columns = term.covariance.within, [plain(c) for c in term.columns]
    if term.k > 1 and kind.shared_sd:
        sds = (once(f"sd:{term.group}"),)
    else:
        sds = tuple(once(f"sd:{term.group}:{c}") for c in columns)
    if kind.one_correlation:
        cors = (once(f"cor:{term.group}"),)
    else:
        cors = tuple(once(f"cor:{term.group}:{columns[a]}:{columns[b]}") for a, b in kind.pairs)
    across = term.covariance.across
    phis = () if across is None else tuple(once(f"{name}:{term.group}") for name in across.names)
    return TermParameters(term.group, kind, sds, cors, phis, across)
