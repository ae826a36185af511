"""How a search ended, in words: what happened with numbers, the likely cause, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import (
    BoundaryWarning,
    ConvergenceWarning,
    LmmformulaWarning,
    SeparationWarning,
    SingularFitWarning,
)
from lmmformula.inference.monotonic import flat_steps
from lmmformula.inference.words import counted
from lmmformula.ir.across import Share
from lmmformula.ir.rows import range_of
from lmmformula.ir.structured import structure_parameters
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["at_limit", "findings", "residuals_replaced"]

NOTHING = 1e-3
"""A parameter whose coefficients run off is zero below this, and infinite above its inverse."""


def findings(fit: Fitted) -> list[tuple[type[LmmformulaWarning], str]]:
    """What a careful reader of the numbers must know, each with its kind of warning."""
    out: list[tuple[type[LmmformulaWarning], str]] = []
    if not fit.estimate.convergence.status.good:
        out.append((ConvergenceWarning, fit.inference.unfinished()))
    out += [(LmmformulaWarning, odd) for odd in fit.inference.oddities()]
    if flat := flat_steps(fit):
        out.append(
            (
                BoundaryWarning,
                f"{flat}. Without the sign of their effect their estimates would have the other, so that the levels on both "
                "sides are estimated as alike. They have no standard errors, and those of the others take them as zero; "
                "bootstrap() does not.",
            )
        )
    ends = at_limit(fit)
    out += [
        (
            BoundaryWarning,
            f"{name} is estimated as {where}, the end of its range: the data show nothing of what it stands for, and the "
            "family without it has the same likelihood. Its coefficients run off and have no standard errors. Use the "
            "simpler family, or leave its formula out; all other estimates stand.",
        )
        for name, where in ends.items()
    ]
    out += [(BoundaryWarning, said) for said in shares_of_one(fit)]
    out += [
        (
            BoundaryWarning,
            f"the effects {label} take the residual's place: their standard deviation is {ratio:,.0f} times the residual's, "
            f"{fit.sigma:.3g}, which the data do not tell from zero. The likely cause is that few of their levels have "
            "more than one row, so that a residual is no more than a part of the structure. All other estimates stand; "
            "sigma has no interval. A structure of the residuals themselves, such as ar(time, gr = g) for "
            "ar1(0 + time | g), is the model without it.",
        )
        for label, ratio in residuals_replaced(fit).items()
    ]
    if loose := [name for name in fit.estimate.undetermined if name.split(": ")[0] not in ends]:
        out.append(
            (
                SeparationWarning,
                f"the data hold no information on {', '.join(loose)}: the standard error is beyond 50 on the scale of the "
                "linear predictor. The likely cause is separation: for some values of the predictors all responses are "
                "alike, so the estimate runs off to infinity. Merge or drop that predictor; estimates of the others stand.",
            )
        )
    elif few := few_events(fit):
        out.append((SeparationWarning, few))
    flat = {
        term.label for term in fit.problem.terms if term.of_mean
    }  # a smooth without variance is a straight line, say
    if singular := [label for label in fit.estimate.singular if label not in flat]:
        which = " and ".join(f"({label})" for label in singular)
        out.append(
            (
                SingularFitWarning,
                f"the fit is singular: the covariance matrix of {which} has a direction of zero variance. The data do not "
                "support so many variance parameters; a simpler random part gives the same likelihood. Estimates are "
                "valid, but Wald tests of variances are not.",
            )
        )
    return out


def shares_of_one(fit: Fitted) -> list[str]:
    """Warnings of structures across levels whose parameter is at its upper end, where that spoils other estimates."""
    out = []
    for own in structure_parameters(fit.problem):
        said = own.across.at_one if isinstance(own.across, Share) else ""
        if said and own.is_one(float(fit.estimate.theta[own.at])):
            label = fit.problem.terms[own.term].label
            out.append(f"{own.name} of ({label}) is estimated as 1, the end of its range: {said}.")
    return out


def residuals_replaced(fit: Fitted) -> dict[str, float]:
    """Structured effects of a Gaussian model beside which the residual is none -> ratio of their standard deviations.

    That of the effects is the root of the mean of z'Sigma z over the rows, so that columns have no unit in the ratio.
    """
    problem, out = fit.problem, {}
    if not problem.is_linear or not problem.family.estimates_sigma or fit.inference.priors is not None:
        return out
    for i, (term, own) in enumerate(zip(problem.terms, problem.theta_slices(), strict=True)):
        if term.covariance.across is None or term.shares is not None:
            continue
        lower = term.covariance.cholesky(fit.estimate.theta[own])
        moments = problem.data.reduce(lambda chunk, i=i, k=term.k: _moments(chunk.terms[i].basis, chunk.n, k))
        ratio = float(np.sqrt(np.sum((lower @ lower.T) * moments) / problem.n))
        if ratio > 1.0 / NOTHING:
            out[f"{', '.join(term.columns)} | {term.group}"] = ratio
    return out


def _moments(basis: Array | None, n: int, k: int) -> Array:
    """Sum of zz' over rows, (k, k)."""
    return np.full((k, k), float(n)) if basis is None else basis.T @ basis


def few_events(fit: Fitted) -> str:
    """The warning of a response with fewer events than the model of its mean has parameters; empty if there are enough."""
    problem = fit.problem
    if fit.inference.priors is not None:  # which hold estimates where the data do not
        return ""
    parameters = problem.p + problem.n_theta
    family = problem.family  # alone: functions of rows go to wherever these are
    kinds = problem.data.reduce(lambda chunk: family.events(chunk.y, chunk.weights))
    events = float(np.min(kinds))
    if events >= parameters:
        return ""
    what = counted(round(events), "event")
    approximate = (
        "Laplace's approximation may put standard deviations of random effects far too high: with one grouping factor compare "
        "nagq=9. "
        if problem.terms
        else ""
    )
    return (
        f"the response has {what} in {problem.n_used:,} rows (successes or failures, whichever are fewer; the sum of counts), "
        f"and its mean {parameters} parameters: the data all but separate, and estimates hang on single rows. {approximate}"
        "Take terms out, or collect more events."
    )


def at_limit(fit: Fitted) -> dict[str, str]:
    """The family's unit-free parameters that run off to an end of their range: name -> where, in words."""
    out = {}
    problem, estimate = fit.problem, fit.estimate
    for j, (parameter, block) in enumerate(zip(problem.family.auxiliaries, problem.aux, strict=False)):
        names = {f"{parameter.name}: {name}" for name in block.names}
        if parameter.power != 0.0 or not names & set(estimate.undetermined):
            continue
        data = problem.data
        values = parameter.value(np.array(range_of(data, data.aux[j].times(estimate.aux[j]))))
        if values.max() < NOTHING:
            out[parameter.name] = f"zero (at most {values.max():.2g} in any row)"
        elif parameter.range != "unit" and values.min() > 1.0 / NOTHING:
            out[parameter.name] = f"infinity (at least {values.min():.2g} in any row)"
    return out
