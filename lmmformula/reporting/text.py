"""A summary as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.reporting.lines import WIDTH, wrapped
from lmmformula.reporting.numbers import STARS_LEGEND, aligned, general, width
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

    from lmmformula.inference.records import PosteriorPart
    from lmmformula.reporting.contents import AuxiliaryPart, Contents

__all__ = ["as_text"]


def as_text(summary: Contents) -> str:
    """Sections in lme4's order."""
    sections = [
        [
            summary.title,
            *_labelled(f"Formula: {summary.formula}"),
            *(line for about in summary.about for line in _labelled(about)),
            *_labelled(f"Data: {summary.data}"),
        ],
        aligned(*_one_row(criteria_cells(summary)), left=()),
    ]
    if summary.posterior:
        sections += [_posterior(part) for part in summary.posterior]
    else:
        if summary.residuals:
            quantiles = aligned(*_one_row(_quantiles(summary)), left=())
            sections += [[f"{summary.residuals_are}:", *quantiles]]
        if len(summary.random):
            sections.append([f"{summary.random_are}:", *_indented(_random(summary))])
        if len(summary.fixed):
            sections.append(_fixed(summary))
        if summary.correlation is not None:
            sections.append(_correlation(summary.correlation))
        sections += [_auxiliary(part) for part in summary.auxiliary]
    if summary.smooths is not None:
        sections.append(["Smooth terms:", *_indented(aligned(*smooth_cells(summary.smooths)))])
    if summary.monotonic is not None:
        sections.append(
            [f"{MONOTONIC}:", *_indented(aligned(*monotonic_cells(summary.monotonic), left=(0, 1)))]
        )
    if summary.posterior and summary.correlation is not None:
        sections.append(_correlation(summary.correlation))
    sections.append([line for note in summary.notes for line in wrapped(note)])
    return "\n\n".join("\n".join(section) for section in sections)


def _labelled(line: str) -> list[str]:
    """``label: text`` with the texts of all labels in line."""
    label, _, text = line.partition(": ")
    return wrapped(text, f"{label + ': ':<9}", " " * 9)


def _one_row(cells: tuple[list[str], list[str]]) -> tuple[list[str], list[list[str]]]:
    header, values = cells
    return [f"  {h}" for h in header], [[f"  {v}" for v in values]]


def _quantiles(summary: Contents) -> tuple[list[str], list[str]]:
    return list(summary.residuals), [f"{v:.4f}" for v in summary.residuals.values()]


def _indented(lines: list[str]) -> list[str]:
    return [f" {line}" for line in lines]


def _random(summary: Contents) -> list[str]:
    header, rows = random_cells(summary)
    return aligned(header, rows, left=(0, 1))


def _fixed(summary: Contents) -> list[str]:
    return _coefficients(summary.tests_are, summary.fixed, "summary().fixed")


def _correlation(correlation: pd.DataFrame) -> list[str]:
    """The triangle, in parts of as many columns as a line has room for."""
    header, rows = correlation_cells(correlation)
    lines, first = ["Correlation of fixed effects:"], 1
    while first < len(header):
        last = first + 1
        while last < len(header) and _breadth(header, rows, first, last + 1) < WIDTH:
            last += 1
        part = [[row[0], *row[first:last]] for row in rows[first - 1 :]]
        lines += _indented(aligned(["", *header[first:last]], part))
        first = last
    return lines


def _breadth(header: list[str], rows: list[list[str]], first: int, last: int) -> int:
    """Places that the names of the rows and some columns take."""
    return sum(1 + max(width(row[j]) for row in (header, *rows)) for j in (0, *range(first, last)))


def _posterior(part: PosteriorPart) -> list[str]:
    header, rows, hidden = posterior_cells(part.table)
    lines = [f"{part.title}:", *_indented(aligned(header, rows))]
    return [*lines, f" ... {hidden:,} more, all in summary().posterior"] if hidden else lines


def _auxiliary(part: AuxiliaryPart) -> list[str]:
    if part.table is None:
        note = f" ({part.note})" if part.note else ""
        return [f"{part.title}: {general(float('nan') if part.value is None else part.value)}{note}"]
    return _coefficients(part.title, part.table, "summary().auxiliary")


def _coefficients(title: str, frame: pd.DataFrame, where: str) -> list[str]:
    header, rows, hidden = coefficient_cells(frame)
    lines = [f"{title}:", *_indented(aligned(header, rows, left=(0, len(header) - 1)))]
    if hidden:
        lines.append(f" ... {hidden:,} more coefficients, all in {where}")
    if any(row[-1] for row in rows):
        lines += [" ---", f" {STARS_LEGEND}"]
    return lines
