"""Whether one level of the grouping factor, or one row where there is none, carries the estimates."""

from __future__ import annotations

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.inference.checking.finding import Finding, not_checked
from lmmformula.inference.checking.look import Look
from lmmformula.inference.influence import Influence, influence

__all__ = ["influential", "quiet_units"]

MOVES, FEW = 1.0, 4.0
"""DFBETAS that are large: one standard error, or 4/sqrt(m) of m units where these are so few that each moves it."""
MOST_UNITS, MOST_ROWS, MOST_EFFECTS = 5_000, 50_000, 10_000
"""Levels, rows and random effects up to which each unit is left out without being asked for."""


def influential(look: Look) -> list[Finding]:
    """The unit that moves a coefficient most, in standard errors."""
    found = _units(look)
    if found is None:
        what = "m.influence(group=) takes longer for so many rows or levels: ask for it."
        return [not_checked("influence", what)]
    moves = found.dfbetas.abs()
    if moves.empty or not np.isfinite(moves.to_numpy()).any():
        return [not_checked("influence", "there is no coefficient that could move.")]
    table = np.where(np.isfinite(moves.to_numpy()), moves.to_numpy(), -np.inf)
    unit, column = np.unravel_index(int(np.argmax(table)), table.shape)
    largest, who = float(table[unit, column]), str(moves.index[unit])
    which = f"{found.group} {who}" if found.group else f"row {who}"
    bar = max(MOVES, FEW / float(np.sqrt(len(found))))
    beyond = int((table.max(axis=1) > bar).sum())
    text = (
        f"without {which} the estimate of {moves.columns[column]} moves by {largest:.2g} of its standard errors, "
        "the most of all"
    )
    name = "largest |DFBETAS|"
    if largest <= bar:
        return [Finding("influence", "fine", f"{text}.", "", "", name, largest, bar, about=which)]
    return [
        Finding(
            "influence",
            "doubtful",
            f"{text}; {beyond:,} of {len(found):,} {found.units} move one by more than {bar:.2g}.",
            "The conclusion hangs on few units.",
            f"Look at m.influence({f'group={found.group!r}' if found.group else ''}), and report the estimates with "
            "and without them.",
            name,
            largest,
            bar,
            about=which,
        )
    ]


def _units(look: Look) -> Influence | None:
    """Influence of the levels of the factor with the fewest, or of rows; None where it is refused or would take long."""
    fit = look.fit
    terms = [t for t in fit.problem.terms if t.shares is None]
    units = min((t.m for t in terms), default=fit.problem.n)
    if units > MOST_UNITS or fit.problem.n > MOST_ROWS or fit.problem.q > MOST_EFFECTS:
        return None
    group = min(terms, key=lambda t: t.m).group if terms else None
    fit.inference.check("influence")
    return influence(fit, group)


def quiet_units(look: Look) -> Influence | None:
    """The same; None where it is refused."""
    try:
        return _units(look)
    except LmmformulaError:
        return None
