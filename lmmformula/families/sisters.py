"""What truncation, hurdles and zero inflation make of a distribution."""

from __future__ import annotations

from lmmformula.families.atoms import hurdle
from lmmformula.families.distribution import Distribution
from lmmformula.families.truncated import Truncated
from lmmformula.families.zero_inflated import ZeroInflated, ZeroInflatedTrials

__all__ = ["sisters", "with_zeros"]


def with_zeros(own: Distribution) -> Distribution | None:
    """`own` with zeros that have a predictor; None where it has such already, or takes zero for a number like others.

    Counts and proportions of trials have zeros themselves and get structural ones; others have none and get a hurdle.
    """
    if any(a.role == "zeros" for a in own.auxiliaries) or own.atoms:
        return None
    if own.support == "counts":
        return ZeroInflated(own)
    if own.support == "proportions":
        return ZeroInflatedTrials(own)
    return hurdle(own) if own.support in ("positive counts", "positive", "open unit") else None


def sisters(own: Distribution) -> tuple[Distribution, ...]:
    """The distributions made of one that are families of their own."""
    made = with_zeros(own)
    if made is None:
        return ()
    if own.support == "counts" and own.mean_range == "positive":
        truncated = Truncated(own)
        return (made, truncated, hurdle(truncated))
    return (made,)
