"""A comparison as grids, as text and as a notebook's HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.intervals import auxiliary_intervals
from lmmformula.inference.records import Intervals
from lmmformula.reporting.compared import MB
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html import inline_table
from lmmformula.reporting.lines import wrapped
from lmmformula.reporting.numbers import aligned
from lmmformula.reporting.summary import summarise
from lmmformula.reporting.tables import MOST_ROWS, pairwise

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.reporting.compared import Compared

__all__ = ["as_html", "as_text", "comparison_grids", "heading"]

_ABSENT = "-"


def heading(comparison: Compared) -> tuple[str, str, str, str]:
    """Title, formula, family and data."""
    names = list(comparison.fits)
    count = "1 method" if len(names) == 1 else f"{len(names)} methods"
    summary = summarise(comparison.fits[comparison.reference])
    family = f"{summary.family} ({summary.links})" if summary.family else ""
    return f"Comparison of {count}: {', '.join(names)}", comparison.formula, family, summary.data


def comparison_grids(comparison: Compared) -> tuple[Grid, ...]:
    """Coefficients, variances, criteria and costs, and differences."""
    methods, fits = tuple(comparison.fits), comparison.fits.values()
    fixed = [fit.inference.fixed_intervals(None) for fit in fits]
    bayesian = [found.bayesian for found in fixed]
    spread = (
        "posterior sd"
        if all(bayesian)
        else "standard error or posterior sd"
        if any(bayesian)
        else "standard error"
    )
    grids = [
        _parameters(f"Fixed effects: estimate ({spread})", methods, fixed),
        _parameters(
            "Standard deviations and correlations",
            methods,
            [f.inference.spread_intervals(None) for f in fits],
        ),
        _parameters(
            f"Dispersion and zero inflation, scale of the predictor: estimate ({spread})",
            methods,
            [auxiliary_intervals(f) for f in fits],
        ),
        _criteria(comparison),
        *_differences(comparison),
    ]
    return tuple(grid for grid in grids if grid.rows)


def _parameters(caption: str, methods: tuple[str, ...], columns: Sequence[Intervals]) -> Grid:
    names = list(dict.fromkeys(name for found in columns for name in found.names))
    looked_up = [
        {n: (p, s) for n, p, s in zip(c.names, c.point.tolist(), c.spread.tolist(), strict=True)}
        for c in columns
    ]
    rows = []
    for name in names[:MOST_ROWS]:
        values = [found.get(name, (float("nan"),) * 2) for found in looked_up]
        rows.append((name, *_cells([v for v, _ in values], [e for _, e in values])))
    hidden = max(len(names) - MOST_ROWS, 0)
    note = f"{hidden:,} more, all in table()" if hidden else ""
    return Grid(caption, ("", *methods), tuple(rows), note=note)


def _cells(points: list[float], spreads: list[float]) -> list[str]:
    """``estimate (spread)`` with decimals common to the row; only the estimate where no method gives a spread."""
    cells = []
    for point, (value, spread) in zip(points, pairwise(points, spreads), strict=True):
        if np.isnan(point):
            cells.append(_ABSENT)
        else:
            cells.append(value if spread == "NA" else f"{value} ({spread})")
    return cells


def _criteria(comparison: Compared) -> Grid:
    runs = [run for run in comparison.runs if run.fit is not None]
    fits = list(comparison.fits.values())
    rows = [
        ("criterion", *[fit.method for fit in fits]),
        ("engine", *[fit.estimate.engine for fit in fits]),
        ("log-likelihood", *[_number(f.llf, ".2f") for f in fits]),
    ]
    if any(fit.llf_stderr for fit in fits):
        rows.append(("  its standard error", *[_number(f.llf_stderr or np.nan, ".2g") for f in fits]))
    seconds = [r.measured.seconds if r.measured else np.nan for r in runs]
    memory = [np.nan if not r.measured or r.measured.memory is None else r.measured.memory / MB for r in runs]
    rows += [
        ("AIC", *[_number(f.aic, ".2f") for f in fits]),
        ("parameters", *[f"{f.df_model}" for f in fits]),
        ("converged", *["yes" if f.converged else "NO" for f in fits]),
        ("seconds", *[_number(s, ".3g") for s in seconds]),
    ]
    if any(np.isfinite(memory)):
        rows.append(("memory, MB", *[_number(m, ".1f") for m in memory]))
    return Grid("Criterion and cost", ("", *comparison.fits), tuple(rows), note=_comparable(fits))


def _comparable(fits: Sequence[Fitted]) -> str:
    """What must not be read out of the log-likelihoods."""
    told = sorted({caution for fit in fits if (caution := fit.inference.caution)})
    if len({fit.method for fit in fits if np.isfinite(fit.llf)}) > 1:
        told.append("Log-likelihoods of different criteria are not comparable.")
    return " ".join(told)


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else _ABSENT


def _differences(comparison: Compared) -> list[Grid]:
    methods = [name for name in comparison.fits if name != comparison.reference]
    if not methods:
        return []
    table = comparison.differences()
    grids = []
    for part, column, caption, form in (
        ("fixed", "in_se", f"Fixed effects minus {comparison.reference}'s, in its standard errors", "+.3f"),
        ("random", "ratio", f"Standard deviations over {comparison.reference}'s", ".3f"),
    ):
        found = table[(table["part"] == part) & table[column].notna()]
        names = list(dict.fromkeys(found["term"]))
        values = {(m, t): v for m, t, v in zip(found["method"], found["term"], found[column], strict=True)}
        rows = [
            (name, *[_number(values.get((m, name), np.nan), form) for m in methods])
            for name in names[:MOST_ROWS]
        ]
        grids.append(Grid(caption, ("", *methods), tuple(rows)))
    return grids


# -- text and HTML -------------------------------------------------------------------------------------------------


def as_text(comparison: Compared) -> str:
    """The grids below one another, then what to make of them."""
    title, formula, family, data = heading(comparison)
    lines = [title, f"Formula: {formula}", *([f"Family:  {family}"] if family else []), f"Data:    {data}"]
    for grid in comparison_grids(comparison):
        lines += [
            "",
            f"{grid.caption}:",
            *[f" {line}" for line in aligned(grid.header, grid.rows, grid.left)],
        ]
        lines += [f" {grid.note}"] if grid.note else []
    return "\n".join(
        [*lines, *_listed("Disagreements", _verdict(comparison)), *_listed("Notes", comparison.notes)]
    )


def _verdict(comparison: Compared) -> tuple[str, ...]:
    if comparison.flags or len(comparison.fits) == 1:
        return comparison.flags
    return ("none beyond what is expected of these methods.",)


def _listed(label: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    return ["", f"{label}:", *(line for item in items for line in wrapped(item, "- "))]


def as_html(comparison: Compared) -> str:
    """One ``div`` without scripts, classes or outside resources."""
    title, formula, family, data = heading(comparison)
    parts = [
        f"<p><strong>{escape(title)}</strong><br><code>{escape(formula)}</code>"
        f"{'<br>' + escape(family) if family else ''}<br>{escape(data)}</p>"
    ]
    for grid in comparison_grids(comparison):
        parts.append(inline_table(grid.caption, grid.header, grid.rows, grid.left))
        parts += [f"<p style='font-size:90%'>{escape(grid.note)}</p>"] if grid.note else []
    for label, items in (("Disagreements", _verdict(comparison)), ("Notes", comparison.notes)):
        if items:
            inside = "".join(f"<li>{escape(item)}</li>" for item in items)
            parts.append(f"<p style='margin-bottom:0'><strong>{label}</strong></p><ul>{inside}</ul>")
    return f"<div style='font-family:inherit;line-height:1.4;color:inherit'>{''.join(parts)}</div>"
