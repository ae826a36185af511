"""The picture of docs/monotonic.md: means over an ordered factor as such, as a line, and by monotonic steps.

python -m benchmarks.monotonic_figures docs/figures
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from benchmarks.pql_figures import STYLE

__all__ = ["draw"]


def draw(folder: Path) -> Path:
    """Write the figure; returns its path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from lmmformula import fit, load_dataset

    cake = load_dataset("cake")
    written = {"ordered factor": "temperature", "line": "temp", "monotonic": "mo(temperature)"}
    levels = [str(level) for level in cake["temperature"].cat.categories]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = {
            name: fit(f"angle ~ {x} + recipe + (1 | recipe:replicate)", cake) for name, x in written.items()
        }
    with mpl.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
        for name, m in fits.items():
            over = {"temp": [float(v) for v in levels]} if name == "line" else None
            means = m.emmeans(written[name] if name == "line" else "temperature", at=over).table
            at = [float(v) for v in levels]
            ax.plot(
                at, means["emmean"], marker="o", label=name, linewidth=2.0 if name == "monotonic" else 1.0
            )
            if name == "monotonic":
                limits = means["lower.CL"], means["upper.CL"]
                ax.fill_between(at, *limits, alpha=0.15, linewidth=0, color="C2")
        ax.set_xlabel("temperature (degrees Fahrenheit)")
        ax.set_ylabel("angle at which the cake breaks")
        ax.legend()
        out = folder / "monotonic.svg"
        figure.savefig(out, metadata={"Date": None, "Creator": None}, dpi=150)
        plt.close(figure)
    return out


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
