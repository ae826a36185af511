r"""The matrix of ``fcor(M)`` on the rows of a fit: which row of M each row of the data is.

A matrix without labels has the rows of the data in their order, those that are left out among them, as M belongs to the data
and not to what is missing in them; one with as many rows as are used is taken as theirs, brms' reading. A labelled one is
matched by ``fcor(M, label)``, or by the labels of the data's rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Name, ResidualTerm
from lmmformula.frame.functions import as_factor
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.relationships import labelled, relationship
from lmmformula.frame.values import label_index, object_array
from lmmformula.ir.across import Across
from lmmformula.ir.residual import KnownCovariance, ResidualBlock, components
from lmmformula.typing import Array, Data

__all__ = ["known_residuals"]

Labels = NDArray[np.object_]


def known_residuals(term: ResidualTerm, frame: ModelFrame) -> ResidualBlock:
    """Residuals with the covariance sigma^2 M.

    Raises
    ------
    FormulaError
        If `data2` has no such matrix.
    DataError
        For a matrix of another size, labels that it does not have, and two rows of one label.
    """
    assert isinstance(term.cov, Name)
    name = term.cov.value
    if name not in frame.given:
        raise FormulaError(
            f"`{name}` is not given in data2=",
            frame.text,
            term.cov.span,
            f'for example data2={{"{name}": M}}: an array in the order of the rows, or a labelled DataFrame',
        )
    matrix, labels = _given(frame.given[name], name)
    at = _in_order(matrix, name, frame) if labels is None else _by_label(labels, term, frame)
    if hasattr(matrix, "toarray"):
        from scipy.sparse import csr_array

        own = csr_array(csr_array(matrix, dtype=float)[at][:, at])
        own.eliminate_zeros()
    else:
        own = np.asarray(matrix, dtype=float)[np.ix_(at, at)]
    kind = KnownCovariance.of(own, f"`{name}`")
    positions = np.arange(frame.n, dtype=float)[:, None]
    return ResidualBlock(kind, components(own), positions, "", term.text)


def _given(value: Data, name: str) -> tuple[Data, Labels | None]:
    """M with its labels; of a pedigree or a tree the covariance of all that it names."""
    plain = value
    if not isinstance(value, str | Path):
        plain, labels = labelled(value, name)
        if labels is not None or not isinstance(plain, pd.DataFrame):
            return plain, labels
    labels, across = relationship(value, name, object_array([]), precision=False)
    return _covariance(across), labels


def _covariance(across: Across) -> Array:
    found = across.precision(across.start())
    return found.solve(np.eye(len(found.diagonal)))


def _in_order(matrix: Data, name: str, frame: ModelFrame) -> NDArray[np.intp]:
    shape = np.shape(matrix)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise DataError(f"`{name}` is not square: its shape is {shape}.")
    rows = np.arange(frame.n_rows_data) if frame.rows is None else np.asarray(frame.rows, dtype=np.intp)
    if shape[0] == frame.n_rows_data:
        return rows
    if shape[0] == frame.n:
        return np.arange(frame.n)
    used = "" if frame.n == frame.n_rows_data else f" ({frame.n:,} of them used)"
    raise DataError(
        f"`{name}` is {shape[0]:,} x {shape[1]:,} for {frame.n_rows_data:,} rows{used}: it has a row for each row of the data, "
        f"or labels, a DataFrame or a pair of matrix and labels, with fcor({name}, label) for the column that names them."
    )


def _by_label(labels: Labels, term: ResidualTerm, frame: ModelFrame) -> NDArray[np.intp]:
    name = deparse(term.cov) if term.cov is not None else ""
    if term.along:
        factor = as_factor(frame(term.along[0]))
        own, what = object_array(factor.levels[factor.codes]), f"`{deparse(term.along[0])}`"
    elif frame.labels is not None:
        own = object_array(map(str, frame.labels if frame.rows is None else frame.labels[frame.rows]))
        what = "the rows of the data"
    else:
        raise DataError(
            f"`{name}` has labels and the rows of the data have none: name their column, fcor({name}, label)."
        )
    at = label_index(labels, own)
    if (absent := np.flatnonzero(at < 0)).size:
        shown = ", ".join(dict.fromkeys(str(v) for v in own[absent[:5]]))
        raise DataError(
            f"{absent.size:,} of {frame.n:,} labels of {what} are not among the {len(labels):,} of `{name}`: {shown}"
            f"{', ...' if absent.size > 5 else ''}. The column that names the rows of `{name}` is its second argument, "
            f"fcor({name}, label)."
        )
    if len(np.unique(at)) < len(at):
        twice = int(len(at) - len(np.unique(at)))
        raise DataError(
            f"{term.text}: {twice:,} rows have the label of another row, and two residuals of one label would be one and the "
            f"same. Effects of labels with several rows: (1 | gr(label, cov = {name}))."
        )
    return at.astype(np.intp)
