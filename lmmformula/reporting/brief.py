"""A fit in few words, without anything that has yet to be computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.reporting.summary import summarise

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Record

__all__ = ["brief", "brief_record", "shown"]

WITHOUT = "interrupted before the standard errors were there: the estimates stand"
"""What is said of a fit whose standard errors were interrupted."""


def shown(fit: Fitted) -> str:
    """The summary; if the user interrupts its standard errors, the estimates without them."""
    try:
        return str(summarise(fit))
    except KeyboardInterrupt:
        return brief(fit)


def brief(fit: Fitted) -> str:
    """Estimates, variances and log-likelihood."""
    record = brief_record(fit)
    width = max((len(name) for name in record["params"]), default=0)
    lines = [f"{fit.method}: {fit.formula}", f"{fit.nobs:,} rows; {WITHOUT}.", "", "Fixed effects:"]
    lines += [f"  {name:<{width}}  {value:.6g}" for name, value in record["params"].items()]
    lines += ["", "Random effects:", fit.varcorr().to_string(index=False), ""]
    return "\n".join(
        [*lines, f"Log-likelihood {record['llf']:.4f}; {fit.estimate.convergence.status.value}."]
    )


def brief_record(fit: Fitted) -> Record:
    """The same as plain values."""
    return {
        "formula": fit.formula,
        "family": fit.family,
        "method": fit.method,
        "converged": fit.converged,
        "nobs": fit.nobs,
        "params": fit.params.to_dict(),
        "theta": fit.theta.to_dict(),
        "varcorr": fit.varcorr().to_dict("records"),
        "llf": fit.llf,
        "warnings": [WITHOUT],
    }
