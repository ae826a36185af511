"""The kinds of data whose rows are read a batch at a time, made of a folder of Parquet files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["SOURCES"]


def _dataset(folder: Path) -> Any:
    return pytest.importorskip("pyarrow.dataset").dataset(str(folder), format="parquet")


def _duckdb(folder: Path) -> Any:
    duckdb = pytest.importorskip("duckdb")
    return duckdb.connect().sql(f"select * from read_parquet('{folder}/*.parquet')")


def _polars(folder: Path) -> Any:
    return pytest.importorskip("polars").scan_parquet(f"{folder}/*.parquet")


def _dask(folder: Path) -> Any:
    return pytest.importorskip("dask.dataframe").read_parquet(str(folder))


SOURCES: dict[str, Callable[[Path], Any]] = {
    "glob": lambda folder: f"{folder}/*.parquet",
    "dataset": _dataset,
    "duckdb": _duckdb,
    "polars": _polars,
    "dask": _dask,
}
