"""The picture of the planner's rules, from the planner: what it decides for two crossed factors of growing size.

python -m benchmarks.site.rules     # asks the planner, writes benchmarks/results/rules.json and docs/figures/rules.svg
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["FAMILIES", "LEVELS", "RECORD", "ROWS", "asked", "draw", "main"]

ROWS = (1_000, 10_000, 100_000, 1_000_000)
LEVELS = (20, 200, 2_000, 20_000, 100_000)
FAMILIES = ("gaussian", "binomial")
RECORD = Path(__file__).parents[1] / "results" / "rules.json"
_WAYS = {"exact": "#0b5fa5", "iterated": "#3b8f5a", "backfitting": "#c77f0a"}


@dataclass(frozen=True)
class Decision:
    """What the planner decides for a size."""

    family: str
    rows: int
    levels: int
    way: str
    seconds: float


def asked(family: str, rows: int, levels: int) -> Decision:
    """Ask the planner about `rows` rows of two crossed factors of `levels` levels each; nothing is fitted."""
    from lmmformula import plan

    rng = np.random.default_rng(1)
    table: dict[str, Any] = {
        "y": rng.integers(0, 2, rows),
        "x": rng.normal(size=rows),
        "g": np.r_[np.arange(levels), rng.integers(0, levels, rows - levels)],
        "h": rng.permutation(np.r_[np.arange(levels), rng.integers(0, levels, rows - levels)]),
    }
    made = plan("y ~ x + (1 | g) + (1 | h)", table, family=family)
    iterated, backfitted = made.engine == "krylov", made.method == "pql"
    way = "backfitting" if backfitted else "iterated" if iterated else "exact"
    return Decision(family, rows, levels, way, float(f"{made.seconds:.2g}"))


def draw(decisions: list[Decision], path: Path) -> Path:
    """A panel for each family, a cell for each size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch, Rectangle

    from benchmarks.site.style import STYLE

    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), sharey=True)
        for ax, family in zip(axes, FAMILIES, strict=True):
            for one in decisions:
                if one.family == family:
                    at = (LEVELS.index(one.levels), ROWS.index(one.rows))
                    ax.add_patch(Rectangle((at[0] - 0.48, at[1] - 0.46), 0.96, 0.92, color=_WAYS[one.way]))
                    ax.text(*at, _seconds(one.seconds), color="white", ha="center", va="center", fontsize=8)
            ax.set_xticks(range(len(LEVELS)), [f"{n:,}" for n in LEVELS], rotation=30)
            ax.set_yticks(range(len(ROWS)), [f"{n:,}" for n in ROWS])
            ax.set(xlim=(-0.6, len(LEVELS) - 0.4), ylim=(-0.6, len(ROWS) - 0.4), title=family)
            ax.set_xlabel("levels of each of two crossed factors")
            ax.grid(visible=False)
        axes[0].set_ylabel("rows")
        ways = {one.way for one in decisions}
        handles = [Patch(color=c, label=way) for way, c in _WAYS.items() if way in ways]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return path


def _seconds(value: float) -> str:
    return "< 0.1 s" if value < 0.1 else f"{value:.2g} s"


def main(docs: Path = Path("docs")) -> None:
    """Ask, keep, draw."""
    sizes = [(f, n, k) for f in FAMILIES for n in ROWS for k in LEVELS if 2 * k <= n]
    decisions = [asked(*size) for size in sizes]
    RECORD.write_text(json.dumps([vars(one) for one in decisions], indent=1) + "\n", encoding="utf-8")
    print(draw(decisions, docs / "figures" / "rules.svg"))


if __name__ == "__main__":
    main()
