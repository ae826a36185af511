"""Rows in files of Parquet, on any file system that pyarrow reads.

The footers of all files are read once, when they are opened: rows, row groups, bytes and the type of every column. A part is
a row group. A pass scans runs of files that have the same columns; decoding runs ahead by a batch or two in threads of Arrow,
and column chunks are not fetched before they are needed, which keeps the memory of a pass to about two row groups of the
columns asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import and_
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, checked_names, gathered, told
from lmmformula.frame.sources.types import in_words, joined

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import FileSystem

__all__ = ["ParquetFile", "ParquetRows", "Unread", "read_footers"]


@dataclass(frozen=True, slots=True)
class Unread:
    """A file of which no more is known than where it is.

    Attributes
    ----------
    path : str
        On its file system.
    said : tuple of (str, pyarrow.dataset.Expression)
        What its folders say of all its rows (hive partitions), by the column that it is of.
    """

    path: str
    said: tuple[tuple[str, ds.Expression], ...] = ()


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """What the footer of a file says.

    Attributes
    ----------
    path : str
    guarantee : pyarrow.dataset.Expression
        What its folders say of the columns that it has not itself.
    groups : tuple of int
        Rows of each row group.
    shape : int
        Which of the schemas it has.
    size, mtime_ns : int or None
        Bytes and time of the last change when it was opened.
    """

    path: str
    guarantee: ds.Expression
    groups: tuple[int, ...]
    shape: int
    size: int | None
    mtime_ns: int | None

    @property
    def n_rows(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True, slots=True, eq=False)
class ParquetRows:
    """Files of Parquet below each other, as a :class:`lmmformula.frame.sources.Source`.

    Attributes
    ----------
    name : str
    schema : pyarrow.Schema
        Columns of all files, each with the type that holds its values in all of them.
    files : tuple of ParquetFile
    shapes : tuple of pyarrow.Schema
        Schemas that occur among the files.
    filesystem : pyarrow.fs.FileSystem
    bytes : mapping
        Compressed bytes by column.
    conflicts : mapping
        What to say of a column that is not the same in all files.
    """

    name: str
    schema: pa.Schema
    files: tuple[ParquetFile, ...]
    shapes: tuple[pa.Schema, ...]
    filesystem: FileSystem
    bytes: Mapping[str, int]
    conflicts: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.schema.names)

    @property
    def n_rows(self) -> int:
        return sum(file.n_rows for file in self.files)

    @property
    def parts(self) -> int:
        return sum(len(file.groups) for file in self.files)

    def size(self, names: Sequence[str]) -> float:
        return float(sum(self.bytes.get(name, 0) for name in self._checked(names)))

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        columns = self._checked(names)
        size = self.size(columns)
        if part is None:
            rows = gathered(self._scanned(self.files, columns, None))
        else:
            file, group = self._part(part)
            rows = gathered(self._scanned((file,), columns, [group]))
        return told(rows, self.n_rows, size, is_pass=part is None)

    def unchanged(self) -> None:
        for file, (size, mtime_ns) in zip(
            self.files, _states([file.path for file in self.files], self.filesystem), strict=True
        ):
            if size is None:
                raise DataError(f"{file.path} is no longer there: it was removed while its rows were in use")
            if (size, mtime_ns) != (file.size, file.mtime_ns):
                was = f"{file.size:,} bytes then, {size:,} now" if size != file.size else "at another time"
                raise DataError(
                    f"{file.path} was written to while its rows were in use ({was}), so that passes over the data did not see "
                    "the same rows: fit again when nothing writes there any more"
                )

    def _checked(self, names: Sequence[str]) -> list[str]:
        columns = checked_names(names, self.names, self.name)
        for name in columns:
            if name in self.conflicts:
                raise DataError(self.conflicts[name])
        return columns

    def _part(self, part: int) -> tuple[ParquetFile, int]:
        left = part
        for file in self.files:
            if left < len(file.groups):
                return file, left
            left -= len(file.groups)
        raise IndexError(f"part {part} of {self.parts}")

    def _scanned(
        self, files: Sequence[ParquetFile], columns: list[str], groups: list[int] | None
    ) -> Iterator[pa.RecordBatch]:
        """Files in order; those with the same columns in one scan, so that one is decoded while the next is opened."""
        import pyarrow as pa

        wanted = pa.schema([self.schema.field(name) for name in columns])
        for shape, run in groupby(files, key=lambda file: file.shape):
            of_run = tuple(run)
            read = 0
            try:
                for batch in self._scanner(of_run, shape, columns, groups).to_batches():
                    read += batch.num_rows
                    yield (
                        batch
                        if batch.schema.equals(wanted)
                        else _cast(batch, wanted, of_run[_where(of_run, read - 1)].path)
                    )
            except (pa.ArrowException, OSError, UnicodeError) as error:
                raise DataError(_unreadable(self._culprit(of_run, read, columns, groups), error)) from error

    def _culprit(
        self, files: Sequence[ParquetFile], read: int, columns: list[str], groups: list[int] | None
    ) -> str:
        """Which file cannot be read: that of the row after the first `read` ones, or one that was opened ahead of it."""
        import pyarrow as pa

        at = _where(files, read)
        for file in files[at:]:
            try:
                for _ in self._scanner((file,), file.shape, columns, groups).to_batches():
                    pass
            except (pa.ArrowException, OSError, UnicodeError):
                return file.path
        return files[at].path

    def _scanner(
        self, files: Sequence[ParquetFile], shape: int, columns: list[str], groups: list[int] | None
    ) -> ds.Scanner:
        import pyarrow as pa
        import pyarrow.dataset as ds

        form = ds.ParquetFileFormat()
        fragments = [
            form.make_fragment(
                file.path, self.filesystem, partition_expression=file.guarantee, row_groups=groups
            )
            for file in files
        ]
        physical = self.shapes[shape]
        fields = [
            physical.field(name) if name in physical.names else self.schema.field(name) for name in columns
        ]
        dataset = ds.FileSystemDataset(fragments, pa.schema(fields), form, self.filesystem)
        return dataset.scanner(
            columns=columns,
            batch_size=BATCH_ROWS,
            batch_readahead=2,
            fragment_readahead=1,
            fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False),
        )


def read_footers(
    name: str, files: Sequence[Unread], filesystem: FileSystem, keys: Sequence[pa.Field] = ()
) -> ParquetRows:
    """Open files of Parquet, in this order.

    Parameters
    ----------
    name : str
    files : sequence of Unread
    filesystem : pyarrow.fs.FileSystem
    keys : sequence of pyarrow.Field
        Columns that the folders say and not the files.

    Raises
    ------
    DataError
        If there is no row, or for a file that cannot be read or is no Parquet.
    """
    import pyarrow as pa

    states = _states([file.path for file in files], filesystem)
    shapes: list[pa.Schema] = []
    found: list[ParquetFile] = []
    sizes: dict[str, int] = {}
    for file, (size, mtime_ns) in zip(files, states, strict=True):
        schema, groups = _footer(file.path, filesystem, sizes)
        if schema not in shapes:
            shapes.append(schema)
        guarantee = _all(said for column, said in file.said if column not in schema.names)
        found.append(ParquetFile(file.path, guarantee, groups, shapes.index(schema), size, mtime_ns))
    if not any(file.n_rows for file in found):
        raise DataError(f"{name} has no rows")
    first = [next(file.path for file in found if file.shape == k) for k in range(len(shapes))]
    fields, conflicts = _joined(shapes, first)
    known = {field.name for field in fields}
    schema = pa.schema([*fields, *(key for key in keys if key.name not in known)])
    return ParquetRows(name, schema, tuple(found), tuple(shapes), filesystem, sizes, conflicts)


def _all(said: Iterable[ds.Expression]) -> ds.Expression:
    import pyarrow.dataset as ds

    return reduce(and_, said, ds.scalar(True))


def _footer(path: str, filesystem: FileSystem, sizes: dict[str, int]) -> tuple[pa.Schema, tuple[int, ...]]:
    """Columns and rows of each row group of a file; `sizes` gains the bytes of each column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with filesystem.open_input_file(path) as stream:
            footer = pq.ParquetFile(stream).metadata
        schema = footer.schema.to_arrow_schema().remove_metadata()
    except (pa.ArrowException, OSError) as error:
        raise DataError(_unreadable(path, error)) from error
    groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
    for group in groups:
        for j in range(group.num_columns):
            chunk = group.column(j)
            column = (
                chunk.path_in_schema if chunk.path_in_schema in schema.names else _top(chunk.path_in_schema)
            )
            sizes[column] = sizes.get(column, 0) + chunk.total_compressed_size
    return schema, tuple(group.num_rows for group in groups)


