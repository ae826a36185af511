"""The cells of a summary's tables, shared by text and HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmmformula.reporting.lines import abbreviated
from lmmformula.reporting.numbers import general, p_value, significant, stars, statistic

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.reporting.contents import Contents

__all__ = [
    "MOST_ROWS",
    "coefficient_cells",
    "correlation_cells",
    "criteria_cells",
    "pairwise",
    "posterior_cells",
    "random_cells",
]

MOST_ROWS = 60
"""A longer table of fixed effects is shown in part; the frame has all of it."""


def criteria_cells(summary: Contents) -> tuple[list[str], list[str]]:
    """Names and values of the criteria."""
    formats = {"df.resid": ".0f", "SE(logLik)": ".2g", "max Rhat": ".3f"}
    formats |= dict.fromkeys(("chains", "draws", "min Bulk_ESS", "min Tail_ESS", "divergences"), ".0f")
    values = [format(v, formats.get(name, ".2f")) for name, v in summary.criteria.items()]
    return list(summary.criteria), values


def random_cells(
    summary: Contents, beside: tuple[str, Sequence[str]] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Groups, Name, Variance, Std.Dev. and the lower triangle of correlations, term by term.

    A term whose columns share their correlation shows it once, with the name of the covariance kind; one whose columns share
    their standard deviation too is one row.

    Parameters
    ----------
    summary : Contents
    beside : (str, sequence of str), optional
        Heading and cells of a column beside the standard deviations, one for each of them in the order of the table.
    """
    more = [] if beside is None else [beside[0]]
    table = summary.random
    alone = table["var2"].isna()
    variances = iter(significant(table.loc[alone, "vcov"]))
    deviations = iter(significant(table.loc[alone, "sdcor"]))
    pairs = table[~alone]
    names = zip(pairs["grp"], pairs["var1"], pairs["var2"], strict=True)
    correlation = {
        (g, frozenset((a, b))): float(c) for (g, a, b), c in zip(names, pairs["sdcor"], strict=True)
    }
    rows, seen, last = [], [], None
    texts = [""] * len(table.loc[alone]) if beside is None else beside[1]
    for group, column, text in zip(table.loc[alone, "grp"], table.loc[alone, "var1"], texts, strict=True):
        first, shared = group != last, summary.shared.get(str(group))
        seen = [] if first else seen
        cors = [correlation.get((group, frozenset((other, column)))) for other in seen]
        cells = [_correlation(c) for c in cors] if shared is None else []
        name = column if isinstance(column, str) else ""
        variance, deviation = next(variances), next(deviations)
        if shared is not None and first:
            cells = [f"{_correlation(correlation[group, frozenset(shared.columns[:2])])} ({shared.kind})"]
            name = f"{shared.columns[0]}, ..., {shared.columns[-1]}" if shared.one_spread else name
        if shared is None or first or not shared.one_spread:
            own = [text] if more else []
            rows.append([str(group) if first else "", name, variance, deviation, *own, *cells])
        seen, last = [*seen, column], group
    width = max(len(row) for row in rows)
    header = ["Groups", "Name", "Variance", "Std.Dev.", *more]
    header += ["Corr"][: width - len(header)]
    header += [""] * (width - len(header))
    return header, [row + [""] * (width - len(row)) for row in rows]


def _correlation(value: float | None) -> str:
    if value is None:
        return ""
    return "NA" if math.isnan(value) else f"{value:.2f}"


