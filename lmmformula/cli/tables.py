"""Tables that the command line reads and writes: files, shipped data sets, standard input."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.files import whole_file

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.typing import Data

__all__ = [
    "Source",
    "check_folder",
    "check_page",
    "check_table",
    "has_types",
    "open_source",
    "write_table",
]

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows for a command.

    Attributes
    ----------
    data : path, text or DataFrame
        What the package reads; text for a folder or pattern of files, whose rows are read a batch at a time.
    text : bytes or None
        What came in on standard input.
    """

    data: Data
    text: bytes | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the rows are read a batch at a time."""
        return isinstance(self.data, str)

    def as_written(self) -> pd.DataFrame:
        """The columns as text, to be written back as they were; of a table with types, as they are."""
        import pandas as pd

        from lmmformula.frame.files import is_json, is_parquet, separator_of

        if self.text is None and (
            not isinstance(self.data, Path) or is_parquet(self.data) or is_json(self.data)
        ):
            return self.typed()
        where = self.data if self.text is None else io.BytesIO(self.text)
        separator = separator_of(self.data) if isinstance(self.data, Path) else ","
        return pd.read_csv(where, sep=separator, dtype=str, keep_default_na=False)

    def typed(self) -> pd.DataFrame:
        """The columns with their types."""
        from lmmformula.frame.files import read_file

        return read_file(self.data) if isinstance(self.data, Path) else self.data


def open_source(name: str) -> Source:
    """A path that exists, standard input, or a shipped data set.

    Raises
    ------
    DataError
        If `name` is none of these.
    """
    if name == STANDARD_INPUT:
        return _standard_input()
    from lmmformula.datasets import load_dataset
    from lmmformula.frame.files import locate
    from lmmformula.frame.sources import open_source as open_rows

    if open_rows(name) is not None:
        return Source(name)
    try:
        place = locate(name)
    except DataError as error:
        raise DataError(
            f"--data {name!r} is neither a file nor a data set of the package ({error}); `lmmformula datasets` lists those."
        ) from None
    return Source(load_dataset(place) if isinstance(place, str) else place)


def _standard_input() -> Source:
    from lmmformula.frame.files import read_csv

    if sys.stdin is None:
        raise DataError("--data -: standard input is closed; pipe CSV into the command, or name a file.")
    text = sys.stdin.buffer.read()
    try:
        return Source(read_csv(io.BytesIO(text)), text)
    except ValueError as error:
        raise DataError(f"cannot read CSV from standard input ({len(text):,} bytes): {error}") from error


def check_folder(flag: str, path: str | None) -> None:
    """Refuse a file whose folder does not exist before an hour's work would go into it."""
    if path and not Path(path).absolute().parent.is_dir():
        raise DataError(f"{flag} {path}: the folder {Path(path).parent} does not exist; make it first.")


def check_page(flag: str, path: str | None) -> None:
    """Refuse a page of HTML under a name that says otherwise, lest it replace a table."""
    check_folder(flag, path)
    if path and Path(path).suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{flag} {path}: a report is a page of HTML; end its name in .html.")


def check_table(flag: str, path: str | None) -> None:
    """Refuse the name of a table whose folder does not exist, or whose suffix means a format that is not written."""
    check_folder(flag, path)
    if path and _format(path) is None:
        raise DataError(
            f"{flag} {path}: no table is written as {Path(path).suffix}. End the name in .csv or .tsv (also .gz), "
            ".parquet, .json (a list of records) or .jsonl (a record a line)."
        )


_FORMATS = {
    "": "csv",
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "lines",
    ".ndjson": "lines",
}
_PACKED = (".gz", ".bz2", ".xz", ".zst")


def _format(path: str | None) -> str | None:
    """What the name of a file says it holds; None if that is nothing we write."""
    name = Path(path or "")
    if name.suffix.lower() not in _PACKED:
        return _FORMATS.get(name.suffix.lower())
    inner = _FORMATS.get(Path(name.stem).suffix.lower())
    return inner if inner in ("csv", "tsv") else None


def has_types(path: str | None) -> bool:
    """Whether the file knows numbers from text, so that rows go into it with their types."""
    return _format(path) in ("parquet", "json", "lines")


def write_table(table: pd.DataFrame, path: str | None) -> None:
    """To standard output as CSV, or to a file in the format of its name, whole or not at all.

    A table that goes into a pipe is UTF-8, as files are, whatever the terminal can show.
    """
    if not path:
        if sys.stdout is not None:  # it is None where the caller has closed it
            if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(encoding="utf-8")  # pyright: ignore[reportAttributeAccessIssue]
            table.to_csv(sys.stdout, index=False)
        return
    written = _format(path)
    with whole_file(path) as file:
        if written == "parquet":
            table.to_parquet(file, index=False)
        elif written in ("json", "lines"):
            _write_records(table, file, lines=written == "lines")
        else:
            table.to_csv(file, index=False, sep="\t" if written == "tsv" else ",")


def _write_records(table: pd.DataFrame, path: Path, *, lines: bool) -> None:
    """A JSON object a row, each on a line of its own; numbers have all their digits, what is missing is null."""
    from lmmformula.cli.records import plain

    columns = [table[name].astype(object).where(table[name].notna(), None).tolist() for name in table.columns]
    names = [str(name) for name in table.columns]
    rows = (
        json.dumps(plain(dict(zip(names, row, strict=True))), ensure_ascii=False, allow_nan=False)
        for row in zip(*columns, strict=True)
    )
    before, between, after = ("", "\n", "\n") if lines else ("[\n", ",\n", "\n]\n")
    with path.open("w", encoding="utf-8") as file:
        file.write(before)
        for i, row in enumerate(rows):
            file.write(row if i == 0 else between + row)
        file.write(after if len(table) or not lines else "")
