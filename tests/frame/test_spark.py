"""What is asked of a DataFrame of PySpark, by a stand-in; `benchmarks/spark.py` asks PySpark itself."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, fit
from lmmformula.frame.sources import open_source
from lmmformula.frame.sources.steady import CopiedRows, SteadyRows

pa = pytest.importorskip("pyarrow")


class Plan:
    """What Spark says of a query."""

    def __init__(self, text: str) -> None:
        self.text = text

    def queryExecution(self) -> Plan:
        return self

    optimizedPlan = queryExecution  # noqa: N815

    def toString(self) -> str:
        return self.text


class DataFrame:
    """Partitions; functions reach them as bytes, as they reach executors."""

    def __init__(self, parts: list[Any], plan: str = "Project [x]\n+- Relation [x, y] parquet") -> None:
        self.parts, self._jdf, self.asked = parts, Plan(plan), []
        self.schema = parts[0].schema

    @property
    def columns(self) -> list[str]:
        return self.schema.names

    def select(self, *columns: str) -> DataFrame:
        self.asked.append(columns)
        names = [name.strip("`").replace("``", "`") for name in columns]
        return DataFrame([part.select(names) for part in self.parts])

    def mapInArrow(self, function: Callable[..., Any], schema: str) -> DataFrame:
        assert schema == "content binary"
        sent = cloudpickle.dumps(function)
        return DataFrame(
            [pa.Table.from_batches(list(cloudpickle.loads(sent)(iter(p.to_batches(70))))) for p in self.parts]
        )

    def toLocalIterator(self, prefetchPartitions: bool = False) -> Iterator[tuple[bytes]]:
        for part in self.parts:
            yield from ((value,) for value in part.column(0).to_pylist())


DataFrame.__module__ = "pyspark.sql.classic.dataframe"


@pytest.fixture(autouse=True)
def _types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark's types, which here are Arrow's."""
    for name in ("pyspark", "pyspark.sql", "pyspark.sql.pandas"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    last = types.ModuleType("pyspark.sql.pandas.types")
    last.to_arrow_schema = lambda schema: schema  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, last.__name__, last)


def rows(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    g = rng.integers(0, 15, n)
    out = pd.DataFrame({"x": rng.normal(size=n), "a`b": rng.normal(size=n), "f": rng.choice(list("abc"), n)})
    out["g"], out["unused"] = g, "nobody reads this"
    out["y"] = out["x"] + rng.normal(size=15)[g] + rng.normal(size=n)
    out.loc[3, "x"] = np.nan
    return out


def table(data: pd.DataFrame, **options: Any) -> DataFrame:
    parts = [
        pa.Table.from_pandas(data.iloc[i : i + 100], preserve_index=False) for i in range(0, len(data), 100)
    ]
    return DataFrame(parts, **options)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.DataDroppedWarning")
def test_estimates_are_those_of_rows_in_memory() -> None:
    data = rows()
    far = table(data)
    one, other = (fit("y ~ x + f + (1 | g)", own) for own in (far, data))
    np.testing.assert_allclose(one.params, other.params, rtol=1e-8)
    assert {name for columns in far.asked for name in columns} == {"`y`", "`x`", "`f`", "`g`"}


def test_names_are_quoted() -> None:
    source = open_source(table(rows()))
    assert source is not None
    (batch,) = source.batches(["a`b"])
    np.testing.assert_array_equal(batch.column(0), rows()["a`b"])


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        ("Project [x]\n+- Filter (x > 0)\n   +- Relation [x, y] parquet", SteadyRows),
        ("Join Inner, (a = b)\n:- Relation [a]\n+- Relation [b]", CopiedRows),
        ("Project [x, rand(3) AS r]\n+- Relation [x]", CopiedRows),
        ("RepartitionByExpression [x]\n+- Relation [x]", CopiedRows),
    ],
)
def test_order_that_is_promised(plan: str, kind: type) -> None:
    assert type(open_source(table(rows(), plan=plan))) is kind


def test_sessions_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: DataFrame, *columns: str) -> DataFrame:
        raise ConnectionRefusedError(111, "Connection refused")

    data = table(rows())
    monkeypatch.setattr(DataFrame, "select", gone)
    with pytest.raises(
        DataError, match=r"does not answer: it was stopped, or Java is not there \(ConnectionRef"
    ):
        fit("y ~ x + (1 | g)", data)


def test_errors_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    class SparkError(Exception):
        __module__ = "pyspark.errors"

    def fails(self: DataFrame, prefetchPartitions: bool = False) -> Iterator[tuple[bytes]]:
        raise SparkError("division by zero\n\tat org.apache.spark")

    data = table(rows())
    monkeypatch.setattr(DataFrame, "toLocalIterator", fails)
    with pytest.raises(
        DataError, match=r"Spark cannot make the rows of a PySpark DataFrame: division by zero"
    ):
        fit("y ~ x + (1 | g)", data)
