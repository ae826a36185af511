"""Rows that stayed where they were when their fit was written to a file: how many there are, and who may know more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from lmmformula.errors import DataError
from lmmformula.ir.streamed.vectors import Field
from lmmformula.typing import Argument

__all__ = ["LeftRows"]


@dataclass(frozen=True, eq=False)
class LeftRows:
    """Rows of a fit that came from a file, which does not hold them.

    Attributes
    ----------
    n : int
    weighted, shifted : bool
        Whether they have weights, and an offset.
    answers : mapping
        What had been computed of them, by the names of the fit's properties.
    """

    n: int
    weighted: bool = False
    shifted: bool = False
    answers: Mapping[str, object] = field(default_factory=dict)
    at_hand = False

    @property
    def weights(self) -> Field | None:
        return Field("weights") if self.weighted else None

    @property
    def offset(self) -> Field | None:
        return Field("offset") if self.shifted else None

    def _refuse(self, *asked: Argument, **more: Argument) -> NoReturn:
        raise DataError(
            f"this needs the {self.n:,} rows of the fit, which are read a batch at a time and did not come with it from its "
            "file. Fit again: m.update(data=...) does so with the same arguments; predictions of any rows are written by "
            'm.predict(data, out="scored.parquet").'
        )

    over = scaled = whole = chunks = apply = adjoint = gram = weighted_columns = _refuse
    row_quadratic = level_sums = map = reduce = together = _refuse
    levels = y = fixed = aux = property(_refuse)
