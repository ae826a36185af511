"""A power curve as the user has it: it prints and draws; and the call that makes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmmformula.arguments import ResultBase, checked, checked_methods
from lmmformula.arguments.kinds import Kind, UnsuitedError, text
from lmmformula.inference.many.power import Powers, powers
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.typing import Data, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["POWER_TEST", "PowerCurve", "power"]

POWER_TEST = text("'t', 'z' or 'lr'")

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
        else:
            shown.index = [effect]
        out = printed(shown)
        by = f", by {own.words}" if own.words else ""
        out.attrs["heading"] = f"Power of the test of {effect} at {own.alpha:g} ({_TESTS[own.test]}){by}"
        out.attrs["note"] = (
            f"lower, upper: exact {own.level:.0%} intervals of the simulation (Clopper & Pearson)."
        )
        return out

    def plot(self, ax: Drawn = None) -> Drawn:
        """Power with intervals along what was varied."""
        from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes

        own, words = self.found.frame, self.found.words
        ax = new_axes(ax, (5.0, 3.6))
        given = own[self.found.varied] if self.found.varied else own["rows"]
        named = not all(isinstance(v, int | float | np.number) for v in given)
        x = np.arange(len(own)) if named else given.to_numpy(dtype=float)
        ax.axhline(0.8, color=GREY, lw=1, zorder=0)
        ax.vlines(x, own["lower"], own["upper"], color=COLOURS[0], lw=1.4)
        ax.plot(x, own["power"], "o" if named else "o-", color=COLOURS[0], ms=4)
        if named:
            ax.set_xticks(x, [str(v) for v in given])
            ax.margins(x=0.3)
        ax.set_ylim(0.0, 1.02)
        ax.set_xlabel(words or "rows", loc="right")
        ax.set_title(f"Power, {', '.join(self.found.tested)}", loc="left")
        return ax

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        caption = "Power with intervals of the simulation; the line is at 80%."
        return self._table.exhibit().titled("Power").drawn(Drawing("Power", caption, (5.2, 3.4), self.plot))

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str | None:
        return self._table._repr_html_()


def _one(value: object) -> object:
    if not isinstance(value, ResultBase):
        raise UnsuitedError
    return value


@checked(fit=Kind("a fit, as fit() returns it", _one), test=POWER_TEST)
def power(
    fit: Fitted,
    effect: Mapping[str, float],
    vary: Mapping[str, Sequence[Data]] | None = None,
    n: int = 1_000,
    *,
    within: str | Sequence[str] | None = None,
    design: Data = None,
    alpha: float = 0.05,
    test: str = "t",
    seed: int | np.random.Generator | None = None,
    level: float = 0.95,
) -> PowerCurve:
    """Power of a test of fixed effects by simulation: :meth:`lmmformula.Fit.power`.

    Parameters
    ----------
    fit : Fit
        Whose variances, and coefficients that `effect` does not name, are the truth.
    effect, vary, n, within, design, alpha, test, seed, level
        As in :meth:`lmmformula.Fit.power`.

    Returns
    -------
    PowerCurve

    Raises
    ------
    DataError, PlanError

    Examples
    --------
    >>> from lmmformula import fit, load_dataset, power
    >>> m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    >>> power(m, {"Days": 5}, {"Subject": [6, 20]}, n=200, seed=1).frame["rows"].tolist()
    [60, 200]
    """
    return PowerCurve(powers(fit, effect, vary, n, alpha, test, seed, level, within=within, design=design))
