"""The picture of docs/residuals.md: correlations of visits, each estimated alone and by structures of few parameters.

python -m benchmarks.residual_figures docs/figures
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

    teeth = load_dataset("Orthodont").assign(visit=lambda d: d["age"].astype(int))
    forms = "unstr(visit, gr = Subject)", "cosy(gr = Subject)", "ar(visit, gr = Subject)"
    fits = [fit(f"distance ~ age * Sex + {form}", teeth, method="ml").varcorr(se=True) for form in forms]
    pairs = fits[0][fits[0]["var2"].notna()]
    first, second = (np.asarray(pairs[name], dtype=int) for name in ("var1", "var2"))
    lags = second - first
    rho = [float(f["sdcor"].iloc[-1]) for f in fits[1:]]
    years = np.linspace(0.0, 6.5, 60)
    with mpl.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(6.2, 3.6), layout="constrained")
        jitter = lags + 0.12 * (np.arange(len(lags)) - 2)
        ax.errorbar(
            jitter,
            pairs["sdcor"],
            pairs["se"].astype(float),
            fmt="o",
            color="#444444",
            label="unstr: each pair",
        )
        ax.plot(years, np.full(60, rho[0]), color="#0b5fa5", label="cosy: one for all")
        ax.plot(years, rho[1] ** years, color="#b03a48", label="ar: a power of the gap")
        ax.set(xlabel="years between two visits", ylabel="correlation of residuals", ylim=(0.0, 1.02))
        ax.legend(fontsize=9)
        out = folder / "residuals.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
