"""Rows of a model read again in the order of the data: which rows of a batch are the model's, and their canonical form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.arguments import column_argument
from lmmformula.frame.sources import table_of
from lmmformula.ir.memory_rows import MemoryRows

if TYPE_CHECKING:
    import pyarrow as pa

    from lmmformula.frame.streamed.draft import Draft

__all__ = ["complete_rows", "encoded"]


def complete_rows(draft: Draft, batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Positions in the batch of the rows that are complete, as the fit has found them.

    Parameters
    ----------
    draft : Draft
    batch : pyarrow.RecordBatch
        Has the columns of ``draft.columns``, and others.
    """
    variables, table = draft.coding.variables, table_of(batch)
    lacking = [table.column(name).missing for name in variables.complete_in]
    lacking += [column_argument(name, role, table).missing for role, name in variables.arguments.items()]
    whole = np.ones(table.n_rows, dtype=bool)
    for mask in lacking:
        if mask is not None:
            whole &= ~mask
    at = np.flatnonzero(whole)
    kept = variables.of(batch).kept
    return at if kept is None else at[kept]


def encoded(draft: Draft, batch: pa.RecordBatch) -> MemoryRows:
    """These rows with the columns of X, the auxiliary predictors and bases that the formula has, kept or not."""
    return draft.encode(batch.select(list(draft.columns)))[0]
