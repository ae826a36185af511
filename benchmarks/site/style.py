"""How the pictures of the pages look: the style of the studies' figures, on a size that fits a page and a phone."""

from __future__ import annotations

from typing import Any

from benchmarks.pql_figures import STYLE as FIGURES

__all__ = ["STYLE"]

STYLE: dict[Any, Any] = FIGURES | {
    "axes.prop_cycle": "cycler('color', ['#0b5fa5', '#c77f0a', '#3b8f5a', '#b03a48', '#6b5b95', '#8a8a8a'])",
    "figure.figsize": (6.4, 3.6),
    "figure.constrained_layout.use": True,
    "font.size": 9.5,
    "path.simplify_threshold": 1.0,
}