def correlation_cells(correlation: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The lower triangle of the correlations of fixed effects, names abbreviated as lme4's."""
    names = [str(name) for name in correlation.columns]
    header, own = abbreviated(names, 6), abbreviated(names, 11)
    values = correlation.to_numpy()
    rows = []
    for i in range(1, len(names)):
        cells = ["NA" if math.isnan(v) else f"{v:.3f}" for v in values[i, :i]]
        rows.append([own[i], *cells, *[""] * (len(names) - 1 - i)])
    return ["", *header[:-1]], rows


def coefficient_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]], int]:
    """Header and rows of coefficients with t or z tests, or with none, and how many rows were left out."""
    hidden = max(len(frame) - MOST_ROWS, 0)
    shown = frame if not hidden else frame.iloc[:MOST_ROWS]
    pairs = pairwise(shown["Estimate"].tolist(), shown["Std. Error"].tolist())
    if len(shown.columns) == 2:
        plain = [[str(name), *pair, ""] for name, pair in zip(shown.index, pairs, strict=True)]
        return ["", *shown.columns, ""], plain, hidden
    *tests, p_name = list(shown.columns)[2:]
    columns = [[statistic(v, 1 if name == "df" else 2) for v in shown[name]] for name in tests]
    p_values = shown[p_name].tolist()
    rows = [
        [str(name), *pair, *cells, p_value(p), stars(p)]
        for name, pair, *cells, p in zip(shown.index, pairs, *columns, p_values, strict=True)
    ]
    return ["", *shown.columns, ""], rows, hidden


def smooth_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the smooth terms: standard deviations, degrees of freedom, and tests where there are any."""
    columns: list[list[str]] = []
    for name, own in frame.items():
        values = own.tolist()
        if str(name).startswith("Pr("):
            columns += [[p_value(p) for p in values], [stars(p) for p in values]]
        elif str(name).startswith("sd"):
            columns.append(
                ["" if math.isnan(v) else text for v, text in zip(values, significant(values), strict=True)]
            )
        else:
            columns.append([statistic(v, 2) for v in values])
    header = ["", *map(str, frame.columns), *([""] if len(columns) > frame.shape[1] else [])]
    return header, [[str(label), *row] for label, *row in zip(frame.index, *columns, strict=True)]


MONOTONIC = "Monotonic effects: average steps, and shares of each step"
"""Heading of :func:`monotonic_cells`."""


def monotonic_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and rows of monotonic effects: b has the unit of the predictor, shares have none, so each row has its decimals."""
    shown = frame.select_dtypes("number")
    estimates = shown.drop(columns=list(_DIAGNOSTICS), errors="ignore")
    cells = [
        ["" if math.isnan(v) else text for v, text in zip(own, significant(own, 3), strict=True)]
        for own in estimates.to_numpy().tolist()
    ]
    beside = [[form.format(v) for v in shown[name]] for name, form in _DIAGNOSTICS.items() if name in shown]
    labels = zip(map(str, frame.index), frame["level"], strict=True)
    rows = [
        [*label, *own, *(column[i] for column in beside)]
        for i, (label, own) in enumerate(zip(labels, cells, strict=True))
    ]
    return ["", "level", *map(str, shown.columns)], rows


_DIAGNOSTICS = {"Rhat": "{:.3f}", "Bulk_ESS": "{:.0f}", "Tail_ESS": "{:.0f}"}
"""Columns of a posterior's diagnostics, which stand last, and how they are written."""


def posterior_cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]], int]:
    """Header and rows of a posterior's parameters, and how many rows were left out."""
    hidden = max(len(frame) - MOST_ROWS, 0)
    shown = frame if not hidden else frame.iloc[:MOST_ROWS]
    spread = shown["Est.Error"].tolist()
    cells = [pairwise(shown.iloc[:, j].tolist(), spread) for j in (0, 2, 3)]
    last = [(form, shown[name]) for name, form in _DIAGNOSTICS.items() if name in shown]
    rows = [
        [str(name), *mean, low, high, *(form.format(values.iloc[i]) for form, values in last)]
        for i, (name, mean, (low, _), (high, _)) in enumerate(zip(shown.index, *cells, strict=True))
    ]
    return ["", *shown.columns], rows, hidden


def pairwise(estimates: list[float], errors: list[float]) -> list[tuple[str, str]]:
    """Estimates to the decimals that show three digits of their standard errors, common to the column if that is short."""
    if all(math.isnan(e) for e in errors):
        return [(v, "NA") for v in significant(estimates)]
    together = significant(errors, 3)
    decimals = max((len(e.partition(".")[2]) for e in together), default=0)
    if decimals <= 6 and not any("e" in e for e in together):
        return [
            (f"{v:.{decimals}f}" if abs(v) < 1e9 else general(v, 6), e)
            for v, e in zip(estimates, together, strict=True)
        ]
    return [(general(v, 5), general(e, 4)) for v, e in zip(estimates, errors, strict=True)]
