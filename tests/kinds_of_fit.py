"""One small fit of each kind, for properties that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lmmformula import Fit, fit

__all__ = ["KINDS", "rows"]

_COUNTS = "count ~ x + f + (1 | g)"
KINDS: dict[str, Callable[..., Fit]] = {
    "reml": lambda data, **more: fit("y ~ x + f + (x | g)", data, **more),
    "laplace": lambda data, **more: fit(_COUNTS, data, family="poisson", **more),
    "dispersion": lambda data, **more: fit("y ~ x + (1 | g)", data, dispformula="~ x", **more),
    "pql": lambda data, **more: fit(_COUNTS, data, family="poisson", method="pql", **more),
    "hmc": lambda data, **more: fit(
        "y ~ x + f + (1 | g)", data, method="hmc", sampler="importance", chains=2, draws=400, seed=1, **more
    ),
}


def rows(n: int = 120, groups: int = 8, seed: int = 5) -> pd.DataFrame:
    """A table that every kind fits: numbers `y`, counts, a covariate, a factor of text, groups, weights and an offset."""
    rng = np.random.default_rng(seed)
    g = np.arange(n) % groups
    x = rng.normal(size=n)
    own = rng.normal(size=(groups, 2)) * (0.8, 0.5)
    f = np.array(["low", "mid", "high"])[rng.integers(0, 3, n)]
    eta = 0.3 + (0.4 + own[g, 1]) * x + 0.5 * (f == "high") + own[g, 0]
    columns: dict[str, Any] = {
        "y": eta + 0.7 * rng.normal(size=n),
        "count": rng.poisson(np.exp(0.5 * eta)),
        "x": x,
        "f": f,
        "g": g,
        "w": rng.uniform(0.5, 2.0, n),
        "o": 0.1 * rng.normal(size=n),
    }
    return pd.DataFrame(columns)
