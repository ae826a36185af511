"""Responses without variation, fits without residuals, outcomes that are separated: named, or answered by the right limit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from registry import FITTED
from scipy import stats

from lmmformula import DataError, FitError, fit
from lmmformula.errors import (
    BoundaryWarning,
    LmmformulaWarning,
    SeparationWarning,
    SingularFitWarning,
)
from lmmformula.families import FAMILIES

N = 200
RANDOM = ["", " + (1 | g)"]
CONTINUOUS = [name for name in FITTED if not FAMILIES[name].is_discrete]
POISSON = (
    "poisson",
    "nbinom1",
    "nbinom2",
    "zero_inflated_poisson",
    "zero_inflated_nbinom1",
    "zero_inflated_nbinom2",
)
"""Families whose least dispersed member is the Poisson."""
COUNTS = [name for name in FITTED if FAMILIES[name].distribution.support == "counts"]


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x, effect = rng.normal(size=N), rng.normal(size=20)
    g = np.repeat(np.arange(20), N // 20)
    return pd.DataFrame({"x": x, "g": g, "of_g": effect[g], "t": np.tile([0, 1], N // 2)})


def eta_of(family: str, values: np.ndarray) -> np.ndarray:
    """A response whose linear predictor by the family's default link is `values`."""
    own = FAMILIES[family]
    logarithmic = own.distribution.mean_range == "real" and own.distribution.support == "positive"
    y = np.exp(values) if logarithmic else own.location(values)
    return (
        y + y.min() if "ndt" in [a.name for a in own.auxiliaries] else y
    )  # half of the least is where a shift starts


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("family", CONTINUOUS)
@pytest.mark.parametrize("value", [0.3, 1.0])
def test_a_constant_response_is_refused(data, family: str, random: str, value: float) -> None:
    with pytest.raises(DataError) as caught:
        fit(f"y ~ x{random}", data.assign(y=value), family=family)
    words = ("constant", "no probability to 0 and 1", "needs others to model", "neither 0 nor 1")
    assert any(word in str(caught.value) for word in words)


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("family", COUNTS)
def test_no_counts_at_all_are_refused(data, family: str, random: str) -> None:
    with pytest.raises(DataError, match="0 in all 200 rows"):
        fit(f"y ~ x{random}", data.assign(y=0), family=family)


@pytest.mark.parametrize("family", [name for name in COUNTS if FAMILIES[name].distribution.narrows])
def test_counts_that_are_all_alike_have_no_spread(data, family: str) -> None:
    with pytest.raises(FitError, match="reproduces the response exactly"):
        fit("y ~ x", data.assign(y=3), family=family)


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("family", POISSON)
def test_counts_that_are_all_alike(data, family: str, random: str) -> None:
    """A constant has the likelihood of the Poisson at that mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        warnings.simplefilter("ignore", BoundaryWarning)
        m = fit(f"y ~ x{random}", data.assign(y=3), family=family)
    assert m.converged
    assert m.llf == pytest.approx(stats.poisson.logpmf(np.full(N, 3), 3.0).sum(), abs=1e-5)
    assert m.params.to_numpy() == pytest.approx([np.log(3.0), 0.0], abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("random", RANDOM)
def test_one_outcome_is_refused(data, value: float, random: str) -> None:
    with pytest.raises(DataError, match="nothing but"):
        fit(f"y ~ x{random}", data.assign(y=value), family="binomial")


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize(
    "family", [name for name in CONTINUOUS if 1.0 not in FAMILIES[name].distribution.atoms]
)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_response_that_the_predictors_reproduce_is_refused(
    data, family: str, random: str, scale: float
) -> None:
    own = FAMILIES[family]
    y = eta_of(family, 1.0 + 0.5 * data["x"].to_numpy())
    y = y if own.distribution.mean_range == "unit" else scale * y
    with pytest.raises(FitError, match="reproduce"):
        fit(f"y ~ x{random}", data.assign(y=y), family=family)


@pytest.mark.parametrize("family", ["gaussian", "inverse_gaussian"])
def test_a_response_that_the_groups_reproduce_is_refused(data, family: str) -> None:
    with pytest.raises(FitError, match="reproduces the response exactly"):
        fit(
            "y ~ x + (1 | g)",
            data.assign(y=eta_of(family, 1.0 + 0.5 * data["of_g"].to_numpy())),
            family=family,
        )


def test_long_tails_forgive_all_rows_but_one_value(data) -> None:
    y = np.where(np.arange(N) == 3, 2.6, 2.5)
    with pytest.raises(FitError, match="199 of 200 responses exactly"):
        fit("y ~ x", data.assign(y=y), family="student")
    assert fit("y ~ x", data.assign(y=y), family="gamma").converged


# -- separation --------------------------------------------------------------------------------------------------------


def named(formula: str, data: pd.DataFrame, **arguments: Any):
    """The fit and what its SeparationWarning says ("" if there is none)."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        m = fit(formula, data, **arguments)
    assert all(issubclass(w.category, LmmformulaWarning) for w in seen)
    return m, " ".join(str(w.message) for w in seen if w.category is SeparationWarning)


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("family", ["binomial", "binomial(link='probit')", "poisson", "nbinom2"])
def test_a_level_without_events_is_named_and_the_others_stand(data, family: str, random: str) -> None:
    rng = np.random.default_rng(3)
    f = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
    y = np.where(f == "c", 0, rng.uniform(size=N) < 0.4).astype(float)
    m, said = named(f"y ~ f{random}", data.assign(y=y, f=f), family=family)
    assert "no information on fc:" in said
    rest, _ = named(f"y ~ f{random}", data.assign(y=y, f=f)[f != "c"], family=family)
    assert np.isinf(m.bse["fc"])
    np.testing.assert_allclose(m.params.to_numpy()[:2], rest.params, atol=1e-4)
    np.testing.assert_allclose(m.bse.to_numpy()[:2], rest.bse, rtol=1e-3)
    assert m.llf == pytest.approx(rest.llf, abs=1e-5)


