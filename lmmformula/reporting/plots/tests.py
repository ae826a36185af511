"""Plots of tables of tests: hypotheses, variances, terms, models side by side, folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmmformula.inference.selection.cross_validation import column_of
from lmmformula.reporting.plots.canvas import COLOURS, GREY, points, row_labels
from lmmformula.typing import Array, Axes, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.bayesian.elpd import Elpd
    from lmmformula.inference.selection.cross_validation import CrossValidation
    from lmmformula.inference.selection.null_distribution import Null

__all__ = ["folds", "hypotheses", "null_distributions", "p_values", "pareto", "weights"]

_FAR = 1e-6
"""P-values below are drawn at the edge."""
_ZERO = 1e-6
"""Share of the largest statistic below which one is zero."""
_CURVE = 200
_ROOM = 1.25
"""How far a distribution is drawn, relative to the statistic and to what all but one in a thousand of its draws reach."""


def hypotheses(table: pd.DataFrame, ax: Axes) -> Axes:
    """How far each estimate is from its hypothesis, in its standard errors, with its interval."""
    n = len(table)
    places = np.arange(n)[::-1]
    error = table["std_error"].to_numpy(dtype=float)
    middle, low, high = (
        table[name].to_numpy(dtype=float) / error for name in ("estimate", "conf_low", "conf_high")
    )
    ax.axvline(0.0, color=GREY, lw=1, zorder=0)
    ax.hlines(places, low, high, color=COLOURS[0], lw=1.6, alpha=0.6)
    ax.plot(middle, places, "o", color=COLOURS[0], ms=5)
    row_labels(ax, places, [str(name) for name in table.index])
    ax.set_ylim(-0.6, n - 0.4)
    ax.set_xlabel("left side less right side, in standard errors", loc="right")
    return ax


def null_distributions(found: Mapping[str, tuple[float, Null]], axes: Drawn) -> Drawn:
    """The statistic of each piece of the random part against what it would be if the piece were not needed."""
    for ax, (label, (statistic, null)) in zip(np.atleast_1d(axes), found.items(), strict=True):
        if null.drawn is not None:
            _draws(ax, null.drawn, statistic)
        elif null.chi_squares:
            _mixture(ax, null.chi_squares, statistic)
        else:
            ax.text(0.5, 0.5, null.words, ha="center", va="center", transform=ax.transAxes, wrap=True)
        if np.isfinite(statistic):
            ax.axvline(statistic, color=COLOURS[0], lw=1.6)
        p = f"p = {null.p_value:.3g}" if np.isfinite(null.p_value) else "no p-value"
        ax.set_title(f"{label}\n{p}", loc="left", fontsize="small", parse_math=False)
        ax.set_xlabel("likelihood ratio", loc="right")
        ax.set_yticks([])
    return axes


def _draws(ax: Axes, drawn: Array, statistic: float) -> None:
    """Histogram of what is above zero; what lies at zero is a bar of its share."""
    top = max(float(drawn.max(initial=0.0)), statistic)
    at_zero = drawn <= _ZERO * top
    far = _ROOM * max(statistic, float(np.quantile(drawn, 0.999))) or 1.0
    heights, edges = np.histogram(drawn[~at_zero], bins=40, range=(0.0, far))
    ax.bar(edges[:-1], heights, width=far / 40.0, align="edge", color=GREY, alpha=0.7)
    if at_zero.any():
        _at_zero(ax, float(at_zero.mean()), float(max(heights.max(initial=0), 1)), far)


def _at_zero(ax: Axes, share: float, top: float, far: float) -> None:
    ax.bar(0.0, top, width=far / 60.0, color=GREY)
    at = (far / 60.0, top)
    ax.annotate(
        f"{share:.0%} at 0", at, xytext=(14, 0), textcoords="offset points", fontsize="small", va="top"
    )


def _mixture(ax: Axes, chi_squares: tuple[int, ...], statistic: float) -> None:
    """Density of a mixture in equal parts; what lies at zero is a bar of its share."""
    from scipy.stats import chi2

    share = 1.0 / len(chi_squares)
    inner = [df for df in chi_squares if df > 0]
    far = _ROOM * max(statistic, float(max(chi2.ppf(0.999, df) for df in inner)))
    x = np.linspace(far / _CURVE / 4.0, far, _CURVE)
    height = sum(share * chi2.pdf(x, df) for df in inner)
    top = float(np.quantile(height, 0.97))
    ax.fill_between(x, 0.0, np.minimum(height, top), color=GREY, alpha=0.7, lw=0)
    if 0 in chi_squares:
        _at_zero(ax, share, top, far)


def p_values(table: pd.DataFrame, ax: Axes) -> Axes:
    """The p-value of each row that has one, on a logarithmic scale, with a line at .05."""
    name = "p_value" if "p_value" in table else next(c for c in table.columns if str(c).startswith("Pr("))
    own = table[name].dropna()
    places = np.arange(len(own))[::-1]
    p = np.clip(own.to_numpy(dtype=float), _FAR, 1.0)
    ax.axvline(0.05, color=GREY, lw=1, ls="--", zorder=0)
    ax.hlines(places, p, 1.0, color=COLOURS[0], lw=1.6, alpha=0.6)
    ax.plot(p, places, "o", color=COLOURS[0], ms=5)
    ax.set_xscale("log")
    ax.set_xlim(_FAR / 2.0, 1.0)
    row_labels(ax, places, [str(label) for label in own.index])
    ax.set_ylim(-0.6, len(own) - 0.4)
    ax.set_xlabel("p-value without the term", loc="right")
    return ax


def weights(table: pd.DataFrame, ax: Axes) -> Axes:
    """Akaike's (or stacking) weights of models, best first."""
    places = np.arange(len(table))[::-1]
    share = table["weight"].to_numpy(dtype=float)
    ax.barh(places, share, color=COLOURS[0], height=0.6)
    row_labels(ax, places, [str(label) for label in table.index])
    for place, value in zip(places, share, strict=True):
        ax.annotate(
            f"{value:.2f}",
            (value, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    ax.set_xlim(0.0, 1.12)
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_xlabel("weight", loc="right")
    return ax


def folds(found: CrossValidation, ax: Axes) -> Axes:
    """The first score of each fold, per row, beside that of all rows."""
    name = column_of(found.scores[0])
    fold, value = (found.frame[c].to_numpy(dtype=float) for c in ("fold", name))
    numbers = np.unique(fold)
    ax.axhline(float(value.mean()), color=GREY, lw=1, zorder=0)
    ax.plot(numbers, [float(value[fold == k].mean()) for k in numbers], "o", color=COLOURS[0], ms=5)
    ax.set_xlabel("fold", loc="right")
    ax.set_ylabel(f"{name.replace('_', ' ')} per row")
    ax.locator_params(axis="x", integer=True)
    return ax


def pareto(found: Elpd, ax: Axes) -> Axes:
    """Pareto's k of each unit with the limit of trust; without k each unit's elpd."""
    name = "k" if "k" in found.pointwise else "elpd"
    values = found.pointwise[name].to_numpy(dtype=float)
    points(ax, np.arange(len(values), dtype=float), values)
    if name == "k":
        ax.axhline(found.good_k, color=GREY, lw=1, ls="--")
    ax.set_xlabel("left out", loc="right")
    ax.set_ylabel("Pareto k" if name == "k" else name)
    return ax
