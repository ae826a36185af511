"""Covariance of the fixed effects and Satterthwaite's degrees of freedom."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem, random_theta

from lmmformula import DataError, fit, load_dataset
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.inference.wald import VarianceInformation, hessian_of_variances


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "structured"])
def test_derivatives_of_the_covariance_against_differences(layout: str) -> None:
    problem = make_problem(layout)
    theta = random_theta(problem)
    model = Profiled.of(problem, BlockedEngine(), reml=True)
    point = model(theta)
    info = VarianceInformation(point)

    def difference(j: int, step: float) -> np.ndarray:
        move = step * np.eye(len(theta))[j]
        return (model(theta + move).unscaled_vcov - model(theta - move).unscaled_vcov) / (2 * step)

    for j in range(len(theta)):  # Richardson's extrapolation: small steps would leave rounding alone
        moved = point.sigma2 * (4.0 * difference(j, 5e-4) - difference(j, 1e-3)) / 3.0
        np.testing.assert_allclose(info.d_vcov[j], moved, atol=1e-6 * np.abs(moved).max() + 1e-12)


def test_hessian_against_second_differences_of_the_deviance() -> None:
    problem = make_problem("crossed slopes")
    model, h = Profiled.of(problem, BlockedEngine(), reml=True), 1e-3
    from lmmformula.backends.exact import Exact

    theta = Exact().optimise(model).estimate.theta
    sigma2 = model(theta).sigma2

    def value(move):
        return model(theta + move[:-1]).deviance_at(sigma2 * np.exp(2 * move[-1]))

    unit = h * np.eye(len(theta) + 1)
    numeric = np.array(
        [
            [(value(a + b) - value(a - b) - value(b - a) + value(-a - b)) / (4 * h * h) for b in unit]
            for a in unit
        ]
    )
    exact = hessian_of_variances(model(theta))
    np.testing.assert_allclose(exact, numeric, rtol=2e-3, atol=2e-3 * np.abs(numeric).max())


def test_balanced_designs_have_textbook_degrees_of_freedom() -> None:
    rail = fit("travel ~ 1 + (1 | Rail)", load_dataset("Rail"))
    assert rail.df.iloc[0] == pytest.approx(5, abs=1e-4)
    stool = fit("effort ~ Type + (1 | Subject)", load_dataset("ergoStool"))
    np.testing.assert_allclose(stool.df.iloc[1:], 24, atol=1e-4)


def test_intervals() -> None:
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    wald = m.conf_int(ddf="normal")  # lme4's confint(method = "Wald")
    np.testing.assert_allclose(
        wald, [[238.029219835143, 264.780989861826], [7.43759539514021, 13.4969765240512]], rtol=1e-5
    )
    wide = m.conf_int()  # t, as the tests of the coefficients
    np.testing.assert_allclose(wide, [[237.0064468, 265.8037629], [7.205954651, 13.72861727]], rtol=1e-6)
    np.testing.assert_array_equal(m.conf_int(ddf="satterthwaite"), wide)
    assert list(m.conf_int(level=0.9).columns) == ["5 %", "95 %"]
    for arguments, message in [
        ({"level": 95}, "level=95"),
        ({"method": "guess"}, "method='guess'"),
        ({"ddf": "x"}, "ddf='x'"),
    ]:
        with pytest.raises(DataError, match=message):
            m.conf_int(**arguments)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def test_what_the_data_do_not_determine_has_no_test() -> None:
    """x separates the responses: its coefficient has no error, and its row of the table no degree of freedom."""
    x = np.linspace(-1.0, 1.0, 40)
    table = fit("y ~ x", {"y": (x > 0.0) * 1.0, "x": x}, family="binomial").anova()
    assert table.loc["x", "Df"] == 0
    assert table.loc["x"].drop("Df").isna().all()
