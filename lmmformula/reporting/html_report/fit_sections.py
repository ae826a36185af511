"""Sections of a report on one fit."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.memory import in_words
from lmmformula.reporting.checked import findings_html
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html_report.elements import (
    definitions,
    items,
    paragraph,
    subsection,
    table,
    verbatim,
)
from lmmformula.reporting.lines import pieces
from lmmformula.reporting.names import engine_name, method_name
from lmmformula.reporting.numbers import general, p_value
from lmmformula.reporting.paper import DRAWS, fit_grids
from lmmformula.reporting.summary import summarise

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = [
    "check",
    "checked_model",
    "explained",
    "header",
    "naivete_tables",
    "plan_summary",
    "prior_table",
    "tables",
    "tests",
]


def header(fit: Fitted) -> str:
    """Formula, family and data line."""
    summary = summarise(fit)
    family = "\n".join(map(paragraph, summary.about))
    parts = " ".join(f"<span>{escape(part)}</span>" for part in pieces(fit.formula))
    formula = f'<code class="formula">{parts}</code>'
    return f"{formula}\n{family}\n{paragraph(summary.data, 'data')}"


def plan_summary(fit: Fitted) -> str:
    """Sizes, method, engine, and the planner's reasons."""
    plan = fit.plan
    grid = Grid(
        "",
        ("Term", "Levels", "Effects", "In the factorisation"),
        tuple((f"({t.label})", f"{t.levels:,}", f"{t.effects:,}", t.role) for t in plan.terms),
        left=(0, 3),
    )
    pairs = [
        ("Method", _capital(method_name(plan.method))),
        ("Engine", _capital(engine_name(plan.engine))),
        ("Size", f"{plan.n:,} rows, {plan.p:,} fixed effects, {plan.q:,} random effects"),
        ("Dense part", f"{plan.dense:,} × {plan.dense:,}" if plan.dense else "none"),
        ("Memory", f"about {in_words(plan.memory)} at the peak"),
    ]
    if np.isfinite(plan.seconds):
        pairs.append(("Time", "under 0.1 s" if plan.seconds < 0.1 else f"about {plan.seconds:.1g} s"))
    instead = [
        f"{_capital(method_name(a.method))}, {engine_name(a.engine)}: {a.against}" for a in plan.alternatives
    ]
    return definitions(pairs) + table(grid) + items(plan.reasons) + subsection("Not taken", items(instead))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def explained(fit: Fitted) -> str:
    """R2 and the intraclass correlations; nothing where they are not defined."""
    if not fit.problem.terms:
        return ""
    try:
        marginal, shares = fit.r2(), fit.icc()
    except LmmformulaError:
        return ""
    pairs = [(f"R² ({name})", float(value)) for name, value in marginal.items()]
    pairs += [(f"ICC of {name}", float(value)) for name, value in shares.items()]
    grid = Grid(
        "",
        tuple(name for name, _ in pairs),
        (tuple("NA" if np.isnan(v) else f"{v:.3f}" for _, v in pairs),),
        left=(),
    )
    return table(grid) + paragraph(
        "R² as Nakagawa, Johnson & Schielzeth (2017): the share of the variance that the fixed effects explain (marginal), and "
        "they with the random effects (conditional). ICC: the share of each grouping factor in the variance not explained by "
        "fixed effects.",
        "note",
    )


def tables(fit: Fitted, level: float) -> str:
    """Fixed effects, auxiliary parameters, random effects, criteria; not the draws, which are among the diagnostics."""
    grids = (grid for grid in fit_grids(fit, level) if grid.caption != DRAWS)
    return "\n".join(table(replace(grid, note="")) for grid in grids)


def tests(fit: Fitted) -> str:
    """Tests of whole terms; a sentence where there are none."""
    if not fit.problem.X.term_labels or "anova" in fit.inference.refused:
        return ""
    try:
        found = fit.anova()
    except LmmformulaError as error:
        return paragraph(f"Left out: {error}", "note")
    kind = "F tests with Satterthwaite's degrees of freedom" if "NumDF" in found else "Wald chi-square tests"
    return table(_frame(f"{kind}, type 3", found))


def _frame(caption: str, frame: pd.DataFrame) -> Grid:
    """A frame of numbers: p-values and counts by their column's name, the others with four digits."""

    def text(name: str, value: float) -> str:
        if name.startswith("Pr("):
            return p_value(value)
        return f"{value:.0f}" if name in ("Df", "NumDF") else general(value)

    columns = [[text(str(name), float(v)) for v in frame[name]] for name in frame.columns]
    cells = zip([str(name) for name in frame.index], *columns, strict=True)
    return Grid(caption, ("", *map(str, frame.columns)), tuple(cells))


def naivete_tables(fit: Fitted) -> str:
    """What a plain GLM would get wrong."""
    try:
        found = fit.naivete()
    except LmmformulaError as error:
        return paragraph(f"Left out: {error}", "note")
    names = ("GLM", "SE believed", "Mixed", "SE", "Naivete", "Inefficiency")
    worst = found.attrs["worst_naivete"], found.attrs["worst_inefficiency"]
    note = (
        f"Naivete: by how much the GLM's variances are too small. Inefficiency: its variance over the mixed model's. For the "
        f"worst combination of coefficients they are {worst[0]:.3g} and {worst[1]:.3g}."
    )
    return table(
        _frame("Against a GLM without random effects", found.set_axis(list(names), axis=1))
    ) + paragraph(note, "note")


def prior_table(fit: Fitted) -> str:
    """The priors of a posterior, defaults included; nothing for other fits."""
    return "" if (priors := fit.inference.priors) is None else verbatim(str(priors))


def checked_model(fit: Fitted, seed: int = 0) -> str:
    """What the checks of the fit find, the worst first; how the search ended stands among the diagnostics."""
    from lmmformula.inference.checking.report import examine

    found = tuple(f for f in examine(fit, seed).findings if f.check != "convergence")
    return findings_html(found) + paragraph(
        f"Simulations and randomised residuals from seed {seed}: m.check(seed={seed}).", "note"
    )


def check(fit: Fitted) -> str:
    """How the search or the sampler ended, and what a careful reader must know."""
    notes = [note for note in summarise(fit).notes if not note.startswith("Advice: ")]
    verdict = "yes" if fit.converged else f"NO: {fit.estimate.convergence.status.value}"
    pairs = [("Converged", verdict), *fit.inference.ended(p_value)]
    return definitions(pairs) + items(fit.inference.advice, "flags") + items(notes)
