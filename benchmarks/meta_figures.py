"""The picture of docs/meta.md: a forest plot of thirteen trials, and what latitude explains of their differences.

python -m benchmarks.meta_figures docs/figures
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

    data = load_dataset("bcg")
    m = fit("yi | se(sei) ~ 1 + (1 | trial)", data)
    moderated = fit("yi | se(sei) ~ ablat + (1 | trial)", data)
    at = np.linspace(10.0, 58.0, 80)
    found = moderated.heterogeneity(newdata={"ablat": at}).prediction
    assert found is not None
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), layout="constrained")
        m.heterogeneity().plot(left)
        left.set_xlabel("log relative risk")
        right.fill_between(
            at, found["lower_new"], found["upper_new"], color="#d9772b", alpha=0.15, linewidth=0
        )
        right.fill_between(at, found["lower"], found["upper"], color="#d9772b", alpha=0.3, linewidth=0)
        right.plot(at, found["fit"], color="#d9772b")
        size = 8.0 / data["sei"].to_numpy()
        right.scatter(data["ablat"], data["yi"], s=size, color="#3d85c6", alpha=0.8, linewidths=0)
        right.set(xlabel="degrees from the equator", ylabel="log relative risk")
        out = folder / "meta.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None}, dpi=150)
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
