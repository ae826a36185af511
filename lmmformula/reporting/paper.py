"""Tables for papers: Markdown and LaTeX, of a fit, of a comparison, or of what a verb of a fit gives."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from lmmformula.arguments import ResultBase, checked
from lmmformula.errors import DataError, LmmformulaError
from lmmformula.reporting.comparison import MethodComparison
from lmmformula.reporting.comparison_grids import comparison_grids
from lmmformula.reporting.contents import Contents
from lmmformula.reporting.exhibiting import RESULTS, exhibits_of
from lmmformula.reporting.exhibits import Exhibit
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.numbers import general, on_one_line, p_value, significant, statistic
from lmmformula.reporting.summary import summarise
from lmmformula.reporting.tables import (
    coefficient_cells,
    criteria_cells,
    pairwise,
    posterior_cells,
    random_cells,
)

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import PosteriorPart
    from lmmformula.typing import Data

__all__ = ["exhibit_grids", "fit_grids", "to_latex", "to_markdown"]


@checked(results=RESULTS)
def to_markdown(results: Fitted | MethodComparison | Data, *, level: float = 0.95) -> str:
    """Tables in Markdown: coefficients with intervals and tests, random effects, criteria; or methods side by side.

    Parameters
    ----------
    results : Fit, MethodComparison, result of a verb of a fit, DataFrame, or a list of such results
    level : float
        Of the intervals of a fit; a comparison and other results have their own.

    Returns
    -------
    str
        One pipe table after another, each under its caption in bold.
    """
    return "\n\n".join(_markdown(grid) for grid in _grids(results, level)) + "\n"


@checked(results=RESULTS)
def to_latex(results: Fitted | MethodComparison | Data, *, level: float = 0.95, label: str = "") -> str:
    r"""Tables in LaTeX with booktabs' rules, ``\usepackage{booktabs}``.

    Parameters
    ----------
    results : Fit, MethodComparison, result of a verb of a fit, DataFrame, or a list of such results
    level : float
        Of the intervals of a fit; a comparison and other results have their own.
    label : str
        Of the first table, as ``\\ref`` will name it; the others get ``-2``, ``-3`` after it. None without it.

    Returns
    -------
    str
        One ``table`` environment after another. The characters that LaTeX reads as commands are escaped.

    Raises
    ------
    DataError
        If the label holds a character that a label of LaTeX cannot hold, which no escape would make one.
    """
    _check_label(label)
    grids = _grids(results, level)
    labels = [label and (label if not k else f"{label}-{k + 1}") for k in range(len(grids))]
    return "\n".join(_latex(grid, name) for grid, name in zip(grids, labels, strict=True))


def _grids(results: Fitted | MethodComparison | Data, level: float) -> tuple[Grid, ...]:
    if isinstance(results, MethodComparison):
        return comparison_grids(results)
    if isinstance(results, ResultBase):
        return fit_grids(cast("Fitted", results), level)
    return tuple(grid for exhibit in exhibits_of(results) for grid in exhibit_grids(exhibit))


def exhibit_grids(exhibit: Exhibit) -> list[Grid]:
    """The tables of a result, its sentences below the last; findings are a table of one column."""
    grids = [replace(grid, caption=grid.caption or exhibit.title) for grid in exhibit.grids]
    if exhibit.findings:
        grids.append(Grid(exhibit.title, ("Finding",), tuple((text,) for text in exhibit.findings)))
    if not grids:
        raise DataError(f"{exhibit.title!r} has no table: plots are for report().")
    said = " ".join(part for part in (grids[-1].note, *exhibit.said) if part)
    return [*grids[:-1], replace(grids[-1], note=said)]


DRAWS = "Draws"
"""Heading of what sampling was like."""


def fit_grids(fit: Fitted, level: float = 0.95) -> tuple[Grid, ...]:
    """Fixed effects with intervals and tests, random effects, criteria; of a posterior its own tables with R-hat."""
    summary = summarise(fit)
    names, values = criteria_cells(summary)
    about = f"{summary.title}; {summary.data}."
    if parts := fit.inference.parts(level):
        return (*map(_posterior, parts), Grid(DRAWS, tuple(names), (tuple(values),), left=(), note=about))
    grids = [
        *_auxiliary(summary),
        *_random(fit, summary, level),
        Grid("Criteria", tuple(names), (tuple(values),), left=(), note=about),
    ]
    return (_fixed(fit, level), *grids) if fit.problem.p else tuple(grids)


def _random(fit: Fitted, summary: Contents, level: float) -> list[Grid]:
    """Variances with intervals of their roots; none of a generalised linear model without random effects."""
    if not len(summary.random):
        return []
    try:
        found = fit.inference.spread_intervals(level)
    except LmmformulaError:
        found = fit.inference.spread_intervals(None)
    each = zip(summary.random["var2"].isna(), found.point, found.low, found.high, strict=True)
    ends = [_interval(*numbers) for alone, *numbers in each if alone]
    beside = (f"{100 * level:.4g}% interval", ends) if any(ends) else None
    header, rows = random_cells(summary, beside)
    note = "Intervals are those of the standard deviations." if beside else ""
    return [Grid(summary.random_are, tuple(header), tuple(map(tuple, rows)), left=(0, 1), note=note)]


def _interval(value: float, low: float, high: float) -> str:
    """Both ends with the decimals of the value; nothing where there are none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    decimals = len(significant([value])[0].partition(".")[2])
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def _posterior(part: PosteriorPart) -> Grid:
    header, rows, hidden = posterior_cells(part.table)
    note = f"{hidden:,} more, all in summary().posterior." if hidden else ""
    return Grid(part.title, tuple(header), tuple(map(tuple, rows)), note=note)


