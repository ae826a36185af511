"""The pictures of docs/hurdle.md and docs/reaction_times.md: counts beside what models draw, and quantiles of reaction times.

python -m benchmarks.responses_figures docs/figures
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.pql_figures import STYLE

__all__ = ["begging", "draw", "trials"]

BLUE, ORANGE, GREY = "#3d85c6", "#d9772b", "#8a8f98"
LEFT = "SiblingNegotiation ~ FoodTreatment + ArrivalTime + offset(logBroodSize) + (1 | Nest)"
ZEROS = "hu ~ FoodTreatment + ArrivalTime + (1 | Nest)"


def begging(folder: Path) -> Path:
    """Shares of each number of calls, and what an nbinom2 and a hurdle model draw."""
    import matplotlib.pyplot as plt

    from lmmformula import fit, load_dataset

    owls = load_dataset("Owls")
    models = {
        "nbinom2": (fit(LEFT, owls, family="nbinom2"), GREY),
        "hurdle_nbinom2": (fit(f"bf({LEFT}, {ZEROS})", owls, family="hurdle_nbinom2"), ORANGE),
    }
    k = np.arange(26)
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained", sharey=True)
    for ax, treatment in zip(axes, ("Deprived", "Satiated"), strict=True):
        own = (owls["FoodTreatment"] == treatment).to_numpy()
        seen = owls["SiblingNegotiation"].to_numpy()[own]
        ax.bar(k, np.bincount(seen, minlength=40)[:26] / own.sum(), color=BLUE, alpha=0.45, label="nests")
        for name, (m, colour) in models.items():
            drawn = m.simulate(100, seed=1).to_numpy()[own].astype(int).ravel()
            ax.plot(
                k, np.bincount(drawn, minlength=26)[:26] / drawn.size, "o-", color=colour, ms=3, label=name
            )
        ax.set(xlabel="calls", title=treatment)
    axes[0].set(ylabel="share of visits")
    axes[1].legend(frameon=False, fontsize="small")
    return _saved(figure, folder / "hurdle.svg")


def trials() -> pd.DataFrame:
    """Reaction times of 24 people in easy and hard trials: a normal part and an exponential one, longer in hard trials."""
    rng = np.random.default_rng(8)
    person, hard = np.repeat(np.arange(24), 40), np.tile(np.repeat([0, 1], 20), 24)
    own = rng.normal(0, 0.08, 24)[person]
    rt = (
        0.45 + 0.06 * hard + own + rng.normal(0, 0.05, 960) + rng.exponential(np.where(hard == 1, 0.17, 0.10))
    )
    return pd.DataFrame({"person": person.astype(str), "hard": hard, "rt": rt.round(3)})


def quantiles(folder: Path) -> Path:
    """Quantiles of the times over those of draws, easy and hard."""
    import matplotlib.pyplot as plt

    from lmmformula import fit

    data = trials()
    models = {
        "gaussian": (fit("rt ~ hard + (1 | person)", data), GREY),
        "exgaussian": (fit("bf(rt ~ hard + (1 | person), beta ~ hard)", data, family="exgaussian"), ORANGE),
    }
    at = np.linspace(0.01, 0.99, 50)
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained", sharex=True, sharey=True)
    for ax, hard in zip(axes, (0, 1), strict=True):
        own = (data["hard"] == hard).to_numpy()
        for name, (m, colour) in models.items():
            drawn = np.quantile(m.simulate(50, seed=1).to_numpy()[own], at)
            ax.plot(drawn, np.quantile(data["rt"][own], at), "o", color=colour, ms=3, label=name)
        ax.plot([0.1, 1.5], [0.1, 1.5], color=BLUE, lw=0.8)
        ax.set(xlabel="quantile of draws, s", title="hard" if hard else "easy")
    axes[0].set(ylabel="quantile of times, s")
    axes[0].legend(frameon=False, fontsize="small")
    return _saved(figure, folder / "reaction_times.svg")


def _saved(figure: object, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None, "Creator": None})  # type: ignore[attr-defined]
    plt.close("all")
    return path


def draw(folder: Path) -> list[Path]:
    """Write both figures; returns their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    with warnings.catch_warnings(), mpl.rc_context(STYLE):
        warnings.simplefilter("ignore")
        return [begging(folder), quantiles(folder)]


if __name__ == "__main__":
    for written in draw(Path(sys.argv[1])):
        print(written)
