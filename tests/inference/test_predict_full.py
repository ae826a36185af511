"""uncertainty="full": predictions that hold the uncertainty of the variances."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, stdtr, stdtrit

from lmmformula import DataError, fit, load_dataset
from lmmformula.errors import LmmformulaWarning, PlanError, SingularFitWarning
from lmmformula.inference import averaging

M, N = 12, 6
"""Groups, and rows of each: few enough for the variance between groups to be known badly."""


def one_way(seed: int, tau: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(M), N)
    return pd.DataFrame({"y": tau * rng.normal(size=M)[g] + rng.normal(size=M * N), "g": g})


def quiet_fit(data: pd.DataFrame) -> Any:
    """A fit whose variance may be zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return fit("y ~ 1 + (1 | g)", data)


def quantile_by_integration(data: Any, p: float, *, observed: bool) -> float:
    """Of a new group's mean, theta integrated over a grid: everything is in closed form for a balanced one-way layout."""
    means = data.groupby("g")["y"].mean().to_numpy()
    centre = means.mean()
    between = N * ((means - centre) ** 2).sum()
    within = ((data["y"] - means[data["g"]]) ** 2).sum()
    theta, df = np.linspace(0.0, 12.0, 20_001), M * N - 1
    size = 1.0 + N * theta**2
    r2 = within + between / size
    log_density = -0.5 * ((M - 1) * np.log(size) + df * np.log(r2))
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    scale = np.sqrt(r2 / df * (theta**2 + size / (M * N) + observed))
    return brentq(lambda q: weights @ stdtr(df, (q - centre) / scale) - p, -60, 60)  # type: ignore[return-value]


@pytest.mark.parametrize(("seed", "tau"), [(0, 0.0), (1, 0.8), (2, 0.4)])
def test_new_groups_against_integration_over_a_grid(seed, tau) -> None:
    """Importance sampling of 500 values of theta: within 4% of the interval's width; also at a boundary estimate."""
    data = one_way(seed, tau)
    m = quiet_fit(data)
    for interval in ("confidence", "prediction"):
        got = m.predict(
            {"g": ["new"]}, new_levels="population", interval=interval, uncertainty="full", seed=5
        )
        low, high = (
            quantile_by_integration(data, p, observed=interval == "prediction") for p in (0.025, 0.975)
        )
        assert got["lower"][0] == pytest.approx(low, abs=0.04 * (high - low))
        assert got["upper"][0] == pytest.approx(high, abs=0.04 * (high - low))


def test_coverage_with_twelve_groups_of_six(monkeypatch) -> None:
    """Probability with which the mean of a new group lies inside: too low with variances as estimated, right with "full"."""
    monkeypatch.setattr(averaging, "DRAWN", 100)
    tau, new, inside = 0.7, pd.DataFrame({"g": ["new"]}), {None: [], "full": []}
    for seed in range(30):
        m = quiet_fit(one_way(seed, tau))
        for how, found in inside.items():
            got = m.predict(new, new_levels="population", interval="confidence", uncertainty=how, seed=seed)
            found.append(ndtr(got["upper"][0] / tau) - ndtr(got["lower"][0] / tau))
    assert np.mean(inside[None]) < 0.92
    assert 0.925 < np.mean(inside["full"]) < 0.97


def test_without_random_effects_it_is_the_t_interval() -> None:
    sleep = load_dataset("sleepstudy")
    m: Any = fit("Reaction ~ Days", sleep)
    got = m.predict(sleep, interval="prediction", uncertainty="full", seed=1)
    plain = m.predict(sleep, interval="prediction", se=True)
    reach = stdtrit(178, 0.975) * np.sqrt(plain["se"] ** 2 + m.sigma**2)
    np.testing.assert_allclose(got["upper"] - got["fit"], reach, rtol=1e-5)


