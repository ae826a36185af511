"""Hypotheses about parameters: their language, exact derivatives, tests against R, and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kinds_of_fit import KINDS, rows
from numpy.testing import assert_allclose

from lmmformula import Fit, FormulaError, PlanError, fit, load_dataset
from lmmformula.errors import ArgumentError, DataError
from lmmformula.inference.hypotheses.dual import FUNCTIONS, Dual, constant_of
from lmmformula.inference.hypotheses.language import read, value_of
from lmmformula.inference.spreads import spreads

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit(SLEEP, load_dataset("sleepstudy"))


# -- the language ------------------------------------------------------------------------------------------------------

NAMES = ("(Intercept)", "x", "x:f1", "log(z)", "b2", "sd_x|g", "I(x^2)", "poly(x, 2)1", "odd name")
POINT = dict(zip(NAMES, (2.0, 3.0, 5.0, 0.7, 11.0, 0.5, 4.0, 6.0, 7.0), strict=True))
VALUES = {
    "x = 1": 2.0,
    "Intercept - x": -1.0,
    "(Intercept) + (x)": 5.0,
    "x:f1 == x": 2.0,
    "-x^2": -9.0,
    "2^-x^2 * 2^9": 1.0,
    "2**x": 8.0,
    "x / (Intercept) / 2": 0.75,
    "x - Intercept - 1": 0.0,
    "log(z) * 10": 7.0,
    "log(x) - log(3)": 0.0,
    "b1 = b2": 2.0 - 11.0,
    "b3": 5.0,
    "sd_x|g < 1e-1": 0.4,
    "`odd name` + `x:f1`": 12.0,
    "I(x^2) = poly(x, 2)1 + .5": -2.5,
    "exp(log(x) + 0)": 3.0,
    "+x - -x": 6.0,
}


@pytest.mark.parametrize("text", VALUES)
def test_values(text: str) -> None:
    (only,) = read(text, NAMES, NAMES)
    size = len(NAMES)
    at = {n: Dual(POINT[n], np.eye(size)[i], 1) for i, n in enumerate(NAMES)}
    assert_allclose(value_of(only.difference, at, constant_of(size)).value, VALUES[text], atol=1e-12)
    draws = {n: np.array([v, v]) for n, v in POINT.items()}
    assert_allclose(value_of(only.difference, draws, np.asarray), VALUES[text], atol=1e-12)


def test_several_in_one_text() -> None:
    stated = read("x = b2 = 3, `odd name` > 2 , x:f1", NAMES, NAMES)
    assert [(h.text, h.sign) for h in stated] == [
        ("x = b2", "="),
        ("b2 = 3", "="),
        ("`odd name` > 2", ">"),
        ("x:f1", "="),
    ]
    assert stated[2].names == ("odd name",)


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("x + ", "expected here", 4),
        ("y = 2", "no parameter 'y'", 0),
        ("x = gamma(2)", "no function 'gamma'", 4),
        ("x < 3 < 4", "chained", 6),
        ("x ; 2", "';' has no meaning", 2),
        ("(x", "closing bracket", 2),
        ("x x", "'x' is not expected", 2),
        ("1 = 2", "no parameter in this", 0),
        ("`nobody` = 2", "no parameter 'nobody'", 0),
        ("b99", "no parameter 'b99'", 0),
        ("__import__('os')", "no meaning", 11),
        ("(" * 200 + "x", "brackets", 100),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text: str, said: str, place: int) -> None:
    with pytest.raises(FormulaError, match=said) as caught:
        read(text, NAMES, NAMES)
    span = caught.value.span
    assert span is not None
    assert span[0] == place


@pytest.mark.parametrize(
    "text",
    ["x^2 * b2 / (x + 3)", "x^b2", "2^x", "x - x", "b2 / x", *(f"{f}(b2 / 20 + x / 10)" for f in FUNCTIONS)],
)
def test_derivatives_are_exact(text: str) -> None:
    """Against central differences."""
    names, at = ("x", "b2"), np.array([1.3, 0.9])
    (only,) = read(text, names, names)

    def value(point: Any) -> Dual:
        parameters = {n: Dual(float(v), row, 1) for n, v, row in zip(names, point, np.eye(2), strict=True)}
        return value_of(only.difference, parameters, constant_of(2))

    moves = 1e-6 * np.eye(2)
    numeric = [(value(at + move).value - value(at - move).value) / 2e-6 for move in moves]
    assert_allclose(value(at).slope, numeric, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "degree"),
    [
        ("2 * x - b2 / 3 + 1", 1),
        ("x * 3^2", 1),
        ("x * b2", 2),
        ("exp(x)", 2),
        ("exp(2) * x", 1),
        ("1 / x", 2),
    ],
)
def test_what_is_linear(text: str, degree: int) -> None:
    names = ("x", "b2")
    (only,) = read(text, names, names)
    at = {n: Dual(1.5, row, 1) for n, row in zip(names, np.eye(2), strict=True)}
    assert value_of(only.difference, at, constant_of(2)).degree == degree


# -- tests against R ---------------------------------------------------------------------------------------------------


def test_linear_hypotheses_are_contests(sleep: Fit) -> None:
    """lmerTest 3.1-3: contest(joint = FALSE, rhs =)."""
    table = sleep.hypothesis(["Intercept = 250", "Days = 10", "b1 = 25 * b2"])
    expected = {
        "std_error": [6.82459669495, 1.54578964391, 40.1565132374],
        "statistic": [0.205888334694, 0.302295956916, -0.2559247134],
        "df": [16.9997262885, 16.9999837256, 16.999985066],
        "p_value": [0.839323628128, 0.766093723469, 0.801080023476],
        "conf_low": [237.006446769 - 250, 7.205954651 - 10, -94.9998869907],
        "conf_high": [265.803762928 - 250, 13.7286172682 - 10, 74.4457987078],
    }
    for name, values in expected.items():
        assert_allclose(table[name], values, rtol=1e-4)


def test_nonlinear_hypotheses_by_the_delta_method(sleep: Fit) -> None:
    """car 3.1-1: deltaMethod."""
    table = sleep.hypothesis("Days / Intercept = 0.04, exp(Days / 10)")
    assert_allclose(table["estimate"], [0.00163513690744, 2.84831786140], rtol=1e-4)
    assert_allclose(table["std_error"], [0.00640269157714, 0.44029002527], rtol=1e-4)
    assert_allclose(table["conf_low"], [-0.01091390798786, 1.98536526912], rtol=1e-3)
    assert np.isinf(table["df"]).all()
    assert "z tests" in str(table)
    assert "chi-square(2)" in table.attrs["note"]


def test_equations_together_are_the_f_test(sleep: Fit) -> None:
    """lmerTest 3.1-3: contest(rhs =): F = 0.0769, p = 0.926."""
    assert "F(2, 17) = 0.0769, p = 0.926" in str(sleep.hypothesis("Intercept = 250, Days = 10"))
    assert "note" not in sleep.hypothesis("Intercept > 250, Days = 10").attrs


def test_inequalities(sleep: Fit) -> None:
    """Half of the two-sided p-value where the estimate agrees, and an interval that goes with it."""
    two, more, less = (sleep.hypothesis(f"Days {sign} 7").iloc[0] for sign in ("=", ">", "<"))
    assert_allclose(more["p_value"], two["p_value"] / 2, rtol=1e-12)
    assert_allclose(more["p_value"] + less["p_value"], 1.0, rtol=1e-12)
    edge = sleep.hypothesis("Days > 7", level=1.0 - more["p_value"]).iloc[0]
    assert_allclose(edge["conf_low"], 0.0, atol=1e-8)


def test_kenward_roger_and_clusters(sleep: Fit) -> None:
    plain = sleep.hypothesis("Days = 10", ddf="kenward-roger")
    assert_allclose(plain["df"], 17.0, rtol=1e-6)
    known = sleep.inference.uncertainty(vcov="CR2")
    table = sleep.hypothesis("Days = 10", vcov="CR2")
    assert_allclose(table["std_error"], known.errors(np.array([[0.0, 1.0]])), rtol=1e-12)
    assert_allclose(table["df"], known.df(np.array([[0.0, 1.0]])), rtol=1e-12)
    assert "CR2, 18 clusters of Subject" in str(table)
    with pytest.raises(ArgumentError, match="about the fixed effects"):
        sleep.hypothesis("Days = sigma", vcov="CR2")


# -- standard deviations, correlations, parameters of families -----------------------------------------------------------


def test_variance_parameters_have_their_standard_errors(sleep: Fit) -> None:
    names = [n for n in sleep.inference.parameter_names if n not in sleep.problem.X.names]
    table = sleep.hypothesis([f"`{n}`" for n in names])
    known = sleep.varcorr(se=True)
    assert_allclose(sorted(table["estimate"]), sorted(known["sdcor"]), rtol=1e-10)
    assert_allclose(sorted(table["std_error"]), sorted(known["se"]), rtol=1e-8)


def test_a_ratio_of_standard_deviations(sleep: Fit) -> None:
    """The relative standard deviation is theta_1, whose standard error the information of theta has."""
    table = sleep.hypothesis("sd_(Intercept)|Subject / sigma").iloc[0]
    covariance = spreads(sleep).covariance
    assert covariance is not None
    assert_allclose(table["estimate"], sleep.theta.iloc[0], rtol=1e-10)
    assert_allclose(table["std_error"], np.sqrt(covariance[0, 0]), rtol=1e-6)


def test_fixed_effects_with_the_parameters_of_a_family() -> None:
    """All parameters of a generalised model have one covariance matrix."""
    m = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="nbinom2")
    joint = m.joint_vcov
    assert joint is not None
    spread = m.varcorr(se=True)["se"].iloc[0]
    row = np.zeros(len(joint))
    row[1], row[-1] = 1.0, -1.0
    name = m.problem.X.names[1]
    table = m.hypothesis([f"{name} = log(phi)", "sd_(Intercept)|site"])
    assert_allclose(table["std_error"], [np.sqrt(row @ joint @ row), spread], rtol=1e-5)


def test_what_has_no_standard_error() -> None:
    with pytest.warns(match="singular"):
        m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2"))
    with pytest.raises(PlanError, match="boundary"):
        m.hypothesis("sd_(Intercept)|Batch > 0")
    with pytest.raises(DataError, match="no value or no derivative"):
        m.hypothesis("log(-Intercept)")


# -- draws -------------------------------------------------------------------------------------------------------------


def test_draws_are_transformed_one_by_one() -> None:
    m = KINDS["hmc"](rows())
    names = m.inference.parameter_names
    x, sigma = (np.asarray(m.inference.parameter_draws(n)) for n in ("x", "sigma"))
    table = m.hypothesis(["x / sigma > 0.5", "x = 0.2", "sigma < 0.7"])
    own = x / sigma - 0.5
    assert "sigma" in names
    assert_allclose(table["estimate"], [own.mean(), (x - 0.2).mean(), (sigma - 0.7).mean()], rtol=1e-10)
    assert_allclose(table["std_error"].iloc[0], own.std(ddof=1), rtol=1e-10)
    assert_allclose(table[["conf_low", "conf_high"]].iloc[0], np.quantile(own, [0.05, 0.95]), rtol=1e-10)
    assert_allclose(
        table[["conf_low", "conf_high"]].iloc[1], np.quantile(x - 0.2, [0.025, 0.975]), rtol=1e-10
    )
    holds = float(np.mean(own > 0))
    assert_allclose(table["probability"], [holds, np.nan, float(np.mean(sigma < 0.7))], rtol=1e-10)
    assert_allclose(table["evidence_ratio"].iloc[0], holds / (1 - holds), rtol=1e-10)
    assert np.isinf(m.hypothesis("sigma > 0")["evidence_ratio"].iloc[0])
    with pytest.raises(DataError, match="of 800 draws"):
        m.hypothesis("log(x - 0.4)")
    with pytest.raises(PlanError, match=r"Use hypothesis\(\)"):
        m.t_test("x")
    with pytest.raises(PlanError):
        m.hypothesis("x", ddf="normal")
