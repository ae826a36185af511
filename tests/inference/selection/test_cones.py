"""Chi-bar-squares: known weights, one column as the mixture of two, and a simulated distribution of several columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import chdtrc

from lmmformula import fit, load_dataset
from lmmformula.inference.selection.cones import Cone, cone_of
from lmmformula.inference.selection.null_distribution import chi_bar
from lmmformula.inference.selection.ranova import removals
from lmmformula.inference.selection.simulated_ratio import simulated_ratios

TWO = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.6])
def test_two_variances_have_the_weights_of_a_quadrant(rho: float) -> None:
    """w_2 = 1/2 - arccos(rho) / 2 pi, rho the correlation of Z (Self & Liang 1987, case 7)."""
    information = np.linalg.inv(np.array([[4.0, 2.0 * rho], [2.0 * rho, 1.0]]))
    p, drawn = Cone(information, 0, TWO).null(2.5, 40_000, np.random.default_rng(1))
    both = 0.5 - np.arccos(rho) / (2.0 * np.pi)
    assert p == pytest.approx(0.5 * chdtrc(1, 2.5) + both * chdtrc(2, 2.5), abs=2e-3)
    assert np.mean(drawn >= 2.5) == pytest.approx(p, abs=0.01)
    assert np.mean(drawn < 1e-4) == pytest.approx(0.5 - both, abs=0.01)


def test_one_column_is_half_and_half() -> None:
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    cone = cone_of(m, 0, [1])
    assert cone is not None
    assert (cone.df, cone.free) == (2, 1)
    assert cone.null(3.0, 40_000, np.random.default_rng(1))[0] == pytest.approx(chi_bar(3.0, 1), abs=2e-3)


def test_it_does_not_depend_on_units() -> None:
    data = load_dataset("sleepstudy")
    p = []
    for unit in (1.0, 1e-3):
        m = fit("Reaction ~ Days + (Days | Subject)", data.assign(Days=data["Days"] * unit))
        cone = cone_of(m, 0, [0, 1])
        assert cone is not None
        p.append(cone.null(4.0, 500, np.random.default_rng(1))[0])
    assert p[0] == pytest.approx(p[1], rel=1e-4)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g)"])
def test_the_limit_is_that_of_simulated_ratios(formula: str) -> None:
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(150), 6), np.tile(np.linspace(-1.0, 1.6, 6), 150)
    m = fit(formula, pd.DataFrame({"g": g, "x": x, "y": rng.normal(size=900)}))
    (one,) = removals(m, reduce=False)[:1]
    cone = one.cone
    assert cone is not None
    drawn = simulated_ratios(one.large, one.small, 600, np.random.default_rng(5))
    for statistic in (1.0, 2.0, 4.0, 6.0):
        p, _ = cone.null(statistic, 1_000, np.random.default_rng(1))
        assert np.mean(drawn >= statistic) == pytest.approx(p, abs=3.5 * np.sqrt(p * (1.0 - p) / 600))
        assert p < 0.7 * chdtrc(cone.df, statistic)


def test_the_table_says_so() -> None:
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    row = m.ranova(reduce=False, seed=1).loc["(Days | Subject)"]
    assert row["reference"] == "chi-bar2(3), 2,000 directions"
    assert row["p_value"] < row["Pr(>Chisq)"]
