"""Contrast codings under R's names.

The matrices are written out: packages that have them take longer to import than most models take to fit. Polynomials are
orthogonalised by Gram and Schmidt twice, as a three-term recurrence loses orthogonality from about ten levels on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError

__all__ = ["CONTRAST_NAMES", "Contrast", "coding", "contrast_from"]

Array = NDArray[np.float64]

CONTRAST_NAMES: dict[str, str] = {
    name: kind for kind in ("treatment", "sum", "helmert", "poly", "SAS") for name in (kind, f"contr.{kind}")
}
"""Accepted spellings -> kind."""

# Beyond this many levels R refuses contr.poly: high powers are not representable in doubles.
_MAX_POLY_LEVELS = 95


@dataclass(frozen=True, slots=True)
class Contrast:
    """How the levels of a factor become columns when the margin is in the model.

    Attributes
    ----------
    kind : {"treatment", "sum", "helmert", "poly", "SAS", "custom"}
    base : int or str, optional
        Reference of "treatment": position counted from 1, or a level.
    scores : tuple of float, optional
        Positions of the levels for "poly".
    matrix : tuple of tuple of float, optional
        Rows of a "custom" coding, one per level.
    numbered : bool
        Columns are named by position instead of level, as R does for ``C(f, contr.treatment)``.
    complete : bool
        A "custom" matrix gets further columns until levels and intercept span everything, as in R's ``C()``; the matrix of a
        ``contrasts=`` argument does not.
    how_many : int, optional
        Columns kept or made, by default one less than there are levels.
    n : int, optional
        Levels that ``contr.sum(4)`` was written for.
    """

    kind: str
    base: int | str | None = None
    scores: tuple[float, ...] | None = None
    matrix: tuple[tuple[float, ...], ...] | None = None
    numbered: bool = False
    complete: bool = False
    how_many: int | None = None
    n: int | None = None


def contrast_from(value: object) -> Contrast:
    """Read a contrast given as a name, a matrix (levels by columns) or a Contrast."""
    if isinstance(value, Contrast):
        return value
    if isinstance(value, str):
        if value not in CONTRAST_NAMES:
            known = ", ".join(name for name in CONTRAST_NAMES if name.startswith("contr."))
            raise DataError(
                f"unknown contrast {value!r}; known are {known}, or a matrix of levels by columns"
            )
        return Contrast(CONTRAST_NAMES[value])
    try:
        matrix = np.atleast_2d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        raise DataError(
            f"a contrast is a name such as 'contr.sum' or a numeric matrix, not {type(value).__name__}"
        ) from None
    return Contrast("custom", matrix=tuple(tuple(row) for row in matrix.tolist()))


def coding(contrast: Contrast, levels: Iterable[str], name: str) -> tuple[Array, tuple[str, ...]]:
    """Matrix (levels by columns) of a contrast and what its columns add to the factor's `name`."""
    labels = tuple(levels)
    n = len(labels)
    if n < 2:
        raise DataError(
            f"`{name}` has {n} level{'' if n == 1 else 's'} ({', '.join(labels)}) in the rows used: "
            "a contrast needs at least two; leave it out of the formula"
        )
    if contrast.n is not None and contrast.n != n:
        raise DataError(f"contr.{contrast.kind}({contrast.n}) does not suit the {n} levels of `{name}`")
    if contrast.how_many is not None and contrast.how_many >= n:
        raise DataError(
            f"how.many = {contrast.how_many} contrasts of `{name}`, which has {n} levels: at most {n - 1}"
        )
    base = _base(contrast, labels, name)
    if contrast.kind == "custom":
        matrix = np.asarray(contrast.matrix, dtype=float)
        if matrix.shape[0] != n:
            raise DataError(
                f"the contrast matrix of `{name}` has {matrix.shape[0]} rows, but the factor has {n} levels: "
                + ", ".join(labels)
            )
        if contrast.complete:
            matrix = _completed(matrix, contrast.how_many or n - 1, name)
    elif contrast.kind == "poly" and n > _MAX_POLY_LEVELS:
        raise DataError(
            f"ordered factor `{name}` has {n} levels: polynomial contrasts are exact only up to "
            f"{_MAX_POLY_LEVELS}; make it unordered, or numeric, or a grouping factor (1 | {name})"
        )
    else:
        if contrast.scores is not None and len(contrast.scores) != n:
            raise DataError(
                f"contr.poly was given {len(contrast.scores)} scores for the {n} levels of `{name}`"
            )
        if contrast.scores is not None and len(set(contrast.scores)) < n:
            raise DataError(f"the scores of contr.poly for `{name}` must differ from each other")
        matrix = _matrix(contrast.kind, n, base, contrast.scores)[:, : contrast.how_many]
    shown = tuple(str(i + 1) for i in range(n)) if contrast.numbered else labels
    return matrix, _suffixes(contrast.kind, shown, base, matrix.shape[1])[: matrix.shape[1]]


