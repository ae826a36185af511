"""Plots as SVG that stands in the page itself and takes the page's colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from io import StringIO
from typing import Any

from lmmformula.errors import LmmformulaError
from lmmformula.reporting.exhibits import Drawing, Picture

__all__ = ["Drawing", "available", "draw", "embedded"]

_INK = "#010203"
"""Stands for the page's text colour while matplotlib draws."""
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lmmformula",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.titlecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "font.size": 10.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
}
DPI = 130
"""Of what is held as a picture within the drawing."""


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        return find_spec("matplotlib") is not None
    except ValueError:  # its place among the modules is held by something that is not a module
        return False


def draw(
    drawings: Sequence[Drawing], prefix: str = "", *, small: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Figures side by side where the page is wide, and why some are left out.

    Parameters
    ----------
    drawings : sequence of Drawing
    prefix : str
        Of the ids within the drawings, which occur once in a page.
    small : bool
        Three in a row where there is room, instead of two.

    Returns
    -------
    html : str
    left_out : tuple of str
    """
    shown, left_out = [], []
    for number, drawing in enumerate(drawings):
        try:
            svg = _svg(drawing, f"{prefix}f{number}-")
        except LmmformulaError as error:
            left_out.append(f"{drawing.name}: {error}")
            continue
        wide = ' class="wide"' if drawing.panels > 1 else ""
        shown.append(f"<figure{wide}>{svg}<figcaption>{escape(drawing.caption)}</figcaption></figure>")
    kind = "figures small" if small else "figures"
    return (f'<div class="{kind}">{"".join(shown)}</div>' if shown else ""), tuple(left_out)


def _svg(drawing: Drawing, prefix: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_RC):
        figure = Figure(figsize=drawing.size, layout="constrained")
        axes = figure.subplots(*drawing.shape, squeeze=False).ravel()
        for spare in axes[drawing.panels :]:
            figure.delaxes(spare)
        drawing.paint(axes[0] if drawing.panels == 1 else axes[: drawing.panels])
        out = StringIO()
        figure.savefig(out, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), drawing.name, prefix)


def embedded(picture: Picture, prefix: str) -> str:
    """A figure as its maker drew it, on white."""
    from matplotlib import rc_context

    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "lmmformula"}):
        picture.figure.savefig(
            out, format="svg", dpi=DPI, facecolor="white", metadata={"Date": None, "Creator": None}
        )
    return f'<div class="figures"><figure>{_inline(out.getvalue(), picture.name, prefix)}</figure></div>'


def _inline(svg: str, name: str, prefix: str) -> str:
    """The drawing without prologue, metadata and fixed size, in the page's ink, with ids that occur once in the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    opening, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    view = box.group(0) if box else ""
    rest = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', rest)
    rest = re.sub(r'(href="#|url\(#)', rf"\1{prefix}", rest)
    rest = rest.replace(_INK, "currentColor").rstrip()
    return f'<svg {view} role="img" aria-label="{escape(name)}">{rest}'
