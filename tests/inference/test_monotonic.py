"""What follows from fits with monotonic effects: tables, predictions, other responses, tests; and what is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import anova, fit, load
from lmmformula.errors import BoundaryWarning, DataError, LmmformulaError, PlanError
from lmmformula.result import Fit
from lmmformula.typing import Argument

LEVELS = ["none", "low", "middle", "high", "most"]


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x, g, z = rng.integers(0, 5, 200), rng.integers(0, 10, 200), rng.normal(size=200)
    eta = np.array([0.0, 1.0, 0.8, 1.2, 3.0])[x] + 0.4 * z + 0.6 * rng.normal(size=10)[g]
    ordered = pd.Categorical.from_codes(x, LEVELS, ordered=True)
    y, count = eta + rng.normal(size=200), rng.poisson(np.exp(0.5 * eta))
    return pd.DataFrame({"x": x, "o": ordered, "g": g.astype(str), "z": z, "y": y, "count": count})


def quietly(formula: str, data: pd.DataFrame, **arguments: Argument) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundaryWarning)
        return fit(formula, data, **arguments)


@pytest.fixture(scope="module")
def m(data: pd.DataFrame) -> Fit:
    return quietly("y ~ mo(o) + z + (1 | g)", data)


@pytest.fixture(scope="module")
def counts(data: pd.DataFrame) -> Fit:
    return quietly("count ~ mo(x) + z + (1 | g)", data, family="poisson")


@pytest.mark.parametrize("which", ["m", "counts"])
def test_average_step_and_simplex(which: str, request: pytest.FixtureRequest) -> None:
    """Against derivatives of (b, zeta) by differences; zeros have no errors."""
    own: Fit = request.getfixturevalue(which)
    table, monotonic = own.monotonic(), own.problem.monotonic
    assert monotonic is not None
    (effect,) = monotonic.effects
    places = [p for p in monotonic.places(effect) if p is not None]
    gamma, v = own.estimate.beta[places], own.vcov[np.ix_(places, places)]

    def both(g: np.ndarray) -> np.ndarray:
        return np.r_[g.sum() / 4, g / g.sum()]

    steps = 1e-6 * np.eye(len(gamma))
    slope = np.array([(both(gamma + s) - both(gamma - s)) / 2e-6 for s in steps]).T
    shown = [0, *(1 + j for j, p in enumerate(monotonic.places(effect)) if p is not None)]
    assert table["Estimate"].to_numpy()[shown] == pytest.approx(both(gamma), rel=1e-12)
    assert table["Std. Error"].to_numpy()[shown] == pytest.approx(
        np.sqrt(np.diag(slope @ v @ slope.T)), rel=1e-6
    )
    zero = table.drop(index=table.index[shown])
    assert len(zero) == len(monotonic.dropped)
    assert zero["Estimate"].to_list() == [0.0] * len(zero)
    assert np.isnan(zero["Std. Error"].to_list()).all()
    assert list(table.index) == [effect.label, *(f"{effect.label}1[{j}]" for j in (1, 2, 3, 4))]
    assert table["level"].iloc[1:].tolist() == (LEVELS[1:] if which == "m" else list("1234"))


def test_summary_has_them(m: Fit) -> None:
    text = str(m.summary())
    assert "Monotonic effects: average steps, and shares of each step" in text
    assert "moo1[4] most" in text
    assert "moo1[4]" in m.summary()._repr_html_()


def test_nothing_is_left_of_a_flat_effect() -> None:
    """The steps of an effect that neither sign improves by are all zero, and their shares unknown."""
    d = pd.DataFrame({"x": [0, 1, 2] * 6, "y": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0] * 3})
    own = quietly("y ~ mo(x)", d, method="ml")
    assert list(own.params.index) == ["(Intercept)"]
    table = own.monotonic()
    assert table["Estimate"].iloc[0] == 0.0
    assert np.isnan(table["Estimate"].to_list()[1:]).all()


def test_predictions(m: Fit, data: pd.DataFrame) -> None:
    assert m.predict(data).to_numpy() == pytest.approx(m.fittedvalues.to_numpy(), rel=1e-12)
    new = pd.DataFrame({"o": ["most", "none"], "z": [0.0, 0.0]})
    high, low = m.predict(new, re_form=None)
    total = 4 * m.monotonic()["Estimate"].iloc[0]
    assert high - low == pytest.approx(total, rel=1e-10)
    with pytest.raises(DataError, match="moo has no step to huge"):
        m.predict(pd.DataFrame({"o": ["huge"], "z": [0.0]}), re_form=None)


def test_numbers_that_the_fit_did_not_see(counts: Fit) -> None:
    with pytest.raises(
        DataError, match=r"mox has no step to 7 \(in 1 rows\): the rows of the fit have 0, 1, 2, 3, 4"
    ):
        counts.predict(pd.DataFrame({"x": [1, 7], "z": [0.0, 0.0]}), re_form=None)
    missing = counts.predict(pd.DataFrame({"x": [1.0, np.nan], "z": [0.0, 0.0]}), re_form=None)
    assert missing.isna().tolist() == [False, True]


@pytest.mark.parametrize("which", ["m", "counts"])
def test_another_response_has_steps_of_its_own(
    which: str, data: pd.DataFrame, request: pytest.FixtureRequest
) -> None:
    own: Fit = request.getfixturevalue(which)
    y = own.simulate(1, seed=4).iloc[:, 0].to_numpy()
    if which == "m":
        y = y - 2.0 * data.x.to_numpy()
    name = "y" if which == "m" else "count"
    again = quietly(own.formula, data.assign(**{name: y}), family=own.family)
    there = own.refit(y)
    assert there.llf == pytest.approx(again.llf, abs=1e-7)
    assert list(there.params.index) == list(again.params.index)
    assert list(there.params.index) != list(own.params.index)


def test_bootstrap_searches_the_steps_again(m: Fit) -> None:
    drawn = m.bootstrap(6, seed=2)
    steps = drawn.filter(like="moo[").to_numpy()
    assert steps.shape == (6, 4)
    assert (steps >= 0.0).all()
    assert 0 < (steps[:, 1] == 0.0).sum() < 6
    limits = m.conf_int(method="bootstrap", n=6, seed=2)
    assert (limits.to_numpy()[2] >= 0.0).all()


def test_files_keep_them(counts: Fit, data: pd.DataFrame, tmp_path: Path) -> None:
    counts.save(tmp_path / "m.lmm")
    there = load(tmp_path / "m.lmm")
    pd.testing.assert_frame_equal(there.monotonic(), counts.monotonic())
    y = data["count"].to_numpy()[::-1].copy()
    assert there.refit(y).llf == pytest.approx(counts.refit(y).llf, abs=1e-8)


def test_tests_count_every_step(m: Fit, data: pd.DataFrame) -> None:
    """Cautious degrees of freedom, and the distribution by simulation."""
    table = m.drop1()
    assert table["npar"].to_list()[1:] == [4.0, 1.0]
    assert "chi-bar-square" in table.attrs["note"]
    small = fit("y ~ z + (1 | g)", data)
    both = anova(small, m)
    assert both["Df"].iloc[1] == 4.0
    assert both["Chisq"].iloc[1] == pytest.approx(table["LRT"].iloc[1], rel=1e-7)
    assert "chi-bar-square" in both.attrs["note"]
    drawn = m.drop1(test="bootstrap", n=19, seed=1)
    assert drawn["p_value"].iloc[1] == pytest.approx(0.05)


def test_means_and_conditional_effects(data: pd.DataFrame) -> None:
    """Whole numbers are looked at where rows have them."""
    own = quietly("y ~ mo(x) + z + (1 | g)", data)
    means = own.emmeans("x").table
    assert means["x"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    at = pd.DataFrame({"x": np.arange(5), "z": data.z.mean()})
    expected = own.predict(at, re_form=None).to_numpy()
    assert means["emmean"].to_numpy() == pytest.approx(expected, rel=1e-9)
    curve = own.conditional_effects("x").frame
    assert curve["x"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert curve["estimate"].to_numpy() == pytest.approx(expected, rel=1e-9)
    over = own.conditional_effects("z", points=3).frame  # x is held at the value nearest to its mean
    assert np.isfinite(over["estimate"].to_list()).all()


def test_updates_and_folds(m: Fit, data: pd.DataFrame) -> None:
    with pytest.warns(BoundaryWarning):
        assert "z" not in m.update("~ . - z").params.index
    assert np.isfinite(m.cross_validate(folds=2, seed=1).frame.to_numpy(float, na_value=0.0)).all()


REFUSED = {
    "y ~ (mo(o) | g)": "cannot vary by group",
    "y ~ mo(o):mo(x)": "multiplies monotonic effects",
    "y ~ log(mo(x))": "stands within another function",
    "y ~ I(mo(x) * 2)": "stands within another function",
    "y ~ z + (1 | mo(x))": "stands within a grouping factor",
    "bf(y ~ z, sigma ~ mo(x))": "in the formula of sigma",
    "y ~ mo(g)": "takes an ordered factor or whole numbers, and this is text",
    "y ~ mo(z)": "takes whole numbers, and 200 are none",
    "y ~ mo(x, id = 'a')": "`id` of mo() is not available",
    "y ~ mo(x, o)": "mo() takes one column, and has 2",
    "y ~ mo(x > 9)": "a logical column",
    "mvbind(y, z) ~ mo(x)": "models of several responses do not take",
}


@pytest.mark.parametrize("formula", REFUSED)
def test_refused_by_name(formula: str, data: pd.DataFrame) -> None:
    with pytest.raises(LmmformulaError) as caught:
        fit(formula, data)
    assert REFUSED[formula] in str(caught.value)


@pytest.mark.parametrize("method", ["pql", "krylov"])
def test_methods_without_them(method: str, data: pd.DataFrame) -> None:
    with pytest.raises(PlanError, match=rf"{method.upper()} does not take monotonic effects \(mox\)"):
        fit("count ~ mo(x) + (1 | g)", data, family="poisson", method=method)


def test_rows_in_files(data: pd.DataFrame, tmp_path: Path) -> None:
    data.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(PlanError, match=r"which steps of mo\(x\) are zero is sought with all rows in memory"):
        fit("y ~ mo(x) + (1 | g)", [str(tmp_path / "rows.parquet")])


def test_what_takes_free_coefficients(m: Fit) -> None:
    for ask in (m.anova, m.profile, m.influence, m.caic):
        with pytest.raises(PlanError, match="steps of moo"):
            ask()
    assert list(m.drop1().index) == ["<none>", "mo(o)", "z"]


def test_a_fit_without_them(data: pd.DataFrame) -> None:
    with pytest.raises(PlanError, match=r"no monotonic effect: use mo\(x\) in the formula"):
        fit("y ~ x", data).monotonic()
