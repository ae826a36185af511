r"""Contrasts by name: rows of coefficients for the means of one family.

==============  ==============================================================================================
pairwise        m_i - m_j for i < j (``revpairwise``: m_j - m_i)
trt.vs.ctrl     m_i - m_ref; the first mean unless ``ref=`` says otherwise (``dunnett`` is another name)
consec          m_(i+1) - m_i
eff             m_i - mean of all (``del.eff``: mean of the others)
poly            orthogonal polynomials over equidistant levels: linear, quadratic, ...
helmert         m_i - mean of those before it, i = 2, 3, ...
mean_chg        mean of those after i less the mean of those up to i
identity        m_i
==============  ==============================================================================================

Orthogonal polynomials (Fisher & Yates) have whole coefficients without a common divisor, the sign making the last one positive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm

import numpy as np

from lmmformula.arguments import shown
from lmmformula.errors import DataError
from lmmformula.inference.means.grid import Label
from lmmformula.typing import Argument, Array, Data

__all__ = ["METHODS", "Comparison", "comparison", "label_text"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Contrasts of k means.

    Attributes
    ----------
    names : tuple of str
    matrix : (contrasts, k) array
    adjust : str
        The usual adjustment of their p-values.
    all_pairs : bool
        Whether they are all differences.
    """

    names: tuple[str, ...]
    matrix: Array
    adjust: str = "none"
    all_pairs: bool = False


Method = Callable[[Sequence[str], int], Comparison]


def _pairs(labels: Sequence[str], ref: int) -> Comparison:
    k = len(labels)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    return _differences(labels, pairs, "tukey", all_pairs=True)


def _reversed(labels: Sequence[str], ref: int) -> Comparison:
    k = len(labels)
    return _differences(labels, [(j, i) for j in range(k) for i in range(j)], "tukey", all_pairs=True)


def _differences(
    labels: Sequence[str], pairs: Sequence[tuple[int, int]], adjust: str, all_pairs: bool = False
) -> Comparison:
    matrix = np.zeros((len(pairs), len(labels)))
    for row, (i, j) in enumerate(pairs):
        matrix[row, i], matrix[row, j] = 1.0, -1.0
    names = tuple(f"{labels[i]} - {labels[j]}" for i, j in pairs)
    return Comparison(names, matrix, adjust, all_pairs)


def _against(labels: Sequence[str], ref: int) -> Comparison:
    return _differences(labels, [(i, ref) for i in range(len(labels)) if i != ref], "dunnettx")


def _consecutive(labels: Sequence[str], ref: int) -> Comparison:
    return _differences(labels, [(i + 1, i) for i in range(len(labels) - 1)], "mvt")


def _effects(labels: Sequence[str], ref: int) -> Comparison:
    k = len(labels)
    return Comparison(tuple(f"{name} effect" for name in labels), np.eye(k) - 1.0 / k, "fdr")


def _deleted_effects(labels: Sequence[str], ref: int) -> Comparison:
    k = len(labels)
    others = (np.ones((k, k)) - np.eye(k)) / max(k - 1, 1)
    return Comparison(tuple(f"{name} effect" for name in labels), np.eye(k) - others, "fdr")


def _helmert(labels: Sequence[str], ref: int) -> Comparison:
    k = len(labels)
    matrix = np.array([[*([-1.0 / i] * i), 1.0, *([0.0] * (k - i - 1))] for i in range(1, k)])
    return Comparison(tuple(f"{name} vs before" for name in labels[1:]), matrix.reshape(k - 1, k))


def _changes(labels: Sequence[str], ref: int) -> Comparison:
    k = len(labels)
    matrix = np.array([[*([-1.0 / i] * i), *([1.0 / (k - i)] * (k - i))] for i in range(1, k)])
    names = tuple(f"{a}|{b}" for a, b in pairwise(labels))
    return Comparison(names, matrix.reshape(k - 1, k), "mvt")


_DEGREES = ("linear", "quadratic", "cubic", "quartic")
MOST_DEGREES = 6


def _polynomials(labels: Sequence[str], ref: int) -> Comparison:
    """By the three-term recurrence of discrete orthogonal polynomials, in exact fractions."""
    k = len(labels)
    x = [Fraction(2 * i - (k - 1), 2) for i in range(k)]
    before, now = [Fraction(0)] * k, [Fraction(1)] * k
    rows = []
    for degree in range(1, min(k - 1, MOST_DEGREES) + 1):
        n = degree - 1
        share = Fraction(n * n * (k * k - n * n), 4 * (4 * n * n - 1)) if n else Fraction(0)
        before, now = now, [a * b - share * c for a, b, c in zip(x, now, before, strict=True)]
        scale = lcm(*(v.denominator for v in now))
        whole = [int(v * scale) for v in now]
        divisor = gcd(*whole)
        rows.append([v / divisor for v in whole])
    names = tuple(_DEGREES[d] if d < len(_DEGREES) else f"degree {d + 1}" for d in range(len(rows)))
    return Comparison(names, np.array(rows, dtype=float).reshape(len(rows), k))


