"""What ``car(W)`` may name: neighbours on a map, in one of the forms in which they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.formula.spec import Call, Name, String
from lmmformula.frame.relationships import labelled
from lmmformula.frame.values import label_index, object_array
from lmmformula.ir.across import Across, Bym2, Car, Icar
from lmmformula.typing import Data

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["area_structure", "matrix_name", "neighbours_of"]

Labels = NDArray[np.object_]
PART = " (neighbours' part)"
"""Behind the labels of the levels that hold the structured part of a BYM2 effect."""


def matrix_name(call: Call) -> Name:
    """W of ``car(W, type = "...")``."""
    name = call.args[0].value
    assert isinstance(name, Name)
    return name


def area_structure(call: Call, value: Data, levels: Labels, group: str) -> tuple[Labels, Across]:
    """Labels of the levels and their structure; behind those of a BYM2 effect stand as many of its structured part.

    Parameters
    ----------
    call : Call
        ``car(W, type = "...")``.
    value : neighbours
        As :func:`neighbours_of` takes them.
    levels : array
        Areas in the rows of the fit, for a matrix without labels.
    group : str
        Their grouping factor, for messages.

    Raises
    ------
    DataError
    """
    name, kind = matrix_name(call).value, call.args[1].value
    labels, w = neighbours_of(value, name)
    own = levels if labels is None else labels
    if (rows := len(w.indptr) - 1) != len(own):
        raise DataError(
            f"`{name}` is {rows} x {rows} for {len(own):,} levels of `{group}` in the rows used; give it labels "
            "(a DataFrame, a pair of matrix and labels, or pairs of neighbours), or leave out what no row has."
        )
    assert isinstance(kind, String)
    if kind.value == "icar":
        return own, Icar(w)
    if kind.value == "bym2":
        return object_array([*own, *(f"{label}{PART}" for label in own)]), Bym2(w)
    alone = np.flatnonzero(np.asarray(w.sum(axis=1)).ravel() <= 0.0)
    if alone.size:
        shown = ", ".join(str(own[j]) for j in alone[:5])
        raise DataError(
            f"{alone.size:,} of {len(own):,} areas of `{name}` have no neighbours: {shown}"
            f'{", ..." if alone.size > 5 else ""}. A proper autoregression has no variance there: type = "bym2" gives them '
            'one, type = "icar" holds their effect at zero, or leave them out.'
        )
    return own, Car(w)


def neighbours_of(value: Data, name: str) -> tuple[Labels | None, csr_array]:
    """Labels of areas, None where there are none, and weights of neighbours, (m, m).

    Parameters
    ----------
    value : matrix, frame, pair of matrix and labels, mapping, object with ``neighbors``, or path
        A dense or sparse matrix in the order of the levels; a frame with the same labels for its rows and columns; a frame
        with a row for each pair of neighbours, in either direction or both: area, neighbour (missing: the area has none), and
        perhaps a weight; a mapping from each area to its neighbours, such as the ``neighbors`` of libpysal's weights; a file of
        a frame.
    name : str
        As the formula has it.

    Raises
    ------
    DataError
    """
    from scipy.sparse import csr_array

    lists = getattr(value, "neighbors", value)
    if isinstance(lists, Mapping) and not hasattr(value, "columns"):
        return _of_lists(lists, name)
    if isinstance(value, str | Path):
        path = Path(value)
        if not path.is_file():
            raise DataError(f"`{name}` is {str(value)!r}, which is no file.")
        value = pd.read_csv(path)
    if not isinstance(value, pd.DataFrame) and (convert := getattr(value, "to_pandas", None)) is not None:
        value = convert()
    if isinstance(value, pd.DataFrame) and _is_pairs(value):
        return _of_pairs(value, name)
    matrix, labels = labelled(value, name)
    if isinstance(matrix, pd.DataFrame):
        raise DataError(f"`{name}` is a frame of {matrix.shape}, neither a matrix nor pairs of neighbours.")
    w = csr_array(matrix, dtype=float)
    shape = tuple(getattr(w, "shape", ()))
    if len(shape) != 2 or shape[0] != shape[1]:
        raise DataError(f"`{name}` is not square: its shape is {shape}.")
    w.sum_duplicates()
    w.eliminate_zeros()
    return labels, w


def _is_pairs(frame: pd.DataFrame) -> bool:
    """Whether a frame has a row for each pair: two or three columns that are not the labels of its rows, or hold no numbers."""
    if frame.shape[1] not in (2, 3):
        return False
    texts = any(not pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes)
    return texts or set(map(str, frame.columns)) != set(map(str, frame.index))


def _of_pairs(frame: pd.DataFrame, name: str) -> tuple[Labels, csr_array]:
    first, second = (frame.iloc[:, j] for j in range(2))
    if (lost := int(first.isna().sum())) > 0:
        raise DataError(f"`{name}` has {lost:,} rows without an area in its first column.")
    weights = np.ones(len(frame))
    if frame.shape[1] == 3:
        weights = np.asarray(pd.to_numeric(frame.iloc[:, 2], errors="coerce"), dtype=float)
    there = np.asarray(second.notna(), dtype=bool)
    a, b = _texts(first), _texts(second[there])
    return _joined(a, a[there], b, weights[there], name)


def _of_lists(lists: Mapping[object, Iterable[object]], name: str) -> tuple[Labels, csr_array]:
    areas = list(lists)
    own = [list(lists[area]) for area in areas]
    a = _texts(pd.Series(areas, dtype=object))
    b = _texts(pd.Series([v for found in own for v in found], dtype=object))
    return _joined(a, np.repeat(a, [len(found) for found in own]), b, np.ones(len(b)), name)


def _texts(values: pd.Series) -> Labels:
    """Labels as text; whole numbers read as they did before a missing value made them floats."""
    return object_array(
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values.tolist()
    )


def _joined(
    areas: Labels, a: Labels, b: Labels, weights: NDArray[np.float64], name: str
) -> tuple[Labels, csr_array]:
    """Labels in the order of their first mention, and W of pairs that come in one direction or both."""
    from scipy.sparse import csr_array

    labels = object_array(dict.fromkeys([*areas, *b]))
    i, j = label_index(labels, a), label_index(labels, b)
    low, high = np.minimum(i, j), np.maximum(i, j)
    if bad := int((low == high).sum() + (~(weights > 0.0)).sum()):
        raise DataError(f"`{name}` has {bad:,} pairs of an area with itself, or without a weight above zero.")
    keys, first, inverse = np.unique(
        low.astype(np.int64) * len(labels) + high, return_index=True, return_inverse=True
    )
    if unlike := int((weights != weights[first][inverse]).sum()):
        raise DataError(f"`{name}` has {unlike:,} pairs that come twice with different weights.")
    i, j, own = keys // len(labels), keys % len(labels), weights[first]
    both = np.concatenate([i, j]), np.concatenate([j, i])
    return labels, csr_array((np.concatenate([own, own]), both), shape=(len(labels),) * 2)
