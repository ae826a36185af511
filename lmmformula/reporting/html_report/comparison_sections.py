"""Sections of a report on several methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.reporting.comparison_grids import comparison_grids
from lmmformula.reporting.html_report.elements import items, paragraph, subsection, table
from lmmformula.reporting.html_report.figures import Drawing
from lmmformula.reporting.html_report.fit_sections import check, plan_summary
from lmmformula.reporting.plots.methods import caterpillar, forest, shrinkage

if TYPE_CHECKING:
    from lmmformula.reporting.compared import Compared

__all__ = ["comparison_drawings", "method_sections", "verdict"]

MOST_TERMS = 4


def verdict(comparison: Compared) -> str:
    """Tables side by side, disagreements, notes."""
    parts = [table(grid) for grid in comparison_grids(comparison)]
    if comparison.flags:
        parts.append(subsection("Disagreements", items(comparison.flags, "flags")))
    elif len(comparison.fits) > 1:
        parts.append(paragraph("The methods agree as much as they should."))
    return "\n".join([*parts, subsection("Notes", items(comparison.notes))])


def method_sections(comparison: Compared) -> str:
    """Plan and diagnostics of each method."""
    parts = []
    for run in comparison.runs:
        if run.fit is not None and not run.same_as:
            parts.append(subsection(run.name, plan_summary(run.fit), check(run.fit)))
    return "\n".join(parts)


def comparison_drawings(comparison: Compared) -> dict[str, list[Drawing]]:
    """Forest, and caterpillar and shrinkage of each column of random effects, by heading."""
    problem = comparison.fits[comparison.reference].problem
    methods = len(comparison.fits)
    fixed, out = [], []
    if problem.p:
        size = (5.2, min(1.4 + 0.16 * (methods + 1) * problem.p, 9.0))
        caption = f"Coefficients with {comparison.level:.0%} intervals, without the intercept."
        fixed.append(Drawing("Fixed effects by method", caption, size, lambda ax: forest(comparison, ax)))
    pairs = [(t.group, c, t.m) for t in problem.terms for c in t.columns]
    for group, column, m in pairs[:MOST_TERMS]:
        size = (5.2, min(1.4 + 0.07 * (methods + 1) * min(m, 40), 7.0))
        out.append(
            Drawing(
                f"Random effects {column} | {group} by method",
                f"Effects of {column} by {group}, in the order of {comparison.reference}.",
                size,
                lambda ax, g=group, c=column: caterpillar(comparison, ax, g, c),
            )
        )
        if methods > 1:
            out.append(
                Drawing(
                    f"Shrinkage of {column} | {group}",
                    f"Effects of {column} by {group} over {comparison.reference}'s: a slope below one shrinks more.",
                    (5.2, 4.0),
                    lambda ax, g=group, c=column: shrinkage(comparison, ax, g, c),
                )
            )
    return {"Fixed effects": fixed, "Random effects": out}
