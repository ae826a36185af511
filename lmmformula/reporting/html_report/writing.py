"""The report: sections in order, written to one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lmmformula.arguments import ResultBase, checked
from lmmformula.arguments.kinds import optional
from lmmformula.errors import DataError, PlanError
from lmmformula.files import whole_file
from lmmformula.reporting.citations import citations
from lmmformula.reporting.comparison import MethodComparison
from lmmformula.reporting.comparison_grids import heading
from lmmformula.reporting.exhibiting import RESULTS, SECTIONS, exhibits_of
from lmmformula.reporting.exhibits import Exhibit
from lmmformula.reporting.html_report.comparison_sections import comparison_drawings, method_sections, verdict
from lmmformula.reporting.html_report.data import data_summary
from lmmformula.reporting.html_report.elements import contents, items, paragraph, section, subsection, table
from lmmformula.reporting.html_report.figures import Drawing, available, draw, embedded
from lmmformula.reporting.html_report.fit_drawings import SMALL, drawings
from lmmformula.reporting.html_report.fit_sections import (
    check,
    checked_model,
    explained,
    header,
    naivete_tables,
    plan_summary,
    prior_table,
    tables,
    tests,
)
from lmmformula.reporting.html_report.mathematics import equations
from lmmformula.reporting.html_report.page import page
from lmmformula.reporting.html_report.provenance import origins, references
from lmmformula.reporting.summary import summarise

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Data

__all__ = ["report"]


@checked(results=RESULTS, sections=optional(SECTIONS))
def report(
    results: Fitted | MethodComparison | Data,
    path: str | Path,
    *,
    sections: Data = None,
    title: str | None = None,
    plots: bool = True,
    naivete: bool = False,
    profiles: bool | None = None,
    level: float = 0.95,
    date: str = "",
) -> Path:
    """Write one HTML file that needs nothing else: no network, no scripts, no further files.

    Formula and equation, plan with its reasons, data, tables, diagnostics, plots, references with BibTeX, versions and seed.
    The page follows the reader's light or dark scheme.

    Parameters
    ----------
    results : Fit, MethodComparison, result of a verb of a fit, DataFrame, or a list of such results
        A page on a fit or a comparison, or one with a section for each of the others.
    path : str or Path
        Of the file; one that is there is replaced.
    sections : list of results, or mapping from headings to results, optional
        Further sections, before the plan: ``[m.emmeans("a"), m.influence("g")]``, also frames and plots that are drawn already.
    title : str, optional
        By default what was fitted, and how.
    plots : bool
        Whether there are plots; they need matplotlib, and a line says so if it is not installed.
    naivete : bool
        Add what a GLM without random effects would get wrong (fits only).
    profiles : bool, optional
        Whether likelihood profiles are computed; by default for small Gaussian models.
    level : float
        Of the intervals of a fit; a comparison has its own.
    date : str
        Shown under the title as given. There is no date by default, so that the same results give the same file.

    Returns
    -------
    Path
        Where it was written.

    Examples
    --------
    >>> from lmmformula import fit, load_dataset, report
    >>> m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    >>> report(m, "dyestuff.html").name  # doctest: +SKIP
    'dyestuff.html'
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise DataError(f"the folder {str(target.parent)!r} does not exist: make it first.")
    further = [] if sections is None else exhibits_of(sections)
    if isinstance(results, MethodComparison):
        default, parts = _of_comparison(results, plots, further)
    elif isinstance(results, ResultBase):
        default, parts = _of_fit(cast("Fitted", results), plots, naivete, profiles, level, further)
    else:
        default, parts = _of_exhibits([*exhibits_of(results), *further], plots)
    html = "\n".join(part for part in parts if part)
    with whole_file(target) as file:
        file.write_text(page(default if title is None else title, html, date), encoding="utf-8")
    return target


