"""The picture of docs/areal.md: standardised rates of districts, and their relative risks with neighbours.

python -m benchmarks.areal_figures docs/figures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.pql_figures import STYLE

__all__ = ["draw"]


def draw(folder: Path) -> Path:
    """Write the figure; returns its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from lmmformula import fit, load_dataset

    cancer, pairs = load_dataset("lip_cancer"), load_dataset("lip_cancer_neighbours")
    formula = "observed ~ aff + offset(log(expected)) + car(W, gr = district, type = 'bym2')"
    m = fit(formula, cancer, family="poisson", data2={"W": pairs})
    raw = np.log((cancer["observed"] + 0.5) / cancer["expected"])
    smooth = np.log(np.asarray(m.fittedvalues) / cancer["expected"])
    at = {str(d): i for i, d in enumerate(cancer["district"])}
    x, y = cancer["longitude"].to_numpy(), cancer["latitude"].to_numpy()
    largest = float(np.abs(raw).max())
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 4.2), layout="constrained", sharex=True, sharey=True)
        panels = ((raw, "observed / expected"), (smooth, "fitted / expected"))
        for ax, (values, title) in zip(axes, panels, strict=True):
            for a, b in pairs.astype(str).itertuples(index=False):
                ax.plot(x[[at[a], at[b]]], y[[at[a], at[b]]], color="#dddddd", linewidth=0.6, zorder=0)
            ax.scatter(
                x,
                y,
                c=values,
                s=38,
                cmap="RdBu_r",
                vmin=-largest,
                vmax=largest,
                edgecolors="#666666",
                linewidths=0.4,
            )
            ax.set(title=title, xlabel="longitude")
        axes[0].set_ylabel("latitude")
        figure.colorbar(axes[0].collections[0], ax=axes, label="logarithm of the relative risk", shrink=0.8)
        out = folder / "areal.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None}, dpi=150)
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
