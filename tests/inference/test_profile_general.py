"""Likelihood profiles of generalised models, against lme4, glmmTMB and the deviance itself."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from lmmformula import Fit, PlanError, fit, load_dataset
from lmmformula.inference import profile as module
from lmmformula.inference.parameters import parameters_of
from lmmformula.inference.profile_general import GeneralBest

CBPP = "incidence / size ~ period + (1 | herd)"
TRIALS = {"family": "binomial", "weights": "size"}


@cache
def _fitted(formula: str, dataset: str, **arguments: Any) -> Fit:
    data = load_dataset(dataset)
    if dataset == "grouseticks":
        data = data.assign(cH=data["HEIGHT"] - data["HEIGHT"].mean(), YEAR=data["YEAR"].astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(formula, data, **arguments)


# lme4's confint(m), which interpolates between points of its profile, hence 2e-3 of a standard error.
LME4 = [
    (
        (CBPP, "cbpp", TRIALS),
        [
            [0.34607319, 1.09997479],
            [-1.90121202, -0.94775398],
            [-1.61678327, -0.40776305],
            [-1.80102439, -0.51153605],
            [-2.50075047, -0.80075536],
        ],
    ),
    (
        ("TICKS ~ YEAR + cH + (1 | BROOD)", "grouseticks", {"family": "poisson"}),
        [
            [0.801598138, 1.137117271],
            [0.128306421, 0.868306496],
            [0.663500168, 1.624553],
            [-1.537695103, -0.470210249],
            [-0.029924535, -0.018002109],
        ],
    ),
]


@pytest.mark.parametrize(("model", "expected"), LME4, ids=["cbpp", "grouseticks"])
def test_intervals_against_lme4(model: tuple[str, str, dict[str, Any]], expected: list[list[float]]) -> None:
    m = _fitted(*model[:2], **model[2])
    ours = m.conf_int(method="profile")
    assert list(ours.index) == [p.name for p in parameters_of(m.problem)]
    widths = np.diff(expected, axis=1)
    np.testing.assert_allclose((ours - np.array(expected)) / widths, 0.0, atol=3e-3)


def test_quadrature_against_lme4() -> None:
    m = _fitted(CBPP, "cbpp", nagq=9, **TRIALS)
    ours = m.conf_int(method="profile", parameters=["sd_(Intercept)|herd", "period4"])
    np.testing.assert_allclose(ours, [[0.34880155, 1.11129206], [-2.50019234, -0.79959225]], rtol=1e-4)


def test_dispersion_and_zero_inflation_against_glmmtmb() -> None:
    """glmmTMB's confint(method = "uniroot"); its limits of the dispersion and of zi are on the scale of the predictor."""
    m = _fitted("count ~ mined + (1 | site)", "Salamanders", family="nbinom2", ziformula="~ 1")
    ours = m.conf_int(method="profile", parameters=["sd_(Intercept)|site", "phi", "zi"])
    expected = [
        np.exp([-1.20603193, -0.15959136]),
        np.exp([-0.6695834, 0.28977447]),
        [0.0, 1 / (1 + np.exp(1.13702397))],
    ]
    np.testing.assert_allclose(ours, expected, rtol=3e-4, atol=1e-12)


@pytest.mark.parametrize("name", ["trtdrug+", "week"])
def test_a_held_coefficient_is_the_model_without_its_column(name: str) -> None:
    m = _fitted("y ~ trt + week + (1 | ID)", "bacteria", family="binomial")
    data = load_dataset("bacteria")
    data = data.assign(drug=1.0 * (data["trt"] == "drug"), plus=1.0 * (data["trt"] == "drug+"))
    column, rest = {"trtdrug+": ("plus", "drug + week"), "week": ("week", "drug + plus")}[name]
    for limit in m.conf_int(method="profile", parameters=name).iloc[0]:
        moved = data.assign(off=limit * data[column])
        held = fit(f"y ~ {rest} + (1 | ID)", moved, offset="off", family="binomial")
        assert held.deviance - m.deviance == pytest.approx(3.841459, abs=2e-4)


def test_a_correlation_without_effect_is_not_excluded() -> None:
    """With the slope's variance at zero every correlation is as good: lme4 has -1 and 1."""
    m = _fitted("count ~ DOY + (DOY | site)", "Salamanders", family="poisson")
    ours = m.conf_int(method="profile", parameters=["cor_DOY.(Intercept)|site", "sd_DOY|site"])
    np.testing.assert_allclose(ours.iloc[0], [-1.0, 1.0])
    np.testing.assert_allclose(ours.iloc[1], [0.0, 0.31527684], atol=3e-4)
    without = _fitted("count ~ DOY + (1 | site)", "Salamanders", family="poisson")
    trace = module.Trace(module.ml_optimum(m), parameters_of(m.problem)[1])
    assert trace.deviance(-0.999) == pytest.approx(without.deviance, abs=1e-3)


