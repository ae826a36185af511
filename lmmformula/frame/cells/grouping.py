"""Cells are made: by the library that has the rows, through narwhals, or of batches of Arrow.

``frame.group_by(keys).agg(rows, sum d, sum d^2)`` runs in DuckDB, polars or Dask, with as many threads and as much disk as they
take, and reads the columns in use alone; files of Parquet with plain columns go to DuckDB where it is installed. What no such
library has (categories in Parquet, datasets with filters) is grouped here, batch by batch, each with what was found so far.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.cells.source import FINITE, INFINITE, MISSING, CellRows, Columns
from lmmformula.frame.sources.base import Source, ahead
from lmmformula.frame.sources.memory import MemoryRows
from lmmformula.frame.sources.parquet import ParquetRows
from lmmformula.frame.sources.steady import CopiedRows, Groupable, Maker
from lmmformula.typing import Data

if TYPE_CHECKING:
    import narwhals as nw
    import pyarrow as pa

__all__ = ["counted", "engine_of", "first_rows", "made", "maker_of"]

_HELD = 2**20
"""Cells that are held before those that are equal are made one."""


def maker_of(source: Source, names: Sequence[str]) -> Maker | None:
    """What can group the rows of a source by these columns where they are; None if nothing can."""
    maker: Maker | None = getattr(source, "maker", None)
    if maker is not None:
        return maker if hasattr(maker, "lazy") else None
    if isinstance(source, ParquetRows) and _is_plain(source, names):
        return _by_duckdb([file.path for file in source.files])
    return None


def engine_of(maker: Maker | None) -> str:
    """Who groups, in words."""
    if maker is None:
        return "here, batch by batch"
    return {"Relation": "by DuckDB", "Lazy": "by polars"}.get(type(maker).__name__, "by Dask")


def _is_plain(source: ParquetRows, names: Sequence[str]) -> bool:
    """Whether these columns are numbers, truths or text of one type in all files, which any library reads alike."""
    from pyarrow import types
    from pyarrow.fs import LocalFileSystem

    if not isinstance(source.filesystem, LocalFileSystem):
        return False
    plain = (
        types.is_integer,
        types.is_float32,
        types.is_float64,
        types.is_boolean,
        types.is_string,
        types.is_large_string,
    )
    for name in names:
        kind = source.schema.field(name).type
        if not any(is_one(kind) for is_one in plain):
            return False
        if any(name not in shape.names or shape.field(name).type != kind for shape in source.shapes):
            return False
    return True


def _by_duckdb(paths: list[str]) -> Maker | None:
    try:
        import duckdb
    except ImportError:
        return None
    from lmmformula.frame.sources.relations import Relation

    connection = duckdb.connect(config={"temp_directory": tempfile.gettempdir()})
    return Relation(connection.read_parquet(paths, hive_partitioning=False))


def made(source: Source, columns: Columns, maker: Maker | None) -> CellRows:
    """The cells of a source, made and held: in a temporary file, or in memory where they are grouped here.

    Raises
    ------
    DataError
        If the library that has the rows cannot group them.
    """
    if maker is None:
        cells: Source = MemoryRows(_grouped_here(source, columns))
    else:
        assert isinstance(maker, Groupable)
        cells = CopiedRows(maker.again(_grouped_there(maker.lazy, columns)))
    total = 0
    for batch in cells.batches([columns.times]):
        total += int(batch.column(0).to_numpy(zero_copy_only=False).sum())
    return CellRows(cells, columns, source, total)


def counted(maker: Maker) -> int:
    """Rows of a maker, counted where they are."""
    import narwhals as nw

    assert isinstance(maker, Groupable)
    return int(nw.from_native(maker.lazy).select(nw.len().alias("n")).collect().item())


# -- where the rows are --------------------------------------------------------------------------------------------


def _grouped_there(lazy: Data, columns: Columns) -> Data:
    """The query, in the library's own terms."""
    import narwhals as nw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of where narwhals will keep its support of Dask
        frame = nw.from_native(lazy)
    try:
        if columns.response:
            frame = _with_moments(frame, columns)
        grouped = frame.select(*columns.groups, *columns.sums).group_by(*columns.groups, drop_null_keys=False)
        sums = [nw.col(name).sum().alias(name) for name in columns.sums]
        return grouped.agg(nw.len().alias(columns.times), *sums).to_native()
    except Exception as error:  # whatever the library raises
        raise DataError(
            f"the rows cannot be grouped where they are: {type(error).__name__}: {error}. entrance='rows' reads "
            "them as they are"
        ) from error


