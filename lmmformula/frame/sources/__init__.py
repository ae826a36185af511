"""Rows that are read a batch at a time: files of Parquet, datasets, queries and frames that are not in memory."""

from lmmformula.frame.sources.arrow import table_of
from lmmformula.frame.sources.base import BATCH_ROWS, RowWorkers, Source, workers_of
from lmmformula.frame.sources.registry import open_source, register_source
from lmmformula.frame.sources.sampling import sampled

__all__ = [
    "BATCH_ROWS",
    "RowWorkers",
    "Source",
    "open_source",
    "register_source",
    "sampled",
    "table_of",
    "workers_of",
]
