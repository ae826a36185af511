"""Tables that the command line reads and writes: files, shipped data sets, standard input."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmmformula.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Source", "check_folder", "check_page", "is_parquet", "open_source", "write_table"]

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows for a command.

    Attributes
    ----------
    data : path or DataFrame
        What the package reads.
    text : bytes or None
        What came in on standard input.
    """

    data: Any
    text: bytes | None = None

    def as_written(self) -> pd.DataFrame:
        """The columns as text, to be written back as they were; of a table with types, as they are."""
        import pandas as pd

        from lmmformula.frame.table import separator_of

        if self.text is None and (not isinstance(self.data, Path) or is_parquet(self.data)):
            return pd.read_parquet(self.data) if isinstance(self.data, Path) else self.data
        where = self.data if self.text is None else io.BytesIO(self.text)
        separator = separator_of(self.data) if isinstance(self.data, Path) else ","
        return pd.read_csv(where, sep=separator, dtype=str, keep_default_na=False)

    def typed(self) -> pd.DataFrame:
        """The columns with their types."""
        from lmmformula.frame.table import read_file

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
    if Path(name).is_file():
        _refuse_other_separators(Path(name))
        return Source(Path(name))
    from lmmformula.datasets import dataset_names, load_dataset

    if name in dataset_names():
        return Source(load_dataset(name))
    raise DataError(
        f"--data {name!r} is neither a file nor a data set of the package; `lmmformula datasets` lists those."
    )


def _refuse_other_separators(path: Path) -> None:
    """A CSV file whose first line has semicolons or tabs and no comma would be read as one column."""
    if path.suffix.lower() != ".csv":
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(100_000)
    other = next((mark for mark in (";", "\t") if mark in header), None)
    if other is not None and "," not in header:
        what, cure = ("semicolons", "") if other == ";" else ("tabs", ", or name it .tsv")
        raise DataError(
            f"{path}: columns are separated by {what}, and a .csv file is read by commas. Write it with commas (and decimal "
            f"points){cure}; in Python, pass what pandas.read_csv(path, sep={other!r}) reads, with decimal=',' if need be."
        )


def _standard_input() -> Source:
    from lmmformula.frame.table import read_csv

    text = sys.stdin.buffer.read()
    try:
        return Source(read_csv(io.BytesIO(text)), text)
    except ValueError as error:
        raise DataError(f"cannot read CSV from standard input ({len(text):,} bytes): {error}") from error


def is_parquet(path: str | Path) -> bool:
    """Whether the name of a file says Parquet."""
    return Path(path).suffix.lower() in (".parquet", ".pq")


def check_folder(flag: str, path: str | None) -> None:
    """Refuse a file whose folder does not exist before an hour's work would go into it."""
    if path and not Path(path).absolute().parent.is_dir():
        raise DataError(f"{flag} {path}: the folder {Path(path).parent} does not exist; make it first.")


def check_page(flag: str, path: str | None) -> None:
    """Refuse a page of HTML under a name that says otherwise, lest it replace a table."""
    check_folder(flag, path)
    if path and Path(path).suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{flag} {path}: a report is a page of HTML; end its name in .html.")


def write_table(table: pd.DataFrame, path: str | None) -> None:
    """To a CSV or Parquet file by its name, or to standard output."""
    if path and is_parquet(path):
        table.to_parquet(path, index=False)
    else:
        table.to_csv(
            path or sys.stdout, index=False, sep="\t" if path and ".tsv" in Path(path).suffixes else ","
        )
