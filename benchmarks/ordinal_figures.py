"""The picture of docs/ordinal.md: probabilities of answers by behaviour, fitted and observed.

python -m benchmarks.ordinal_figures docs/figures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.pql_figures import STYLE

__all__ = ["draw"]

COLOURS = ("#c9d6e3", "#6d9cc4", "#0b5fa5")


def draw(folder: Path) -> Path:
    """Write the figure; returns its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd

    from lmmformula import fit, load_dataset
    from lmmformula.typing import Data

    answers = load_dataset("VerbAgg")
    answers["resp"] = answers["resp"].cat.as_ordered()
    m = fit("resp ~ Gender + btype + situ + mode + (1 | id) + (1 | item)", answers, family="cumulative")
    cells = [answers["mode"], answers["btype"]]
    shares, ones = pd.DataFrame(m.predict()), pd.get_dummies(answers["resp"], dtype=float)
    fitted: Data = shares.groupby(cells, observed=True).mean()
    seen: Data = ones.groupby(cells, observed=True).mean()
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(6.2, 3.2), sharey=True, layout="constrained")
        for ax, mode in zip(axes, ("want", "do"), strict=True):
            own, edges = (table.xs(mode) for table in (fitted, seen.cumsum(axis=1)))
            places, bottom = np.arange(len(own)), np.zeros(len(own))
            for colour, answer in zip(COLOURS, fitted.columns, strict=True):
                ax.bar(places, own[answer], 0.6, bottom, color=colour, label=answer)
                bottom = bottom + np.asarray(own[answer])
            ax.plot(places, np.asarray(edges)[:, :-1], "o", color="black", markersize=3.5)
            ax.set_xticks(places, own.index)
            ax.set_title(f"{mode} to" if mode == "want" else mode, fontsize=10)
        axes[0].set_ylabel("probability (points: observed, cumulated)")
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right center", fontsize=9)
        out = folder / "ordinal.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
