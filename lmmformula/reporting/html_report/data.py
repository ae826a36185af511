"""The data behind a fit: rows, levels, response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.looks import Numbers
from lmmformula.ir.rows import range_of
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html_report.elements import definitions, table
from lmmformula.reporting.response import response_levels, response_name

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["data_summary"]

FEW = 10
"""Different values of a response that are counted one by one."""


def data_summary(fit: Fitted) -> str:
    """Rows used and dropped, levels of each grouping factor, distribution of the response."""
    problem = fit.problem
    dropped = problem.n_rows_data - problem.n_used
    pairs = [("Rows used", f"{problem.n_used:,}")]
    pairs += (
        [("Rows dropped", f"{dropped:,} of {problem.n_rows_data:,}, with missing values")]
        if dropped > 0
        else []
    )
    data = problem.data
    if problem.n_rows_used is not None:
        pairs.append(("Equal rows counted once", f"{problem.n:,} stand for {problem.n_used:,}"))
    for word, values in ((problem.family.weights_word, data.weights), ("Offset", data.offset)):
        if values is not None and not (values is data.weights and problem.n_rows_used is not None):
            low, high = range_of(data, values)
            pairs.append((word, f"{low:.4g} to {high:.4g}"))
    if problem.X.dropped:
        pairs.append(("Columns dropped", f"{', '.join(problem.X.dropped)} (determined by the others)"))
    grids = [_levels(fit), _response(fit)]
    return definitions(pairs) + "\n".join(table(grid) for grid in grids if grid.rows)


def _levels(fit: Fitted) -> Grid:
    rows = []
    for name, i in {t.group: i for i, t in enumerate(fit.problem.terms)}.items():
        term = fit.problem.terms[i]
        counts = fit.problem.data.reduce(lambda chunk, i=i: chunk.terms[i].counts())
        low, middle, high = counts.min(), np.median(counts), counts.max()
        rows.append((name, f"{term.m:,}", f"{low:,}", f"{middle:,.4g}", f"{high:,}"))
    header = ("", "Levels", "Rows a level: least", "median", "most")
    return Grid("Grouping factors", header, tuple(rows))


def _response(fit: Fitted) -> Grid:
    if not fit.problem.data.at_hand:
        return _streamed_response(fit)
    y, name = fit.problem.data.whole(fit.problem.data.y), response_name(fit)
    values, counts = np.unique(y, return_counts=True)
    if len(values) <= FEW:
        share, names = counts / len(y), response_levels(fit)
        cells = tuple(f"{c:,} ({s:.1%})" for c, s in zip(counts, share, strict=True))
        header = [names.get(float(v), f"{v:g}") for v in values]
        note = f"Modelled: the probability of {names[1.0]}." if names else ""
        return Grid(f"Response: {name}", ("Value", *header), (("Rows", *cells),), note=note)
    numbers = [*np.quantile(y, [0, 0.25, 0.5]), y.mean(), *np.quantile(y, [0.75, 1]), y.std(ddof=1)]
    header = ("Min", "1Q", "Median", "Mean", "3Q", "Max", "SD")
    return Grid(f"Response: {name}", header, (tuple(f"{v:,.5g}" for v in numbers),), left=())


def _streamed_response(fit: Fitted) -> Grid:
    """What sums over rows say of it: no quantiles."""
    data, name = fit.problem.data, response_name(fit)
    seen = data.reduce(lambda chunk: Numbers.of(chunk.y, FEW), merge=lambda a, b: a.joined(b, FEW))
    if (values := seen.different) is not None:
        counts = data.reduce(lambda chunk: np.array([(chunk.y == v).sum() for v in values]))
        cells = tuple(f"{c:,} ({c / seen.n:.1%})" for c in counts)
        return Grid(f"Response: {name}", ("Value", *(f"{v:g}" for v in values)), (("Rows", *cells),))
    numbers = (seen.low, seen.mean, seen.high, seen.sd(1))
    header = ("Min", "Mean", "Max", "SD")
    return Grid(f"Response: {name}", header, (tuple(f"{v:,.5g}" for v in numbers),), left=())
