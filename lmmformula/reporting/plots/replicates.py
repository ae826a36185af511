"""Histograms of the replicates of a bootstrap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lmmformula.reporting.plots.canvas import COLOURS, GREY
from lmmformula.typing import Drawn

__all__ = ["histograms"]


def histograms(found: pd.DataFrame, estimate: Mapping[str, float], axes: Drawn) -> Drawn:
    """One for each statistic, with a line at the estimate."""
    for ax, name in zip(np.ravel(np.atleast_1d(axes)), found.columns, strict=True):
        values = found[name].to_numpy(dtype=float)
        ax.hist(values[np.isfinite(values)], bins=30, color=GREY)
        ax.axvline(estimate[str(name)], color=COLOURS[0], lw=1.6)
        ax.set_title(str(name), loc="left", fontsize="small", parse_math=False)
        ax.set_yticks([])
    return axes
