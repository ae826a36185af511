"""Marginal means, contrasts and trends with their intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.means.comparisons import label_text
from lmmformula.inference.means.marginal import marginal_means
from lmmformula.inference.means.of_responses import means_by_response
from lmmformula.inference.means.record import Means, contrasted
from lmmformula.inference.means.tables import limits
from lmmformula.inference.multiplicity import critical_value, suited
from lmmformula.reporting.plots.canvas import COLOURS, GREY, Positions, new_axes, row_labels
from lmmformula.typing import Arguments, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["means", "plot_means"]


def means(
    fit: Fitted,
    specs: str | Iterable[str],
    ax: Drawn = None,
    *,
    at: Arguments | None = None,
    kind: str | None = None,
    comparisons: bool = False,
    level: float = 0.95,
) -> Drawn:
    """Marginal means of a fit with their intervals; see :func:`lmmformula.inference.means.marginal.marginal_means`."""
    found, _ = means_by_response(marginal_means, fit, specs, at=at, kind=kind, level=level)
    return plot_means(found, ax, comparisons=comparisons)


def plot_means(
    means: Means,
    ax: Drawn = None,
    *,
    comparisons: bool = False,
    alpha: float = 0.05,
    level: float | None = None,
) -> Drawn:
    """One line for each estimate; groups of `by` have colours.

    Parameters
    ----------
    means : Means
    ax : Axes, optional
    comparisons : bool
        Arrows along which two means overlap exactly where they do not differ (Tukey), as far as lengths exist that do so for
        all pairs: least squares of ``length_i + length_j = c SE(i - j)``.
    alpha : float
        Of these comparisons.
    level : float, optional

    Returns
    -------
    Axes
    """
    if comparisons and means.are_contrasts:
        raise DataError("comparisons=True is for means; contrasts are comparisons already.")
    adjust = means.adjust if means.are_contrasts else "none"
    found = limits(means, level or means.level, adjust)
    value = means.shown.value(means.estimates.value)
    n = len(value)
    ax = new_axes(ax, (6.0, 1.2 + 0.32 * n))
    places = np.arange(n)[::-1]
    if means.are_contrasts:
        ax.axvline(float(means.shown.value(np.zeros(1))[0]), color=GREY, lw=1, zorder=0)
    for number, (group, positions) in enumerate(means.groups().items()):
        colour = COLOURS[number % len(COLOURS)]
        title = ", ".join(f"{n} = {v}" for n, v in zip(means.by, group, strict=True))
        at = places[positions]
        ax.hlines(at, found.low[positions], found.high[positions], color=colour, lw=1.6, alpha=0.55)
        ax.plot(value[positions], at, "o", color=colour, ms=5, label=title or None)
        if comparisons:
            _arrows(ax, means, positions, at, alpha, colour)
    row_labels(ax, places, _names(means))
    name = means.name if means.shown.is_identity else means.scale.response
    ax.set_xlabel(f"{name} and {level or means.level:.0%} interval", parse_math=False)
    ax.set_ylim(-0.6, n - 0.4)
    if means.by:
        ax.legend(frameon=False, fontsize="small")
    return ax


def _names(means: Means) -> list[str]:
    own = means.own
    columns = [means.labels[name] for name in own]
    texts = (tuple(column[i] for column in columns) for i in range(len(means.estimates)))
    if means.are_contrasts:
        return [" : ".join(map(str, values)) for values in texts]
    return [label_text(own, values) for values in texts]


def _arrows(ax: Drawn, means: Means, positions: list[int], at: Positions, alpha: float, colour: str) -> None:
    """Comparison arrows of one group."""
    k = len(positions)
    if k < 2 or means.estimates.draws is not None:
        return
    pairs = contrasted(means, "pairwise", by=[])
    chosen = [
        _pair_place(i, j, len(means.estimates)) for a, i in enumerate(positions) for j in positions[a + 1 :]
    ]
    own = pairs.estimates.taken(chosen)
    family = pairs.family(chosen)
    family = replace(family, means=k)
    method = suited("tukey", len(chosen), k, 0)
    reach = critical_value(method, 1.0 - alpha, own.df(), family, len(chosen)) * own.errors()
    design = np.zeros((len(chosen), k))
    for row, (a, b) in enumerate((i, j) for i in range(k) for j in range(i + 1, k)):
        design[row, [a, b]] = 1.0
    good = np.isfinite(reach)
    length = np.linalg.lstsq(design[good], reach[good], rcond=None)[0]
    centre = means.estimates.value[positions]
    for value, half, place in zip(centre, length, at, strict=True):
        ends = means.shown.value(np.array([value - half, value + half]))
        for end in ends:
            start = float(means.shown.value(np.array([value]))[0])
            ax.annotate(
                "", (end, place), (start, place), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.4}
            )


def _pair_place(i: int, j: int, n: int) -> int:
    """Where the pair i < j stands among all pairs of n."""
    return i * n - i * (i + 1) // 2 + (j - i - 1)
