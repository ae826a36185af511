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

from lmmformula import Fit, SingularFitWarning, fit

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
        _same(b.conf_int().iloc[1] * unit / f, a.conf_int().iloc[1], 1e-6)
        sd = b.varcorr().query("var1 == 'z' and var2.isna()")["sdcor"].iloc[0]
        _same(sd * unit / f, a.varcorr().query("var1 == 'z' and var2.isna()")["sdcor"].iloc[0], 1e-6)
        assert b.is_singular == a.is_singular
        assert b.converged == a.converged
