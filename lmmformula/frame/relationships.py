"""What ``gr(g, cov = A)`` may name: a covariance matrix of levels, a pedigree, a tree, or a structure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.frame.values import label_index, object_array
from lmmformula.ir.across import Across, Known, Precision
from lmmformula.typing import Data, Index

__all__ = ["labelled", "pedigree", "relationship", "tree"]

Labels = NDArray[np.object_]


def relationship(value: Data, name: str, levels: Labels, *, precision: bool) -> tuple[Labels, Across]:
    """Labels of the levels and their structure.

    Parameters
    ----------
    value : matrix, frame, tree, path, pair of matrix and labels, or Across
        A dense or sparse matrix in the order of the levels; a frame with the same labels for its rows and columns, or these in
        its first column; a pedigree; a tree in Newick's format; a file with one of these.
    name : str
        As the formula has it.
    levels : array
        Levels in the rows of the fit, for what has no labels.
    precision : bool
        Whether a matrix is the inverse of the covariance.

    Raises
    ------
    DataError
    """
    if hasattr(value, "precision") and hasattr(value, "roles"):
        return levels, value
    if isinstance(value, str | Path):
        value = _read(value, name)
    if isinstance(value, str):
        return tree(value, name)
    matrix, labels = labelled(value, name)
    if labels is None and isinstance(matrix, pd.DataFrame):
        return pedigree(matrix, name)
    own = levels if labels is None else labels
    make = Known.of_precision if precision else Known.of_covariance
    if not precision and hasattr(matrix, "toarray"):
        matrix = matrix.toarray()
    across = make(matrix, f"`{name}`")
    if across.m != len(own):
        raise DataError(
            f"`{name}` is {across.m} x {across.m} for {len(own)} levels in the rows used; give it labels (a DataFrame, or a "
            "pair of matrix and labels), or leave out what no row has."
        )
    return own, across


def labelled(value: Data, name: str) -> tuple[Data, Labels | None]:
    """A matrix and its labels, None where it has none; a frame of three columns that is no matrix stays a frame.

    Raises
    ------
    DataError
        For labels of rows that are not those of the columns, or that come twice.
    """
    if isinstance(value, tuple) and len(value) == 2:
        matrix, given = value
        labels = object_array(_label(v) for v in given)
        _refuse_twice(labels, name)
        if getattr(matrix, "shape", (0,)) != (len(labels),) * 2:
            raise DataError(f"`{name}` has {len(labels):,} labels for a matrix of shape {np.shape(matrix)}.")
        return matrix, labels
    if not isinstance(value, pd.DataFrame) and (convert := getattr(value, "to_pandas", None)) is not None:
        value = convert()
    if not isinstance(value, pd.DataFrame):
        return value if hasattr(value, "toarray") else np.asarray(value), None
    return _labelled_frame(value, name)


def _labelled_frame(value: Data, name: str) -> tuple[Data, Labels | None]:
    """The same of a frame."""
    if value.shape[1] == 3 and len(value) > 3:  # no square: a pedigree, of whose rows the names say nothing
        return value, None
    columns = object_array(_label(c) for c in value.columns)
    rows = object_array(_label(v) for v in value.index)
    if value.shape[1] == value.shape[0] + 1:
        first = object_array(_label(v) for v in value.iloc[:, 0])
        if set(first) == set(columns[1:]):
            rows, columns, value = first, columns[1:], value.iloc[:, 1:]
    if value.shape[1] == 3 and set(rows) != set(columns):
        return value, None
    _refuse_twice(rows, name)
    if set(rows) != set(columns) or len(rows) != len(columns):
        lost = [str(v) for v in rows if v not in set(columns)][:3]
        why = f"; no column is called {', '.join(lost)}" if lost else ""
        raise DataError(
            f"`{name}` is {value.shape[0]:,} x {value.shape[1]:,} and needs the same labels, each once, for its rows and its "
            f"columns{why}. A pedigree has three columns: animal, sire, dam."
        )
    return value.to_numpy(dtype=float)[:, label_index(columns, rows)], rows


def _refuse_twice(labels: Labels, name: str) -> None:
    if len(set(labels)) < len(labels):
        twice = pd.Index(labels)
        again = twice[twice.duplicated()]
        raise DataError(f"`{name}` has {len(again):,} labels more than once, for example {again[0]!r}.")


def _read(value: str | Path, name: str) -> Data:
    """Text of a tree, or the table in a file."""
    text = str(value).strip()
    if text.startswith(("(", "[")):
        return text
    path = Path(text)
    if not path.is_file():
        raise DataError(f"`{name}` is {text!r}: neither a tree in Newick's format nor a file that is there.")
    if path.suffix.lower() in (".csv", ".txt", ".tsv"):
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", dtype={0: str})
    return path.read_text().strip()


def tree(text: str, name: str) -> tuple[Labels, Across]:
    """Tips and inner nodes of a tree, and the precision of Brownian motion on it."""
    from lmmformula.numerics.newick import read_tree

    found = read_tree(text, f"`{name}`")
    return object_array(found.labels), Known(Precision(found.precision(), found.log_det))


def pedigree(frame: pd.DataFrame, name: str) -> tuple[Labels, Across]:
    """Animals of a pedigree (animal, sire, dam; parents without a row of their own among them) and A^-1."""
    from scipy.sparse import csr_array

    from lmmformula.numerics.pedigree import Pedigree

    unknown = ("0", "NA", "", "nan", "None", "<NA>")
    animal, sire, dam, labels = _coded([frame.iloc[:, j] for j in range(3)], unknown)
    found = Pedigree.of(animal, sire, dam, len(labels), names=list(labels))
    return labels, Known(Precision(csr_array(found.precision()), -found.log_det))


def _coded(columns: Sequence[pd.Series], unknown: Sequence[str]) -> tuple[Index, Index, Index, Labels]:
    """Codes of animals, sires and dams, -1 for unknown parents, and labels in the order of their first mention.

    Each value that occurs is turned into text once: O(rows) in compiled code, O(animals) in Python.
    """
    values = np.concatenate([np.asarray(c, dtype=object) for c in columns])
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    texts, merged = pd.factorize(object_array(_label(v) for v in distinct))
    codes, n = texts[codes], len(columns[0])
    lost = np.isin(merged.astype(str), unknown)
    lost[codes[:n]] = False  # an animal with a row of its own is known whatever it is called
    place = np.full(len(merged), -1, dtype=np.int64)
    place[~lost] = np.arange(int((~lost).sum()))
    parents = np.isin(merged.astype(str), unknown)
    sire, dam = (np.where(parents[c], -1, place[c]) for c in (codes[n : 2 * n], codes[2 * n :]))
    return place[codes[:n]], sire, dam, object_array(merged[~lost])


def _label(value: Data) -> str:
    """Text of a label; a whole number that a missing value made a float reads as it did."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
