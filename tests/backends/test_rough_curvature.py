"""Searches over correlations of few levels, where the average information is far from the Hessian."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit
from lmmformula.errors import SingularFitWarning

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{SingularFitWarning.__module__}.{SingularFitWarning.__name__}"
)


def _table(seed: int) -> pd.DataFrame:
    """150 rows of 12 groups by 4 kinds: a group has some three rows of a kind."""
    rng, n = np.random.default_rng(seed), 150
    g, f = rng.integers(12, size=n), rng.choice(list("abcd"), n)
    y = rng.normal(0, 0.5, 12)[g] + 0.3 * (f == "b") + rng.normal(0, 1, n)
    return pd.DataFrame({"y": y, "f": f, "g": g, "count": rng.poisson(np.exp(0.3 * y))})


@pytest.mark.parametrize(
    ("kind", "seed", "family"),
    [
        ("us", 11, "gaussian"),
        ("homcs", 11, "gaussian"),
        ("homcs", 21, "gaussian"),
        ("hetar1", 1, "poisson"),
        ("hetar1", 20, "gaussian"),
        ("toep", 5, "gaussian"),
        ("toep", 12, "poisson"),
        ("cs", 12, "gaussian"),
        ("homtoep", 1, "gaussian"),
        ("homtoep", 8, "poisson"),
    ],
)
def test_it_ends_at_a_minimum(kind: str, seed: int, family: str) -> None:
    model = fit(
        f"{'y' if family == 'gaussian' else 'count'} ~ 1 + {kind}(0 + f | g)", _table(seed), family=family
    )
    assert model.converged
    assert model.estimate.convergence.evaluations < 100
