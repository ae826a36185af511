"""Tables that are also drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.reporting.exhibits import ACROSS, Drawing, Exhibit
from lmmformula.reporting.frames import Table
from lmmformula.typing import Drawn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DrawnTable"]


class DrawnTable(Table):
    """A table that is also drawn: ``plot(ax=)``; what is taken from it is a plain :class:`Table`."""

    _metadata: list[str] = ["drawing"]  # noqa: RUF012 - as pandas declares it
    drawing: Drawing

    @classmethod
    def of(cls, frame: pd.DataFrame, drawing: Drawing) -> DrawnTable:
        """The frame with its plot."""
        out = cls(frame).__finalize__(frame)
        out.drawing = drawing
        return out

    def plot(self, ax: Drawn = None) -> Drawn:  # type: ignore[override]
        """Draw what the table says into `ax`, or new axes (an array of them where there are several plots); returns them."""
        from lmmformula.reporting.plots.canvas import new_axes, new_grid

        if ax is None:
            own = self.drawing
            ax = new_axes(None, own.size) if own.panels == 1 else new_grid(own.panels, ACROSS, _each(own))
        self.drawing.paint(ax)
        return ax

    def exhibit(self) -> Exhibit:
        """The table and its plot."""
        return super().exhibit().drawn(self.drawing)


def _each(drawing: Drawing) -> tuple[float, float]:
    down, across = drawing.shape
    return drawing.size[0] / across, drawing.size[1] / down
