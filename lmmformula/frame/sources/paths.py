"""Which files a path, a glob, a folder or a list of those means, and which of them are read as rows that need not fit."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lmmformula.errors import DataError
from lmmformula.frame.files import is_parquet
from lmmformula.frame.sources.base import Source
from lmmformula.frame.sources.parquet import Key, ParquetRows, Unread, read_footers
from lmmformula.memory import available_memory
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["are_paths", "open_paths"]

_SHARE = 12
"""A file is read as a whole if this many times its size is available: the table and what is made of it take three times
that, and a quarter of the memory may go there."""
_NOWHERE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and all who followed it write for a missing key."""


def are_paths(data: Data) -> bool:
    """Whether it is a path or a list of those."""
    if isinstance(data, list | tuple):
        return bool(data) and all(isinstance(item, str | os.PathLike) for item in data)
    return isinstance(data, str | os.PathLike)


def open_paths(data: Data) -> Source | None:
    """Parquet behind paths; None for one path that is read as a whole, or that names no file or folder.

    Raises
    ------
    DataError
        If no file matches or none is Parquet, and as :func:`lmmformula.frame.sources.parquet.read_footers`.
    """
    if not isinstance(data, list | tuple):
        return _open_one(os.fspath(data))
    given = [os.fspath(item) for item in data]
    files: list[str] = []
    for one in given:
        is_one = not _is_glob(one) and not os.path.isdir(one)
        files += [one] if is_one else [file for file, _ in _matching(one)]
    base = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    return _opened(_named(given, len(files)), [(file, os.path.relpath(file, base)) for file in files])


def _open_one(path: str) -> Source | None:
    if _is_glob(path) or _is_folder(path):
        return _opened(path, _matching(path), count=True)
    if not is_parquet(path) or not _is_file(path):
        return None
    source = _opened(path, [(path, "")])
    return None if _held(source) * _SHARE < available_memory() else source


def _is_folder(path: str) -> bool:
    try:
        is_folder = os.path.isdir(path)
    except ValueError:
        return False
    if not is_folder or os.sep in path or Path(path).suffix:
        return is_folder
    from lmmformula.datasets import dataset_names

    return path not in dataset_names()


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:
        return False


def _is_glob(path: str) -> bool:
    """Whether it has wildcards; a file of that very name has the right of way."""
    return glob.has_magic(path) and not os.path.lexists(path)


def _named(given: list[str], n: int) -> str:
    """``a.parquet, b.parquet`` or, of many, ``a.parquet, b.parquet, c.parquet, ... (12 files)``."""
    shown = ", ".join(given[:3]) + (", ..." if len(given) > 3 else "")
    return f"{shown} ({n} files)" if n > 3 else shown


def _matching(path: str) -> list[tuple[str, str]]:
    """Files that a glob or a folder means, sorted by name, each with the part of its name that may hold keys.

    Names that begin with a dot or an underscore are none of the data, as Hive, Spark and Arrow have it.
    """
    if _is_glob(path):
        expanded = os.path.expanduser(path)
        hits = glob.glob(expanded, recursive=True)
        base = _fixed(expanded)
        files = [file for hit in hits for file in (_below(hit, base) if os.path.isdir(hit) else [hit])]
        files = [file for file in dict.fromkeys(files) if not _is_hidden(file, base)]
        if not files:
            raise DataError(f"no file matches {path}{_instead(path, base)}")
        return [(file, os.path.relpath(file, base)) for file in sorted(files)]
    files = sorted(_below(path, path))
    if not files:
        raise DataError(f"the folder {path} holds no Parquet files{_instead_of(path)}")
    return [(file, os.path.relpath(file, path)) for file in files]


def _fixed(pattern: str) -> str:
    """The folder of a glob before its first wildcard."""
    parts = Path(pattern).parts
    magic = next(k for k, part in enumerate(parts) if glob.has_magic(part))
    return os.path.join(*parts[:magic]) if magic else os.curdir


def _below(folder: str, base: str) -> list[str]:
    """Files of Parquet in a folder and those in it."""
    found = []
    for at, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith((".", "_"))]
        found += [os.path.join(at, file) for file in files if is_parquet(file)]
    return [file for file in found if not _is_hidden(file, base)]


def _is_hidden(file: str, base: str) -> bool:
    return any(
        part.startswith((".", "_")) for part in Path(os.path.relpath(file, base)).parts if part != ".."
    )


def _instead(pattern: str, base: str) -> str:
    if not os.path.isdir(base):
        return f": there is no folder {base}"
    return ""


def _instead_of(folder: str) -> str:
    suffixes = Counter(
        Path(file).suffix or "without a suffix" for _, _, files in os.walk(folder) for file in files
    )
    if not suffixes:
        return ": it is empty"
    shown = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
    return f" (names that end in .parquet or .pq), but {shown}"


def _opened(name: str, found: list[tuple[str, str]], *, count: bool = False) -> ParquetRows:
    try:
        from pyarrow.fs import LocalFileSystem
    except ImportError as error:
        raise DataError(
            "files of Parquet are read by pyarrow, which is not installed: pip install 'lmmformula[parquet]'"
        ) from error
    keys = [_keys(path) for _, path in found]
    fields = {field.name: field for field in _key_fields(keys)}
    files = [
        Unread(os.path.abspath(path), {name: _typed(own.get(name), field) for name, field in fields.items()})
        for (path, _), own in zip(found, keys, strict=True)
    ]
    if count:
        name += f" ({len(files)} file{'s' if len(files) > 1 else ''})"
    return read_footers(name, files, LocalFileSystem(), list(fields.values()))


def _keys(path: str) -> dict[str, str | None]:
    """Columns that the folders of a path say: ``year=2023/month=4/part-0.parquet``."""
    pairs = (part.partition("=") for part in Path(path).parts[:-1] if "=" in part)
    return {unquote(key): None if value == _NOWHERE else unquote(value) for key, _, value in pairs}


def _key_fields(keys: list[dict[str, str | None]]) -> Iterable[pa.Field]:
    """A column for each key: whole numbers if all its values are, text otherwise."""
    import pyarrow as pa

    for name in dict.fromkeys(key for own in keys for key in own):
        values = [value for own in keys if (value := own.get(name)) is not None]
        whole = bool(values) and all(_is_whole(value) for value in values)
        yield pa.field(name, pa.int64() if whole else pa.string())


def _typed(value: str | None, field: pa.Field) -> Key:
    import pyarrow as pa

    return int(value) if value is not None and pa.types.is_integer(field.type) else value


def _is_whole(value: str) -> bool:
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19


def _held(source: ParquetRows) -> float:
    """Bytes of all columns in memory, at least: by value where the files hold less, as repetitions take no place there."""
    import pyarrow as pa

    widths = sum(
        field.type.bit_width / 8 if pa.types.is_primitive(field.type) else 8.0 for field in source.schema
    )
    return max(widths * source.n_rows, 2.0 * sum(source.bytes.values()))