def _top(path: str) -> str:
    """The column that a nested path is in."""
    return path.partition(".")[0]


def _states(paths: list[str], filesystem: FileSystem) -> list[tuple[int | None, int | None]]:
    """Bytes and time of the last change of files; None for what is no file or is not told."""
    import pyarrow as pa

    try:
        return [(info.size, info.mtime_ns) for info in filesystem.get_file_info(paths)]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot look at {paths[0]} and the files beside it: {error}") from error


def _joined(shapes: Sequence[pa.Schema], first: Sequence[str]) -> tuple[list[pa.Field], dict[str, str]]:
    """Columns of all files in order of first appearance, and what to say of those that are not the same everywhere.

    `first` has a file of each shape.
    """
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    conflicts: dict[str, str] = {}
    twice: list[pa.Field] = []
    where: dict[str, str] = {}
    for shape, path in zip(shapes, first, strict=True):
        for field in shape:
            if shape.names.count(field.name) > 1:
                twice += [field] if field not in twice else []
            elif field.name not in fields:
                fields[field.name], where[field.name] = pa.field(field.name, field.type), path
            elif field.name not in conflicts:
                both = joined(fields[field.name].type, field.type)
                if both is None:
                    conflicts[field.name] = (
                        f"column `{field.name}` is {in_words(fields[field.name].type)} in {where[field.name]} and "
                        f"{in_words(field.type)} in {path}: write it with one type into all files"
                    )
                else:
                    fields[field.name] = pa.field(field.name, both)
    for name in fields:
        lacking = next(
            (path for shape, path in zip(shapes, first, strict=True) if name not in shape.names), None
        )
        if lacking is not None:
            conflicts.setdefault(
                name,
                f"column `{name}` is in {where[name]} and not in {lacking}: write it into all files, or leave out those "
                "that lack it",
            )
    return [*fields.values(), *twice], conflicts


def _cast(batch: pa.RecordBatch, wanted: pa.Schema, path: str) -> pa.RecordBatch:
    """Columns in the types of all files; `path` is the file that they are from."""
    import pyarrow as pa

    columns = []
    for column, field in zip(batch.columns, wanted, strict=True):
        try:
            columns.append(column if column.type.equals(field.type) else column.cast(field.type))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"column `{field.name}` is {in_words(column.type)} in {path} and {in_words(field.type)} beside other files, "
                f"which cannot hold all its values ({error}): write it with one type into all files"
            ) from error
    return pa.record_batch(columns, schema=wanted)


def _where(files: Sequence[ParquetFile], read: int) -> int:
    """Position of the file in which the row after the first `read` ones is."""
    for k, file in enumerate(files):
        if read < file.n_rows:
            return k
        read -= file.n_rows
    return len(files) - 1


def _unreadable(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such file: {path}"
    if isinstance(error, PermissionError):
        return f"cannot read {path}: you have no right to read it"
    said = " ".join(str(error).split())
    return f"cannot read {path}: it is no Parquet, was cut off, or is damaged ({said})"
