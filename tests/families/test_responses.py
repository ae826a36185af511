"""What a family reads and refuses; names and links."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lmmformula.errors import DataError, LmmformulaWarning, PlanError
from lmmformula.families import FAMILIES, resolve, zero_inflated

BINOMIAL = resolve("binomial")


def test_binary_responses() -> None:
    for part in (np.array([0, 1, 1]), np.array([False, True, True]), (np.array([0, 1, 1]), ["no", "yes"])):
        y, weights = BINOMIAL.read([part])
        assert y.tolist() == [0, 1, 1]
        assert y.dtype == float
        assert weights is None


def test_second_used_level_is_the_success_also_from_an_object() -> None:
    @dataclass
    class Factor:
        codes: Any
        levels: Any

    y, _ = BINOMIAL.read([Factor(np.array([2, 0, 2]), np.array(["n", "unused", "y"], dtype=object))])
    assert y.tolist() == [1, 0, 1]


def test_successes_failures_trials_and_proportions() -> None:
    s, f, w = np.array([3, 0, 0]), np.array([1, 2, 0]), np.array([1.0, 2.0, 1.0])
    y, weights = BINOMIAL.read([s, f])
    assert y.tolist() == [0.75, 0, 0]
    assert weights is not None
    assert weights.tolist() == [4, 2, 0]
    y, weights = BINOMIAL.read([s], trials=s + f, weights=w)
    assert y.tolist() == [0.75, 0, 0]
    assert weights is not None
    assert weights.tolist() == [4, 4, 0]
    y, weights = BINOMIAL.read([np.array([0.25, 0.5, 1])], weights=w)
    assert y.tolist() == [0.25, 0.5, 1]
    assert weights is w


NUM, THREE = np.array([0.0, 1.0, 2.0]), (np.array([0, 1, 2]), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("family", "parts", "trials", "message"),
    [
        (
            "binomial",
            [THREE],
            None,
            r"two outcomes, but `y` has 3 levels \(a, b, c\); compare .* I\(y == 'c'\)",
        ),
        ("binomial", [(np.zeros(3, int), ["a", "b"])], None, r"has 1 level \(a\)"),
        ("binomial", [NUM, -NUM], None, r"2 of 3 rows with negative counts.*row 2 with 1 of 0"),
        ("binomial", [NUM], np.ones(3), r"1 of 3 rows .*more successes than trials"),
        ("binomial", [NUM + 0.5], NUM + 1, r"not whole numbers \(first: row 1 with 0.5 of 1\)"),
        ("binomial", [NUM, NUM, NUM], None, "3 columns"),
        ("binomial", [NUM, THREE], None, "not in levels of a factor"),
        ("binomial", [THREE, NUM], None, "not in levels of a factor"),
        ("binomial", [np.array(["a", "b"])], None, "one column of numbers, but is of type"),
        ("poisson", [THREE], None, r"response must be numeric for family 'poisson': `y` is a factor with 3"),
        ("gamma", [(np.array([0, 1]), ["a", "b"])], None, 'family="binomial"'),
        ("poisson", [NUM, NUM], None, "has 2 columns"),
        ("poisson", [NUM], NUM, r"trials\(\) belongs to"),
        ("gaussian", [np.zeros((2, 2))], None, "array of 2 dimensions"),
    ],
)
def test_unreadable(family: str, parts: Any, trials: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve(family).read(parts, trials=trials)


@pytest.mark.parametrize(
    ("family", "y", "weights", "message"),
    [
        (
            "poisson",
            [0, -1, -3.0],
            None,
            r"'poisson' models counts, but `n` has 2 of 3 rows below 0 \(lowest -3\)",
        ),
        (
            "nbinom2",
            [0, 1.5, 2],
            None,
            r"1 of 3 rows that are not whole numbers \(e.g. 1.5 in row 2\).*exposure",
        ),
        ("zero_inflated_poisson", [0, 0.0], None, r"is 0 in all 2 rows"),
        ("poisson", [0, np.nan], None, r"1 of 2 rows that are missing or infinite \(first: row 2\)"),
        ("binomial", [0, 1, 2.0], None, r"1 of 3 rows outside 0..1 \(range 0 to 2\).*cbind"),
        ("binomial", [0, 0.0], None, "nothing but failures .0 in all 2 rows."),
        ("binomial", [1, 1, 0.0], [1, 1, 0], "nothing but successes .1 in all 2 rows."),
        ("beta", [0, 0.5, 1, 1], None, r"is 0 in 1 and 1 in 2 of 4 rows.*\(y \(n - 1\) \+ 0.5\) / n"),
        ("beta", [10, 50.0], None, "divide percentages by 100"),
        ("gamma", [0, 1.0], None, r"positive values, but `n` has 1 of 2 rows at or below 0.*a zero needs"),
        ("lognormal", [-2, 1.0], None, r"lowest -2; exactly 0: 0\); family=\"gaussian\""),
        ("inverse_gaussian", [0, 1.0], None, "inverse_gaussian"),
        ("student", [np.inf, 1.0], None, "missing or infinite"),
        ("gaussian", [1, 2.0], [1, 0], r"negative or zero in 1 of 2 rows \(e.g. 0\)"),
        ("poisson", [1, 2.0], [1, -1], r"infinite or negative in 1 of 2 rows \(e.g. -1\)"),
        ("binomial", [1, 0.0], [np.nan, 1], "weights of `n`"),
    ],
)
def test_refused(family: str, y: Any, weights: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        resolve(family).check(np.array(y), None if weights is None else np.array(weights, float), "n")


def test_accepted() -> None:
    for name, y in (
        ("poisson", [0, 1, 2]),
        ("binomial", [0, 1, 1]),
        ("gamma", [0.1, 2]),
        ("beta", [0.1, 0.9]),
        ("gaussian", [-1, 2]),
        ("zero_inflated_nbinom1", [0, 3]),
    ):
        resolve(name).check(np.array(y, float), None, "y")
    BINOMIAL.check(np.array([1 / 3, 2 / 7]), np.array([3.0, 7.0]), "y")


def test_weights_that_are_not_trials_are_a_warning() -> None:
    with pytest.warns(
        LmmformulaWarning, match=r"non-integer number of successes in 1 of 2 rows of `p`.*0.6 in row 2"
    ):
        BINOMIAL.check(np.array([0.5, 0.3]), np.array([2.0, 2.0]), "p")
    with pytest.warns(LmmformulaWarning, match='family="beta"'):
        BINOMIAL.check(np.array([0.5, 0.3]), None, "p")


@pytest.mark.parametrize(
    ("text", "name", "link"),
    [
        ("gaussian", "gaussian", "identity"),
        ("binomial", "binomial", "logit"),
        ("binomial(link='probit')", "binomial", "probit"),
        ("binomial('cloglog')", "binomial", "cloglog"),
        ("binomial(cauchit)", "binomial", "cauchit"),
        ("binomial(cauchy)", "binomial", "cauchit"),
        ("bernoulli()", "binomial", "logit"),
        ("Gamma", "gamma", "log"),
        ("Gamma(link = 'inverse')", "gamma", "inverse"),
        ("inverse.gaussian(link='1/mu^2')", "inverse_gaussian", "inverse_squared"),
        ("negbinomial", "nbinom2", "log"),
        ("nbinom1(link='sqrt')", "nbinom1", "sqrt"),
        ("student(df=4)", "student(df=4)", "identity"),
        ("student(link='log', df=3.5)", "student(df=3.5)", "log"),
        ("zero_inflated_poisson", "zero_inflated_poisson", "log"),
        ("zero_inflated_negbinomial(link='identity')", "zero_inflated_nbinom2", "identity"),
    ],
)
def test_names_that_resolve(text: str, name: str, link: str) -> None:
    family = resolve(text)
    assert (family.name, family.link) == (name, link)
    assert resolve(family) is family
    assert resolve(str(family)) == family
    assert pickle.loads(pickle.dumps(family)) == family


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "binomal",
            "family 'binomal' is not available; available: gaussian, binomial, .* Did you mean 'binomial'",
        ),
        ("polya", "'polya' is not available; available: gaussian"),
        (
            "binomial(link='probbit')",
            "link 'probbit' does not exist.*available: logit, probit.*Did you mean 'probit'",
        ),
        (
            "poisson(link='logit')",
            "link 'logit' is not available for family 'poisson'; available: log, identity, sqrt",
        ),
        ("poisson(df=3)", "family 'poisson' has no argument 'df'; it takes: link"),
        ("student(nu=3)", "no argument 'nu'; it takes: link, df"),
        ("student(df=-1)", "df of family 'student' must be a positive number, not -1"),
        ("binomial(", "cannot be read; write family="),
        ("binomial('logit', 'probit')", "cannot be read"),
        ("binomial(link=3)", "cannot be read"),
        ("binomial(link=f(x))", "cannot be read"),
        ("1 + 1", "cannot be read"),
        (None, "not NoneType"),
    ],
)
def test_names_that_do_not(text: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        resolve(text)


def test_zero_inflation_is_for_responses_without_other_zeros() -> None:
    assert zero_inflated(resolve("nbinom1(sqrt)")).link == "sqrt"
    for text, name in (
        ("binomial", "zero_inflated_binomial"),
        ("truncated_nbinom2", "hurdle_nbinom2"),
        ("gamma", "hurdle_gamma"),
        ("beta", "zero_inflated_beta"),
    ):
        assert zero_inflated(resolve(text)).name == name
    for text in ("gaussian", "zero_inflated_poisson", "hurdle_gamma", "tweedie", "ordbeta"):
        with pytest.raises(PlanError, match="needs a count family"):
            zero_inflated(resolve(text))


def test_records() -> None:
    assert [name for name, family in FAMILIES.items() if family.has_residual] == ["gaussian"]
    counts = {"nbinom1": ["phi"], "nbinom2": ["phi"], "geometric": [], "genpois": ["phi"], "compois": ["nu"]}
    sisters = {"": [], "zero_inflated_": ["zi"], "truncated_": [], "hurdle_": ["hu"]}
    assert {name: [a.name for a in f.auxiliaries] for name, f in FAMILIES.items()} == {
        "gaussian": ["sigma"],
        "binomial": [],
        "zero_inflated_binomial": ["zi"],
        "betabinomial": ["phi"],
        "zero_inflated_betabinomial": ["phi", "zi"],
        "poisson": [],
        "zero_inflated_poisson": ["zi"],
        "truncated_poisson": [],
        "hurdle_poisson": ["hu"],
        **{
            f"{kind}{name}": [*own, *zeros] for name, own in counts.items() for kind, zeros in sisters.items()
        },
        "hurdle_gamma": ["sigma", "hu"],
        "hurdle_inverse_gaussian": ["sigma", "hu"],
        "tweedie": ["phi", "p"],
        "zero_inflated_beta": ["phi", "zi"],
        "ordbeta": ["phi", "cutzero", "gap"],
        "zero_one_inflated_beta": ["phi", "zoi", "coi"],
        "hurdle_lognormal": ["sigma", "hu"],
        "shifted_lognormal": ["sigma", "ndt"],
        "hurdle_shifted_lognormal": ["sigma", "ndt", "hu"],
        "weibull": ["shape"],
        "hurdle_weibull": ["shape", "hu"],
        "exponential": [],
        "hurdle_exponential": ["hu"],
        "exgaussian": ["sigma", "beta"],
        "skew_normal": ["sigma", "alpha"],
        "gamma": ["sigma"],
        "inverse_gaussian": ["sigma"],
        "beta": ["phi"],
        "lognormal": ["sigma"],
        "student": ["sigma", "df"],
    }
    for family in FAMILIES.values():
        for aux in family.auxiliaries:
            assert aux.predictor(aux.value(np.array(0.3))) == pytest.approx(0.3)
    assert [f.log_scale for f in map(resolve, ("binomial", "poisson", "gaussian"))] == [True, True, False]


def test_import_is_cheap() -> None:
    code = (
        "import sys, lmmformula.families as f; f.resolve('binomial').link;"
        "sys.exit(any(m.split('.')[0] in ('scipy', 'statsmodels', 'pandas') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
