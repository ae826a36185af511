"""``y | weights(w)`` is brms' and glmmTMB's: w equal rows. Literally repeated rows are the truth; ``weights=`` stays lme4's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, anova, build, fit, load_dataset
from lmmformula.errors import LmmformulaError

N = 60


def _data(seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=N)
    u = rng.normal(size=10)[g]
    eta = 0.4 + (0.5 + 0.8 * rng.normal(size=10)[g]) * x + 0.6 * u
    return pd.DataFrame(
        {
            "g": g,
            "x": x,
            "w": rng.integers(1, 5, N),
            "y": 3.0 + eta + 0.5 * rng.normal(size=N),
            "count": rng.negative_binomial(1.5, 1.5 / (1.5 + np.exp(eta))),
            "yes": (rng.uniform(size=N) < 1 / (1 + np.exp(-eta))).astype(float),
            "size": rng.gamma(4.0, np.exp(eta) / 4.0),
        }
    )


def _pair(response: str, rest: str = "x + (1 | g)", **arguments: Any) -> tuple[Fit, Fit]:
    data: Any = _data()
    written_out = data.loc[data.index.repeat(data["w"])].reset_index(drop=True)
    return (
        fit(f"{response} | weights(w) ~ {rest}", data, **arguments),
        fit(f"{response} ~ {rest}", written_out, **arguments),
    )


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("rest", ["x + (1 | g)", "x + (x | g)"])
def test_a_gaussian_fit_of_repeats_is_that_of_the_rows_written_out(method: str, rest: str) -> None:
    a, b = _pair("y", rest, method=method)
    assert a.llf == pytest.approx(b.llf, abs=1e-8)
    for name in ("params", "bse", "df", "pvalues"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(a.varcorr()["sdcor"], b.varcorr()["sdcor"], rtol=1e-5)
    assert (a.nobs, a.df_resid, a.df_model) == (b.nobs, b.df_resid, b.df_model)
    assert a.bic == pytest.approx(b.bic, abs=1e-7)
    np.testing.assert_allclose(a.r2(), b.r2(), rtol=1e-5)
    assert len(a.fittedvalues) == N
    if method == "reml":
        np.testing.assert_allclose(
            a.anova(ddf="kenward-roger")["DenDF"], b.anova(ddf="kenward-roger")["DenDF"], rtol=1e-4
        )
    else:
        np.testing.assert_allclose(
            a.conf_int(method="profile"), b.conf_int(method="profile"), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("response", "arguments"),
    [
        ("count", {"family": "poisson"}),
        ("count", {"family": "nbinom2"}),
        ("yes", {"family": "binomial"}),
        ("yes", {"family": "binomial", "nagq": 7}),
        ("size", {"family": "gamma"}),
        ("size", {"family": "lognormal"}),
        ("y", {"family": "student(df=5)"}),
        ("y", {"dispformula": "~ x"}),
        ("y", {"family": "gaussian", "method": "krylov", "seed": 1}),
    ],
)
def test_every_family_counts_the_repeats(response: str, arguments: dict[str, Any]) -> None:
    a, b = _pair(response, **arguments)
    tolerance = 1e-4 if "seed" in arguments else 1e-6
    assert a.llf == pytest.approx(b.llf, rel=tolerance)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(a.bse, b.bse, rtol=1e-3)
    np.testing.assert_allclose(a.varcorr()["sdcor"], b.varcorr()["sdcor"], rtol=1e-3)
    np.testing.assert_allclose(
        a.residuals("deviance").abs().pow(2).sum(), b.residuals("deviance").pow(2).sum(), rtol=1e-4
    )


def test_the_posterior_density_counts_them_too() -> None:
    from lmmformula.criteria.marginal import Marginal
    from lmmformula.engines.blocked import BlockedEngine
    from lmmformula.ir.prior_defaults import resolve_priors

    data: Any = _data()
    rows = data.loc[data.index.repeat(data["w"])]
    for family, response in (("gaussian", "y"), ("lognormal", "size")):
        one = build(f"{response} | weights(w) ~ x + (1 | g)", data, family=family)
        all_ = build(f"{response} ~ x + (1 | g)", rows, family=family)
        priors = resolve_priors(all_)
        values = [
            Marginal.of(p, BlockedEngine(), priors)([np.array([[0.7]])], 1.3).logpdf for p in (one, all_)
        ]
        assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_weights_need_not_be_whole_and_two_rows_of_a_half_are_one() -> None:
    data = _data().assign(w=1.0)
    halves = pd.concat([data.assign(w=0.3), data.assign(w=0.7)], ignore_index=True)
    a = fit("y | weights(w) ~ x + (1 | g)", halves)
    b = fit("y ~ x + (1 | g)", data)
    assert a.llf == pytest.approx(b.llf, abs=1e-8)
    assert a.nobs == pytest.approx(N)


def test_the_argument_is_still_the_precision_of_lme4() -> None:
    """w = 1 + Days: lme4 1.1-31 divides variances; on the rows written out it gives what glmmTMB 1.1.5 makes of w."""
    sleep = load_dataset("sleepstudy").assign(v=lambda d: 1.0 + d["Days"])
    given = fit("Reaction ~ Days + (1 | Subject)", sleep, weights="v")
    formula = fit("Reaction | weights(v) ~ Days + (1 | Subject)", sleep)
    assert given.nobs == 180
    assert formula.nobs == 990
    assert given.llf == pytest.approx(-912.625646746, abs=1e-6)
    np.testing.assert_allclose(given.params, [248.16969051, 11.00652168], rtol=1e-7)
    ml = fit("Reaction | weights(v) ~ Days + (1 | Subject)", sleep, method="ml")
    assert ml.llf == pytest.approx(-4796.26280723, abs=1e-5)
    np.testing.assert_allclose(ml.params, [248.16969050, 11.00652168], rtol=1e-7)
    np.testing.assert_allclose(ml.varcorr()["sdcor"], [44.072110, 29.427334], rtol=1e-6)
    np.testing.assert_allclose(ml.bse, [10.678548, 0.381819], rtol=1e-5)


def test_a_binomial_response_keeps_its_trials() -> None:
    cbpp = load_dataset("cbpp").assign(p=lambda d: d["incidence"] / d["size"])
    a = fit("p | weights(size) ~ period + (1 | herd)", cbpp, family="binomial")
    b = fit("incidence | trials(size) ~ period + (1 | herd)", cbpp, family="binomial")
    assert a.llf == pytest.approx(b.llf, abs=1e-9)
    assert a.nobs == b.nobs == len(cbpp)


def test_models_that_read_weights_differently_are_not_compared() -> None:
    data = _data()
    repeats = fit("y | weights(w) ~ x + (1 | g)", data, method="ml")
    precise = fit("y ~ 1 + (1 | g)", data, weights="w", method="ml")
    with pytest.raises(
        LmmformulaError, match=r"are repeats, those of .* precision|are precision, those of .* repeats"
    ):
        anova(repeats, precise)
    assert anova(repeats, repeats.update("~ . - x"))["Df"].iloc[1] == 1


def test_what_counts_rows_is_refused_by_name() -> None:
    data = _data()
    model = fit("y | weights(w) ~ x + (1 | g)", data)
    with pytest.raises(LmmformulaError, match="one draw cannot stand for w"):
        model.bootstrap(3, seed=1)
    with pytest.raises(LmmformulaError, match="method='pql' estimates a dispersion from rows"):
        fit("count | weights(w) ~ x + (1 | g)", data, family="poisson", method="pql")
    with pytest.raises(LmmformulaError, match="does not count"):
        fit("y | weights(w) ~ x + (1 | g)", data, dispformula="~ x", method="hmc", seed=1, draws=10)
    assert "Repeats of rows" in str(model.summary())
