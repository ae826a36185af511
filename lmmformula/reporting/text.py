"""A summary as text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from lmmformula.reporting.numbers import STARS_LEGEND, aligned, general
from lmmformula.reporting.tables import coefficient_cells, criteria_cells, posterior_cells, random_cells

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.reporting.coefficients import AuxiliaryPart
    from lmmformula.reporting.posterior import PosteriorPart
    from lmmformula.reporting.summary import Summary

__all__ = ["as_text"]

_WIDTH = 100


def as_text(summary: Summary) -> str:
    """Sections in lme4's order."""
    sections = [
        [
            summary.title,
            *_labelled("Formula", summary.formula),
            *_labelled("Family", summary.family),
            *_labelled("Data", summary.data),
        ],
        aligned(*_one_row(criteria_cells(summary)), left=()),
    ]
    if summary.posterior:
        sections += [_posterior(part) for part in summary.posterior]
    else:
        sections += [
            [f"{summary.residuals_are}:", *aligned(*_one_row(_quantiles(summary)), left=())],
            ["Random effects:", *_indented(_random(summary))],
        ]
        if len(summary.fixed):
            sections.append(_fixed(summary))
        sections += [_auxiliary(part) for part in summary.auxiliary]
    sections.append([line for note in summary.notes for line in _wrapped(note)])
    return "\n\n".join("\n".join(section) for section in sections)


def _labelled(label: str, text: str) -> list[str]:
    lead = f"{label + ':':<9}"
    return textwrap.wrap(text, _WIDTH, initial_indent=lead, subsequent_indent=" " * 9, break_long_words=False)


def _wrapped(note: str) -> list[str]:
    return textwrap.wrap(note, _WIDTH, subsequent_indent="  ", break_long_words=False)


def _one_row(cells: tuple[list[str], list[str]]) -> tuple[list[str], list[list[str]]]:
    header, values = cells
    return [f"  {h}" for h in header], [[f"  {v}" for v in values]]


def _quantiles(summary: Summary) -> tuple[list[str], list[str]]:
    return list(summary.residuals), [f"{v:.4f}" for v in summary.residuals.values()]


def _indented(lines: list[str]) -> list[str]:
    return [f" {line}" for line in lines]


def _random(summary: Summary) -> list[str]:
    header, rows = random_cells(summary)
    return aligned(header, rows, left=(0, 1))


def _fixed(summary: Summary) -> list[str]:
    return _coefficients(summary.tests_are, summary.fixed, "summary().fixed")


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
