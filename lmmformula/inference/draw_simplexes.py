"""Monotonic effects of a posterior: (b, zeta) of every draw of the steps, :mod:`lmmformula.ir.monotonic`, in brms' columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.monotonic import monotonic_of, names_of
from lmmformula.inference.posterior import quantiles
from lmmformula.numerics.mcmc import ess_bulk, ess_tail, rhat

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["simplexes_of_draws"]


def simplexes_of_draws(fit: Fitted, level: float = 0.95) -> pd.DataFrame:
    """``level``, then mean, standard deviation, quantiles and diagnostics of b and zeta of each effect."""
    import pandas as pd

    beta = fit.inference.draws().beta
    names: list[str] = []
    levels: list[str] = []
    parts = []
    for effect in monotonic_of(fit).effects:
        gamma = beta[..., list(effect.columns)]
        total = gamma.sum(axis=-1, keepdims=True)
        parts += [total / effect.size, gamma / total]
        names += names_of(effect)
        levels += ["", *effect.levels]
    draws = np.concatenate(parts, axis=-1)
    flat = draws.reshape(-1, len(names))
    low, high = quantiles(flat, level)
    percent = f"{100 * level:.4g}%"
    return pd.DataFrame(
        {
            "level": levels,
            "Estimate": flat.mean(axis=0),
            "Est.Error": flat.std(axis=0, ddof=1),
            f"l-{percent} CI": low,
            f"u-{percent} CI": high,
            "Rhat": rhat(draws),
            "Bulk_ESS": ess_bulk(draws),
            "Tail_ESS": ess_tail(draws),
        },
        index=pd.Index(names, name="parameter"),
    )
