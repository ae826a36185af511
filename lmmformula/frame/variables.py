"""Which columns expressions need, and which rows are complete in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataDroppedWarning, DataError, warn
from lmmformula.formula.spec import Call, Expr, LinearPart, ModelSpec, RandomTerm, ResidualTerm
from lmmformula.formula.walk import named_columns, nodes
from lmmformula.frame.design import variables_of
from lmmformula.frame.grouping import group_members
from lmmformula.typing import Context

__all__ = [
    "Completeness",
    "column_names",
    "model_variables",
    "needs_complete_rows",
    "report_dropped",
    "residual_factors",
    "used_context",
]


def column_names(exprs: Iterable[Expr]) -> list[str]:
    """Names in the expressions, in order of first use."""
    return list(dict.fromkeys(name for expr in exprs for name in named_columns(expr)))


def model_variables(
    spec: ModelSpec, auxiliary: Sequence[LinearPart], random: Sequence[RandomTerm], *, groups: bool = True
) -> list[Expr]:
    """Expressions whose values R's model frame would hold, in order of first use; with the grouping factors or without."""
    exprs: dict[Expr, None] = {}
    for response in (own.response for own in (spec, *spec.responses)):
        if response is None:
            continue
        exprs.update(dict.fromkeys(response.exprs()))
    for part in (spec.fixed, *(term.design for term in random), *auxiliary):
        exprs.update(dict.fromkeys(variables_of(part.terms)))
        exprs.update(dict.fromkeys(part.offsets))
    if groups and spec.residual is not None:
        exprs.update(dict.fromkeys((*spec.residual.along, *residual_factors(spec.residual))))
    for term in random if groups else ():
        exprs.update(dict.fromkeys((*group_members(term.group), *term.along, *term.members)))
        if term.member_weights is not None:
            exprs[term.member_weights] = None
        if term.by is not None:
            exprs[term.by] = None
    return list(exprs)


def residual_factors(term: ResidualTerm) -> tuple[Expr, ...]:
    """Factors whose levels have correlated residuals."""
    return () if term.group is None else group_members((term.group,))


def needs_complete_rows(expr: Expr) -> bool:
    """False for an expression with ``is.na()``, which says itself what a missing value means."""
    return not any(isinstance(node, Call) and node.function == "is.na" for node in nodes(expr))


class Completeness:
    """The one complete-case mask of a fit, and who caused it.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self._drop: NDArray[np.bool_] | None = None
        self._counts: dict[str, int] = {}
        self._chosen: NDArray[np.bool_] | None = None

    def choose(self, keep: NDArray[np.bool_]) -> None:
        """Leave out rows that nobody wants, which are not counted as incomplete."""
        self._chosen = keep if self._chosen is None else self._chosen & keep

    def exclude(self, label: str, missing: NDArray[np.bool_], rows: NDArray[np.int64] | None = None) -> None:
        """Leave out the rows where `label` is missing; `missing` refers to `rows` (all if None)."""
        if self._drop is None:
            self._drop = np.zeros(self.n_rows, dtype=bool)
        if rows is None and self._chosen is not None:
            missing = missing & self._chosen
        self._counts[label] = int(missing.sum())
        if rows is None:
            self._drop |= missing
        else:
            self._drop[rows[missing]] = True

    def rows(self) -> NDArray[np.int64] | None:
        """Positions of the complete rows, None if all are."""
        if self._chosen is None:
            return None if self._drop is None else np.flatnonzero(~self._drop)
        return np.flatnonzero(self._chosen if self._drop is None else self._chosen & ~self._drop)

    def report(self, missing: str) -> None:
        """Warn, or raise if asked to, about incomplete rows."""
        n_rows = self.n_rows if self._chosen is None else int(self._chosen.sum())
        if not n_rows:
            raise DataError(f"subset() keeps none of the {self.n_rows:,} rows")
        if self._drop is not None and (self._chosen is None or self._drop.any()):
            report_dropped(int(self._drop.sum()), n_rows, self._counts, missing)


def report_dropped(n_dropped: int, n_rows: int, counts: Mapping[str, int], missing: str) -> None:
    """Warn of `n_dropped` of `n_rows` rows, or raise if asked to, given how many rows each column lacks."""
    who = ", ".join(f"`{label}` ({count:,})" for label, count in counts.items())
    if n_dropped == n_rows:
        raise DataError(f"no complete row is left: all {n_rows:,} rows have a missing value in {who}")
    if missing == "raise":
        raise DataError(
            f"{n_dropped:,} of {n_rows:,} rows have missing values: {who}; drop or fill them first, "
            'or use missing="drop"'
        )
    text = f"{n_dropped:,} of {n_rows:,} rows dropped: missing in {who}"
    warn(text, DataDroppedWarning)


def used_context(context: Context, exprs: Iterable[Expr], columns: Iterable[str]) -> dict[str, object]:
    """The entries of `context` that the expressions use."""
    taken = set(columns)
    used: dict[str, object] = {}
    for expr in exprs:
        for node in nodes(expr):
            name = (
                getattr(node, "value", None)
                if not isinstance(node, Call)
                else node.function.rpartition("::")[2]
            )
            if isinstance(name, str) and name in context and (isinstance(node, Call) or name not in taken):
                used[name] = context[name]
    return used
