"""Tables that are also drawn."""

from __future__ import annotations

import pandas as pd

from lmmformula.reporting.exhibits import ACROSS, Drawing, Exhibit
from lmmformula.reporting.frames import Table
from lmmformula.typing import Argument, Drawn

__all__ = ["DrawnTable", "Plot"]


class Plot:
    """Draws a table: ``table.plot(ax=)``; other names are those of the plots of pandas."""

    def __init__(self, drawing: Drawing, frame: pd.DataFrame) -> None:
        self._drawing = drawing
        self._frame = frame

    def __call__(self, ax: Drawn = None) -> Drawn:
        """Draw into `ax`, or new axes (an array of them where there are several plots); returns them."""
        from lmmformula.reporting.plots.canvas import new_axes, new_grid

        own = self._drawing
        if ax is None:
            ax = new_axes(None, own.size) if own.panels == 1 else new_grid(own.panels, ACROSS, _each(own))
        own.paint(ax)
        return ax

    def __getattr__(self, name: str) -> Argument:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._frame.plot, name)


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

    @property
    def plot(self) -> Plot:  # type: ignore[override]
        """Calling it draws what the table says; its methods are pandas': ``table.plot.hist()``."""
        return Plot(self.drawing, pd.DataFrame(self))

    def exhibit(self) -> Exhibit:
        """The table and its plot."""
        return super().exhibit().drawn(self.drawing)


def _each(drawing: Drawing) -> tuple[float, float]:
    down, across = drawing.shape
    return drawing.size[0] / across, drawing.size[1] / down
