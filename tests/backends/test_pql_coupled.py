"""Penalised quasi-likelihood takes independent levels, one a row; what couples levels is refused by name, with what to use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import PlanError, fit


def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, t = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    y = rng.poisson(np.exp(0.3 + 0.5 * rng.normal(size=8)[g]))
    return pd.DataFrame({"y": y, "x": rng.normal(size=48), "g": g, "h": (g + t) % 8, "t": t})


CHAIN = np.eye(8, k=1) + np.eye(8, k=-1)
COUPLED = {
    "(1 | gr(g, cov = A))": "dependent levels",
    "ar1(0 + t | g)": "dependent levels",
    "exp(0 + t | g)": "dependent levels",
    "car(W | g)": "dependent levels",
    'car(W, gr = g, type = "bym2")': "dependent levels",
    "(1 | mm(g, h))": "rows with several levels",
}


@pytest.mark.parametrize("term", COUPLED)
def test_terms_that_couple_levels_are_refused_by_name(term: str) -> None:
    known = {"A": 0.5 * np.eye(8) + 0.5, "W": CHAIN}
    with pytest.raises(PlanError, match=rf'{COUPLED[term]}.*Use method="laplace"'):
        fit(f"y ~ x + {term}", _rows(), family="poisson", method="pql", data2=known)


def test_a_smooth_is_one_level_of_independent_columns() -> None:
    m = fit("y ~ s(x, k = 4) + (1 | g)", _rows(), family="poisson", method="pql")
    assert m.converged
    assert "s(x)" in m.smooths().index
