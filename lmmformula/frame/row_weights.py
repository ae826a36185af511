"""Prior weights and trials of new rows, read from the columns that gave them at the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.formula.spec import Expr
from lmmformula.frame.aligning import Aligning
from lmmformula.frame.functions import as_float
from lmmformula.frame.table import Table
from lmmformula.frame.values import Value
from lmmformula.frame.variables import column_names
from lmmformula.typing import Context, Entries

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


__all__ = ["RowWeights", "checked_weights"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowWeights:
    """Where the weights of a fit came from: a product of all that is here.

    Attributes
    ----------
    factors : tuple of Expr
        ``w`` of ``y | weights(w)``, ``n`` of ``y | trials(n)``.
    counts : tuple of Expr
        Successes and failures of ``cbind(s, f)``, whose sum is the trials.
    column : str or None
        ``weights="column"``.
    is_array : bool
        ``weights=`` held numbers, which new data cannot know.
    """

    factors: tuple[Expr, ...] = ()
    counts: tuple[Expr, ...] = ()
    column: str | None = None
    is_array: bool = False

    def __bool__(self) -> bool:
        return bool(self.factors or self.counts or self.column or self.is_array)

    def names(self, context: Context) -> tuple[str, ...]:
        """Columns that hold them."""
        own = [name for name in column_names((*self.factors, *self.counts)) if name not in context]
        return tuple(dict.fromkeys((*own, *(() if self.column is None else (self.column,)))))

    def replay(
        self,
        table: Table,
        text: str,
        context: Context,
        memory: dict[Expr, Value],
        within: dict[Expr, Entries],
    ) -> tuple[Array | None, str]:
        """Weights of the rows of `table`, NaN where missing; None, and why, where the table does not have them.

        Raises
        ------
        DataError
            For weights that are negative or infinite.
        """
        if not self:
            return None, ""
        if self.is_array:
            return None, "the fit's weights were given as an array"
        names = self.names(context)
        if absent := [name for name in names if name not in table]:
            listed = ", ".join(f"`{name}`" for name in absent)
            return None, f"the new data have no column {listed}"
        columns = {name: table.column(name).at(None) for name in names}
        evaluator = Aligning(within, columns, table.n_rows, text, context, memory)
        out = np.ones(table.n_rows)
        for expr in self.factors:
            out = out * as_float(evaluator(expr), "weights")
        if self.counts:
            out = out * sum(as_float(evaluator(expr), "trials") for expr in self.counts)
        if self.column is not None:
            out = out * as_float(columns[self.column], f"weights (column `{self.column}`)")
        return checked_weights(out, table.n_rows), ""


def checked_weights(values: ArrayLike, n: int) -> Array:
    """Weights for n new rows: positive numbers; NaN where missing, or where there is no trial."""
    try:
        out = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError("weights must be numbers, one for each new row, or the name of a column.") from None
    if out.shape != (n,):
        shape = f"{out.size:,} values" if out.ndim == 1 else f"shape {out.shape}"
        raise DataError(f"weights has {shape}, but there are {n:,} rows to predict.")
    if bad := int(((out < 0) | np.isinf(out)).sum()):
        raise DataError(f"weights are negative or infinite in {bad:,} of {n:,} rows to predict.")
    return np.where(out == 0.0, np.nan, out)
