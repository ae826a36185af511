"""Kinds of data whose rows are read a batch at a time: who opens what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from lmmformula.frame.sources.base import Source
from lmmformula.typing import Data

__all__ = ["open_source", "register_source"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What opens data of a kind: `opens` answers None for data that it leaves to others."""

    name: str
    is_mine: Callable[[Data], bool]
    opens: Callable[[Data], Source | None]


def _comes_from(*modules: str) -> Callable[[Data], bool]:
    """Whether data are of a class of one of these packages, none of which is imported for the question."""

    def is_mine(data: Data) -> bool:
        return any(cls.__module__.partition(".")[0] in modules for cls in type(data).__mro__)

    return is_mine


def _later(place: str) -> Callable[[Data], Source | None]:
    """A function of a module that is imported when it is called."""

    def opens(data: Data) -> Source | None:
        module, _, name = place.partition(":")
        return getattr(import_module(f"lmmformula.frame.sources.{module}"), name)(data)

    return opens


def _are_paths(data: Data) -> bool:
    from lmmformula.frame.sources.paths import are_paths

    return are_paths(data)


_KINDS: list[_Kind] = [
    _Kind("paths of Parquet", _are_paths, _later("paths:open_paths")),
    _Kind("pyarrow.dataset.Dataset", _comes_from("pyarrow"), _later("dataset:open_dataset")),
    _Kind("DuckDB relation", _comes_from("duckdb", "_duckdb"), _later("relations:open_relation")),
    _Kind("polars LazyFrame", _comes_from("polars"), _later("lazyframes:open_lazyframe")),
    _Kind("Dask DataFrame", _comes_from("dask", "dask_expr"), _later("cluster:open_frame")),
    _Kind("PySpark DataFrame", _comes_from("pyspark"), _later("spark:open_spark")),
]


def register_source(
    name: str, is_mine: Callable[[Data], bool], opens: Callable[[Data], Source | None]
) -> None:
    """Make data of another kind known, which ``fit(formula, data)`` then takes.

    Parameters
    ----------
    name : str
        Of the kind; another kind of this name gives way.
    is_mine : callable
        Whether data are of this kind; it is asked of all data before any other kind is, so it imports nothing.
    opens : callable
        Their rows as a :class:`lmmformula.frame.sources.Source`; None leaves them to others.
    """
    _KINDS[:] = [_Kind(name, is_mine, opens), *(kind for kind in _KINDS if kind.name != name)]


def open_source(data: Data) -> Source | None:
    """Rows to be read a batch at a time; None for data that are in memory or are read as a whole.

    Parameters
    ----------
    data : glob, folder, list of paths, large Parquet file, pyarrow Dataset, DuckDB relation, polars LazyFrame, Dask DataFrame,
        PySpark DataFrame

    Returns
    -------
    Source or None

    Raises
    ------
    DataError
        If it is one of those and cannot be read.
    """
    for kind in _KINDS:
        if kind.is_mine(data) and (source := kind.opens(data)) is not None:
            return source
    return None
