r"""Which entrance rows take: cells that are counted where the data lie, or batches of rows.

Cells pay where they are few. How many there will be is estimated from m rows of which d are different: if each of C cells were
as likely as any other, m draws would meet ``C (1 - exp(-m / C))`` of them on average, which is d for one C; n rows then meet
``C (1 - exp(-n / C))``. Cells of unequal size, and rows in the order of a key, are more than that says: so they are counted
when they are made, and left for rows where they turn out to be many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.families import Family
from lmmformula.formula.spec import LinearPart, ModelSpec, Name
from lmmformula.frame.cells.grouping import counted, engine_of, first_rows, made, maker_of
from lmmformula.frame.cells.source import Columns
from lmmformula.frame.entrances import Wanted
from lmmformula.frame.further import further_formulas
from lmmformula.frame.model_frame import raw_names
from lmmformula.frame.sources.base import BATCH_ROWS, Source, workers_of
from lmmformula.frame.sources.steady import Maker
from lmmformula.frame.variables import column_names, model_variables
from lmmformula.typing import Context, Data

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Entrance", "entrance_of", "expected_cells"]

WORTH = 0.25
"""Share of the rows that cells may be: a cell of a Gaussian response is two rows, and has to be found first."""
FEWEST = 4 * BATCH_ROWS
"""Rows below which passes take no time that is worth saving."""
_LOOKED_AT = 4
"""Parts, spread over the data, of which the first batch is looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Entrance:
    """What the rows of a model are read from.

    Attributes
    ----------
    source : Source
        The data, or cells of them.
    times : str
        Column of the rows that a cell stands for; empty for rows.
    why : str
        For the plan.
    """

    source: Source
    times: str
    why: str


def entrance_of(
    spec: ModelSpec,
    source: Source,
    wanted: Wanted,
    *,
    family: Family,
    auxiliary: Sequence[ModelSpec | None],
    weights: Data,
    offset: Data,
    context: Context,
) -> Entrance:
    """Rows or cells, whichever is asked for or pays.

    Parameters
    ----------
    spec, family, auxiliary, weights, offset, context
        As for :func:`lmmformula.frame.streamed.learn`.
    source : Source
    wanted : Wanted

    Raises
    ------
    PlanError
        If cells are asked for and the model cannot be of them.
    """
    if wanted.entrance == "rows":
        return _rows(source, "as asked")
    asked = wanted.entrance == "cells"
    against = wanted.against or _against(spec, family, weights, offset)
    if against:
        if asked:
            raise PlanError(
                f"entrance='cells': {against}. Leave entrance= out, or write entrance='rows': the rows are then read as they "
                "are."
            )
        return _rows(source, against)
    if not asked and source.n_rows is not None and source.n_rows < FEWEST:
        return _rows(source, f"{source.n_rows:,} rows are few")
    exprs = _variables(spec, family, auxiliary)
    names = raw_names(exprs, source.names, context)
    names += [offset] if isinstance(offset, str) and offset not in names else []
    if any(name not in source.names for name in names):
        return _rows(source, "a column is not there")  # which is said when rows are read
    maker = maker_of(source, names)
    looked = list(_look(source, maker, names))
    columns = _columns(spec, exprs, family, looked, names, source.names, offset)
    m, d = _different(looked, columns)
    n = source.n_rows
    if not asked:
        n = _rows_of(source, maker, m, len(looked)) if n is None else n
        cells = expected_cells(m, d, n)
        if n < FEWEST or cells > WORTH * n:
            return _rows(
                source,
                f"about {cells:,.0f} cells of {n:,} rows, as {d:,} of {m:,} rows that were looked at differ",
            )
    return _made(source, columns, maker, asked=asked)


def _rows(source: Source, why: str) -> Entrance:
    return Entrance(source, "", f"entrance: rows ({why})")


def _made(source: Source, columns: Columns, maker: Maker | None, *, asked: bool) -> Entrance:
    cells = made(source, columns, maker)
    count = cells.made.n_rows
    assert count is not None
    said = f"{count:,} cells of {cells.n_data:,} rows, counted {engine_of(maker)}"
    if not asked and count > 2.0 * WORTH * cells.n_data:
        return _rows(source, said)
    kind = "with sums of the response" if columns.response else "of equal responses"
    return Entrance(cells, columns.times, f"entrance: {said}, {kind}{' as asked' if asked else ''}")


