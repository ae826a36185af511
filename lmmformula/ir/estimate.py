"""What a backend returns: numbers only, complete when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from lmmformula.typing import Array

__all__ = ["Convergence", "Estimate", "Status"]


class Status(Enum):
    """How the search for the optimum ended; the value is the sentence shown to the user."""

    CONVERGED = "converged"
    NOTHING_TO_OPTIMISE = "closed form: nothing to optimise"
    EVALUATION_LIMIT = "stopped at the limit of evaluations"
    STALLED = "stopped: no step lowers the criterion although its gradient is not zero"

    @property
    def good(self) -> bool:
        """Whether the result can be used without a warning."""
        return self in (Status.CONVERGED, Status.NOTHING_TO_OPTIMISE)


@dataclass(frozen=True, slots=True)
class Convergence:
    """Numbers about the search.

    Attributes
    ----------
    status : Status
    evaluations, iterations : int
        Criterion values computed, and steps taken.
    decrement : float
        Drop of the deviance that a further Newton step still promises.
    max_gradient : float
        Largest absolute element of the gradient of the deviance in theta.
    tolerance : float
        Bar for `decrement`.
    """

    status: Status
    evaluations: int
    iterations: int
    decrement: float
    max_gradient: float
    tolerance: float


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Point estimates of a mixed model.

    Attributes
    ----------
    method : str
        "REML", "ML".
    engine : str
    beta : (p,) array
        Fixed effects.
    vcov : (p, p) array
        Their covariance matrix at the estimated variances.
    theta : (n_theta,) array
        Relative covariance parameters, unitless; diagonal of L non-negative.
    sigma : float
        Residual standard deviation, in units of the response; 1 for families without one.
    deviance : float
        -2 log-likelihood (restricted likelihood for REML).
    modes : tuple of (m, k) arrays
        Conditional modes b of the random effects, one array per term, in units of the response.
    convergence : Convergence
    singular : tuple of str
        Terms whose covariance matrix is singular.
    aux : tuple of arrays
        Coefficients of the family's auxiliary linear predictors.
    undetermined : tuple of str
        Coefficients on which the data hold no information (separation).
    """

    method: str
    engine: str
    beta: Array
    vcov: Array = field(repr=False)
    theta: Array
    sigma: float
    deviance: float
    modes: tuple[Array, ...] = field(repr=False)
    convergence: Convergence = field(repr=False)
    singular: tuple[str, ...] = ()
    aux: tuple[Array, ...] = ()
    undetermined: tuple[str, ...] = ()
