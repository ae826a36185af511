"""The units and origins of columns and of the response do not change a model: nor do they change a fit.

Every method and family is fitted to the same rows twice, as they are and with a random slope's column (which is a fixed effect
too), the response where the family has a scale, and the weights in other units and from another origin.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, SingularFitWarning, fit

GROUPS, EACH = 24, 12
UNITS = [(1e-8, 0.0), (1e8, 0.0), (86_400.0, 1.7e9), (1.0, 2_000.0), (3.7e-3, -5.0)]
"""Factors and origins: of 1e-8 and 1e8 of a unit, seconds of an epoch, calendar years, anything."""


@functools.cache
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(20)
    n = GROUPS * EACH
    g, h = np.repeat(np.arange(GROUPS), EACH), np.tile(np.arange(EACH), GROUPS)
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    u = rng.multivariate_normal([0.0, 0.0], [[0.25, 0.06], [0.06, 0.12]], GROUPS)
    eta = 0.4 + 0.3 * x + u[g, 0] + u[g, 1] * x + 0.3 * rng.normal(size=EACH)[h]
    mu = 6.0 + eta - 0.4
    p = 1.0 / (1.0 + np.exp(-eta))
    return pd.DataFrame(
        {
            "g": g,
            "h": h,
            "x": x,
            "w": w,
            "normal": eta + rng.normal(size=n) / np.sqrt(w),
            "count": rng.poisson(np.exp(eta)),
            "zeros": rng.poisson(np.exp(eta)) * (rng.random(n) < 0.7),
            "binary": (rng.random(n) < p).astype(float),
            "share": np.clip(rng.beta(8 * p, 8 * (1 - p)), 1e-3, 1 - 1e-3),
            "positive": rng.gamma(20.0, mu / 20.0),
            "heavy": mu + 0.4 * rng.standard_t(4, size=n),
        }
    )


LIKELIHOODS: list[tuple[str, str, dict[str, Any]]] = [
    ("normal", "gaussian", {"method": "reml"}),
    ("normal", "gaussian", {"method": "ml", "weights": "w"}),
    ("normal", "gaussian", {"method": "ml", "engine": "dense"}),
    ("normal", "gaussian", {"dispformula": "~ x"}),
    ("count", "poisson", {}),
    ("count", "poisson", {"nagq": 0}),
    ("zeros", "nbinom2", {}),
    ("zeros", "nbinom1", {}),
    ("zeros", "poisson", {"ziformula": "~ x"}),
    ("binary", "binomial", {}),
    ("binary", "binomial(link='probit')", {}),
    ("share", "beta", {}),
    ("positive", "gamma", {}),
    ("positive", "gamma(link='identity')", {}),
    ("positive", "gamma(link='inverse')", {}),
    ("positive", "inverse_gaussian(link='identity')", {}),
    ("positive", "inverse_gaussian(link='1/mu^2')", {}),
    ("positive", "lognormal", {}),
    ("positive", "gaussian(link='log')", {}),
    ("heavy", "student(df=4)", {}),
]
QUASI: list[tuple[str, str, dict[str, Any]]] = [
    ("normal", "gaussian", {"method": "pql"}),
    ("count", "poisson", {"method": "pql"}),
    ("count", "poisson", {"method": "pql", "traces": "diagonal", "dispersion": "fixed"}),
    ("binary", "binomial", {"method": "pql", "correction": "laplace"}),
    ("positive", "gamma(link='identity')", {"method": "pql"}),
    ("positive", "inverse_gaussian(link='identity')", {"method": "pql"}),
]
SCALED = ("normal", "positive", "heavy")
"""Responses that may be multiplied."""


def _fit(
    y: str, family: str, options: dict[str, Any], unit: float, origin: float, factor: float, **more: Any
) -> Fit:
    data = rows().assign(z=rows()["x"] * unit + origin, x=rows()["x"], y=rows()[y] * factor)
    options = {k: v.replace("x", "z") if k.endswith("formula") else v for k, v in options.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return fit("y ~ z + (z | g) + (1 | h)", data, family=family, **{**options, **more})


@functools.cache
def _plain(index: int, kind: str) -> Fit:
    y, family, options = {"likelihood": LIKELIHOODS, "quasi": QUASI}[kind][index]
    return _fit(y, family, options, 1.0, 0.0, 1.0)


def _same(a: Any, b: Any, relative: float = 1e-7) -> None:
    np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=relative, atol=0.0)


def _factor(m: Fit, factor: float) -> float:
    """What the linear predictor is multiplied by."""
    power = m.problem.family.eta_power
    return 1.0 if power is None else factor**power


@pytest.mark.parametrize(
    ("kind", "index"),
    [("likelihood", i) for i in range(len(LIKELIHOODS))] + [("quasi", i) for i in range(len(QUASI))],
)
def test_a_fit_in_other_units(kind: str, index: int) -> None:
    y, family, options = {"likelihood": LIKELIHOODS, "quasi": QUASI}[kind][index]
    a = _plain(index, kind)
    unit, origin = UNITS[index % len(UNITS)]
    scales = y in SCALED
    for factor in (1e6, 1e-6) if scales else (1.0,):
        b = _fit(y, family, options, unit, origin, factor)
        f = _factor(a, factor)
        if kind == "likelihood":
            moved = a.llf - (a.nobs * np.log(factor) if scales else 0.0)
            if a.method == "REML":
                moved += 2 * np.log(factor) - np.log(unit)
            assert b.llf == pytest.approx(moved, abs=1e-7 * max(1.0, abs(a.llf)))
        _same(b.fittedvalues / factor, a.fittedvalues)
        _same(b.df.iloc[1], a.df.iloc[1])
        _same(b.params.iloc[1] * unit / f, a.params.iloc[1], 1e-6)
        _same(b.bse.iloc[1] * unit / f, a.bse.iloc[1])
        moved, own = (
            np.asarray(m.conf_int().iloc[1], float) for m in (b, a)
        )  # an end near zero counts by the width
        np.testing.assert_allclose(moved * unit / f, own, rtol=1e-6, atol=1e-6 * (own[1] - own[0]))
        sd = b.varcorr().query("var1 == 'z' and var2.isna()")["sdcor"].iloc[0]
        _same(sd * unit / f, a.varcorr().query("var1 == 'z' and var2.isna()")["sdcor"].iloc[0], 1e-6)
        assert b.is_singular == a.is_singular
        assert b.converged == a.converged


# -- inference --------------------------------------------------------------------------------------------------------


def _pair(index: int, unit: float, origin: float) -> tuple[Fit, Fit]:
    y, family, options = LIKELIHOODS[index]
    return _plain(index, "likelihood"), _fit(y, family, options, unit, origin, 1.0)


@pytest.mark.parametrize("index", [0, 4, 8, 13])
@pytest.mark.parametrize(("unit", "origin"), [(1e8, 0.0), (1e-8, 0.0), (86_400.0, 1.7e9)])
def test_errors_and_tests_in_other_units(index: int, unit: float, origin: float) -> None:
    a, b = _pair(index, unit, origin)
    new = rows().iloc[:6].assign(g=[0, 1, 2, 3, 98, 99])
    for interval in ("confidence", None):
        options: dict[str, Any] = {
            "se": True,
            "interval": interval,
            "new_levels": "population",
            "kind": "link",
        }
        first = a.predict(new.assign(z=new["x"]), **options)
        second = b.predict(new.assign(z=new["x"] * unit + origin), **options)
        _same(second, first, 2e-6)
    tests = [m.anova().loc["z"].to_numpy() for m in (b, a)]
    _same(tests[0][-1], tests[1][-1], 1e-5)
    spread = [
        m.ranef(condsd=True).query("grpvar == 'g' and term == 'z'")["condsd"].to_numpy() for m in (b, a)
    ]
    _same(spread[0] * unit, spread[1], 2e-6)
    if origin == 0.0:  # with another origin the effects are the same in distribution
        _same(b.simulate(1, seed=1), a.simulate(1, seed=1), 1e-4)


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_tests_of_terms_in_other_units(family: str, kind: int) -> None:
    data = rows().assign(f=np.array(list("abc"))[np.arange(len(rows())) % 3])
    response = {"gaussian": "normal", "poisson": "count"}[family]
    plain, *others = (
        fit(f"{response} ~ f * z + (1 | g)", data.assign(z=data["x"] * unit), family=family).anova(type=kind)
        for unit in (1.0, 1e-12, 1e8)
    )
    for other in others:
        _same(other.to_numpy(), plain, 1e-6)


@pytest.mark.parametrize("link", ["identity", "inverse"])
@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_errors_of_means_in_other_units(link: str, factor: float) -> None:
    data = rows()
    a, b = (
        fit("y ~ x + (1 | g)", data.assign(y=data["positive"] * f), family=f"gamma(link='{link}')")
        for f in (1.0, factor)
    )
    for interval in ("confidence", "prediction"):
        first, second = (m.predict(data.head(), se=True, interval=interval, seed=2) for m in (a, b))
        _same(second / factor, first, 1e-5)


@pytest.mark.parametrize("unit", [1e8, 1e-8])
def test_variances_in_other_units(unit: float) -> None:
    """A slope's standard deviation is in the inverse of its column's unit; correlations and all others stay."""
    a, b = _pair(0, unit, 0.0)
    one, two = (m.conf_int(parameters="all") for m in (a, b))
    factor = (
        np.where(one.index == "sd_z|g", unit, 1.0)[:, None] * np.where(one.index == "z", unit, 1.0)[:, None]
    )
    _same(two.to_numpy() * factor, one, 1e-5)
    _same(b.conf_int(ddf="kenward-roger").loc["z"] * unit, a.conf_int(ddf="kenward-roger").loc["z"], 1e-6)
    names = ["sd_z|g", "cor_z.(Intercept)|g"]
    one, two = (m.conf_int(method="profile", parameters=names) for m in (a, b))
    _same(two.to_numpy() * np.array([[unit], [1.0]]), one, 1e-4)
    again = [m.refit(m.problem.y * 1.01) for m in (a, b)]
    _same(again[1].llf + 0.0, again[0].llf - np.log(unit), 1e-9)


def test_posteriors_in_other_units() -> None:
    """The same seed gives the same draws: no default prior depends on a unit, and sampling is in units of the columns."""
    options = {"method": "hmc", "sampler": "importance", "draws": 300, "chains": 2, "seed": 3}
    a = _fit("normal", "gaussian", options, 1.0, 0.0, 1.0)
    for unit, factor in ((1e8, 1.0), (1e-8, 1e6)):
        b = _fit("normal", "gaussian", options, unit, 0.0, factor)
        for name, f in (("z", unit / factor), ("sd:g:z", unit / factor), ("cor:g:Intercept:z", 1.0)):
            _same(b.posterior[name] * f, a.posterior[name], 1e-5)  # type: ignore[index]
        _same(b.fittedvalues / factor, a.fittedvalues, 1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "half_normal(2)",
        "exponential(0.5)",
        "gamma(2, 1)",
        "inv_gamma(3, 2)",
        "lognormal(0, 1)",
        "uniform(0, 4)",
    ],
)
def test_a_prior_keeps_its_meaning(text: str) -> None:
    """The density of c X at c x is that of X at x over c, and the text shown is the user's."""
    from lmmformula.ir.prior_text import parse_prior

    own, c = parse_prior(text, "sd", "scale"), 7.5
    x = np.array([0.3, 1.0, 2.5])
    _same(own.scaled(c).logpdf(c * x), own.logpdf(x) - np.log(c), 1e-12)


