"""The report: sections in order, written to one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lmmformula.arguments import checked
from lmmformula.errors import DataError
from lmmformula.files import whole_file
from lmmformula.reporting.citations import citations
from lmmformula.reporting.comparison import RESULTS, MethodComparison
from lmmformula.reporting.comparison_grids import heading
from lmmformula.reporting.html_report.comparison_sections import comparison_drawings, method_sections, verdict
from lmmformula.reporting.html_report.data import data_summary
from lmmformula.reporting.html_report.elements import contents, items, paragraph, section, subsection
from lmmformula.reporting.html_report.figures import Drawing, available, draw
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

__all__ = ["report"]


@checked(results=RESULTS)
def report(
    results: Fitted | MethodComparison,
    path: str | Path,
    *,
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
    results : Fit or MethodComparison
    path : str or Path
        Of the file; one that is there is replaced.
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
    if isinstance(results, MethodComparison):
        default, parts = _of_comparison(results, plots)
    else:
        default, parts = _of_fit(results, plots, naivete, profiles, level)
    html = "\n".join(part for part in parts if part)
    with whole_file(target) as file:
        file.write_text(page(default if title is None else title, html, date), encoding="utf-8")
    return target


def _of_fit(
    fit: Fitted, plots: bool, naivete: bool, profiles: bool | None, level: float
) -> tuple[str, list[str]]:
    shown = plots and available()
    parts = {
        "Model": equations(fit),
        "Data": data_summary(fit),
        "Priors": prior_table(fit),
        "Estimates": tables(fit, level),
        "Explained variance": explained(fit),
        "Tests of terms": tests(fit),
        "What a plain GLM would get wrong": naivete_tables(fit) if naivete else "",
        "Diagnostics": check(fit),
        "Model checks": checked_model(fit),
        "Plots": _plots(plots, lambda: drawings(fit, naivete=naivete, profiles=profiles)),
        "Plan": plan_summary(fit),
        "References": references(citations(fit, naivete=naivete)),
        "Versions": origins([fit], plots=shown),
    }
    return summarise(fit).title, [header(fit), *_sections(parts)]


def _of_comparison(comparison: MethodComparison, plots: bool) -> tuple[str, list[str]]:
    shown = plots and available()
    reference, fits = comparison.fits[comparison.reference], list(comparison.fits.values())
    parts = {
        "Model": equations(reference),
        "Data": data_summary(reference),
        "Methods side by side": verdict(comparison),
        "Plots": _plots(plots, lambda: comparison_drawings(comparison)),
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
