"""Levels of a random-effects term: one for each row, several of ``mm()``, a single one, or those of a known covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Call, Expr, Name, RandomTerm, String
from lmmformula.frame.areas import area_structure, matrix_name
from lmmformula.frame.functions import as_factor
from lmmformula.frame.grouping import Grouping, group_factor, group_members
from lmmformula.frame.numbers import as_float
from lmmformula.frame.relationships import relationship
from lmmformula.frame.values import Basis, Factor, Value, label_index, object_array
from lmmformula.ir.across import ACROSS, Across
from lmmformula.typing import Context

__all__ = ["Levels", "levels_of", "member_levels", "shares_of"]

Labels = NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Which levels a term has, and which of them each row.

    Attributes
    ----------
    labels : (m,) object array
    codes : (n,) or (n, r) int32 array
    cells : tuple of (m,) object arrays
        As in :class:`lmmformula.frame.grouping.Grouping`.
    shares : (n, r) array or None
    across : Across or None
    """

    labels: Labels
    codes: NDArray[np.int32]
    cells: tuple[Labels, ...]
    shares: NDArray[np.float64] | None = None
    across: Across | None = None


def levels_of(
    term: RandomTerm,
    value_of: Callable[[Expr], Value],
    n: int,
    known: dict[tuple[Expr, ...], Grouping],
    context: Context,
    text: str,
) -> Levels:
    """Levels of a term on the rows of a fit.

    Parameters
    ----------
    term : RandomTerm
    value_of : callable
    n : int
    known : dict
        Grouping factors found before, by their members; filled.
    context : mapping
        Where matrices of ``gr(cov = A)`` stand.
    text : str
        The formula, for messages.
    """
    if term.members:
        return _several(term, value_of, n)
    if not term.group:
        label = object_array([term.group_label])
        return Levels(label, np.zeros(n, dtype=np.int32), (label,))
    members = group_members(term.group)
    if members not in known:
        for expr in members:
            if isinstance(value_of(expr), Basis):
                raise DataError(f"`{deparse(expr)}` has several columns and cannot be a grouping factor")
        known[members] = group_factor(members, value_of, clean=True)
    grouping = known[members]
    out = Levels(grouping.factor.levels, grouping.factor.codes, grouping.cells)
    given = term.cov if term.cov is not None else term.prec
    return out if given is None else _dependent(out, term, given, context, text)


# -- several levels a row ----------------------------------------------------------------------------------------------


def _several(term: RandomTerm, value_of: Callable[[Expr], Value], n: int) -> Levels:
    """Union of the members' levels: numbers in their order, others as they come."""
    labels, factors = member_levels(term, value_of)
    codes = np.column_stack([label_index(labels, f.levels)[f.codes] for f in factors])
    return Levels(
        labels, codes, (labels,), shares_of(term.members, term.member_weights, term.member_scale, value_of, n)
    )


def member_levels(term: RandomTerm, value_of: Callable[[Expr], Value]) -> tuple[Labels, list[Factor]]:
    """Labels of the levels of ``mm()``, and its members as factors."""
    factors = [as_factor(value_of(expr)) for expr in term.members]
    labels = _union(factors, numeric=not any(isinstance(value_of(e), Factor) for e in term.members))
    return labels, factors


def _union(factors: list[Factor], *, numeric: bool) -> Labels:
    labels = list(dict.fromkeys(label for f in factors for label in f.levels))
    if numeric:
        labels.sort(key=float)
    elif all(f.kind == "text" for f in factors):
        labels.sort()
    return object_array(labels)


def shares_of(
    members: tuple[Expr, ...], weights: Expr | None, scale: bool, value_of: Callable[[Expr], Value], n: int
) -> NDArray[np.float64]:
    """What the effects of each of a row's levels are multiplied by, (n, r): brms' weights, by default 1 / r."""
    r = len(members)
    if weights is None:
        return np.full((n, r), 1.0 / r if scale else 1.0)
    value = value_of(weights)
    matrix = value.matrix if isinstance(value, Basis) else as_float(value, "weights of mm()")[:, None]
    if matrix.shape[1] != r:
        raise DataError(
            f"weights of mm() have {matrix.shape[1]} columns for {r} grouping factors: write weights = cbind(w1, w2)."
        )
    if not scale:
        return np.ascontiguousarray(matrix)
    total = matrix.sum(axis=1)
    if bad := int((~(total > 0.0) | (matrix < 0.0).any(axis=1)).sum()):
        raise DataError(
            f"weights of mm() are negative or add up to zero in {bad:,} rows, so they cannot be scaled to one; drop these "
            "rows, or write scale = FALSE."
        )
    return matrix / total[:, None]


# -- dependent levels --------------------------------------------------------------------------------------------------


def _dependent(levels: Levels, term: RandomTerm, given: Expr, context: Context, text: str) -> Levels:
    """The levels with the structure that ``gr(cov =)`` or ``gr(prec =)`` names; all that a labelled matrix has."""
    if isinstance(given, String):
        if given.value not in ACROSS:
            raise FormulaError(
                f'"{given.value}" is no structure across levels',
                text,
                given.span,
                f"known: {', '.join(ACROSS)}; a matrix is named without quotes and given in data2=",
            )
        return _with(levels, levels.labels, ACROSS[given.value](list(levels.labels)), term)
    named = matrix_name(given) if isinstance(given, Call) else given
    name = named.value if isinstance(named, Name) else ""
    if name not in context:
        forms = "a labelled DataFrame, an array in the order of the levels, " + (
            "a frame of pairs of neighbours" if isinstance(given, Call) else "a pedigree, a tree"
        )
        raise FormulaError(
            f"`{name}` is not given in data2=",
            text,
            named.span,
            f'for example data2={{"{name}": A}}: {forms}',
        )
    if isinstance(given, Call):
        return _with(levels, *area_structure(given, context[name], levels.labels, term.group_label), term)
    labels, across = relationship(context[name], name, levels.labels, precision=term.prec is not None)
    return _with(levels, labels, across, term)


def _with(levels: Levels, labels: Labels, across: Across, term: RandomTerm) -> Levels:
    position = label_index(labels, levels.labels)
    if (absent := np.flatnonzero(position < 0)).size:
        shown = ", ".join(str(levels.labels[j]) for j in absent[:5])
        raise DataError(
            f"{absent.size:,} of {len(levels.labels):,} levels of `{term.group_label}` are not among the {len(labels):,} "
            f"labels of its covariance: {shown}{', ...' if absent.size > 5 else ''}"
        )
    codes = position[levels.codes]
    cells = (labels,) if len(levels.cells) == 1 else levels.cells
    return Levels(labels, codes, cells, across=across)
