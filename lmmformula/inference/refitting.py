"""Fits of the same rows with another response.

Only the products of the design with y change, so a refit reuses patterns, index maps and the Gram of [Z X], and starts
from the fitted theta.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.conditional import varying
from lmmformula.inference.new_response import new_response, with_response
from lmmformula.inference.parameters import has_deviations
from lmmformula.inference.subset import refitted
from lmmformula.ir.covariance import sd_cor
from lmmformula.ir.residual import residual_parameters, residual_values
from lmmformula.ir.structured import structure_parameters

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted, FittedT
    from lmmformula.inference.recall import Recall
    from lmmformula.typing import Array, Data

__all__ = ["parameters", "refit", "refit_drawn"]


def refit(fit: FittedT, y: Data) -> FittedT:
    """The same model on response `y`, read as in :func:`lmmformula.inference.new_response.new_response`."""
    return refit_drawn(fit, new_response(fit, y))


def refit_drawn(fit: FittedT, values: Array) -> FittedT:
    """The same on a response as the family has it, such as a draw: (n,) numbers, of categories their positions 1, ..., K.

    Raises
    ------
    FitError
        For a response without rows of some category.
    """
    family = fit.problem.family
    if family.outcomes and not family.events(values).all():
        raise FitError("the response has no rows of some category, whose thresholds it does not tell.")
    recall = with_response(fit, values)
    if fit.problem.monotonic is not None and fit.problem.monotonic.is_held:
        return _on_its_face(fit, values, recall)
    own, standard = fit.standard.inward(fit.estimate), fit.standard.with_response(values)
    solution = fit.backend.refit(standard.problem, own, fit.optimum)
    return replace(
        fit,
        problem=fit.problem.with_response(values),
        estimate=standard.outward(solution.estimate),
        point=solution.point,
        posterior=solution.posterior,
        twin=standard,
        recall=recall,
    )


def _on_its_face(fit: FittedT, values: Array, recall: Recall) -> FittedT:
    """The same where steps of monotonic effects may be zero: other ones with another response."""
    problem = fit.problem.with_response(values)
    for chunk in () if problem.is_linear else problem.data.chunks():
        problem.family.check(chunk.y, chunk.weights, "y")
    return replace(refitted(fit, problem), recall=recall)


def parameters(fit: Fitted) -> dict[str, float]:
    """Fixed effects, standard deviations, correlations, sigma or the family's other parameters, by name.

    Steps of monotonic effects that the fit does not have are zero.
    """
    own = fit.problem.monotonic
    out = dict.fromkeys(fit.problem.X.names if own is None else own.full.names, 0.0)
    out |= dict(zip(fit.problem.X.names, map(float, fit.estimate.beta), strict=True))
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = fit.estimate.sigma * term.covariance.cholesky(fit.estimate.theta[s])
        sd, cor = sd_cor(lower @ lower.T)
        out |= {f"sd_{c}|{term.group}": float(v) for c, v in zip(varying(term), sd, strict=False)}
        if term.covariance.within.correlated:
            out |= {
                f"cor_{term.columns[i]}.{term.columns[j]}|{term.group}": float(cor[i, j])
                for j in range(term.k)
                for i in range(j + 1, term.k)
            }
    theta = fit.estimate.theta
    out |= {own.name: own.natural(float(theta[own.at])) for own in structure_parameters(fit.problem)}
    for parameter, block, alpha in zip(
        fit.problem.family.auxiliaries, fit.problem.aux, fit.estimate.aux, strict=False
    ):
        if block.is_constant:
            out[parameter.name] = float(parameter.value(alpha)[0])
        else:
            out |= {f"{parameter.name}: {n}": float(v) for n, v in zip(block.names, alpha, strict=True)}
    if (residual := fit.problem.residual) is not None:
        values = residual_values(residual, fit.estimate.residual, float(np.log(fit.estimate.sigma)))
        out |= {p.name: float(v) for p, v in zip(residual_parameters(residual), values, strict=True)}
    if has_deviations(fit.problem):
        return out
    if (fit.problem.family.estimates_sigma and not fit.problem.aux) or fit.estimate.quasi_dispersion:
        out["sigma"] = fit.estimate.sigma
    return out
