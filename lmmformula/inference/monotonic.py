"""What monotonic effects mean for counts of parameters: steps of zero are parameters of the model, though not of its fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lmmformula.inference.fitted import Fitted

__all__ = ["CAUTIOUS", "flat_steps", "has_monotonic", "parameters_of_model"]

CAUTIOUS = (
    "Steps of monotonic effects have one sign, so that the likelihood ratio is a mixture of chi-squares (chi-bar-square) with "
    "at most as many degrees of freedom as there are steps: p-values count all of them, which is cautious. "
    "drop1(test='bootstrap') simulates the distribution."
)


def flat_steps(fit: Fitted) -> str:
    """Which steps are zero, in words; empty if none is."""
    own = fit.problem.monotonic
    if own is None or not own.dropped:
        return ""
    names = [own.full.names[column] for column in own.dropped]
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"{len(names)} of {len(own.steps)} steps of monotonic effects are zero: {shown}"


def has_monotonic(fits: Iterable[Fitted]) -> bool:
    """Whether some fit has monotonic effects whose signs are held."""
    return any(fit.problem.monotonic is not None and fit.posterior is None for fit in fits)


def parameters_of_model(fit: Fitted) -> int:
    """Parameters with the steps that are zero in this fit."""
    own = fit.problem.monotonic
    return fit.df_model + (0 if own is None else len(own.dropped))
