"""What every plot needs: axes, colours, and how many points are too many."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import LmmformulaError
from lmmformula.typing import Argument, Array, Axes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


__all__ = ["COLOURS", "GREY", "Positions", "new_axes", "new_grid", "points", "row_labels", "thinned"]

Positions: TypeAlias = NDArray[np.intp]

COLOURS = ("#3d85c6", "#d9772b", "#3f9e6b", "#9a6fcf", "#c9577b", "#8f8a2f", "#4aa3a8")
"""Of middle lightness, so that they show on white and on black."""
GREY = "#8a8f98"
MOST_POINTS = 5_000
"""Points of a scatter plot beyond which more hide each other."""
RASTER = 1_000
"""Points from which on a vector drawing holds them as one picture."""


def new_axes(ax: Axes | None = None, size: tuple[float, float] = (6.0, 4.0)) -> Axes:
    """`ax`, or the axes of a new figure."""
    return ax if ax is not None else _pyplot().subplots(figsize=size, layout="constrained")[1]


def new_grid(count: int, columns: int = 3, size: tuple[float, float] = (3.2, 2.8)) -> Array:
    """`count` axes in rows of at most `columns`."""
    across = min(count, columns)
    down = -(-count // across)
    figure, axes = _pyplot().subplots(
        down, across, figsize=(across * size[0], down * size[1]), layout="constrained", squeeze=False
    )
    flat = axes.ravel()
    for spare in flat[count:]:
        figure.delaxes(spare)
    return flat[:count]


def _pyplot() -> ModuleType:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise LmmformulaError(
            "plots need matplotlib, which is not installed: pip install 'lmmformula[plots]'. The numbers behind a plot are in "
            "residuals(), ranef(), tidy() and profile()."
        ) from error
    return plt


def thinned(order_by: Array, most: int = MOST_POINTS) -> Positions:
    """Positions of at most `most` rows, evenly spaced in the order of `order_by`."""
    order = np.argsort(order_by, kind="stable")
    return order if len(order) <= most else order[spread_out(len(order), most)]


def spread_out(n: int, count: int) -> Positions:
    """`count` of the positions 0 to n - 1, evenly spaced, both ends among them."""
    return np.linspace(0, n - 1, count).round().astype(np.intp)


def points(ax: Axes, x: Array, y: Array, **style: Argument) -> None:
    """A scatter of small, see-through points."""
    many = len(x) > RASTER
    style = {"s": 6 if many else 14, "alpha": 0.35 if many else 0.6, "color": COLOURS[0], **style}
    ax.scatter(x, y, linewidths=0, rasterized=many, **style)


def row_labels(ax: Axes, places: ArrayLike, names: Sequence[str]) -> None:
    """Names along the y axis, taken literally whatever characters they hold."""
    ax.set_yticks(places, [_short(name) for name in names], parse_math=False)


def _short(name: str, most: int = 40, line: int = 20) -> str:
    """A name that leaves room for the plot: interactions on lines of their own where they are long, at most `most` of each."""
    lines: list[str] = []
    for part in re.split(r"(?<=:)(?!:)", name):
        if lines and len(lines[-1]) + len(part) <= line:
            lines[-1] += part
        else:
            lines.append(part)
    return "\n".join(t if len(t) <= most else f"{t[: most - 1]}…" for t in lines)
