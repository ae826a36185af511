"""Profiles of the likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.profile import parameter_names
from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes, new_grid
from lmmformula.typing import Argument, Axes, Drawn

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["profile", "profile_panel"]


def profile(
    fit: Fitted,
    parameters: str | list[str] | None = None,
    ax: Drawn = None,
    level: float = 0.95,
    **options: Argument,
) -> Drawn:
    """zeta, the signed root of the rise of the deviance, over the value of each parameter.

    A straight line says that the Wald interval will do; the interval of `level` is where it stays within the dashed lines.

    Parameters
    ----------
    fit : Fit
        By a likelihood.
    parameters : str or list of str, optional
        Names as in ``conf_int(method="profile")``; all by default.
    ax : Axes, or as many of them as parameters, optional
    level : float
    **options
        Of :meth:`Fit.profile`, for example ``points``.

    Returns
    -------
    Axes for one name, else an array of them
    """
    names = [parameters] if isinstance(parameters, str) else list(parameters or parameter_names(fit))
    if ax is not None and len(np.ravel(ax)) != len(names):
        raise DataError(f"ax holds {len(np.ravel(ax))} axes, and there are {len(names)} parameters to draw.")
    table = fit.profile(parameters=names, **options)
    if isinstance(parameters, str):
        return profile_panel(table, parameters, new_axes(ax if ax is None else np.ravel(ax)[0]), level)
    axes = new_grid(len(names)) if ax is None else np.ravel(ax)
    for name, one in zip(names, axes, strict=True):
        profile_panel(table, name, one, level)
    return axes


def profile_panel(table: pd.DataFrame, name: str, ax: Axes, level: float = 0.95) -> Drawn:
    """One parameter of the table that :meth:`Fit.profile` gives."""
    from scipy.special import ndtri

    rows = table[table["parameter"] == name]
    bar = float(ndtri(0.5 + level / 2))
    ax.axhline(0.0, color=GREY, lw=1, zorder=0)
    for side in (-bar, bar):
        ax.axhline(side, color=GREY, lw=1, ls="--", zorder=0)
    ax.plot(rows["value"], rows["zeta"], "o-", color=COLOURS[0], ms=3, lw=1.4)
    ax.set_title(name, parse_math=False, fontsize="medium")
    ax.set_ylabel("zeta")
    return ax
