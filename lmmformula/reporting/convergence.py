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
from lmmformula.inference.posterior import unsatisfactory
from lmmformula.inference.rows import row_labels
from lmmformula.ir.estimate import Status

if TYPE_CHECKING:
    from lmmformula.result import Fit

__all__ = ["at_limit", "counts", "findings", "odd_dispersion", "unfinished"]

NEAR_ZERO = 0.1
"""A relative standard deviation below this is named as the cause of a slow search."""
COLLINEAR = 1e10
"""Condition of X'X, its columns scaled, from which rounding keeps the fits from settling."""
ODD_DISPERSION = 20.0
"""A dispersion this far from one, either way, of a family that has none, is not extra variation any more."""


NOTHING = 1e-3
"""A parameter whose coefficients run off is zero below this, and infinite above its inverse."""


def findings(fit: Fit) -> list[tuple[type[LmmformulaWarning], str]]:
    """What a careful reader of the numbers must know, each with its kind of warning."""
    out: list[tuple[type[LmmformulaWarning], str]] = []
    if not fit.estimate.convergence.status.good:
        out.append((ConvergenceWarning, unfinished(fit)))
    if odd := odd_dispersion(fit):
        out.append((LmmformulaWarning, odd))
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
    if fit.estimate.singular:
        which = " and ".join(f"({label})" for label in fit.estimate.singular)
        out.append(
            (
                SingularFitWarning,
                f"the fit is singular: the covariance matrix of {which} has a direction of zero variance. The data do not "
                "support so many variance parameters; a simpler random part gives the same likelihood. Estimates are "
                "valid, but Wald tests of variances are not.",
            )
        )
    return out


def few_events(fit: Fit) -> str:
    """The warning of a response with fewer events than the model of its mean has parameters; empty if there are enough."""
    problem = fit.problem
    if fit.posterior is not None:
        return ""
    events, parameters = problem.family.events(problem.y, problem.weights), problem.p + problem.n_theta
    if events >= parameters:
        return ""
    what = _plural(round(events), "event")
    approximate = (
        "Laplace's approximation may put standard deviations of random effects far too high: with one grouping factor compare "
        "nagq=9. "
        if problem.terms
        else ""
    )
    return (
        f"the response has {what} in {problem.n:,} rows (successes or failures, whichever are fewer; the sum of counts), and "
        f"its mean {parameters} parameters: the data all but separate, and estimates hang on single rows. {approximate}Take "
        "terms out, or collect more events."
    )


def at_limit(fit: Fit) -> dict[str, str]:
    """The family's unit-free parameters that run off to an end of their range: name -> where, in words."""
    out = {}
    problem, estimate = fit.problem, fit.estimate
    for parameter, block, alpha in zip(problem.family.auxiliaries, problem.aux, estimate.aux, strict=False):
        names = {f"{parameter.name}: {name}" for name in block.names}
        if parameter.power != 0.0 or not names & set(estimate.undetermined):
            continue
        values = parameter.value(block.matrix @ alpha)
        if values.max() < NOTHING:
            out[parameter.name] = f"zero (at most {values.max():.2g} in any row)"
        elif parameter.range != "unit" and values.min() > 1.0 / NOTHING:
            out[parameter.name] = f"infinity (at least {values.min():.2g} in any row)"
    return out


def counts(fit: Fit) -> str:
    """Evaluations; outer iterations and sweeps; draws."""
    ended = fit.estimate.convergence
    if fit.posterior is not None:
        return f"{_plural(fit.posterior.chains, 'chain')} of {fit.posterior.draws:,} draws"
    if fit.estimate.quasi is None:
        return _plural(ended.evaluations, "evaluation")
    return f"{_plural(ended.evaluations, 'outer iteration')}, {_plural(ended.iterations, 'sweep')}"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def unfinished(fit: Fit) -> str:
    """The warning of a search that did not meet its tolerance, or of draws that do not suffice."""
    ended = fit.estimate.convergence
    if fit.posterior is not None:
        return unsatisfactory(fit.posterior)
    if fit.estimate.quasi is None:
        return (
            f"the search {ended.status.value} ({ended.evaluations} evaluations); a further step still "
            f"promises {ended.decrement:.2g} of deviance (tolerance {ended.tolerance:.2g}), the largest "
            f"gradient is {ended.max_gradient:.2g}. Rescale the predictors of the random effects, simplify the "
            "random part, or raise max_evaluations."
        )
    where = (
        f"penalised quasi-likelihood {ended.status.value} ({counts(fit)}); the last outer iteration changed the linear "
        f"predictors by {ended.decrement:.2g} of their size (tolerance {ended.tolerance:.2g})."
    )
    if ended.status is Status.INTERRUPTED:
        return (
            f"{where} The numbers are those of that iteration. To go on from there, where m is this fit: "
            "m.update(start=m.estimate)."
        )
    return (
        f"{where} {_likely_cause(fit)} To go on from there, where m is this fit: "
        f"m.update(start=m.estimate, max_outer={max(100, 2 * fit.backend.max_outer)})."
    )


def _likely_cause(fit: Fit) -> str:
    """Why outer iterations settle slowly."""
    estimate, problem = fit.estimate, fit.problem
    if (condition := _condition(fit)) > COLLINEAR:
        return (
            f"The likely cause is that the fixed-effects columns are all but collinear (condition {condition:.1g}): centre "
            "the numeric predictors."
        )
    if estimate.singular:
        which = " and ".join(f"({label})" for label in estimate.singular)
        return f"The likely cause is that the covariance matrix of {which} became singular on the way: simplify that term."
    slow = []
    for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
        diagonal = np.abs(np.diagonal(term.covariance.cholesky(estimate.theta[s])))
        if diagonal.min(initial=1.0) < NEAR_ZERO:
            slow.append(f"({term.label or term.group})")
    if slow:
        return f"The likely cause is a variance near zero, of {' and '.join(slow)}: leave that term out if it stays so."
    return "The likely cause is that max_outer is low for this model."


def _condition(fit: Fit) -> float:
    """Condition number of X'X with columns of unit length."""
    x = fit.problem.X.matrix
    if not x.shape[1]:
        return 1.0
    gram = x.T @ x
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    values = np.linalg.eigvalsh(gram * np.outer(scale, scale))
    return float(values[-1] / max(values[0], 1e-300))


def odd_dispersion(fit: Fit) -> str:
    """The warning of a dispersion that no extra variation explains; empty if there is none."""
    quasi, phi = fit.estimate.quasi, fit.estimate.sigma**2
    if quasi is None or not quasi.free or 1.0 / ODD_DISPERSION < phi < ODD_DISPERSION:
        return ""
    rows = fit.optimum.state.rows
    squares = rows.score**2 / np.maximum(rows.weight, 1e-300)
    row = int(np.argmax(squares))
    share = squares[row] / max(float(squares.sum()), 1e-300)
    cause = (
        f"Row {row_labels(fit.problem)[row]} of the data alone makes up {share:.0%} of Pearson's chi-square: look at its "
        "response, predictors and offset"
        if phi > 1.0
        else "The model predicts nearly every row: look for a predictor that separates the outcomes"
    )
    return (
        f"the dispersion is estimated at {phi:.3g}, which multiplies every variance and squared standard error. {cause}, or "
        'use dispersion="fixed".'
    )
