"""A summary as self-contained HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from lmmformula.reporting.numbers import STARS_LEGEND, general
from lmmformula.reporting.tables import (
    MONOTONIC,
    coefficient_cells,
    correlation_cells,
    criteria_cells,
    monotonic_cells,
    posterior_cells,
    random_cells,
    smooth_cells,
)

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.reporting.contents import Contents

__all__ = ["as_html", "inline_table", "small"]

# Colours are inherited and lines drawn in the text's own colour, so that the page's theme, light or dark, decides.
_BOX = "font-family:inherit;line-height:1.4;color:inherit"
_TABLE = "border-collapse:collapse;margin:0.2em 0 0.9em 0;background:none;color:inherit;font-variant-numeric:tabular-nums"
_HEAD = "padding:0.15em 0.7em;border-bottom:1px solid currentColor;font-weight:600;background:none"
_CELL = "padding:0.1em 0.7em;border:none;background:none"
_CAPTION = "caption-side:top;text-align:left;font-weight:600;padding:0.2em 0;color:inherit"


def as_html(summary: Contents) -> str:
    """One ``div`` without scripts, classes or outside resources."""
    names, values = criteria_cells(summary)
    quantiles = [f"{v:.3f}" for v in summary.residuals.values()]
    above = "".join(f"<br>{escape(line)}" for line in (*summary.about, summary.data))
    parts = [
        f"<p style='margin:0 0 0.6em 0'><strong>{escape(summary.title)}</strong><br><code>{escape(summary.formula)}</code>"
        f"{above}</p>",
        inline_table("Draws" if summary.posterior else "Criteria", names, [values], left=()),
    ]
    for part in summary.posterior:
        header, rows, hidden = posterior_cells(part.table)
        parts.append(inline_table(part.title, header, rows, left=(0,)))
        parts += [_paragraph(f"{hidden:,} more, all in <code>summary().posterior</code>")] if hidden else []
    if not summary.posterior:
        if summary.residuals:
            parts.append(inline_table(summary.residuals_are, list(summary.residuals), [quantiles], left=()))
        if len(summary.random):
            parts.append(inline_table(summary.random_are, *random_cells(summary), left=(0, 1)))
    if len(summary.fixed) and not summary.posterior:
        parts += _coefficients(summary.tests_are, summary.fixed, "summary().fixed")
    if summary.smooths is not None:
        parts.append(inline_table("Smooth terms", *smooth_cells(summary.smooths), left=(0,)))
    if summary.monotonic is not None:
        parts.append(inline_table(MONOTONIC, *monotonic_cells(summary.monotonic), left=(0, 1)))
    if summary.correlation is not None:
        parts.append(
            inline_table("Correlation of fixed effects", *correlation_cells(summary.correlation), left=(0,))
        )
    for part in () if summary.posterior else summary.auxiliary:
        if part.table is not None:
            parts += _coefficients(part.title, part.table, "summary().auxiliary")
        elif part.value is not None:
            note = f" ({escape(part.note)})" if part.note else ""
            parts.append(_paragraph(f"{escape(part.title)}: {general(part.value)}{note}"))
    parts.append(_paragraph("<br>".join(escape(note) for note in summary.notes)))
    return f"<div style='{_BOX}'>{''.join(parts)}</div>"


def _coefficients(caption: str, frame: pd.DataFrame, where: str) -> list[str]:
    header, rows, hidden = coefficient_cells(frame)
    more = [f"{hidden:,} more coefficients, all in <code>{where}</code>"] if hidden else []
    legend = [escape(STARS_LEGEND)] if any(row[-1] for row in rows) else []
    below = [_paragraph("<br>".join(more + legend))] if more or legend else []
    return [inline_table(caption, header, rows, left=(0, len(header) - 1)), *below]


def small(lines: Sequence[str]) -> str:
    """Lines of text in small print; nothing if there are none."""
    return _paragraph("<br>".join(map(escape, lines))) if lines else ""


def _paragraph(content: str) -> str:
    return f"<p style='margin:0 0 0.6em 0;font-size:90%'>{content}</p>"


def inline_table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]
) -> str:
    """A table with its styles written into every cell; the columns in `left` start at the left."""

    def cell(tag: str, style: str, j: int, text: str) -> str:
        side = "left" if j in left else "right"
        return f"<{tag} style='{style};text-align:{side}'>{escape(text)}</{tag}>"

    head = "".join(cell("th", _HEAD, j, h) for j, h in enumerate(header))
    body = "".join(f"<tr>{''.join(cell('td', _CELL, j, c) for j, c in enumerate(row))}</tr>" for row in rows)
    return (
        f"<table style='{_TABLE}'><caption style='{_CAPTION}'>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
