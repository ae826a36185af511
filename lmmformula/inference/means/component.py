r"""Marginal means of other parameters than the mean: a dispersion, a zero inflation, a shape, with predictors of their own.

The predictor ``a = A alpha`` of the parameter takes the place of eta, alpha's covariance matrix (of all parameters together)
that of beta's, and the parameter's link that of the mean; z tests. Of a posterior its draws. glmmTMB's ``component=``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.means.cells import cell_estimates
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.grid import Grid
from lmmformula.inference.means.scales import Scale, scale_of, scale_of_link
from lmmformula.inference.posterior import auxiliary_draws
from lmmformula.inference.uncertainty import Joint, Uncertainty
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["component_at", "component_cells", "component_scale", "component_words", "refuse_with_component"]

CONDITIONAL = ("cond", "mean", "mu")


def component_at(fit: Fitted, component: str | None) -> int | None:
    """Position of the auxiliary parameter that is meant, by its name or broom.mixed's word; None for the mean.

    Raises
    ------
    DataError
        For a parameter that the model does not have, or that has no predictor.
    """
    if component is None or component in CONDITIONAL:
        return None
    auxiliaries = fit.problem.family.auxiliaries
    known = [name for a in auxiliaries for name in dict.fromkeys((a.name, a.component))]
    for names in ([a.name for a in auxiliaries], [a.component for a in auxiliaries]):
        if component in names:
            at = names.index(component)
            if at >= len(fit.problem.recipe.aux):
                raise DataError(
                    f"component={component!r} is one number in this model, without a predictor: see m.dispersion, or give it a "
                    "formula by dispformula= or ziformula=."
                )
            return at
    raise DataError(
        f"component={component!r} is no parameter of {fit.problem.family}: use {', '.join(map(repr, ('cond', *known)))}."
    )


def component_cells(fit: Fitted, at: int | None, grid: Grid, offset: Array, known: Uncertainty) -> Estimates:
    """Estimates in the cells of a grid that was made for the component: of the mean by `known`."""
    if at is None:
        return cell_estimates(fit, grid.X, offset, grid.excess, known)
    x = grid.X
    if (fixed := fit.inference.combination_draws(np.zeros((1, fit.problem.p)))) is None:
        alpha = fit.estimate.aux[at]
        own = Joint(_covariance(fit, at), alpha)
        return Estimates(x @ alpha + offset, x, grid.excess, own, alpha)
    others = [np.zeros((len(x), len(block.names))) for block in fit.problem.aux]
    columns = tuple(x if j == at else other for j, other in enumerate(others))
    draws = np.broadcast_to(auxiliary_draws(fit, columns)[at], (len(fixed), len(x))) + offset
    unknown = Joint(np.full((x.shape[1], x.shape[1]), np.nan), np.zeros(x.shape[1]))
    return Estimates(draws.mean(axis=0), x, grid.excess, unknown, np.zeros(x.shape[1]), draws)


def _covariance(fit: Fitted, at: int) -> Array:
    """That of alpha, (a, a)."""
    joint = fit.joint_vcov
    if joint is None:
        raise PlanError(
            f"a fit by {fit.method} has no covariance matrix of the coefficients of {fit.problem.family.auxiliaries[at].name}: "
            "fit with method='laplace', nagq=1 or more."
        )
    where = fit.optimum.model.layout.aux[at]
    return np.asarray(joint)[where, where]


def component_scale(fit: Fitted, at: int | None) -> Scale:
    """The way from the predictor to the parameter."""
    if at is None:
        return scale_of(fit)
    parameter = fit.problem.family.auxiliaries[at]
    return scale_of_link(parameter.link)


def component_words(fit: Fitted, at: int | None) -> tuple[str, ...]:
    """Which parameter means are of."""
    if at is None:
        return ()
    parameter = fit.problem.family.auxiliaries[at]
    return (
        f"These are of {parameter.linked(parameter.name)}, or on the response's scale of {parameter.name}.",
    )


def refuse_with_component(at: int | None, **given: object) -> None:
    """Refuse what is for means of the response only.

    Raises
    ------
    PlanError
    """
    for name, value in given.items():
        if at is not None and value:
            raise PlanError(
                f"{name}= is for means of the response, not for component=: leave one of them out."
            )