def test_known_levels_slopes_weights_and_scales_of_columns(monkeypatch) -> None:
    """The same numbers in other units of a slope; wider than with variances as estimated; sigma^2 / w for observations."""
    monkeypatch.setattr(averaging, "DRAWN", 150)
    sleep = load_dataset("sleepstudy").assign(w=lambda d: np.resize([1.0, 4.0], len(d)))
    new = sleep.iloc[[0, 1, 60]]
    asked = {"se": True, "uncertainty": "full", "seed": 3}
    m: Any = fit("Reaction ~ Days + (Days | Subject)", sleep, weights="w")
    got = m.predict(new, interval="confidence", **asked)
    other: Any = fit(
        "Reaction ~ Days + (Days | Subject)", sleep.assign(Days=1e4 * sleep["Days"]), weights="w"
    )
    pd.testing.assert_frame_equal(
        other.predict(new.assign(Days=1e4 * new["Days"]), interval="confidence", **asked), got, rtol=2e-3
    )
    plain = m.predict(new, se=True)
    assert ((got["se"] > plain["se"]) & (got["se"] < 1.35 * plain["se"])).all()
    wide = m.predict(new, interval="prediction", **asked)
    width = wide["upper"] - wide["lower"]
    assert (width > got["upper"] - got["lower"]).all()
    assert width.iloc[0] > 1.3 * width.iloc[1]


def test_errors_are_near_those_that_glmmtmb_has_to_first_order() -> None:
    """glmmTMB 1.1.5: predict(glmmTMB(Reaction ~ Days + (Days | Subject), REML = TRUE), se.fit = TRUE), rows 1, 6, 20, 100."""
    sleep = load_dataset("sleepstudy").iloc[[0, 5, 19, 99]]
    m: Any = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    first_order = np.array([13.06764142, 8.05782475, 14.23179506, 14.19077746])
    got = m.predict(sleep, se=True, uncertainty="full", seed=1)["se"]
    np.testing.assert_allclose(got, first_order, rtol=0.03)
    assert (m.predict(sleep, se=True)["se"] < first_order).all()


def test_generalised_models_draw_the_variances_too() -> None:
    """Known levels keep their errors up to Monte Carlo error; a new level's mean is known less well."""
    m: Any = fit("count ~ mined + (1 | site)", load_dataset("Salamanders"), family="nbinom2")
    new = load_dataset("Salamanders").iloc[[0, 1, 1]].reset_index(drop=True)
    new["site"] = ["new", *new["site"].astype(str)[1:]]
    for kind in ("link", "response"):
        asked = {"kind": kind, "new_levels": "population", "se": True, "interval": "confidence"}
        plain, full = m.predict(new, **asked), m.predict(new, uncertainty="full", seed=1, **asked)
        pd.testing.assert_series_equal(full["fit"], plain["fit"])
        if kind == "link":  # E(theta^2) = theta^2 + Var(theta)
            assert m.twin_vcov is not None
            assert full["se"][0] ** 2 == pytest.approx(plain["se"][0] ** 2 + m.twin_vcov[2, 2], rel=0.05)
        np.testing.assert_allclose(full["se"][1:], plain["se"][1:], rtol=0.1)
        np.testing.assert_allclose(full[["lower", "upper"]][1:], plain[["lower", "upper"]][1:], rtol=0.06)
    drawn = m.predict(new, new_levels="population", interval="prediction", uncertainty="full", seed=1)
    assert (drawn["lower"] == 0).all()
    assert (drawn["upper"] % 1 == 0).all()


def test_refusals_and_warnings() -> None:
    salamanders = load_dataset("Salamanders")
    quasi = fit("count ~ mined + (1 | site)", salamanders, family="poisson", method="pql")
    with pytest.raises(PlanError, match=r"fit by PQL .*method='laplace'"):
        quasi.predict(se=True, uncertainty="full")
    with pytest.raises(DataError, match="uncertainty='bootstrap'"):
        quasi.predict(se=True, uncertainty="bootstrap")
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.normal(size=40) + np.repeat([0.0, 1.0], 20), "g": np.repeat([0, 1], 20)})
    m = fit("y ~ 1 + (1 | g)", data)
    with pytest.warns(
        LmmformulaWarning, match=r"g has 2 levels, too few for 1 variance parameter.*method='hmc'"
    ):
        m.predict(interval="confidence", uncertainty="full", seed=1)