@pytest.mark.parametrize("random", RANDOM)
def test_one_exception_separates_too(data, random: str) -> None:
    """All of one arm fail, one of the other succeeds, and the reverse: the arm and the intercept run off."""
    one = (data.index == 7).astype(float)
    for y in (one, np.abs(data["t"].to_numpy() - one)):
        m, said = named(f"y ~ t{random}", data.assign(y=y), family="binomial")
        assert "no information on (Intercept), t" in said
        assert np.isinf(m.bse).all()


def test_coefficients_found_with_the_modes_are_named_too(data) -> None:
    rng = np.random.default_rng(3)
    f = np.array(["a", "b", "c"])[rng.integers(0, 3, N)]
    y = np.where(f == "c", 0, rng.uniform(size=N) < 0.4).astype(float)
    m, said = named("y ~ f + (1 | g)", data.assign(y=y, f=f), family="binomial", nagq=0)
    assert "no information on fc:" in said
    assert np.isinf(m.bse["fc"])
    assert np.isfinite(m.bse.to_numpy()[:2]).all()


@pytest.mark.parametrize(
    ("family", "events", "formula", "warned"),
    [
        ("binomial", 1, "y ~ 1 + (1 | g)", True),
        ("binomial", 1, "y ~ x", True),
        ("binomial", 1, "y ~ 1", False),
        ("binomial", 199, "y ~ 1 + (1 | g)", True),
        ("binomial", 2, "y ~ 1 + (1 | g)", False),
        ("poisson", 1, "y ~ 1 + (1 | g)", True),
        ("poisson", 2, "y ~ 1 + (1 | g)", False),
    ],
)
def test_fewer_events_than_parameters_are_said(
    data, family: str, events: int, formula: str, warned: bool
) -> None:
    y = np.where((np.arange(N) - 5) % N < events, 1.0, 0.0)
    _, said = named(formula, data.assign(y=y), family=family)
    assert bool(said) == warned
    if warned:
        assert f"1 event in {N} rows" in said
        assert ("nagq=9" in said) == ("|" in formula)


def test_events_count_trials_and_repeated_rows(data) -> None:
    family = FAMILIES["binomial"]
    assert family.events(np.array([0.25, 0.0]), np.array([4.0, 10.0])).min() == 1.0
    assert family.events(np.array([1.0, 0.0, 1.0])).tolist() == [2.0, 1.0]
    assert FAMILIES["zero_inflated_poisson"].events(np.array([0.0, 3.0])) == 3.0
    assert FAMILIES["gamma"].events(np.ones(3)) == np.inf
