"""The picture of docs/censoring.md: an assay with a limit of detection, and times to infection with their survival curves.

python -m benchmarks.censoring_figures docs/figures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.pql_figures import STYLE

__all__ = ["assay", "draw"]


def assay(limit: float = 0.5) -> dict[str, np.ndarray]:
    """Log concentrations of 20 people on six days, which fall by 0.3 a day; below a limit nobody sees them."""
    rng = np.random.default_rng(4)
    person, day = np.repeat(np.arange(20), 6), np.tile(np.arange(6.0), 20)
    truth = 1.6 - 0.3 * day + rng.normal(0.0, 0.5, 20)[person] + rng.normal(0.0, 0.4, 120)
    truth = np.round(truth, 3)
    return {
        "person": person,
        "day": day,
        "truth": truth,
        "y": np.maximum(truth, limit),
        "below": truth < limit,
    }


def draw(folder: Path) -> Path:
    """Write the figure; returns its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd

    from lmmformula import fit, load_dataset

    data = pd.DataFrame(assay()).astype({"person": str})
    tobit = fit("y | cens(ifelse(below, 'left', 'none')) ~ day + (1 | person)", data)
    naive = fit("y ~ day + (1 | person)", data)
    kidney = load_dataset("kidney").assign(removed=lambda d: 1 - d["status"])
    m = fit("time | cens(removed) ~ sex + (1 | id)", kidney, family="weibull")
    grid = np.linspace(0.0, 5.0, 50)
    with mpl.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
        jitter = data["day"] + np.random.default_rng(1).uniform(-0.15, 0.15, len(data))
        for rows, style in (
            (~data["below"], {"color": "#3d85c6"}),
            (data["below"], {"color": "#8a8f98", "marker": "v"}),
        ):
            left.scatter(jitter[rows], data["y"][rows], s=12, linewidths=0, alpha=0.7, **style)
        for own, colour, label in (
            (tobit, "#d9772b", "cens()"),
            (naive, "#8a8f98", "limit taken for a value"),
        ):
            left.plot(grid, own.params["(Intercept)"] + own.params["day"] * grid, color=colour, label=label)
        left.axhline(0.5, color="#8a8f98", linewidth=0.8, linestyle=":")
        left.set(xlabel="day", ylabel="log concentration")
        left.legend(frameon=False, fontsize="small")
        days, shape = np.linspace(0.0, 400.0, 200), float(np.exp(m.estimate.aux[0][0]))
        rng = np.random.default_rng(2)
        effects = float(m.varcorr()["sdcor"].iloc[0]) * rng.standard_normal(4000)
        for sex, colour in (("male", "#3d85c6"), ("female", "#d9772b")):
            eta = m.params["(Intercept)"] + m.params["sexfemale"] * (sex == "female")
            curve = np.exp(-((days[:, None] / np.exp(eta + effects)) ** shape)).mean(axis=1)
            right.plot(days, curve, color=colour, label=sex)
        right.set(xlabel="days", ylabel="without infection", ylim=(0.0, 1.0))
        right.legend(frameon=False, fontsize="small")
        out = folder / "censoring.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None}, dpi=150)
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
