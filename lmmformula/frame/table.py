"""A table of whatever library as named columns, read on first use and then kept as they were."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.columns import Column, from_narwhals, from_pandas
from lmmformula.frame.files import locate, read_file
from lmmformula.frame.values import Factor, labels_of
from lmmformula.typing import Arguments, Data, Entries

__all__ = ["Table", "no_such_column", "open_table", "table_columns"]


class Table:
    """Columns by name, converted and copied on first use.

    Parameters
    ----------
    names : sequence of str
    n_rows : int
    read : Reader
        Gives the column of a name.
    index : pandas Index, optional
        Labels of the rows; None for a table whose rows have none.
    """

    def __init__(
        self, names: Iterable[object], n_rows: int, read: Reader, index: pd.Index | None = None
    ) -> None:
        self.is_kept = False
        self.origin = ""
        """What it is of another table, in words."""
        self.names = tuple(str(name) for name in names)
        self.n_rows = n_rows
        self.index = index
        self._known = frozenset(self.names)
        self._read = read
        self._columns: dict[str, Column] = {}

    @property
    def labels(self) -> pd.Index | None:
        """Labels of the rows; None where they have none, or labels that only count them from 0."""
        index = self.index
        if index is None:
            return None
        only_counts = (
            isinstance(index, pd.RangeIndex) and (index.start, index.step) == (0, 1) and index.name is None
        )
        return None if only_counts else index

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def column(self, name: str) -> Column:
        """The column called `name`, or a DataError that suggests another."""
        if name not in self._columns:
            if name not in self._known:
                raise DataError(no_such_column(name, self.names))
            if len(self._known) < len(self.names) and (times := self.names.count(name)) > 1:
                raise DataError(
                    f"the table has {times} columns named `{name}`: rename them so that it is clear"
                )
            self._columns[name] = self._read(name)
        return self._columns[name]

    def kept(self) -> Table:
        """The table as it is now, for later use.

        The columns read so far stay as they are, whatever happens to the caller's object. The others are not copied: they are
        those of that object, or of that file, in the order of its rows now.
        """
        out = self._with(self._read.kept(self._columns), self._columns)
        out.is_kept = True
        return out

    def session(self) -> Table:
        """The table for one use: what is read beyond the columns that are kept is forgotten with it."""
        return self._with(self._read.session(), self._columns)

    def with_column(self, name: str, column: Column) -> Table:
        """The table with a column in the place of another."""
        return self._with(self._read, {**self._columns, name: column})

    def _with(self, read: Reader, columns: Mapping[str, Column]) -> Table:
        out = Table(self.names, self.n_rows, read, self.index)
        out._columns = dict(columns)
        out.origin = self.origin
        return out

    def to_pandas(
        self, names: Iterable[str] | None = None, rows: NDArray[np.int64] | None = None
    ) -> pd.DataFrame:
        """Columns (default: all) at `rows` (default: all) as a frame of its own, under the labels of the rows."""
        at = np.arange(self.n_rows) if rows is None else rows
        index = pd.RangeIndex(self.n_rows) if self.index is None else self.index
        columns = {name: self.column(name).as_given(at) for name in (self.names if names is None else names)}
        return pd.DataFrame(columns, index=index[at])


def no_such_column(name: str, names: Sequence[str]) -> str:
    """What to say of a column that is not among `names`: which it might be, and which there are."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    near += [c for c in names if c.lower() == name.lower() and c not in near]
    listed = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    hint = f" (did you mean {' or '.join(f'`{c}`' for c in near)}?)" if near else ""
    return f"no column `{name}` in the data{hint}; columns: {listed}"


class Reader(Protocol):
    """Where a table's columns come from; picklable, as a fit carries it."""

    def __call__(self, name: str) -> Column: ...

    def kept(self, known: Mapping[str, Column]) -> Reader:
        """A reader that goes on giving the columns of now, as far as that takes no copy; `known` are those read so far."""
        ...

    def session(self) -> Reader:
        """A reader for one use, which may hold what it has read."""
        ...


def table_columns(data: Data) -> tuple[str, ...]:
    """Names of the columns of `data`, in order.

    Parameters
    ----------
    data : frame, dict of columns, or path
        As for :func:`lmmformula.frame.build`.

    Returns
    -------
    tuple of str
    """
    return open_table(data).names


def open_table(data: Data) -> Table:
    """A Table over any eager frame, a dict of columns, a path to CSV, Parquet or JSON, or the name of a shipped data set."""
    if isinstance(data, Table):
        return data.session() if data.is_kept else data
    if isinstance(data, pd.DataFrame):
        return _from_pandas(data)
    if isinstance(data, str | Path):
        return _from_name(data)
    if isinstance(data, Mapping):
        return _from_mapping(data)
    return _from_narwhals(data)


@dataclass(frozen=True, slots=True, eq=False)
class _PandasReader:
    frame: pd.DataFrame
    labels: Arguments

    def __call__(self, name: str) -> Column:
        return from_pandas(cast("pd.Series", self.frame[self.labels[name]]), name)

    def kept(self, known: Mapping[str, Column]) -> _PandasReader:
        return _PandasReader(self.frame.copy(deep=False), self.labels)

    def session(self) -> _PandasReader:
        return self


def _from_pandas(frame: pd.DataFrame) -> Table:
    labels = frame.columns.tolist()
    reader = _PandasReader(frame, {str(c): c for c in labels})
    return Table(labels, len(frame), reader, frame.index.view())