def _completed(matrix: Array, columns: int, name: str) -> Array:
    """R's ``contrasts<-``: the given columns, then orthonormal ones that are orthogonal to them and to the intercept.

    The further columns are the last ones of Q in the full QR factorisation of [1 C], with LINPACK's reflections: where several
    columns are added, they depend on its signs.
    """
    n, given = matrix.shape
    if columns <= given:
        return matrix[:, :columns]
    bordered = np.column_stack([np.ones(n), matrix])
    if np.linalg.matrix_rank(bordered) < given + 1:
        raise DataError(
            f"the contrasts of `{name}` are singular: their columns and the intercept are collinear"
        )
    out: Array = np.empty((n, columns))
    out[:, :given], out[:, given:] = matrix, _rotation(bordered)[:, given + 1 : columns + 1]
    return out


def _rotation(matrix: Array) -> Array:
    """Q of the full QR factorisation, (n, n), by the Householder reflections of LINPACK's dqrdc, which R uses.

    LAPACK's differ where a pivot is zero, as in columns that sum to zero: there LINPACK takes its sign as positive.
    """
    work, n = np.array(matrix, dtype=float), len(matrix)
    reflections: list[Array] = []
    for j in range(work.shape[1]):
        column = work[j:, j]
        norm = float(np.sqrt(column @ column)) * (-1.0 if column[0] < 0 else 1.0)
        u = column / norm
        u[0] += 1.0
        reflections.append(np.concatenate([np.zeros(j), u]))
        work[j:, j + 1 :] -= np.outer(u, (u @ work[j:, j + 1 :]) / u[0])
    q: Array = np.eye(n)
    for j, u in reversed(list(enumerate(reflections))):
        q = q - np.multiply.outer(u, (u @ q) / u[j])
    return q


def _base(contrast: Contrast, labels: tuple[str, ...], name: str) -> int:
    if contrast.kind == "SAS":
        return len(labels) - 1
    if contrast.base is None:
        return 0
    if isinstance(contrast.base, str):
        if contrast.base not in labels:
            raise DataError(f"base {contrast.base!r} is not a level of `{name}` ({', '.join(labels)})")
        return labels.index(contrast.base)
    if not 1 <= contrast.base <= len(labels):
        raise DataError(f"base = {contrast.base} is outside the {len(labels)} levels of `{name}`")
    return contrast.base - 1


def _suffixes(kind: str, labels: tuple[str, ...], base: int, k: int) -> tuple[str, ...]:
    if kind in ("treatment", "SAS"):
        return tuple(label for i, label in enumerate(labels) if i != base)
    if kind == "poly":
        return tuple({1: ".L", 2: ".Q", 3: ".C"}.get(d, f"^{d}") for d in range(1, k + 1))
    return tuple(str(d) for d in range(1, k + 1))


@lru_cache(maxsize=128)
def _matrix(kind: str, n: int, base: int, scores: tuple[float, ...] | None) -> Array:
    if kind == "poly":
        return _polynomials(np.arange(1.0, n + 1.0) if scores is None else np.array(scores))
    if kind in ("treatment", "SAS"):
        matrix = np.delete(np.eye(n), base, axis=1)
    elif kind == "sum":
        matrix = np.vstack([np.eye(n - 1), np.full(n - 1, -1.0)])
    else:  # Helmert: each level against the mean of those before it
        matrix = np.diag(np.arange(float(n))) - np.triu(np.ones((n, n)), 1)
        matrix = np.ascontiguousarray(matrix[:, 1:])
    matrix.setflags(write=False)
    return matrix


def _polynomials(scores: Array) -> Array:
    """Orthonormal polynomials on the scores, degrees 1 to n - 1, leading coefficients positive."""
    x = scores - scores.mean()
    x = x / np.abs(x).max()
    n = len(x)
    basis = np.empty((n, n))
    basis[:, 0] = 1.0 / np.sqrt(n)
    for degree in range(1, n):
        done = basis[:, :degree]
        column = x * basis[:, degree - 1]
        for _ in range(2):  # the second pass removes what rounding left of the first
            column = column - done @ (done.T @ column)
        basis[:, degree] = column / np.linalg.norm(column)
    matrix = np.ascontiguousarray(basis[:, 1:])
    matrix.setflags(write=False)
    return matrix