def _auxiliary(summary: Contents) -> list[Grid]:
    """Coefficients of auxiliary predictors, and one table of the parameters that are one number."""
    grids, numbers = [], []
    for part in summary.auxiliary:
        if part.table is None:
            value = general(float("nan") if part.value is None else part.value)
            numbers.append((part.title, f"{value} ({part.note})" if part.note else value))
        else:
            header, rows, _ = coefficient_cells(part.table)
            grids.append(Grid(part.title, tuple(header[:-1]), tuple(tuple(row[:-1]) for row in rows)))
    return [*grids, Grid("Further parameters", ("", "Estimate"), tuple(numbers))] if numbers else grids


def _fixed(fit: Fitted, level: float) -> Grid:
    table, _ = fit.inference.coefficients()
    found = fit.inference.fixed_intervals(level)
    spread, low, high = found.spread.tolist(), found.low.tolist(), found.high.tolist()
    cells = pairwise(found.point.tolist(), spread)
    ends = [[a for a, _ in pairwise(side, spread)] for side in (low, high)]
    header = ["", "Estimate", "Std. Error", f"{100 * level:.4g}% interval"]
    columns: list[Sequence[str]] = [found.names, *zip(*cells, strict=True)]
    columns.append([f"[{a}, {b}]" for a, b in zip(*ends, strict=True)])
    *tests, p_name = list(table.columns)[2:]
    for name in tests:
        header.append(name)
        columns.append([statistic(v, 1 if name == "df" else 2) for v in table[name]])
    header.append(p_name)
    columns.append([p_value(v) for v in table[p_name]])
    return Grid(summarise(fit).tests_are, tuple(header), tuple(zip(*columns, strict=True)))


# -- Markdown ------------------------------------------------------------------------------------------------------

_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_|<>[]$~"})


def _markdown(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(_marked, cells))} |"

    rule = "|" + "|".join(":---" if j in grid.left else "---:" for j in range(len(grid.header))) + "|"
    lines = [f"**{_marked(grid.caption)}**", "", line(grid.header), rule, *map(line, grid.rows)]
    return "\n".join([*lines, "", _marked(grid.note)] if grid.note else lines)


def _marked(text: str) -> str:
    return on_one_line(text).translate(_MARKDOWN)


# -- LaTeX ---------------------------------------------------------------------------------------------------------

_LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


_NOT_IN_LABELS = re.compile(r"[\\{}%#&$~^\x00-\x1f\x7f\x85\u2028\u2029]")


def _check_label(label: object) -> None:
    if not isinstance(label, str):
        raise DataError(f"label={label!r} must be text, for example 'tab:model'.")
    if bad := sorted(set(_NOT_IN_LABELS.findall(label))):
        fine = _NOT_IN_LABELS.sub("-", label)
        raise DataError(
            f"label={label!r} holds {', '.join(map(repr, bad))}, which \\label and \\ref of LaTeX cannot take; "
            f"use letters, digits, ':', '-', '_', for example {fine!r}."
        )


def _latex(grid: Grid, label: str) -> str:
    sides = "".join("l" if j in grid.left else "r" for j in range(len(grid.header)))

    def line(cells: Sequence[str]) -> str:
        return f"    {' & '.join(map(_escaped, cells))} \\\\"

    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_escaped(grid.caption)}}}",
        *([f"  \\label{{{label}}}"] if label else []),
        f"  \\begin{{tabular}}{{{sides}}}",
        r"    \toprule",
        line(grid.header),
        r"    \midrule",
        *map(line, grid.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *([f"  \\par\\smallskip\\footnotesize {_escaped(grid.note)}"] if grid.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    """A cell with LaTeX's characters escaped, a minus sign where a number has one, and no bracket after a line break."""
    text = on_one_line(cell).translate(_LATEX)
    if text.startswith("["):
        return "{" + text.replace("-", "$-$") + "}"
    return f"$-${text[1:]}" if text[:1] == "-" and text[1:2].isdigit() else text
