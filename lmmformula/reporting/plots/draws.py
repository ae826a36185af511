"""Plots of draws from a posterior: traces and rank histograms of chains. They take arrays (chain, draw)."""

from __future__ import annotations

import numpy as np

from lmmformula.errors import DataError
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes
from lmmformula.typing import Array, Axes, Drawn

__all__ = ["rank", "trace"]


def trace(draws: Array, name: str = "", ax: Axes | None = None) -> Drawn:
    """Every chain of one parameter over its draws; chains that have mixed cannot be told apart.

    Parameters
    ----------
    draws : (chain, draw) array
    name : str
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    chains = _chains(draws)
    ax = new_axes(ax, (6.0, 2.5))
    for c, values in enumerate(chains):
        ax.plot(values, color=COLOURS[c % len(COLOURS)], lw=0.5, alpha=0.8, rasterized=chains.size > 4_000)
    ax.set(xlabel="draw", xlim=(0, max(chains.shape[1] - 1, 1)))
    ax.set_title(name, parse_math=False, fontsize="medium")
    return ax


def rank(draws: Array, name: str = "", ax: Axes | None = None, bins: int = 20) -> Drawn:
    """Ranks of each chain's draws among all (Vehtari et al. 2021): every histogram is flat if the chains have mixed.

    Parameters
    ----------
    draws : (chain, draw) array
    name : str
    ax : Axes, optional
    bins : int

    Returns
    -------
    Axes
        One step line a chain, counts over the expected count; the grey band holds 95% of the heights of independent draws.
    """
    chains = _chains(draws)
    count, length = chains.shape
    bins = max(min(bins, length), 1)
    order = np.argsort(chains, axis=None, kind="stable")
    ranks = np.empty(chains.size)
    ranks[order] = np.arange(chains.size)
    edges = np.linspace(0, chains.size, bins + 1)
    ax = new_axes(ax, (6.0, 2.5))
    reach = 1.96 * np.sqrt((1 - 1 / bins) * bins / length)
    ax.axhspan(1 - reach, 1 + reach, color=GREY, alpha=0.2, lw=0)
    for c, own in enumerate(ranks.reshape(count, length)):
        heights = np.histogram(own, edges)[0] * bins / length
        ax.stairs(heights, edges, color=COLOURS[c % len(COLOURS)], lw=1.2)
    ax.set(xlabel="rank among all draws", ylabel="count / expected", xlim=(0, chains.size))
    ax.set_title(name, parse_math=False, fontsize="medium")
    return ax


def _chains(draws: Array) -> Array:
    chains = np.atleast_2d(np.asarray(draws, dtype=float))
    if chains.ndim != 2 or chains.shape[1] < 2:
        raise DataError(
            f"draws have shape {chains.shape}; one parameter's are (chain, draw), with two draws at least."
        )
    return chains
