"""Priors: densities against scipy, text that reads back, defaults, precedence, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from lmmformula import build, load_dataset
from lmmformula.errors import PlanError
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.prior_distributions import LKJ
from lmmformula.ir.prior_text import Role, parse_prior
from lmmformula.ir.problem import Problem

SLEEP = "Reaction ~ Days + (Days | Subject)"

TEXTS: dict[str, tuple[Role, Any]] = {
    "normal(1, 2)": ("coefficient", stats.norm(1, 2)),
    "student_t(4, 1, 2)": ("coefficient", stats.t(4, 1, 2)),
    "cauchy(1, 2)": ("coefficient", stats.cauchy(1, 2)),
    "half_normal(5)": ("scale", stats.halfnorm(0, 5)),
    "half_cauchy(5)": ("scale", stats.halfcauchy(0, 5)),
    "normal(2, 3)": ("scale", stats.truncnorm(-2 / 3, np.inf, 2, 3)),
    "exponential(0.5)": ("scale", stats.expon(scale=2)),
    "gamma(2, 0.5)": ("scale", stats.gamma(2, scale=2)),
    "inv_gamma(3, 2)": ("scale", stats.invgamma(3, scale=2)),
    "lognormal(0.3, 0.8)": ("scale", stats.lognorm(0.8, scale=np.exp(0.3))),
    "uniform(0.1, 7)": ("scale", stats.uniform(0.1, 6.9)),
}


@pytest.fixture(scope="module")
def sleep() -> Problem:
    return build(SLEEP, load_dataset("sleepstudy"))


@pytest.mark.parametrize("text", list(TEXTS))
def test_density_slope_and_draws_against_scipy(text: str) -> None:
    role, theirs = TEXTS[text]
    ours = parse_prior(text, "x", role)
    at = np.array([0.2, 0.9, 2.5, 6.0])
    np.testing.assert_allclose(ours.logpdf(at), theirs.logpdf(at), rtol=1e-12)
    step = 1e-6
    numeric = (ours.logpdf(at + step) - ours.logpdf(at - step)) / (2 * step)
    np.testing.assert_allclose(ours.slope(at), numeric, atol=1e-7)
    draws = ours.sample(np.random.default_rng(1), 2_000)
    assert stats.kstest(draws, theirs.cdf).pvalue > 1e-3


def test_half_student_t_against_scipy() -> None:
    ours = parse_prior("half_student_t(3, 0, 2.5)", "sd", "scale")
    np.testing.assert_allclose(ours.logpdf(1.7), stats.t.logpdf(1.7, 3, 0, 2.5) + np.log(2), rtol=1e-12)
    assert parse_prior("half_student_t(3, 2.5)", "sd", "scale") == ours


@pytest.mark.parametrize("text", [*TEXTS, "half_student_t(3, 0, 2.5)", "lkj(2)"])
def test_text_reads_back(text: str) -> None:
    role = TEXTS[text][0] if text in TEXTS else "correlation" if "lkj" in text else "scale"
    ours = parse_prior(text, "x", role)
    assert str(ours) == text
    assert parse_prior(str(ours), "x", role) == ours


@pytest.mark.parametrize("text", ["lkj_corr_cholesky(2)", " LKJ( 2 ) ", "lkj(eta=2)", "lkj(2.0)", "lkj(2e0)"])
def test_spellings(text: str) -> None:
    assert parse_prior(text, "cor", "correlation") == LKJ(2.0)


def test_defaults_are_scaled_to_the_data(sleep: Problem) -> None:
    y, days = sleep.y, sleep.X.matrix[:, 1]
    mad = 1.4826 * float(np.median(np.abs(y - np.median(y))))
    table = {name: (text, source) for name, text, source in resolve_priors(sleep).table()}
    assert table == {
        "Intercept": (f"normal({np.median(y):.3g}, {2.5 * y.std():.3g})", "default"),
        "b:Days": (f"normal(0, {2.5 * y.std() / days.std():.3g})", "default"),
        "sd:Subject:Intercept": (f"half_student_t(3, 0, {mad:.3g})", "default"),
        "sd:Subject:Days": (f"half_student_t(3, 0, {mad / days.std():.3g})", "default"),
        "cor:Subject": ("lkj(1)", "default"),
        "sigma": (f"half_student_t(3, 0, {mad:.3g})", "default"),
    }


def test_the_longer_key_wins_and_the_table_says_so(sleep: Problem) -> None:
    user = {
        "b": "normal(0, 1)",
        "sd": "half_normal(1)",
        "sd:Subject": "half_normal(2)",
        "sd:Subject:(Intercept)": "exponential(1)",
        "cor:Subject": "lkj(2)",
    }
    priors = resolve_priors(sleep, user)
    assert str(priors).splitlines()[1:] == [
        "Intercept             normal(289, 140)            default",
        "b:Days                normal(0, 1)                user",
        "sd:Subject:Intercept  exponential(1)              user",
        "sd:Subject:Days       half_normal(2)              user",
        "cor:Subject           lkj(2)                      user",
        "sigma                 half_student_t(3, 0, 59.3)  default",
    ]


def test_the_two_intercepts(sleep: Problem) -> None:
    np.testing.assert_allclose(resolve_priors(sleep).contrast, [[1, 4.5], [0, 1]])
    for key in ("b:(Intercept)", "b:Intercept"):
        plain = resolve_priors(sleep, {key: "normal(0, 9)"})
        np.testing.assert_array_equal(plain.contrast, np.eye(2))
        assert plain.table()[0] == ("b:(Intercept)", "normal(0, 9)", "user")
    with pytest.raises(PlanError, match="They are one parameter"):
        resolve_priors(sleep, {"b:Intercept": "normal(0, 9)", "Intercept": "normal(0, 9)"})


def test_shared_parameters_have_one_name() -> None:
    problem = build("score ~ 1 + cs(0 + Machine | Worker)", load_dataset("Machines"))
    names = [row[0] for row in resolve_priors(problem).table()]
    assert names[1:] == [*(f"sd:Worker:Machine{m}" for m in "ABC"), "cor:Worker", "sigma"]
    problem = build("score ~ 1 + ar1(0 + Machine | Worker)", load_dataset("Machines"))
    assert [row[0] for row in resolve_priors(problem).table()][1:] == ["sd:Worker", "cor:Worker", "sigma"]


def test_without_intercept_slopes_may_carry_the_level_of_y() -> None:
    problem = build("score ~ 0 + Machine + (1 | Worker)", load_dataset("Machines"))
    sd = resolve_priors(problem).coefficients[0].distribution.sd
    assert sd > 2 * np.abs(problem.y).mean()


@pytest.mark.parametrize(
    ("priors", "says"),
    [
        (
            {"sd:subject": "normal(0, 1)"},
            r"'sd:subject' is no parameter.*Did you mean 'sd:Subject'.*sd:Subject:Days",
        ),
        ({"b:Day": "normal(0, 1)"}, r"no parameter of this model.*'b:Days'"),
        ({"sd": "flat()"}, r"improper.*Accepted for a standard deviation: normal\(mean, sd\)"),
        ({"b": "flat(1)"}, r"has 1 numbers; write flat\(\)"),
        ({"b:Days": "constant(3)"}, r"write offset\(3 \* Days\)"),
        ({"sd": "constant(0)"}, "above 0; leave a term out"),
        ({"cor": "constant(0)"}, "constant cannot be the prior of correlations"),
        ({"sd": ""}, "improper"),
        ({"b": "normal(0, 1"}, r"cannot be read as name\(number, ...\)"),
        ({"b": "normal(0, __import__('os'))"}, "cannot be read"),
        ({"b": "normal(0, x)"}, r"'x' is not a finite number; write normal\(mean, sd\)"),
        ({"b": "normal(0, inf)"}, "not a finite number"),
        ({"b": "normal(0, -1)"}, "sd must be positive, not -1"),
        ({"sd": "half_normal(1e-320)"}, r"sd = .*e-321 is beyond what can be computed with.*in other units"),
        ({"b": "normal(1e200, 1)"}, r"mean = 1e\+200 is beyond"),
        ({"b": "normal(1)"}, r"has 1 numbers; write normal\(mean, sd\)"),
        ({"b": "normal(sd=1, sd=2)"}, "does not fit"),
        ({"b": "half_normal(1)"}, "half_normal cannot be the prior of a fixed effect"),
        ({"b": "lkj(1)"}, "lkj cannot be the prior of a fixed effect"),
        ({"sd": "lkj(1)"}, "lkj cannot be the prior of a standard deviation"),
        ({"cor": "normal(0, 1)"}, r"normal cannot be the prior of correlations.*lkj\(eta\)"),
        ({"b": "norml(0, 1)"}, "Did you mean 'normal'"),
        ({"sd": "uniform(3, 1)"}, "0 <= low < high"),
        ({"sd": "uniform(-1, 1)"}, "0 <= low < high"),
        ({"sd": "normal(-100, 1)"}, "no probability above zero"),
        ({"sigma": 3}, "must be text"),
        ({3: "normal(0, 1)"}, "keys must be text"),
    ],
)
def test_refusals_say_what_to_write(sleep: Problem, priors: dict, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        resolve_priors(sleep, priors)
