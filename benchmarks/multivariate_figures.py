"""The picture of docs/multivariate.md: effects of schools on two tests, and residuals of pupils.

python -m benchmarks.multivariate_figures docs/figures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.pql_figures import STYLE

__all__ = ["draw"]

NAMES = ("langPOST", "aritPOST")


def draw(folder: Path) -> Path:
    """Write the figure; returns its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from lmmformula import fit, load_dataset

    school = load_dataset("bdf")
    m = fit("bf(mvbind(langPOST, aritPOST) ~ IQ.verb + (1 |p| schoolNR)) + set_rescor(TRUE)", school)
    table = m.varcorr().set_index(["grp", "var1", "var2"])["sdcor"]
    effects, residuals = m.estimate.modes[0], np.asarray(m.residuals()).reshape(2, -1).T
    between = float(table.loc[("schoolNR", *(f"{n}:(Intercept)" for n in NAMES))])
    within = float(table.loc[("Residual", *NAMES)])
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
        panels = (
            (effects, f"131 schools: correlation {between:.2f}", "#0b5fa5", 14),
            (residuals, f"2,287 pupils within schools: {within:.2f}", "#b03a48", 4),
        )
        for ax, (points, title, colour, size) in zip(axes, panels, strict=True):
            ax.scatter(
                *points.T, s=size, color=colour, alpha=0.6, linewidths=0, rasterized=len(points) > 1_000
            )
            ax.axhline(0.0, color="#999999", linewidth=0.7, zorder=0)
            ax.axvline(0.0, color="#999999", linewidth=0.7, zorder=0)
            ax.set(title=title, xlabel="language", ylabel="arithmetic")
        out = folder / "multivariate.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None}, dpi=150)
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
