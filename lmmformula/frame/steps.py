"""``mo(x)``: the steps between the levels of an ordered predictor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.functions import as_float
from lmmformula.frame.numbers import RefusalError, shown
from lmmformula.frame.signature import Parameter, register, unavailable
from lmmformula.frame.transforms import refuse_basis
from lmmformula.frame.values import Basis, Factor, Value, is_column, label_index, number_label
from lmmformula.typing import Entries

__all__ = ["Steps"]


@dataclass(frozen=True, slots=True)
class Steps:
    """The levels of ``mo(x)`` at the fit.

    Attributes
    ----------
    name : str
        brms' name of the effect, ``mox``.
    levels : tuple of str
        From the lowest to the highest that occurs.
    places : tuple of int
        Number of steps from the lowest one: 0, 1, .. for an ordered factor; for whole numbers their difference.
    lowest : int or None
        The lowest whole number; None for an ordered factor.
    """

    name: str
    levels: tuple[str, ...]
    places: tuple[int, ...]
    lowest: int | None

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the step to each level but the lowest."""
        return tuple(np.diff(self.places).tolist())

    def apply(self, x: Value) -> Basis:
        """Columns 1[x >= level] of each level but the lowest."""
        codes = self._codes(x)
        matrix = (codes[:, None] >= np.arange(1, len(self.levels))).astype(float)
        matrix[codes < 0] = np.nan
        return Basis(matrix, tuple(f"[{level}]" for level in self.levels[1:]), self.name)

    def _codes(self, x: Value) -> Entries:
        """Place of each row's level among `levels`, -1 if it is missing."""
        if self.lowest is None:
            assert isinstance(x, Factor)
            codes = np.append(label_index(self.levels, x.levels), -1)[x.codes]
            missing, labels = x.codes < 0, x.levels[x.codes]
        else:
            values = as_float(x, f"the argument of {self.name}")
            missing = np.isnan(values)
            known = np.asarray(self.places) + self.lowest
            codes = np.minimum(np.searchsorted(known, values), len(known) - 1)
            codes = np.where(known[codes] == values, codes, -1)
            labels = values
        unseen = (codes < 0) & ~missing
        if unseen.any():
            new = list(dict.fromkeys(v if isinstance(v, str) else number_label(v) for v in labels[unseen]))
            raise DataError(
                f"the monotonic effect {self.name} has no step to {', '.join(new[:12])} (in {int(unseen.sum()):,} rows): the "
                f"rows of the fit have {', '.join(self.levels)}, and say nothing of levels between or beyond them"
            )
        return np.where(missing, -1, codes)


def _ordered(value: Value, what: str) -> Value:
    if isinstance(value, Basis) or not is_column(value):
        raise RefusalError(f"{what} takes an ordered factor or a column of whole numbers, not {shown(value)}")
    if isinstance(value, Factor):
        if value.kind != "ordered":
            kind = {"text": "text", "logical": "a logical column"}.get(value.kind, "a factor without order")
            raise RefusalError(
                f"{what} takes an ordered factor or whole numbers, and this is {kind}",
                'give the order: mo(ordered(x, levels = c("low", "middle", "high")))',
            )
        return value
    numbers = as_float(value, what)
    odd = ~np.isnan(numbers) & ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
    if odd.any():
        raise RefusalError(
            f"{what} takes whole numbers, and {int(odd.sum()):,} are none ({number_label(float(numbers[odd][0]))})",
            "s(x) is a smooth function of a number; cut(x, breaks, ordered_result = TRUE) makes levels of one",
        )
    return numbers


@register(
    "mo",
    Parameter("...", _ordered, required=True),
    Parameter("id", unavailable("each monotonic effect has a simplex of its own")),
    learns=True,
    labelled=True,
    of_values=True,
)
def _mo(*x: Value, names: tuple[str, ...]) -> Steps:
    if len(x) != 1:
        raise RefusalError(f"mo() takes one column, and has {len(x)}", "add the effects: mo(x) + mo(z)")
    value, name = x[0], f"mo{names[0]}" if names[0] else "mo"
    if isinstance(value, Factor):
        used = np.bincount(value.codes[value.codes >= 0], minlength=len(value.levels)) > 0
        levels = tuple(str(v) for v in value.levels[used])
        places, lowest = tuple(range(len(levels))), None
    else:
        there = np.unique(value[~np.isnan(value)])
        levels = tuple(number_label(float(v)) for v in there)
        lowest = int(there[0]) if len(there) else 0
        places = tuple(int(v) - lowest for v in there)
    if len(levels) < 2:
        only = f" ({levels[0]})" if levels else ""
        raise RefusalError(f"the argument of mo() has one level{only}", "leave it out of the formula")
    refuse_basis(len(levels), len(value.codes if isinstance(value, Factor) else value), "mo()")
    return Steps(name, levels, places, lowest)
