"""The kinds of fit, told apart here and nowhere else: by what the solution carries.

Only the kind that a fit is of is loaded, when something is asked of the fit.
"""

from __future__ import annotations

from lmmformula.inference.fitted import Fitted, Inference

__all__ = ["inference_of"]


def inference_of(fit: Fitted) -> Inference:
    """Draws where the solution has some, quasi-likelihood where the estimate says what it is made of, else likelihood.

    By likelihood residuals are structured, or independent with one variance.
    """
    if fit.posterior is not None:
        from lmmformula.inference.kinds.draws import Draws

        return Draws(fit, fit.posterior)
    if fit.problem.residual is not None:
        from lmmformula.inference.kinds.structured import Structured

        return Structured(fit)
    if fit.estimate.quasi is None:
        from lmmformula.inference.kinds.asymptotic import Asymptotic

        return Asymptotic(fit)
    from lmmformula.inference.kinds.quasi import Quasi

    return Quasi(fit, fit.estimate.quasi)