class _FileReader:
    """Columns of a file; once kept, those of the file read again, if it is still the same."""

    def __init__(self, path: Path, frame: pd.DataFrame | None, known: Mapping[str, Column]) -> None:
        self.path, self.frame, self.known = path, frame, known

    def __call__(self, name: str) -> Column:
        if self.frame is None:
            self.frame = self._again(name)
        return _from_pandas(self.frame).column(name)

    def kept(self, known: Mapping[str, Column]) -> _FileReader:
        return _FileReader(self.path, None, dict(known))

    def session(self) -> _FileReader:
        return _FileReader(self.path, None, self.known)

    def _again(self, name: str) -> pd.DataFrame:
        frame = read_file(self.path)
        table = _from_pandas(frame)
        if not all(n in table and _same(column, table.column(n)) for n, column in self.known.items()):
            raise DataError(
                f"{self.path} has changed since the fit, so its column `{name}` does not belong to the rows that were "
                "fitted: pass data= with the table of now."
            )
        return frame


def _entries(column: Column) -> Entries:
    values = column.at(None)
    return labels_of(values) if isinstance(values, Factor) else values


def _same(a: Column, b: Column) -> bool:
    """Whether two columns hold the same entries."""
    x, y = (_entries(column) for column in (a, b))
    if len(x) != len(y) or isinstance(a.values, Factor) != isinstance(b.values, Factor):
        return False
    return np.array_equal(x, y, equal_nan=x.dtype.kind == "f" and y.dtype.kind == "f")


def _from_name(name: str | Path) -> Table:
    place = locate(name)
    if isinstance(place, str):
        from lmmformula.datasets import load_dataset

        return _from_pandas(load_dataset(place))
    frame = read_file(place)
    return Table(frame.columns, len(frame), _FileReader(place, frame, {}), frame.index)


@dataclass(frozen=True, slots=True, eq=False)
class _MappingReader:
    data: Mapping[object, Data]
    labels: Arguments
    n_rows: int
    index: pd.Index | None

    def __call__(self, name: str) -> Column:
        raw = self.data[self.labels[name]]
        if isinstance(raw, pd.Series):
            return from_pandas(
                raw if raw.index.equals(self.index) else _in_order(raw, self.index, name), name
            )
        shape = () if _is_scalar(raw) else getattr(raw, "shape", (self.n_rows,))
        if len(shape) > 1:
            raise DataError(
                f"column `{name}` has {len(shape)} dimensions {tuple(shape)}: give each of its columns a name of its own"
            )
        if shape == () and isinstance(raw, np.ndarray):
            raw = raw.item()
        index = range(self.n_rows)
        try:
            return from_pandas(pd.Series(raw, index=index), name)
        except UnicodeError:  # not the text that pandas takes it for; read as objects, it is refused by name
            return from_pandas(pd.Series(raw, index=index, dtype=object), name)

    def kept(self, known: Mapping[str, Column]) -> _MappingReader:
        return _MappingReader(dict(self.data), self.labels, self.n_rows, self.index)

    def session(self) -> _MappingReader:
        return self


def _from_mapping(data: Mapping[object, Data]) -> Table:
    """A dict: sequences are columns, single values are repeated beside them, and are one row if there is nothing else."""
    by_text = {str(c): c for c in data}
    lengths = {name: _length(data[key], name) for name, key in by_text.items() if not _is_scalar(data[key])}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"`{name}` {n}" for name, n in lengths.items())
        raise DataError(f"columns of different length: {shown}")
    n_rows = next(iter(lengths.values()), 1 if data else 0)
    index = next((c.index for c in data.values() if isinstance(c, pd.Series)), None)
    return Table(data, n_rows, _MappingReader(data, by_text, n_rows, index), index)


def _is_scalar(raw: Data) -> bool:
    """One value: a number, text (never a column of its letters), None, an array without dimensions."""
    shape = getattr(raw, "shape", None)
    return isinstance(raw, str | bytes) or shape == () or not (shape or hasattr(raw, "__iter__"))


def _length(raw: Data, name: str) -> int:
    if isinstance(raw, set | frozenset | Mapping) or not hasattr(raw, "__len__"):
        raise DataError(
            f"column `{name}` is a {type(raw).__name__}, which has no rows in order: make it a list or an array"
        )
    return len(raw)


def _in_order(column: pd.Series, index: pd.Index | None, name: str) -> pd.Series:
    """A Series in the order of the labels of the others."""
    assert index is not None
    if not (index.is_unique and column.index.is_unique) or not index.isin(column.index).all():
        raise DataError(
            f"column `{name}` is a Series whose index differs from that of the other columns, so its values cannot be put "
            "beside theirs: give columns of one frame, or .to_numpy() if all are in the same order"
        )
    return column.reindex(index)


@dataclass(frozen=True, slots=True, eq=False)
class _NarwhalsReader:
    frame: Data

    def __call__(self, name: str) -> Column:
        return from_narwhals(self.frame[name], name)

    def kept(self, known: Mapping[str, Column]) -> _NarwhalsReader:
        import narwhals as nw

        return _NarwhalsReader(self.frame.select(nw.all()))

    def session(self) -> _NarwhalsReader:
        return self


def _from_narwhals(data: Data) -> Table:
    import narwhals as nw

    try:
        frame = nw.from_native(data, eager_only=True)
        names = frame.columns
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"the table has columns of the same name: {error}") from None
    except TypeError:
        lazy = " Collect a lazy frame first (.collect())." if hasattr(data, "collect") else ""
        raise DataError(
            f"cannot read data of type {type(data).__module__}.{type(data).__name__}: give an eager data "
            f"frame (pandas, polars, pyarrow), a dict of columns, a path to a CSV, Parquet or JSON file, or the name of a "
            f"shipped data set.{lazy}"
        ) from None
    native = nw.to_native(frame)
    if isinstance(native, pd.DataFrame):
        return _from_pandas(native)
    return Table(names, len(frame), _NarwhalsReader(frame), nw.maybe_get_index(frame))
