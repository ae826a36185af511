"""What a backend returns: numbers only, complete when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np

from lmmformula.typing import Array

__all__ = ["Convergence", "Estimate", "Quasi", "Status"]


class Status(Enum):
    """How the search for the optimum, or the sampling of a posterior, ended; the value is the sentence shown to the user."""

    CONVERGED = "converged"
    NOTHING_TO_OPTIMISE = "closed form: nothing to optimise"
    EVALUATION_LIMIT = "stopped at the limit of evaluations"
    OUTER_LIMIT = "stopped at the limit of outer iterations"
    INTERRUPTED = "stopped by the user"
    STALLED = "stopped: no step lowers the criterion although its gradient is not zero"
    NOT_MIXED = "finished, but the draws do not describe the posterior well enough"

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
        Criterion values computed, and steps taken; of a quasi-likelihood, outer iterations and sweeps.
    decrement : float
        Drop of the deviance that a further Newton step still promises; of a quasi-likelihood, the relative change of the
        fitted linear predictors in the last outer iteration.
    max_gradient : float
        Largest absolute element of the gradient of the deviance in theta.
    tolerance : float
        Bar for `decrement`.
    continued : int
        How often a search was gone on with from a checkpoint; `evaluations` and `iterations` are then those of all runs.
    seconds : float
        Wall time of all runs of such a search.
    """

    status: Status
    evaluations: int
    iterations: int
    decrement: float
    max_gradient: float
    tolerance: float
    continued: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Quasi:
    """What an estimate by quasi-likelihood is made of besides the numbers that every method has.

    Attributes
    ----------
    free : bool
        Whether sigma^2 is a dispersion that was estimated although the family has none; if not, sigma is 1 or the family's.
    traces : {"diagonal", "exact"}
        How the effective degrees of freedom were found.
    gaps : array or None
        For each column of each term, its standard deviation with diagonal over that with exact traces, minus one; None
        where both are not known.
    """

    free: bool
    traces: Literal["diagonal", "exact"]
    gaps: Array | None = None


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
        Residual standard deviation, in units of the response; 1 for families without one; the root of the dispersion where
        a quasi-likelihood estimates that.
    deviance : float
        -2 log-likelihood (restricted likelihood for REML); nan for a quasi-likelihood.
    modes : tuple of (m, k) arrays
        Conditional modes b of the random effects, one array per term, in units of the response.
    convergence : Convergence
    singular : tuple of str
        Terms whose covariance matrix is singular.
    aux : tuple of arrays
        Coefficients of the family's auxiliary linear predictors.
    undetermined : tuple of str
        Coefficients on which the data hold no information (separation).
    quasi : Quasi or None
        None if the method maximises a likelihood.
    deviance_stderr : float
        Standard error of `deviance`; zero unless the engine estimates it.
    aux_modes : tuple of tuples of (m, k) arrays
        Random effects in the auxiliary linear predictors, for each predictor one array per term; empty where none has any.
    residual : array
        psi, the parameters of the structure of residuals (:mod:`lmmformula.ir.residual`); empty where there is none.
    restricted : bool
        Whether `deviance` is that of the restricted likelihood, which depends on the units of X.
    log_prior : float or None
        Log density of priors at the estimate, where one maximises their product with the likelihood; `deviance` is without it.
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
    quasi: Quasi | None = None
    deviance_stderr: float = 0.0
    aux_modes: tuple[tuple[Array, ...], ...] = field(repr=False, default=())
    restricted: bool = False
    residual: Array = field(default_factory=lambda: np.zeros(0))
    log_prior: float | None = None

    @property
    def quasi_dispersion(self) -> bool:
        """Whether a quasi-likelihood estimated a dispersion, sigma^2, that the family does not have."""
        return self.quasi is not None and self.quasi.free