@pytest.mark.parametrize(
    ("formula", "arguments"),
    [
        ("count ~ DOY + (DOY | site)", {"family": "poisson"}),
        ("count ~ DOY + cs(DOY | site)", {"family": "nbinom2"}),
        ("count + 1 ~ DOY + (1 | site)", {"family": "gamma(link='log')", "dispformula": "~ DOY"}),
    ],
)
def test_gradient_of_the_surface(formula: str, arguments: dict[str, Any]) -> None:
    m = _fitted(formula, "Salamanders", **arguments)
    best = module.ml_optimum(m)
    assert isinstance(best, GeneralBest)
    for target in parameters_of(m.problem):
        surface = best.surface(target)
        at = surface.psi_of(best.theta, best.sigma) + 0.1 * np.sin(1 + np.arange(surface.size))
        slope = surface.evaluate(at)[1]
        start = surface.psi_of(best.theta, best.sigma)  # correlations shrunk by a thousandth
        assert surface.evaluate(start)[0] == pytest.approx(m.deviance, abs=1e-4)
        for k in range(surface.size):
            step = np.zeros(surface.size)
            step[k] = 1e-4
            change = surface.evaluate(at + step)[0] - surface.evaluate(at - step)[0]
            assert slope[k] == pytest.approx(change / 2e-4, rel=1e-4, abs=2e-4)


def test_a_correlation_by_brute_force() -> None:
    """The deviance at the limit, minimised over theta and beta without our coordinates."""
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(30), 10), rng.normal(size=300)
    b = rng.multivariate_normal([0, 0], [[0.6, 0.3], [0.3, 0.5]], size=30)
    y = rng.poisson(np.exp(0.5 + 0.3 * x + b[g, 0] + b[g, 1] * x))
    m = fit("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}), family="poisson")
    best = module.ml_optimum(m)
    assert isinstance(best, GeneralBest)
    upper = m.conf_int(method="profile", parameters="cor_x.(Intercept)|g").iloc[0, 1]

    def deviance(q: np.ndarray) -> float:
        cov = np.outer(np.exp(q[:2]), np.exp(q[:2])) * [[1, upper], [upper, 1]]
        theta = best.standard.theta_in(m.problem.terms[0].covariance.from_covariance(cov))
        psi = np.concatenate([best.standard.beta_in(q[2:]), theta])
        return float(best.criterion(psi, u=best.point.u).deviance) + best.standard.deviance_shift()

    start = np.concatenate([np.log(m.varcorr()["sdcor"].to_numpy()[:2]), m.params.to_numpy()])
    found = minimize(
        deviance, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-8, "maxiter": 4000}
    )
    assert found.fun - m.deviance == pytest.approx(3.841459, abs=1e-3)


def test_units_and_origins_do_not_matter() -> None:
    data = load_dataset("Salamanders")
    formula = "count ~ DOY + (DOY | site)"
    plain = fit(formula, data, family="poisson").conf_int(method="profile", parameters=["sd_DOY|site", "DOY"])
    scaled = fit(formula, data.assign(DOY=data["DOY"] * 1000.0), family="poisson")
    ours = scaled.conf_int(method="profile", parameters=list(plain.index))
    np.testing.assert_allclose(ours.to_numpy() * 1000.0, plain, rtol=1e-3, atol=1e-4)
    moved = fit(formula, data.assign(DOY=2000.0 + data["DOY"]), family="poisson")
    np.testing.assert_allclose(
        moved.conf_int(method="profile", parameters=list(plain.index)), plain, rtol=1e-3, atol=1e-4
    )


def test_the_table() -> None:
    m = _fitted("count ~ mined + (1 | site)", "Salamanders", family="nbinom2")
    table = m.profile(parameters=["phi", "minedno"], points=5)
    for name, part in table.groupby("parameter"):
        assert part["value"].is_monotonic_increasing
        assert part["zeta"].is_monotonic_increasing
        middle = part.loc[part["zeta"] == 0.0, "value"].iloc[0]
        assert middle == pytest.approx(m.dispersion["phi"] if name == "phi" else m.params[str(name)])


def test_refusals() -> None:
    for arguments, said in (({"nagq": 0}, "nagq=0"), ({"method": "pql"}, "quasi-likelihood")):
        with pytest.raises(PlanError, match=said):
            _fitted(CBPP, "cbpp", **TRIALS, **arguments).conf_int(method="profile")
    krylov = _fitted(
        "r2 ~ Anger + (1 | id) + (1 | item)", "VerbAgg", family="binomial", method="krylov", seed=1
    )
    with pytest.raises(PlanError, match="standard error"):
        krylov.profile()
