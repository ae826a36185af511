"""Likelihood profiles against lme4's, and against brute minimisation where lme4's are interpolated."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from lmmformula import DataError, Fit, fit, load_dataset
from lmmformula.inference import profile as module
from lmmformula.inference.parameters import Parameter
from lmmformula.inference.profile import parameter_names, profile_interval
from lmmformula.inference.profile_surface import GaussianBest, GaussianSurface

REFERENCES = Path(__file__).parent.parent / "reference"


def _reference(name: str) -> dict[str, Any]:
    return json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))


PROFILED = [
    m["id"]
    for m in _reference("index")["models"]
    if m["method"] in ("REML", "ML") and "profile" in _reference(m["id"]).get("confint", {})
]


@cache
def _model(name: str) -> Fit:
    ref = _reference(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(ref["formula"], load_dataset(ref["dataset"]), method=ref["method"].lower())


@pytest.mark.parametrize("name", PROFILED)
def test_intervals_agree_with_lme4(name: str) -> None:
    expected = _reference(name)["confint"]["profile"]
    ours = profile_interval(_model(name))
    assert list(ours.index) == expected["rows"]
    assert list(ours.columns) == expected["columns"]
    np.testing.assert_allclose(ours, np.array(expected["values"], dtype=float), rtol=1e-3, atol=1e-6)


def test_the_number_of_profiled_references() -> None:
    assert len(PROFILED) == 10


def test_boundaries() -> None:
    dyestuff2 = profile_interval(_model("dyestuff2_reml"), parameters="sd_(Intercept)|Batch")
    assert dyestuff2.iloc[0, 0] == 0.0
    # lme4: 0.001267, 4.14818; -1, 1; 0, 0.33856
    orthodont = profile_interval(
        _model("orthodont_reml"),
        parameters=["sd_(Intercept)|Subject", "cor_age.(Intercept)|Subject", "sd_age|Subject"],
    )
    expected = [[0.001267, 4.14818], [-1.0, 1.0], [0.0, 0.33856]]
    np.testing.assert_allclose(orthodont, expected, rtol=1e-3, atol=1e-4)


def test_three_columns_against_lme4() -> None:
    # lme4's limits of the correlations are interpolated and off by 0.02; see the next test.
    ours = profile_interval(_model("machines_slope_reml"))
    sds = ours.loc[["sd_MachineA|Worker", "sd_MachineB|Worker", "sd_MachineC|Worker", "sigma", "MachineB"]]
    expected = [
        [2.2663165, 7.5154513],
        [4.8681446, 15.8114518],
        [2.4455579, 8.0798345],
        [0.7759488, 1.2349638],
        [2.8401620, 13.0931791],
    ]
    np.testing.assert_allclose(sds, expected, rtol=1e-3)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_correlations_of_three_columns_by_brute_force(pair: tuple[int, int]) -> None:
    """The deviance with one correlation held, minimised without our coordinates, is at the limit what it must be."""
    model = _model("machines_slope_reml")
    best = module.ml_optimum(model)
    assert isinstance(best, GaussianBest)
    j, i = pair
    term = model.problem.terms[0]
    name = f"cor_{term.columns[i]}.{term.columns[j]}|Worker"
    upper = profile_interval(model, parameters=name).iloc[0, 1]
    others = [p for p in ((1, 0), (2, 0), (2, 1)) if p != (i, j)]

    def deviance(q: np.ndarray) -> float:
        r = np.eye(3)
        r[i, j] = r[j, i] = upper
        for (a, b), value in zip(others, np.tanh(q[4:]), strict=True):
            r[a, b] = r[b, a] = value
        if np.linalg.eigvalsh(r)[0] < 1e-9:
            return 1e10
        sd, sigma = np.exp(q[1:4]), np.exp(q[0])
        theta = term.covariance.from_covariance(r * np.outer(sd, sd) / sigma**2)
        own = best.standard
        inside = best.model(own.theta_in(theta)).deviance_at((sigma / own.sigma_out(1.0)) ** 2)
        return inside + own.deviance_shift()

    starts = [np.r_[np.log(best.sigma), np.log([4.0, 8.0, 4.0]), c, c] for c in (0.3, 0.8)]
    options = {"maxiter": 6000, "maxfev": 6000, "xatol": 1e-8, "fatol": 1e-9, "adaptive": True}
    lowest = min(minimize(deviance, s, method="Nelder-Mead", options=options).fun for s in starts)
    assert lowest - best.deviance == pytest.approx(3.841459, abs=1e-3)


def test_gradient_of_the_surface() -> None:
    for name in ("machines_slope_reml", "sleep_dbar_reml", "oats_reml"):
        best = module.ml_optimum(_model(name))
        assert isinstance(best, GaussianBest)
        for target, held in ((None, None), (Parameter("b", "beta", 0), 1.1)):
            surface = GaussianSurface(best.model, target)
            value = None if held is None else held * float(best.model(best.theta).beta[0])
            psi = surface.psi_of(best.theta, best.sigma) + 0.1 * np.sin(np.arange(surface.size))
            slope = surface.evaluate(psi, value)[1]
            for k in range(surface.size):
                step = np.zeros(surface.size)
                step[k] = 1e-5
                change = surface.evaluate(psi + step, value)[0] - surface.evaluate(psi - step, value)[0]
                assert slope[k] == pytest.approx(change / 2e-5, rel=1e-5, abs=1e-5)


def test_a_held_coefficient_is_the_model_without_its_column() -> None:
    data = load_dataset("sleepstudy")
    full = fit("Reaction ~ Days + (Days | Subject)", data, method="ml")
    best = module.ml_optimum(full)
    trace = module.Trace(best, next(p for p in module.parameters_of(full.problem) if p.name == "Days"))
    for value in (5.0, 10.0, 14.0):
        held = fit(
            "Reaction ~ 1 + (Days | Subject)",
            data.assign(off=value * data["Days"]),
            offset="off",
            method="ml",
        )
        assert trace.deviance(value) == pytest.approx(held.deviance, abs=1e-5)


@pytest.mark.parametrize("kind", ["cs", "diag", "us"])
def test_covariance_kinds(kind: str) -> None:
    model = fit(f"Reaction ~ Days + {kind}(Days | Subject)", load_dataset("sleepstudy"))
    reference = "sleep_dbar_reml" if kind == "diag" else "sleep_slope_reml"
    expected = _reference(reference)["confint"]["profile"]
    ours = profile_interval(model).loc[expected["rows"]]
    np.testing.assert_allclose(ours, np.array(expected["values"], dtype=float), rtol=1e-3)


def test_autoregressive_correlation() -> None:
    rng = np.random.default_rng(3)
    m, k = 60, 4
    distance = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    effects = rng.multivariate_normal(np.zeros(k), 0.6**distance, size=m)
    data = {
        "g": np.repeat([f"g{i:02d}" for i in range(m)], 2 * k),
        "t": np.tile(np.repeat(list("abcd"), 2), m),
        "y": np.repeat(effects.ravel(), 2) + 0.5 * rng.standard_normal(2 * k * m),
    }
    model = fit("y ~ 1 + ar1(0 + t | g)", data, method="ml")
    assert parameter_names(model) == ("sd_ta|g", "cor_tb.ta|g", "sigma", "(Intercept)")
    ours = profile_interval(model)
    values = module.ml_optimum(model).values
    for name in ours.index:
        low, high = ours.loc[name].tolist()
        assert low < values[name] < high
    assert ours.loc["cor_tb.ta|g"].between(0, 1).all()


def test_profile_table() -> None:
    model = _model("sleep_slope_reml")
    table = model.profile(parameters=["Days", "sigma"], points=7)
    assert list(table.columns) == ["parameter", "value", "zeta", "deviance"]
    for _, part in table.groupby("parameter"):
        assert part["value"].is_monotonic_increasing
        assert part["zeta"].is_monotonic_increasing
        assert float(part["zeta"].to_numpy().min()) == pytest.approx(-2.5758, abs=0.05)
        assert float(part["zeta"].to_numpy().max()) == pytest.approx(2.5758, abs=0.05)
        np.testing.assert_allclose(part["zeta"] ** 2, part["deviance"] - part["deviance"].min(), atol=1e-6)


def test_conf_int_front_and_level() -> None:
    model = _model("sleep_int_ml")
    wide, narrow = (model.conf_int(level, method="profile", parameters="Days") for level in (0.95, 0.5))
    assert list(narrow.columns) == ["25 %", "75 %"]
    ends = [wide.iat[0, 0], narrow.iat[0, 0], model.params["Days"], narrow.iat[0, 1], wide.iat[0, 1]]
    assert ends == sorted(ends)


def test_refusals() -> None:
    model = _model("sleep_int_ml")
    with pytest.raises(DataError, match="no parameter 'Day'"):
        profile_interval(model, parameters="Day")
    with pytest.raises(DataError, match="level"):
        profile_interval(model, level=95)
    with pytest.raises(DataError, match="level"):
        model.profile(level=0)
    with pytest.raises(DataError, match="points=1"):
        model.profile(points=1)


@pytest.mark.parametrize("factor", [1e-6, 86_400.0])
def test_units_of_a_slope_do_not_matter(factor: float) -> None:
    expected = profile_interval(_model("sleep_slope_reml")).to_numpy()
    data = load_dataset("sleepstudy")
    ours = profile_interval(fit("Reaction ~ z + (z | Subject)", data.assign(z=data["Days"] * factor)))
    np.testing.assert_allclose(
        ours.to_numpy() * np.array([1, 1, factor, 1, 1, factor])[:, None], expected, rtol=2e-4
    )
