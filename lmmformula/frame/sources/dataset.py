"""A ``pyarrow.dataset.Dataset``: of Parquet files, or whatever else Arrow scans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, Source, checked_names, gathered, told
from lmmformula.frame.sources.parquet import Unread, read_footers
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

__all__ = ["DatasetRows", "open_dataset"]


def open_dataset(data: Data) -> Source | None:
    """Rows of a Dataset; None for anything else of Arrow's."""
    import pyarrow.dataset as ds

    if not isinstance(data, ds.Dataset):
        return None
    fragments = _fragments(data)
    if (
        isinstance(data, ds.FileSystemDataset)
        and fragments
        and all(isinstance(fragment, ds.ParquetFileFragment) for fragment in fragments)
    ):
        n = len(fragments)
        files = [
            Unread(fragment.path, ds.get_partition_keys(fragment.partition_expression))
            for fragment in fragments
        ]
        return read_footers(
            f"a dataset of {n} Parquet file{'s' if n > 1 else ''}", files, data.filesystem, list(data.schema)
        )
    return DatasetRows(data)


def _fragments(data: ds.Dataset) -> list[ds.Fragment] | None:
    """Parts of a dataset; None of one with a filter, whose parts Arrow does not tell."""
    try:
        return list(data.get_fragments())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class DatasetRows:
    """Any dataset of Arrow as a :class:`lmmformula.frame.sources.Source`; it is one part, and its filter stays in force."""

    dataset: ds.Dataset

    @property
    def name(self) -> str:
        return f"a pyarrow {type(self.dataset).__name__}"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.dataset.schema.names)

    @property
    def n_rows(self) -> None:
        return None

    @property
    def parts(self) -> int:
        return 1

    def size(self, names: Sequence[str]) -> None:
        checked_names(names, self.names, self.name)

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[pa.RecordBatch]:
        columns = checked_names(names, self.names, self.name)
        return told(gathered(self._scanned(columns)), None, None, is_pass=part is None)

    def _scanned(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        try:
            yield from self.dataset.scanner(
                columns=columns, batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1
            ).to_batches()
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise DataError(f"cannot read {self.name}: {' '.join(str(error).split())}") from error

    def unchanged(self) -> None:
        """Arrow tells nothing of it."""
