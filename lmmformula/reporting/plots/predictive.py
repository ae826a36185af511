"""Responses that a fit would give, beside those that it was given: posterior-predictive checks, of any fit.

Of a posterior each replicate has parameters of one draw (Gelman, Meng & Stern 1996); of a fit by likelihood they are at their
estimates, with random effects drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes
from lmmformula.reporting.response import response_name
from lmmformula.typing import Array, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["STATISTICS", "pp_check", "replicates"]

STATISTICS: dict[str, Callable[[Array], float]] = {
    "mean": lambda y: float(np.mean(y)),
    "sd": lambda y: float(np.std(y, ddof=1)),
    "median": lambda y: float(np.median(y)),
    "min": lambda y: float(np.min(y)),
    "max": lambda y: float(np.max(y)),
    "zeros": lambda y: float(np.mean(y == 0)),
}
_POINTS = 256


def replicates(fit: Fitted, n: int, seed: int) -> Array:
    """n responses of the rows of the fit, (n, rows)."""
    rng = np.random.default_rng(seed)
    return np.stack([np.asarray(y, dtype=float) for y in fit.inference.responses(n, rng)])


def pp_check(
    fit: Fitted,
    kind: str | None = None,
    n: int | None = None,
    stat: str | Callable[[Array], float] | None = None,
    ax: Drawn = None,
    seed: int = 0,
) -> Drawn:
    """See :meth:`lmmformula.verbs.BayesianVerbs.pp_check`."""
    kind = _usual(fit, stat) if kind is None else kind
    of = _statistic(stat, kind)
    if kind not in _KINDS:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(_KINDS)}.")
    draw, many = _KINDS[kind]
    drawn = replicates(fit, many if n is None else n, seed)
    ax = new_axes(ax, (5.0, 3.2))
    draw(ax, fit.problem.data.y, drawn, of)
    if kind in ("density", "ecdf", "bars"):
        ax.set_xlabel(response_name(fit), parse_math=False)
    return ax


_FEW = 30
"""Different values up to which a discrete response is drawn as bars."""
_Stat = tuple[str, Callable[[Array], float]]


def _usual(fit: Fitted, stat: object) -> str:
    if stat is not None:
        return "stat"
    few = fit.problem.family.is_discrete and len(np.unique(fit.problem.data.y)) <= _FEW
    return "bars" if few else "density"


def _statistic(stat: str | Callable[[Array], float] | None, kind: str) -> _Stat:
    if stat is not None and kind != "stat":
        raise DataError(f"stat={stat!r} is for kind='stat', not for kind={kind!r}.")
    if callable(stat):
        return getattr(stat, "__name__", "statistic"), stat
    name = "mean" if stat is None else stat
    if not isinstance(name, str) or name not in STATISTICS:
        raise DataError(
            f"stat={stat!r} is unknown; use one of {', '.join(STATISTICS)}, or a function of a response."
        )
    return name, STATISTICS[name]


def _density(ax: Drawn, y: Array, drawn: Array, stat: _Stat) -> None:
    grid = _grid(y, drawn)
    for own in drawn:
        ax.plot(grid, _smooth(own, grid), color=GREY, lw=0.5, alpha=0.5)
    ax.plot(grid, _smooth(y, grid), color=COLOURS[0], lw=1.8, label="observed")
    ax.plot([], [], color=GREY, label=f"{len(drawn)} replicates")
    ax.set(yticks=[])
    ax.legend(frameon=False, fontsize="small")


def _ecdf(ax: Drawn, y: Array, drawn: Array, stat: _Stat) -> None:
    up = np.arange(1, len(y) + 1) / len(y)
    for own in drawn:
        ax.step(np.sort(own), up, where="post", color=GREY, lw=0.5, alpha=0.5)
    ax.step(np.sort(y), up, where="post", color=COLOURS[0], lw=1.8, label="observed")
    ax.set(ylabel="share of rows")
    ax.legend(frameon=False, fontsize="small")


def _bars(ax: Drawn, y: Array, drawn: Array, stat: _Stat) -> None:
    """Rows with each value, and 90% intervals of their number over replicates."""
    values = np.unique(np.concatenate([y, drawn.ravel()]))
    kept = values if len(values) <= 2 * _FEW else values[: 2 * _FEW]
    counts = np.stack([(drawn == v).sum(axis=1) for v in kept])
    low, middle, high = np.quantile(counts, [0.05, 0.5, 0.95], axis=1)
    width = 0.8 * float(np.diff(kept).min()) if len(kept) > 1 else 0.8
    ax.bar(kept, [(y == v).sum() for v in kept], width=width, color=COLOURS[0], alpha=0.5, label="observed")
    ax.vlines(kept, low, high, color=COLOURS[1], lw=1.6)
    ax.plot(kept, middle, "o", color=COLOURS[1], ms=3, label="replicates, 90%")
    ax.set(ylabel="rows")
    ax.legend(frameon=False, fontsize="small")


def _stat(ax: Drawn, y: Array, drawn: Array, stat: _Stat) -> None:
    """A statistic of each replicate, and where that of the response lies."""
    name, of = stat
    values, own = np.array([of(r) for r in drawn], dtype=float), float(of(y))
    above = float(np.mean(values >= own))
    ax.hist(values, bins=30, color=GREY, alpha=0.6)
    ax.axvline(own, color=COLOURS[0], lw=1.8)
    ax.set(xlabel=f"{name} (observed {own:.4g}; P(replicate >= observed) = {above:.3f})", yticks=[])


def _intervals(ax: Drawn, y: Array, drawn: Array, stat: _Stat) -> None:
    """Predictive intervals of the rows in the order of their medians, and the responses."""
    low, quarter, middle, three, high = np.quantile(drawn, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    order = np.argsort(middle, kind="stable")
    at = np.arange(len(y))
    inside = float(np.mean((y >= low) & (y <= high)))
    ax.fill_between(at, low[order], high[order], color=GREY, alpha=0.25, lw=0, label="90%")
    ax.fill_between(at, quarter[order], three[order], color=GREY, alpha=0.4, lw=0, label="50%")
    ax.plot(at, y[order], ".", color=COLOURS[0], ms=2, label="observed", rasterized=len(y) > 1_000)
    ax.set(xlabel=f"rows by predicted median ({inside:.0%} inside the 90% intervals)")
    ax.legend(frameon=False, fontsize="small")


def _error(ax: Drawn, y: Array, drawn: Array, stat: _Stat) -> None:
    """Mean predictive error against the mean prediction."""
    mean = drawn.mean(axis=0)
    ax.axhline(0.0, color=GREY, lw=1)
    ax.plot(mean, y - mean, ".", color=COLOURS[0], ms=3, alpha=0.6, rasterized=len(y) > 1_000)
    ax.set(xlabel="mean prediction", ylabel="observed - predicted")


_KINDS: dict[str, tuple[Callable[[Drawn, Array, Array, _Stat], None], int]] = {
    "density": (_density, 50),
    "ecdf": (_ecdf, 50),
    "bars": (_bars, 200),
    "stat": (_stat, 1_000),
    "intervals": (_intervals, 400),
    "error": (_error, 200),
}
"""Kind -> what draws it, and the replicates it takes unless told otherwise."""


def _grid(y: Array, drawn: Array) -> Array:
    """Over the response and the bulk of the replicates, whose rare extremes would leave the picture empty."""
    low, high = np.quantile(drawn, [0.001, 0.999])
    return np.linspace(min(float(y.min()), float(low)), max(float(y.max()), float(high)), _POINTS)


def _smooth(values: Array, grid: Array) -> Array:
    """Gaussian kernel density with Silverman's (1986, eq. 3.31) bandwidth, from binned counts."""
    spread = min(float(np.std(values, ddof=1)), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34)
    spread = spread or float(np.std(values)) or float(grid[-1] - grid[0]) / 10.0
    width = 0.9 * spread * len(values) ** -0.2
    step = float(grid[1] - grid[0])
    counts, _ = np.histogram(values, bins=len(grid), range=(grid[0] - step / 2, grid[-1] + step / 2))
    reach = np.arange(-len(grid) + 1, len(grid)) * step
    kernel = np.exp(-0.5 * (reach / width) ** 2)
    return np.convolve(counts, kernel, mode="valid") / (len(values) * width * np.sqrt(2.0 * np.pi))
