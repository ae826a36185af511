"""One self-contained HTML file of a fit or a comparison."""

from __future__ import annotations

from lmmformula.reporting.html_report.writing import report as report

__all__ = ["report"]
