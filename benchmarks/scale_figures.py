"""The figure of fits whose rows are in files, from the record that ``benchmarks.scale fit --record`` adds to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.pql_figures import STYLE

__all__ = ["add", "draw"]

_LINES = {
    "PQL": ("binary, PQL", "#0b5fa5", "o"),
    "PQL (corrected)": ("binary, PQL corrected", "#3b8f5a", "s"),
    "REML": ("Gaussian, REML", "#c77f0a", "^"),
}


def add(record: Path, entry: dict[str, Any]) -> None:
    """One more fit; it takes the place of an earlier one of the same kind and size."""
    known = json.loads(record.read_text()) if record.exists() else []
    same = ("rows", "method", "from", "coefficients")
    kept = [e for e in known if any(e.get(k) != entry.get(k) for k in same)]
    kept.append(entry)
    kept.sort(key=lambda e: (str(e["method"]), e["rows"], str(e["from"])))
    record.write_text(json.dumps(kept, indent=1) + "\n")


def draw(record: Path, out: Path) -> None:
    """Seconds and memory against rows, on logarithmic scales: the same bytes from the same numbers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    entries = [e for e in json.loads(record.read_text()) if e["from"] == "files" and e["coefficients"] == 8]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
        for method, (label, colour, marker) in _LINES.items():
            own = sorted(
                (e for e in entries if e["method"].startswith(method.split()[0])), key=lambda e: e["rows"]
            )
            own = [e for e in own if ("corrected" in e["method"]) == ("corrected" in method)]
            for ax, what in zip(axes, ("seconds", "peak GB"), strict=True):
                if own:
                    x, y = [e["rows"] for e in own], [e[what] for e in own]
                    ax.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.4, label=label)
        for ax, what in zip(axes, ("seconds for one fit", "peak memory, GB"), strict=True):
            ax.set(xscale="log", yscale="log", xlabel="rows", ylabel=what)
        axes[0].legend(fontsize=9)
        figure.savefig(out, metadata={"Date": None, "Creator": None})
        plt.close(figure)
