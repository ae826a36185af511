"""Standard errors and Wald intervals of standard deviations, correlations and the parameters of families."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

from lmmformula import DataError, Fit, fit, load_dataset
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.inference.parameters import parameters_of
from lmmformula.inference.spreads import spreads
from lmmformula.ir.covariance import sd_cor

SLEEP = "Reaction ~ Days + (Days | Subject)"


@cache
def _fitted(formula: str, dataset: str, **arguments: Any) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(formula, load_dataset(dataset), **arguments)


# glmmTMB 1.1.5: confint(m, full = TRUE).
GLMMTMB = [
    (
        (SLEEP, "sleepstudy", {"method": "ml"}),
        {
            "sd_(Intercept)|Subject": (15.0170886, 37.658139),
            "sd_Days|Subject": (3.80545913, 8.5882023),
            "sigma": (22.80046472, 28.7249187),
        },
    ),
    (
        (SLEEP, "sleepstudy", {}),
        {
            "sd_(Intercept)|Subject": (15.581543, 39.2830893),
            "sd_Days|Subject": (3.91827241, 8.95077223),
            "sigma": (22.80046837, 28.72492289),
        },
    ),
    (
        ("incidence / size ~ period + (1 | herd)", "cbpp", {"family": "binomial", "weights": "size"}),
        {"sd_(Intercept)|herd": (0.37244322, 1.10755154)},
    ),
    (
        ("count ~ mined + (1 | site)", "Salamanders", {"family": "nbinom2", "ziformula": "~ 1"}),
        {
            "sd_(Intercept)|site": (0.31539041, 0.86181372),
            "phi": (0.38828786, 1.4295287),
            "zi": (1 / (1 + np.exp(6.63017472)), 1 / (1 + np.exp(-1.33673071))),
        },
    ),
]


@pytest.mark.parametrize(("model", "expected"), GLMMTMB)
def test_intervals_against_glmmtmb(model: tuple[str, str, dict[str, Any]], expected: dict[str, Any]) -> None:
    m = _fitted(*model[:2], **model[2])
    table = m.conf_int(parameters="all")
    for name, limits in expected.items():
        np.testing.assert_allclose(table.loc[name], limits, rtol=3e-4)
    fixed = m.conf_int()
    np.testing.assert_array_equal(table.loc[fixed.index], fixed)


@pytest.mark.parametrize(
    "random", ["(Days | Subject)", "(Days || Subject)", "cs(Days | Subject)", "(1 | Subject)"]
)
def test_errors_against_differences_of_the_dense_deviance(random: str) -> None:
    """The delta method in coordinates of its own: the Hessian in (variances, log sigma), by second differences."""
    m = _fitted(f"Reaction ~ Days + {random}", "sleepstudy")
    model = Profiled.of(m.problem, BlockedEngine(), reml=True)
    at = np.append(m.theta.to_numpy(), np.log(m.sigma))

    def deviance(x: np.ndarray) -> float:
        return model(x[:-1], exact=True).deviance_at(float(np.exp(2 * x[-1])))

    def values(x: np.ndarray) -> np.ndarray:
        out = []
        for term, s in zip(m.problem.terms, m.problem.theta_slices(), strict=True):
            lower = np.exp(x[-1]) * term.covariance.cholesky(x[:-1][s])
            sd, cor = sd_cor(lower @ lower.T)
            out += [*sd, *([cor[1, 0]] if term.k > 1 and term.covariance.name != "diag" else [])]
        return np.array([*out, np.exp(x[-1])])

    steps = 3e-4 * np.maximum(np.abs(at), 0.1)
    moves = np.diag(steps)
    hessian = np.array(
        [
            [
                (deviance(at + a + b) - deviance(at + a - b) - deviance(at - a + b) + deviance(at - a - b))
                for b in moves
            ]
            for a in moves
        ]
    ) / (4 * np.outer(steps, steps))
    slopes = np.array(
        [(values(at + a) - values(at - a)) / (2 * h) for a, h in zip(moves, steps, strict=True)]
    ).T
    expected = np.sqrt(np.diagonal(slopes @ np.linalg.inv(hessian / 2) @ slopes.T))
    np.testing.assert_allclose(m.varcorr(se=True)["se"], expected, rtol=2e-4)


def test_units_do_not_matter() -> None:
    data = load_dataset("sleepstudy")
    plain = _fitted(SLEEP, "sleepstudy").conf_int(parameters="all")
    seconds = fit("Reaction ~ z + (z | Subject)", data.assign(z=data["Days"] * 86_400.0)).conf_int(
        parameters="all"
    )
    factor = np.where(plain.index.str.contains("Days") & ~plain.index.str.startswith("cor"), 86_400.0, 1.0)
    np.testing.assert_allclose(seconds.to_numpy() * factor[:, None], plain, rtol=1e-5)


def test_an_autoregressive_term_has_two_parameters() -> None:
    m = _fitted("yield ~ Variety + ar1(0 + factor(nitro) | Block)", "Oats")
    known = [p for p in parameters_of(m.problem) if p.kind in ("sd", "cor")]
    assert [p.kind for p in known] == ["sd", "cor"]
    table: Any = m.varcorr(se=True)
    own = table["se"].iloc[:4].to_numpy()
    np.testing.assert_allclose(own, own[0], rtol=1e-14)  # one parameter, up to rounding
    assert (table["se"] > 0).all()


def test_the_boundary_has_no_standard_error_and_says_so() -> None:
    m = _fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2")
    table = m.varcorr(se=True)
    assert np.isnan(table["se"].iloc[0])
    assert table["se"].iloc[1] > 0
    intervals = m.conf_int(parameters="all")
    assert intervals.loc["sd_(Intercept)|Batch"].isna().all()
    assert intervals.loc["sigma"].notna().all()
    for shown in (table, intervals):
        assert "singular" in shown.attrs["note"]
        assert "(1 | Batch)" in shown.attrs["note"]
    tidy = m.tidy(conf_int=True)
    assert np.isnan(tidy.loc[tidy["term"] == "sd__(Intercept)", ["std_error", "conf_low"]]).to_numpy().all()


def test_a_correlation_of_one_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    x, b = rng.normal(size=300), np.arange(300) % 15
    data = {"y": rng.normal(size=300), "x": x, "b": b.astype(str)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = fit("y ~ x + (1 |q| b) + (0 + x |q| b)", data)
    assert m.is_singular
    intervals = m.conf_int(parameters="all")
    assert np.isnan(intervals[intervals.index.str.startswith("cor_")].to_numpy()).all()
    assert intervals.loc["sigma"].notna().all()


def test_a_correlation_that_runs_to_one_is_held() -> None:
    """The errors of the rest are those of the model at the end, whose effects are one for each level."""
    rng = np.random.default_rng(1)
    a, f = rng.integers(0, 20, 400), rng.integers(0, 4, 400)
    y = rng.poisson(np.exp(0.5 + 0.7 * rng.normal(size=20)[a])).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = {"y": y, "a": a.astype(str), "f": f.astype(str)}
        m = fit("y ~ 1 + ar1(0 + f | a)", data, family="poisson")
    assert np.tanh(m.theta.to_dict()["a.rho"]) == pytest.approx(1.0, abs=1e-6)
    end = fit("y ~ 1 + (1 | a)", data, family="poisson")
    assert m.llf == pytest.approx(end.llf, abs=1e-4)
    np.testing.assert_allclose(m.bse, end.bse, rtol=1e-3)


def test_only_the_zero_of_independent_effects_is_missing() -> None:
    data = load_dataset("sleepstudy").assign(z=np.cos(np.arange(180) * 2.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = fit("Reaction ~ Days + (1 | Subject) + (0 + z | Subject)", data)
    assert m.varcorr()["sdcor"].iloc[1] == 0.0
    assert m.varcorr(se=True)["se"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "said"), [({"method": "pql"}, "quasi-likelihood"), ({"nagq": 0}, "nagq=0")]
)
def test_methods_that_do_not_know(arguments: dict[str, Any], said: str) -> None:
    m = _fitted(
        "incidence / size ~ period + (1 | herd)", "cbpp", family="binomial", weights="size", **arguments
    )
    table = m.conf_int(parameters="all")
    assert table.loc["sd_(Intercept)|herd"].isna().all()
    assert table.loc["period2"].notna().all()
    assert said in table.attrs["note"]
    assert spreads(m).reason


def test_names() -> None:
    m = _fitted(SLEEP, "sleepstudy")
    assert list(m.conf_int(parameters="sigma").index) == ["sigma"]
    assert list(m.conf_int(parameters=["Days", "sd_Days|Subject"]).index) == ["Days", "sd_Days|Subject"]
    assert list(m.conf_int(parameters="fixed").index) == list(m.params.index)
    with pytest.raises(DataError, match=r"no parameter 'day'.*cor_Days\.\(Intercept\)\|Subject"):
        m.conf_int(parameters="day")