def _of_fit(
    fit: Fitted,
    plots: bool,
    naivete: bool,
    profiles: bool | None,
    level: float,
    further: Sequence[Exhibit],
) -> tuple[str, list[str]]:
    shown = plots and available()
    parts = {
        "Model": equations(fit),
        "Data": _of_rows(fit, lambda: data_summary(fit)),
        "Priors": prior_table(fit),
        "Estimates": _of_rows(fit, lambda: tables(fit, level)),
        "Explained variance": _of_rows(fit, lambda: explained(fit)),
        "Tests of terms": _of_rows(fit, lambda: tests(fit)),
        "What a plain GLM would get wrong": _of_rows(fit, lambda: naivete_tables(fit) if naivete else ""),
        "Diagnostics": _of_rows(fit, lambda: check(fit)),
        "Model checks": _of_rows(fit, lambda: checked_model(fit)),
        "Plots": _plots(plots, lambda: drawings(fit, naivete=naivete, profiles=profiles)),
        **_shown(further, plots),
        "Plan": plan_summary(fit),
        "References": references(citations(fit, naivete=naivete)),
        "Versions": origins([fit], plots=shown),
    }
    return summarise(fit).title, [header(fit), *_sections(parts)]


def _of_rows(fit: Fitted, section: Callable[[], str]) -> str:
    """A section; where it needs rows that are not in memory, the sentence that says so."""
    if fit.problem.data.at_hand:
        return section()
    try:
        return section()
    except (DataError, PlanError) as error:
        return paragraph(f"Left out: {error}", "note")


def _of_exhibits(found: Sequence[Exhibit], plots: bool) -> tuple[str, list[str]]:
    shown = plots and available()
    parts = {**_shown(found, plots), "Versions": origins([], plots=shown)}
    return found[0].title if len(found) == 1 else "Results", _sections(parts)


def _shown(found: Sequence[Exhibit], plots: bool) -> dict[str, str]:
    """A section for each: tables, sentences, findings, plots."""
    return {one.title: _exhibit(one, f"e{number}", plots) for number, one in enumerate(found)}


def _exhibit(one: Exhibit, prefix: str, plots: bool) -> str:
    parts = [
        table(replace(grid, caption="" if grid.caption == one.title else grid.caption)) for grid in one.grids
    ]
    parts += [paragraph(text, "note") for text in one.said]
    parts.append(items(one.findings))
    if plots and available():
        html, left_out = draw(one.drawings, prefix)
        parts += [html, *(embedded(picture, f"{prefix}p{k}-") for k, picture in enumerate(one.pictures))]
        parts.append(items([f"Left out: {text}" for text in left_out], "note"))
    return "\n".join(part for part in parts if part)


def _of_comparison(
    comparison: MethodComparison, plots: bool, further: Sequence[Exhibit]
) -> tuple[str, list[str]]:
    shown = plots and available()
    reference, fits = comparison.fits[comparison.reference], list(comparison.fits.values())
    parts = {
        "Model": equations(reference),
        "Data": data_summary(reference),
        "Methods side by side": verdict(comparison),
        "Plots": _plots(plots, lambda: comparison_drawings(comparison)),
        **_shown(further, plots),
        "Plans and diagnostics": method_sections(comparison),
        "References": references(citations(*fits)),
        "Versions": origins(fits, plots=shown),
    }
    return heading(comparison)[0], [header(reference), *_sections(parts)]


def _sections(parts: dict[str, str]) -> list[str]:
    """The list of contents, and the sections that have any."""
    filled = {title: html for title, html in parts.items() if html}
    return [contents(filled), *(section(title, html) for title, html in filled.items())]


def _plots(wanted: bool, choose: Callable[[], dict[str, list[Drawing]]]) -> str:
    if not wanted:
        return ""
    if not available():
        return paragraph("Left out: matplotlib is not installed (pip install 'lmmformula[plots]').", "note")
    parts, missing = [], []
    for number, (name, group) in enumerate(choose().items()):
        html, left_out = draw(group, f"g{number}", small=name in SMALL)
        parts.append(subsection(name, html))
        missing += [f"Left out: {text}" for text in left_out]
    return "\n".join([part for part in parts if part]) + items(missing, "note")
