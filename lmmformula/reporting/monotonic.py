"""``m.monotonic()``: average steps and simplexes as a table that prints and goes into reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.tables import MONOTONIC

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["monotonic_table"]


def monotonic_table(fit: Fitted) -> Table:
    """See :meth:`lmmformula.verbs.MonotonicVerbs.monotonic`."""
    out = printed(fit.inference.monotonic())
    out.attrs["heading"] = MONOTONIC
    return out