# -- the ends of floating-point numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-130, 1e-80, 1e12, 1e130])
def test_columns_responses_and_weights_of_any_size(factor: float) -> None:
    data = rows()
    plain = fit("normal ~ x + (x | g)", data, weights="w", method="ml")
    scaled = fit("normal ~ x + (x | g)", data.assign(x=data["x"] * factor), weights="w", method="ml")
    assert scaled.llf == pytest.approx(plain.llf, abs=1e-7)
    _same(scaled.tvalues, plain.tvalues, 1e-6)
    weighted = fit("normal ~ x + (x | g)", data.assign(w=data["w"] * factor), weights="w", method="ml")
    assert weighted.llf == pytest.approx(plain.llf, abs=1e-7)
    _same(weighted.bse, plain.bse, 1e-6)
    response = fit(
        "normal ~ x + (x | g)", data.assign(normal=data["normal"] * factor), weights="w", method="ml"
    )
    _same(response.tvalues, plain.tvalues, 1e-6)
    counts = [
        fit("count ~ z + (z | g)", data.assign(z=data["x"] * f), family="poisson") for f in (1.0, factor)
    ]
    _same(counts[1].tvalues, counts[0].tvalues, 1e-6)


@pytest.mark.parametrize("factor", [1e-200, 1e155, 1e300])
def test_what_no_number_can_hold_is_refused_by_name(factor: float) -> None:
    data = rows()
    for part in ("x + (1 | g)", "1 + (0 + x | g)"):
        with pytest.raises(DataError, match="'x' has values up to"):
            fit(f"normal ~ {part}", data.assign(x=data["x"] * factor))
    with pytest.raises(DataError, match="the response has values of about"):
        fit("normal ~ x + (1 | g)", data.assign(normal=data["normal"] * factor))