def _against(spec: ModelSpec, family: Family, weights: Data, offset: Data) -> str:
    """Why a model cannot be of cells; empty if it can."""
    response = spec.response
    if response is None:
        return "the model has no response"
    if weights is not None or response.weights is not None:
        return "rows have weights of their own, and a cell has the number of its rows"
    if offset is not None and not isinstance(offset, str):
        return "offset= is an array"
    if response.trials is not None or len(response.parts) > 1:
        return "each row has trials of its own, and a cell has the number of its rows"
    if family.distribution.mean_columns != 1:
        return f"family {family.name!r} has several linear predictors"
    return ""


def _variables(spec: ModelSpec, family: Family, auxiliary: Sequence[ModelSpec | None]) -> list:
    further = further_formulas(spec, family, auxiliary)
    parts = tuple(LinearPart(intercept=True, terms=()) if s is None else s.fixed for s in further)
    random = tuple(() if s is None else s.random for s in further)
    return model_variables(spec, parts, [*spec.random, *(term for own in random for term in own)])


def _look(source: Source, maker: Maker | None, names: list[str]) -> Iterator[pa.RecordBatch]:
    """The first batch of some parts, spread over the data."""
    parts = source.parts
    if parts <= 1:
        yield from _one(first_rows(maker, source, names))
        return
    workers = workers_of(source)
    if workers is not None:  # all else stays with them
        yield from _one(workers.beginning(names, 0))
        return
    for part in np.unique(np.linspace(0, parts - 1, min(parts, _LOOKED_AT)).astype(int)).tolist():
        yield from _one(source.batches(names, part))


def _one(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, BATCH_ROWS)
        break
    close = getattr(batches, "close", None)
    if close is not None:
        close()


def _columns(
    spec: ModelSpec,
    exprs: Sequence,
    family: Family,
    looked: Sequence[pa.RecordBatch],
    names: Sequence[str],
    taken: Sequence[str],
    offset: Data,
) -> Columns:
    """What cells are made of: moments of a Gaussian response that is a column used nowhere else, its values otherwise."""
    response = spec.response
    assert response is not None
    own = response.parts[0]
    if family.is_linear and type(own) is Name and looked:
        others = column_names(e for e in exprs if e != own)
        name = own.value
        if name in names and name not in others and name != offset:
            centre = _centre([batch.column(name) for batch in looked])
            if centre is not None:
                return Columns.of([n for n in names if n != name], name, centre, taken)
    return Columns.of(names, "", 0.0, taken)


def _centre(parts: Sequence[pa.Array]) -> float | None:
    """The median of the finite values; None of what is not numbers."""
    import pyarrow as pa
    from pyarrow import types

    kind = parts[0].type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
        return None
    values = np.concatenate(
        [p.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False) for p in parts]
    )
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else 0.0


def _different(looked: Sequence[pa.RecordBatch], columns: Columns) -> tuple[int, int]:
    """Rows that were looked at, and how many of them differ in the keys."""
    import pyarrow as pa

    m = sum(batch.num_rows for batch in looked)
    if not m or not columns.keys:
        return m, min(m, 1)
    table = pa.concat_tables([pa.Table.from_batches([batch.select(list(columns.keys))]) for batch in looked])
    keys = [f"column{i}" for i in range(len(columns.keys))]
    table = table.rename_columns(keys).unify_dictionaries().combine_chunks()
    return m, table.group_by(keys, use_threads=False).aggregate([]).num_rows


def expected_cells(m: int, d: int, n: int) -> float:
    """Cells that n rows have, if d of m rows differ and each cell is as likely as any other.

    Parameters
    ----------
    m, d, n : int
        ``1 <= d <= m``; n rows in all.

    Examples
    --------
    >>> round(expected_cells(1_000, 632, 10**9))
    1000
    """
    if n <= m:
        return float(d)
    low, high = float(d), 1e18
    for _ in range(200):  # halves the interval on the scale of logarithms
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if -middle * np.expm1(-m / middle) < d else (low, middle)
    return float(min(-high * np.expm1(-n / high), n))


def _rows_of(source: Source, maker: Maker | None, m: int, looked: int) -> int:
    """Rows, or how many there are at least, of a source that does not tell, after m of some of its parts were looked at."""
    if source.parts > 1:
        return m * source.parts // max(looked, 1)
    return m if m < BATCH_ROWS or maker is None else counted(maker)
