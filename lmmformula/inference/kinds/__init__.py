"""The kinds of fit, told apart here and nowhere else: by what the solution carries."""

from __future__ import annotations

from lmmformula.inference.fitted import Fitted, Inference
from lmmformula.inference.kinds.asymptotic import Asymptotic
from lmmformula.inference.kinds.draws import Draws
from lmmformula.inference.kinds.quasi import Quasi
from lmmformula.inference.kinds.structured import Structured

__all__ = ["Asymptotic", "Draws", "Quasi", "Structured", "inference_of"]


def inference_of(fit: Fitted) -> Inference:
    """Draws where the solution has some, quasi-likelihood where the estimate says what it is made of, else likelihood.

    By likelihood residuals are structured, or independent with one variance.
    """
    if fit.posterior is not None:
        return Draws(fit, fit.posterior)
    if fit.problem.residual is not None:
        return Structured(fit)
    return Asymptotic(fit) if fit.estimate.quasi is None else Quasi(fit, fit.estimate.quasi)