def _identity(labels: Sequence[str], ref: int) -> Comparison:
    return Comparison(tuple(labels), np.eye(len(labels)))


METHODS: Mapping[str, Method] = {
    "pairwise": _pairs,
    "revpairwise": _reversed,
    "tukey": _pairs,
    "trt.vs.ctrl": _against,
    "trt_vs_ctrl": _against,
    "trt.vs.ctrl1": _against,
    "trt.vs.ctrlk": lambda labels, ref: _against(labels, len(labels) - 1),
    "dunnett": _against,
    "consec": _consecutive,
    "eff": _effects,
    "del.eff": _deleted_effects,
    "poly": _polynomials,
    "helmert": _helmert,
    "mean_chg": _changes,
    "identity": _identity,
}
"""Name -> contrasts of means with these labels, the reference at a position."""


def comparison(
    method: Argument, labels: Sequence[str], values: Sequence[tuple[Label, ...]], ref: Argument
) -> Comparison:
    """The contrasts of means with these labels.

    Parameters
    ----------
    method : str, mapping or matrix
        A name of :data:`METHODS`; name of a contrast -> coefficients, as a list or as label -> coefficient; or a matrix of
        one contrast a row (the names of a DataFrame's rows are theirs).
    labels : sequence of str
    values : sequence of tuple
        Levels that the labels are made of.
    ref : int, str or None
        The mean that others are compared with: its level, or its place from 0.

    Raises
    ------
    DataError
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise DataError(
                f"method={method!r} is unknown; use one of {', '.join(map(repr, METHODS))}, a mapping such as "
                "{'a - b': {'a': 1, 'b': -1}}, or a matrix."
            )
        return METHODS[method](labels, _position(ref, labels, values))
    if isinstance(method, Mapping):
        if not method:
            raise DataError(
                "method= is an empty mapping: give name -> coefficients, as {'a - b': {'a': 1, 'b': -1}}."
            )
        rows = [_coefficients(name, given, labels, values) for name, given in method.items()]
        return Comparison(tuple(map(str, method)), np.array(rows).reshape(len(rows), len(labels)))
    return _of_matrix(method, labels)


def _of_matrix(method: Argument, labels: Sequence[str]) -> Comparison:
    names = getattr(method, "index", None)
    matrix = np.zeros((0, 0))
    try:
        given = np.asarray(method)
        if given.dtype.kind in "biuf":
            matrix = np.atleast_2d(given.astype(float))
    except (TypeError, ValueError, OverflowError):
        pass
    if matrix.ndim != 2 or matrix.shape[1] != len(labels) or not len(matrix):
        raise DataError(
            f"method= as a matrix of contrasts needs numbers, a column for each of the {len(labels)} means "
            f"({', '.join(labels)}), not {shown(method)}."
        )
    if names is None or not all(isinstance(name, str) for name in names):
        names = [f"c{i + 1}" for i in range(len(matrix))]
    return Comparison(tuple(names), matrix)


def _coefficients(
    name: str, given: Data, labels: Sequence[str], values: Sequence[tuple[Label, ...]]
) -> list[float]:
    """One contrast of a mapping."""
    if isinstance(given, Mapping):
        out = [0.0] * len(labels)
        for level, weight in given.items():
            out[_position(level, labels, values, f"method= has the contrast {name!r}:")] += float(weight)
        return out
    try:
        out = [float(weight) for weight in given]
    except (TypeError, ValueError):
        out = []
    if len(out) != len(labels):
        raise DataError(
            f"method= has the contrast {name!r}, which needs a number for each of {len(labels)} means ({', '.join(labels)}), "
            "or a mapping from these to numbers."
        )
    return out


def _position(
    ref: Argument, labels: Sequence[str], values: Sequence[tuple[Label, ...]], what: str = "ref="
) -> int:
    """The place of a mean."""
    if ref is None:
        return 0
    wanted = ref if isinstance(ref, tuple) else (ref,)
    for i, own in enumerate(values):
        if len(own) == len(wanted) and all(
            str(_plain(a)) == str(_plain(b)) for a, b in zip(own, wanted, strict=True)
        ):
            return i
    if isinstance(ref, str) and ref in labels:
        return list(labels).index(ref)
    if isinstance(ref, int) and not isinstance(ref, bool) and -len(labels) <= ref < len(labels):
        return ref % len(labels)
    raise DataError(f"{what} there is no mean {shown(ref)} among {', '.join(labels)}.")


def _plain(value: Data) -> Data:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_OPERATOR = re.compile(r"[-+*/]")


def label_text(names: Sequence[str], values: tuple[Label, ...]) -> str:
    """Levels of a mean in the name of a contrast: numbers with their variable in front, operators in parentheses."""
    parts = []
    for name, value in zip(names, values, strict=True):
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        parts.append(name + text if _is_number(text) else text)
    label = " ".join(parts)
    return f"({label})" if _OPERATOR.search(label) else label


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
