"""Numbers and columns as text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

__all__ = [
    "STARS_LEGEND",
    "aligned",
    "general",
    "on_one_line",
    "p_value",
    "significant",
    "stars",
    "statistic",
    "width",
]

STARS_LEGEND = "Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1"
_SMALLEST_P = 2e-16


def general(value: float, digits: int = 4) -> str:
    """`digits` significant digits, without an exponent where that is short."""
    if not math.isfinite(value):
        return "NA" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if -5 < power < 9:
        return f"{value:.{max(digits - 1 - power, 0)}f}"
    return f"{value:.{digits - 1}e}"


def significant(values: Iterable[float], digits: int = 4) -> list[str]:
    """A column with common decimals, enough for `digits` digits of every entry that is not tiny beside the largest."""
    column = [float(v) for v in values]
    sizes = [abs(v) for v in column if math.isfinite(v) and v != 0]
    if not sizes:
        return [general(v, digits) for v in column]
    top = math.floor(math.log10(max(sizes)))
    low = math.floor(math.log10(min(sizes)))
    decimals = max(digits - 1 - max(low, top - 3), 0)
    if decimals > 8 or top > 9:
        return [general(v, digits) for v in column]
    out = []
    for v in column:
        tiny = 0 < abs(v) < 0.5 * 10.0**-decimals
        out.append(general(v, 2) if tiny or not math.isfinite(v) else f"{v:.{decimals}f}")
    return out


def statistic(value: float, decimals: int) -> str:
    """A t statistic or a number of degrees of freedom."""
    if not math.isfinite(value):
        return general(value)
    if 0 < abs(value) < 0.5 * 10.0**-decimals:
        return general(value, 2)
    return f"{value + 0.0:.{decimals}f}" if abs(value) < 1e6 else f"{value:.3g}"


def p_value(value: float) -> str:
    """Four decimals, or three significant digits where that would say 0.000; below 2e-16 only that."""
    if math.isnan(value):
        return "NA"
    if value < _SMALLEST_P:
        return "<2e-16"
    if value < 1e-4:
        return f"{value:.2e}"
    return f"{value:.6f}" if value < 1e-3 else f"{value:.4f}"


def stars(value: float) -> str:
    """R's code of significance."""
    for bar, code in ((0.001, "***"), (0.01, "**"), (0.05, "*"), (0.1, ".")):
        if value < bar:
            return code
    return ""


_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
"""Characters at which a terminal, Markdown or LaTeX would begin a new line, or that show nothing."""


def on_one_line(text: str) -> str:
    r"""Text with line breaks and other control characters written as R prints them, ``\n``."""
    if not _BREAKS.search(text):
        return text
    return _BREAKS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def width(text: str) -> int:
    """Places that a text takes in a terminal: two for an ideograph, none for a combining mark."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], left: Iterable[int] = (0,)) -> list[str]:
    """Lines of a table; the columns in `left` start at the left, the others end at the right."""
    table = [[on_one_line(cell) for cell in row] for row in (header, *rows)]
    sizes = [[width(cell) for cell in row] for row in table]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    to_left = set(left)
    lines = []
    for row, own in zip(table, sizes, strict=True):
        cells = [
            c + " " * (w - s) if j in to_left else " " * (w - s) + c
            for j, (c, s, w) in enumerate(zip(row, own, widths, strict=True))
        ]
        lines.append(" ".join(cells).rstrip())
    return lines
