"""A power curve as the user has it: it prints and draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lmmformula.arguments import checked_methods
from lmmformula.inference.many.power import Powers
from lmmformula.reporting.frames import Table, printed
from lmmformula.typing import Drawn

__all__ = ["PowerCurve"]

_TESTS = {"t": "t test, Satterthwaite", "z": "Wald's z", "lr": "likelihood ratio"}


@checked_methods()
@dataclass(frozen=True, eq=False, repr=False)
class PowerCurve:
    """Power by simulation, at one design or along several.

    Attributes
    ----------
    found : Powers
        The numbers, p-values among them.
    """

    found: Powers

    @property
    def frame(self) -> pd.DataFrame:
        """``[what is varied,] rows, power, lower, upper, n, failed``."""
        return self.found.frame.copy()

    def tidy(self) -> Table:
        """:attr:`frame`, as it prints."""
        return self._table

    @cached_property
    def _table(self) -> Table:
        own = self.found
        effect = ", ".join(f"{name} = {value:g}" for name, value in own.effect.items())
        shown = own.frame.drop(columns=[] if np.any(own.frame["failed"]) else ["failed"])
        if own.varied:
            shown = shown.set_index(own.varied)
        out = printed(shown)
        out.attrs["heading"] = f"Power of the test of {effect} at {own.alpha:g} ({_TESTS[own.test]})"
        out.attrs["note"] = (
            f"lower, upper: exact {own.level:.0%} intervals of the simulation (Clopper & Pearson)."
        )
        return out

    def plot(self, ax: Drawn = None) -> Drawn:
        """Power with intervals along what was varied."""
        from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes

        own = self.found.frame
        ax = new_axes(ax, (5.0, 3.6))
        x = own[self.found.varied] if self.found.varied else pd.Series([own["rows"].iloc[0]])
        ax.axhline(0.8, color=GREY, lw=1, zorder=0)
        ax.vlines(x, own["lower"], own["upper"], color=COLOURS[0], lw=1.4)
        ax.plot(x, own["power"], "o-", color=COLOURS[0], ms=4)
        ax.set_ylim(0.0, 1.02)
        ax.set_xlabel(self.found.varied or "rows", loc="right")
        ax.set_title(f"Power, {', '.join(self.found.tested)}", loc="left")
        return ax

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str | None:
        return self._table._repr_html_()