def _with_moments(frame: nw.LazyFrame, columns: Columns) -> nw.LazyFrame:
    """d, d^2, and what kind of number the response is; d is zero where it is none."""
    import narwhals as nw

    y = nw.col(columns.response).cast(nw.Float64)
    unknown = y.is_null() | y.is_nan()
    kind = (
        nw.when(unknown)
        .then(nw.lit(MISSING))
        .otherwise(nw.when(y.is_finite()).then(nw.lit(FINITE)).otherwise(nw.lit(INFINITE)))
    )
    frame = frame.with_columns(kind.alias(columns.kind))
    is_finite = nw.col(columns.kind) == FINITE
    apart = nw.when(is_finite).then(y - columns.centre).otherwise(nw.lit(0.0))
    frame = frame.with_columns(apart.alias(columns.total))
    squared = nw.col(columns.total) * nw.col(columns.total)
    return frame.with_columns(squared.alias(columns.squares))


# -- here ----------------------------------------------------------------------------------------------------------


def _grouped_here(source: Source, columns: Columns) -> pa.Table:
    """Cells of all batches, added up whenever as many have come as there were."""
    parts: list[pa.Table] = []
    held = known = 0
    read = [*columns.keys, *([columns.response] if columns.response else [])]
    for cells in ahead(_cells(batch, columns) for batch in source.batches(read)):
        parts.append(cells)
        held += cells.num_rows
        if held > 2 * known + _HELD:
            parts = [_added(parts, columns)]
            held = known = parts[0].num_rows
    if not parts:
        raise DataError(f"{source.name} has no rows")
    return _added(parts, columns)


def _cells(batch: pa.RecordBatch, columns: Columns) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    arrays = {name: batch.column(name) for name in columns.keys}
    arrays[columns.times] = pa.array(np.ones(batch.num_rows, dtype=np.int64))
    if columns.response:
        given = batch.column(columns.response)
        y = given.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        finite = np.isfinite(y)
        apart = np.where(finite, y, columns.centre) - columns.centre
        kind = np.where(finite, FINITE, np.where(np.isnan(y), MISSING, INFINITE)).astype(np.int32)
        arrays |= {columns.kind: pa.array(kind), columns.total: pa.array(apart)}
        arrays[columns.squares] = pa.array(apart * apart)
    return _added([pa.table(arrays)], columns)


def _added(parts: Sequence[pa.Table], columns: Columns) -> pa.Table:
    """One row of those that are equal in all groups."""
    import pyarrow as pa

    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
    table = table.unify_dictionaries().combine_chunks()
    own, groups = [columns.times, *columns.sums], list(columns.groups)
    labels = {
        name: f"column{i}" for i, name in enumerate([*groups, *own])
    }  # Arrow takes dots and brackets for paths
    keys, sums = [labels[name] for name in groups], [labels[name] for name in own]
    table = table.select(list(labels)).rename_columns(list(labels.values()))
    found = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    return found.select([*keys, *(f"{name}_sum" for name in sums)]).rename_columns(list(labels))


def first_rows(maker: Maker | None, source: Source, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some rows, without a copy of all of them."""
    if maker is not None and type(source) is CopiedRows:
        yield from maker.make(list(names), 0)
        return
    yield from source.batches(names, 0 if source.parts > 1 else None)
