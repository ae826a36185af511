"""The picture of docs/distributional.md: residuals of each subject and the spread that the model gives them.

python -m benchmarks.distributional_figures docs/figures
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

    sleep = load_dataset("sleepstudy")
    m = fit("bf(Reaction ~ Days + (Days | Subject), sigma ~ 1 + (1 | Subject))", sleep)
    effects = m.ranef().query("term == 'sigma:(Intercept)'")
    values = effects["condval"].to_numpy(dtype=float)
    order = [str(effects["grp"].tolist()[i]) for i in np.argsort(values)]
    spread = float(m.sigma) * np.exp(np.sort(values))
    residuals = m.residuals("response").groupby(sleep["Subject"].astype(str)).agg(list)
    with mpl.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
        for at, subject in enumerate(order):
            ax.plot(np.full(10, at), residuals[str(subject)], "o", color="#0b5fa5", markersize=3.5, alpha=0.7)
        ax.fill_between(
            range(len(order)), -2.0 * spread, 2.0 * spread, color="#c77f0a", alpha=0.2, linewidth=0.0
        )
        ax.set(xlabel="subject, the steadiest first", ylabel="residual, ms", xticks=range(len(order)))
        ax.set_xticklabels([str(s) for s in order], rotation=60, fontsize=8)
        out = folder / "distributional.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
