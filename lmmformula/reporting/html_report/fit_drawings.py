"""The plots of a report on one fit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from lmmformula.errors import LmmformulaError
from lmmformula.inference.naivete import plot_naivete
from lmmformula.inference.rows import draft_of
from lmmformula.reporting.html_report.figures import Drawing
from lmmformula.reporting.plots import draws, effects, marginal, rows
from lmmformula.reporting.plots.likelihood import profile

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Drawn

__all__ = ["SMALL", "drawings"]

CHEAP_ROWS, CHEAP_EFFECTS, CHEAP_PARAMETERS = 20_000, 1_000, 8
"""A model within all three is profiled without being asked."""
MOST_MODES = 100_000
"""Random effects up to which caterpillars have intervals, for which the equations are inverted."""
MOST_TERMS = 6
"""Columns of random effects that get a caterpillar."""
MOST_VARIABLES = 6
"""Variables whose marginal effects are drawn."""
SMALL = ("Marginal effects", "Chains", "Likelihood profiles")
"""Headings of plots that are small."""
MOST_CHAINS = 6
"""Parameters whose chains are drawn."""


def drawings(fit: Fitted, *, naivete: bool, profiles: bool | None) -> dict[str, list[Drawing]]:
    """The plots that suit the fit, by heading, in the order of the page."""
    return {
        "Response and residuals": _row_drawings(fit),
        "Random effects": _effect_drawings(fit),
        "Fixed effects": _coefficient_drawings(fit, naivete=naivete),
        "Marginal effects": _marginal_drawings(fit),
        "Chains": _chain_drawings(fit),
        "Likelihood profiles": _profile_drawings(fit, profiles),
    }


def _coefficient_drawings(fit: Fitted, *, naivete: bool) -> list[Drawing]:
    out = []
    if fit.problem.p:
        size = (5.2, max(1.8, 1.2 + 0.3 * fit.problem.p))
        caption = "Coefficients with 95% intervals, without the intercept."
        out.append(Drawing("Fixed effects", caption, size, partial(effects.coefficients, fit)))
    if naivete:
        caption = "Coefficients by what a GLM without random effects would get wrong."
        out.append(Drawing("Naivete", caption, (5.2, 4.2), lambda ax: plot_naivete(fit.naivete(), ax)))
    return out


def _marginal_drawings(fit: Fitted) -> list[Drawing]:
    if fit.problem.responses or (fit.recall.data is None and draft_of(fit) is None):
        return []
    out = []
    for name in marginal.variables(fit)[:MOST_VARIABLES]:
        caption = f"Expected response over {name}, with 95% intervals."
        if not out:
            caption += " Random effects are zero, other variables at their mean or most frequent level."
        paint = partial(marginal.marginal_effects, fit, name)
        out.append(Drawing(f"Marginal effect of {name}", caption, (3.4, 2.6), paint))
    return out


def _row_drawings(fit: Fitted) -> list[Drawing]:
    if not fit.problem.data.at_hand:
        return []
    what = "Residuals" if fit.problem.is_linear else "Randomised quantile residuals"
    scatter = f"{what} against the fit; the line is their running mean."
    band = "Quantile residuals against the normal distribution; the band holds 95% of each under the model."
    bins = "Mean residual in bins of the fitted mean, with two standard errors."
    return [
        Drawing("Distribution of the response", "The response.", (5.2, 3.8), partial(rows.response, fit)),
        Drawing("Residuals against fitted values", scatter, (5.2, 3.8), partial(rows.residuals, fit)),
        Drawing("Normal quantiles of the residuals", band, (5.2, 3.8), partial(rows.qq, fit)),
        Drawing("Binned residuals", bins, (5.2, 3.8), partial(rows.binned_residuals, fit)),
    ]


def _effect_drawings(fit: Fitted) -> list[Drawing]:
    spread = fit.problem.q <= MOST_MODES or fit.inference.has_effect_errors
    pairs = [(t.group, c, t.m) for t in fit.problem.terms for c in t.columns]
    out = []
    for group, column, m in pairs[:MOST_TERMS]:
        name = f"Random effects {column} | {group}"
        told = "with 95% intervals" if spread else "without intervals, which would take long here"
        size = (5.2, min(max(2.4, 1.0 + 0.17 * m), 5.5))
        paint = partial(effects.caterpillar, fit, group=group, column=column, spread=spread)
        out.append(Drawing(name, f"Effects of {column} by {group}, {told}.", size, paint))
        caption = f"Effects of {column} by {group} against the normal distribution."
        paint = partial(effects.random_effects_qq, fit, group=group, column=column)
        out.append(Drawing(f"Normal quantiles of {name.lower()}", caption, (5.2, 3.8), paint))
    return out


def _chain_drawings(fit: Fitted) -> list[Drawing]:
    out = []
    for name, values in [*fit.inference.chains().items()][:MOST_CHAINS]:
        for what, paint in (("Chains", draws.trace), ("Rank histograms of the chains", draws.rank)):
            out.append(
                Drawing(f"{what} of {name}", f"{what} of {name}.", (3.4, 2.0), partial(paint, values, name))
            )
    return out


def _profile_drawings(fit: Fitted, wanted: bool | None) -> list[Drawing]:
    from lmmformula.inference.profile import ml_optimum, parameter_names

    if wanted is False or (wanted is None and not (fit.inference.is_profiled and _cheap(fit))):
        return []
    try:
        ml_optimum(fit)
        names: Iterable[str] = parameter_names(fit)
    except LmmformulaError:  # said once, by the plot that is left out
        names = ("every parameter",)
    return [
        Drawing(
            f"Profile of {name}",
            f"Signed root of the rise of the deviance over {name}; straight where a Wald interval will do.",
            (3.4, 2.5),
            partial(_one_profile, fit, name),
        )
        for name in names
    ]


def _one_profile(fit: Fitted, name: str, ax: Drawn) -> Drawn:
    return profile(fit, name, ax, points=9)


def _cheap(fit: Fitted) -> bool:
    problem = fit.problem
    parameters = problem.p + problem.n_theta + 1
    return problem.n <= CHEAP_ROWS and problem.q <= CHEAP_EFFECTS and parameters <= CHEAP_PARAMETERS
