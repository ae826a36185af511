"""Draws of the parameters of structures across levels, in the numbers that searches move in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.ir.across.naturals import naturals_of
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.posterior.record import Posterior

__all__ = ["phi_draws"]


def phi_draws(posterior: Posterior) -> list[Array]:
    """phi of each term of the mean, (S, elements); no elements where its levels are independent."""
    out = []
    for term in posterior.priors.terms:
        own = term.parameters
        drawn = np.empty((posterior.chains * posterior.draws, len(own.phis)))
        known = () if own.across is None else naturals_of(own.across)
        for j, (name, natural) in enumerate(zip(own.phis, known, strict=True)):
            drawn[:, j] = natural.inward(posterior[name].reshape(-1))
        out.append(drawn)
    return out
