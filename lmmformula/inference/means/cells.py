"""Estimates in the cells of a grid: the linear predictor, or the response by one of the scales."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.location import coefficients as location
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.scales import Scale
from lmmformula.inference.uncertainty import Uncertainty
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["cell_estimates", "linked", "transformed"]


def cell_estimates(fit: Fitted, X: Array, offset: Array, excess: Array, known: Uncertainty) -> Estimates:
    """``X gamma + offset``, gamma the coefficients of the mean (:mod:`lmmformula.inference.location`)."""
    gamma, drawn = location.coefficients(fit), location.draws(fit)
    draws = None if drawn is None else drawn @ X.T + offset
    return Estimates(X @ gamma + offset, X, excess, known, gamma, draws)


def transformed(cells: Estimates, scale: Scale) -> Estimates:
    """The same on the scale of the response, with the Jacobian of that."""
    draws = None if cells.draws is None else scale.value(cells.draws)
    slope = np.broadcast_to(scale.slope(cells.point), cells.point.shape)
    return replace(cells, point=scale.value(cells.point), rows=slope[:, None] * cells.rows, draws=draws)


def linked(responses: Estimates, scale: Scale) -> Estimates:
    """Estimates of responses on the scale of the link: eta = g(response), with ``deta = dresponse / h'(eta)``."""
    if scale.is_identity:
        return responses
    with np.errstate(invalid="ignore", divide="ignore"):
        eta = scale.eta(responses.point)
        draws = None if responses.draws is None else scale.eta(responses.draws)
    slope = np.broadcast_to(scale.slope(eta), eta.shape)
    return replace(responses, point=eta, rows=responses.rows / slope[:, None], draws=draws)
