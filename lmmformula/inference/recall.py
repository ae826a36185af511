"""The call that made a fit."""

from __future__ import annotations

from dataclasses import dataclass, field

from lmmformula.typing import AnyFunction, Arguments, Data

__all__ = ["Recall"]


@dataclass(frozen=True, slots=True, eq=False)
class Recall:
    """The call that made a fit, so that it can be made again with changes."""

    function: AnyFunction
    formula: str
    data: Data = field(repr=False)
    arguments: Arguments
    source: Data = field(default=None, repr=False)
    """The data where they are not in memory: for another call, not for their rows."""

    @property
    def given(self) -> Data:
        """What the call can be made again with; None if neither is at hand."""
        return self.source if self.data is None else self.data
