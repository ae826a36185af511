"""Seeded data of lines of the page of benchmarks that no other study has.

References
----------
Ghandwani, Ghosh, Hastie & Owen (2023), Scalable solution to crossed random effects model with random slopes, arXiv 2307.12378.
Ghitza & Gelman (2013), Deep interactions with MRP, Am. J. Polit. Sci. 57.
Goplerud, Papaspiliopoulos & Zanella (2024), Partially factorized variational inference for high-dimensional mixed models,
Biometrika 112.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["crossed_slopes", "deep_interactions", "many_columns"]

_LEVELS = {"state": 51, "income": 5, "ethnicity": 4, "age": 4}


def crossed_slopes(rows: int, levels: int) -> pd.DataFrame:
    """Two crossed factors, on each of which an intercept and three slopes vary, correlated."""
    import pandas as pd

    rng = np.random.default_rng(1)
    g, h = rng.integers(0, levels, rows), rng.integers(0, levels, rows)
    x = np.column_stack([np.ones(rows), rng.normal(size=(rows, 3))])
    lower = np.linalg.cholesky(
        [[0.8, 0.2, 0.1, 0.0], [0.2, 0.5, 0.1, 0.1], [0.1, 0.1, 0.4, 0.0], [0.0, 0.1, 0.0, 0.3]]
    )
    a, b = (scale * rng.normal(size=(levels, 4)) @ lower.T for scale in (1.0, 0.7))
    y = x @ [1.0, 0.5, -0.5, 0.2] + (x * (a[g] + b[h])).sum(axis=1) + rng.normal(size=rows)
    return pd.DataFrame({"x1": x[:, 1], "x2": x[:, 2], "x3": x[:, 3], "y": y, "g": g, "h": h})


def many_columns(rows: int, levels: int, columns: int) -> pd.DataFrame:
    """Counts with one grouping factor and many predictors."""
    import pandas as pd

    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((rows, columns)), rng.integers(0, levels, rows)
    eta = x @ np.linspace(0.5, -0.5, columns) + rng.standard_normal(levels)[g]
    return pd.DataFrame(
        {f"x{j + 1}": x[:, j] for j in range(columns)} | {"g": g, "y": rng.poisson(np.exp(0.5 * eta))}
    )


def deep_interactions(spreads: Mapping[str, float]) -> pd.DataFrame:
    """4,080 cells of state, income, ethnicity and age, of about ten respondents each.

    `spreads` has factors, interactions of these columns and `region`, and standard deviations of their effects (log odds).
    """
    import pandas as pd

    rng = np.random.default_rng(1)
    frame = pd.DataFrame(list(product(*map(range, _LEVELS.values()))), columns=list(_LEVELS))
    frame["region"] = rng.integers(0, 5, _LEVELS["state"])[frame["state"]]
    frame["z"] = rng.normal(size=_LEVELS["state"])[frame["state"]]
    frame["inc"] = (frame["income"] - 2) / 2.0
    eta = -0.2 + 0.3 * frame["z"].to_numpy() + 0.2 * frame["inc"].to_numpy()
    for factor, sd in spreads.items():
        codes = frame.groupby(factor.split(":")).ngroup().to_numpy()
        eta = eta + sd * rng.normal(size=codes.max() + 1)[codes]
    asked = 1 + rng.poisson(9.0, size=len(frame))
    frame["y"] = rng.binomial(asked, 1.0 / (1.0 + np.exp(-eta)))
    frame["n"] = asked - frame["y"]
    return frame
