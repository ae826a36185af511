"""A relation of DuckDB: a table, a query, or files that it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import BATCH_ROWS, Source
from lmmformula.frame.sources.steady import source_of
from lmmformula.typing import Data, Json

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["Relation", "open_relation"]

_READERS = ("to_arrow_reader", "fetch_record_batch", "fetch_arrow_reader")
"""What DuckDB has called its stream of batches, the latest first."""
_IN_ORDER = frozenset(
    (
        "PROJECTION",
        "FILTER",
        "LIMIT",
        "STREAMING_LIMIT",
        "UNION",
        "RANGE",
        "GENERATE_SERIES",
        "UNNEST",
        "EMPTY_RESULT",
    )
)
"""Operators that give rows in the order in which they get them, beside those that scan a table or file."""


def open_relation(data: Data) -> Source | None:
    """Rows of a relation; None for anything else of DuckDB's."""
    import duckdb

    if isinstance(data, duckdb.DuckDBPyConnection):
        raise DataError(
            "data is a connection of DuckDB: pass one of its relations, connection.table('ratings') or connection.sql('...')"
        )
    return source_of(Relation(data)) if isinstance(data, duckdb.DuckDBPyRelation) else None


class Relation:
    """A query that is run anew at each pass; DuckDB reads the columns asked for, and only the rows that its filters leave.

    A connection runs one query at a time: nothing else may be run on it while rows are read.
    """

    parts = 1
    name = "a DuckDB query"
    advice = (
        "pass a table made of it (CREATE TABLE ... AS) or a file (relation.write_parquet('rows.parquet'))"
    )

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self.relation = relation

    @cached_property
    def schema(self) -> pa.Schema:
        import duckdb

        try:
            table = self.relation.limit(0).to_arrow_table()
        except duckdb.Error as error:
            raise DataError(_failed(error)) from error
        return table.schema.remove_metadata()

    @property
    def keeps_order(self) -> bool:
        """Whether scans, filters and the like are all that its plan has, on a connection that keeps the order of those."""
        import duckdb

        setting = "CASE WHEN count(*) = 0 THEN current_setting('preserve_insertion_order') END"
        try:
            operators = list(self._operators())
            told = self.relation.limit(0).aggregate(setting).fetchall()
        except duckdb.Error as error:
            raise DataError(_failed(error)) from error
        return bool(operators and told[0][0]) and all(
            name in _IN_ORDER or name.endswith("_SCAN") or name.startswith("READ_") for name in operators
        )

    @property
    def lazy(self) -> duckdb.DuckDBPyRelation:
        """What can be grouped where it is."""
        return self.relation

    def again(self, lazy: duckdb.DuckDBPyRelation) -> Relation:
        """What was made of it."""
        return Relation(lazy)

    def make(self, columns: list[str], part: int) -> Iterator[pa.RecordBatch]:
        import duckdb

        wanted = ", ".join(_quoted(name) for name in columns) or "1"
        try:
            rows = self.relation.project(wanted)
            reader = next(name for name in _READERS if hasattr(rows, name))
            for batch in getattr(rows, reader)(BATCH_ROWS):
                yield batch.select(columns)
        except duckdb.Error as error:
            raise DataError(_failed(error)) from error

    def _operators(self) -> Iterator[str]:
        """Names of the operators of its plan."""
        try:
            plan = self.relation.explain("standard", "json")
        except TypeError:  # DuckDB 1 draws boxes, whose first line is the name
            lines = self.relation.explain().splitlines()
            for border, line in pairwise(lines):
                if "┌" in border:
                    yield from re.findall(r"[A-Z][A-Z_]+", line)
        else:
            yield from _named(json.loads(plan))


def _named(plan: Json) -> Iterator[str]:
    for node in plan if isinstance(plan, list) else [plan]:
        if name := node.get("name", "").strip():
            yield name
        yield from _named(node.get("children", []))


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _failed(error: Exception) -> str:
    return f"DuckDB cannot run the query: {error}"
