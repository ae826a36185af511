"""Rows in files of Parquet, on any file system that pyarrow reads.

The footers of all files are read once, when they are opened: rows, row groups, bytes and the type of every column. A part is
a row group. A pass reads file after file through buffered streams, a page of each column at a time, and decodes batches in a
thread of its own, two ahead of whoever uses them: memory does not depend on how large the row groups are, which some writers
make as large as the file (Arrow's scanner of datasets holds two row groups).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, ahead, checked_names, gathered, told
from lmmformula.frame.sources.types import in_words, joined

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.fs import FileSystem

__all__ = ["Key", "ParquetFile", "ParquetRows", "Unread", "read_footers"]

Key: TypeAlias = str | int | float | bool | None
"""What a folder says of its rows."""
_BUFFER = 2**20
"""Bytes of each column that are read at once."""
_LARGE, _FEWER = 2**17, 4
"""Bytes of a dictionary from which on rows are read as many batches at a time: it is decoded anew for each of them."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file of which no more is known than where it is.

    Attributes
    ----------
    path : str
        On its file system.
    keys : mapping
        Values of columns that its folders say of all its rows (hive partitions).
    """

    path: str
    keys: Mapping[str, Key]


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """What the footer of a file says.

    Attributes
    ----------
    path : str
    keys : mapping
        Values of columns that its folders say of all its rows; those that it has itself have the right of way.
    groups : tuple of int
        Rows of each row group.
    shape : int
        Which of the schemas it has.
    size, mtime_ns : int or None
        Bytes and time of the last change when it was opened.
    """

    path: str
    keys: Mapping[str, Key]
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
        if part is None:
            rows = (batch for file in self.files for batch in self._read(file, columns, None))
        else:
            file, group = self._part(part)
            rows = self._read(file, columns, group)
        return told(ahead(gathered(rows)), self.n_rows, self.size(columns), is_pass=part is None)

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

    def _read(self, file: ParquetFile, columns: list[str], group: int | None) -> Iterator[pa.RecordBatch]:
        """Rows of a file, or of one of its row groups."""
        import pyarrow as pa

        wanted = pa.schema([self.schema.field(name) for name in columns])
        inside = [name for name in columns if name in self.shapes[file.shape].names]
        try:
            for batch in self._decoded(file, inside, group):
                yield _completed(batch, wanted, file)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            self.unchanged()  # which says why, if the file is another one by now
            raise DataError(_unreadable(file.path, error)) from error

    def _decoded(self, file: ParquetFile, columns: list[str], group: int | None) -> Iterator[pa.RecordBatch]:
        """Columns that a file has; batches without columns but with rows, if it has none of them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not columns:
            for rows in file.groups if group is None else (file.groups[group],):
                yield pa.record_batch([pa.nulls(rows)], ["rows"]).select([])
            return
        if not file.n_rows:
            return
        with self.filesystem.open_input_file(file.path) as stream:
            reader = pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
            groups = None if group is None else [group]
            rows = BATCH_ROWS * (_FEWER if _large_dictionaries(reader, columns, group or 0) else 1)
            for batch in reader.iter_batches(rows, row_groups=groups, columns=columns):
                yield batch.select(columns)


def _large_dictionaries(reader: pq.ParquetFile, columns: Sequence[str], group: int) -> bool:
    """Whether categories of a column would be a good part of each batch: all of them come with every one."""
    from pyarrow import types

    told, schema = reader.metadata.row_group(group), reader.schema_arrow
    for j in range(told.num_columns):
        chunk = told.column(j)
        name = chunk.path_in_schema
        if name in columns and name in schema.names and types.is_dictionary(schema.field(name).type):
            first = chunk.dictionary_page_offset
            if first is not None and chunk.data_page_offset - first > _LARGE:
                return True
    return False


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
        found.append(ParquetFile(file.path, file.keys, groups, shapes.index(schema), size, mtime_ns))
    if not any(file.n_rows for file in found):
        raise DataError(f"{name} has no rows")
    first = [next(file.path for file in found if file.shape == k) for k in range(len(shapes))]
    fields, conflicts = _joined(shapes, first)
    known = {field.name for field in fields}
    schema = pa.schema([*fields, *(key for key in keys if key.name not in known)])
    return ParquetRows(name, schema, tuple(found), tuple(shapes), filesystem, sizes, conflicts)


def _footer(path: str, filesystem: FileSystem, sizes: dict[str, int]) -> tuple[pa.Schema, tuple[int, ...]]:
    """Columns and rows of each row group of a file; `sizes` gains the bytes of each column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with filesystem.open_input_file(path) as stream:
            reader = pq.ParquetFile(stream)
            footer, schema = reader.metadata, reader.schema_arrow.remove_metadata()
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


def _completed(batch: pa.RecordBatch, wanted: pa.Schema, file: ParquetFile) -> pa.RecordBatch:
    """Columns in the types of all files, and those that the folders of the file say."""
    import pyarrow as pa

    if batch.schema.equals(wanted) and wanted.names:
        return batch
    columns = []
    for field in wanted:
        if field.name in batch.schema.names:
            columns.append(_cast(batch.column(field.name), field, file.path))
        else:
            columns.append(_repeated(file.keys.get(field.name), field.type, batch.num_rows))
    return pa.record_batch(columns, schema=wanted) if columns else batch


def _cast(column: pa.Array, field: pa.Field, path: str) -> pa.Array:
    import pyarrow as pa

    try:
        return column if column.type.equals(field.type) else column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column `{field.name}` is {in_words(column.type)} in {path} and {in_words(field.type)} beside other files, which "
            f"cannot hold all its values ({error}): write it with one type into all files"
        ) from error


def _repeated(value: Key, kind: pa.DataType, rows: int) -> pa.Array:
    """A column of one value."""
    import pyarrow as pa

    if value is None:
        return pa.nulls(rows, kind)
    if pa.types.is_dictionary(kind):
        codes = pa.repeat(pa.scalar(0, kind.index_type), rows)
        return pa.DictionaryArray.from_arrays(codes, pa.array([value], kind.value_type), ordered=kind.ordered)
    return pa.repeat(pa.scalar(value, kind), rows)


def _unreadable(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such file: {path}"
    if isinstance(error, PermissionError):
        return f"cannot read {path}: you have no right to read it"
    said = " ".join(str(error).split())
    return f"cannot read {path}: it is no Parquet, was cut off, or is damaged ({said})"
