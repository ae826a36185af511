"""Models without random effects against R's lm, glm and glmmTMB."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmmformula import Fit, anova, fit, load, load_dataset, plan
from lmmformula.errors import PlanError, SingularFitWarning

REFERENCE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "plain_models.json").read_text(encoding="utf-8")
)
COUNTS = "SiblingNegotiation ~ FoodTreatment"
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lm": ("sleepstudy", "Reaction ~ Days", {}),
    "lm_weights_offset": ("sleepstudy", "Reaction ~ Days + I(Days^2)", {"weights": "w", "offset": "o"}),
    "lm_factors": ("cake", "angle ~ recipe * temp", {"contrasts": {"recipe": "contr.sum"}}),
    "logit": ("cbpp", "cbind(incidence, size - incidence) ~ period", {"family": "binomial"}),
    "probit": (
        "cbpp",
        "cbind(incidence, size - incidence) ~ period",
        {"family": "binomial(link='probit')"},
    ),
    "cloglog": (
        "cbpp",
        "cbind(incidence, size - incidence) ~ period",
        {"family": "binomial(link='cloglog')"},
    ),
    "bernoulli": ("VerbAgg", "r2 ~ Anger + Gender + btype", {"family": "binomial"}),
    "poisson": ("Owls", f"{COUNTS} + ArrivalTime + offset(log(BroodSize))", {"family": "poisson"}),
    "gaussian_log": ("sleepstudy", "Reaction ~ Days", {"family": "gaussian(link='log')"}),
    "gaussian_disp": ("sleepstudy", "Reaction ~ Days", {"dispformula": "~ Days"}),
    "gamma_log": ("sleepstudy", "Reaction ~ Days", {"family": "gamma(link='log')"}),
    "gamma_inverse": ("sleepstudy", "s ~ Days", {"family": "gamma(link='inverse')"}),
    "gamma_disp": ("sleepstudy", "Reaction ~ Days", {"family": "gamma", "dispformula": "~ Days"}),
    "nbinom2": ("Owls", f"{COUNTS} + ArrivalTime", {"family": "nbinom2"}),
    "nbinom1": ("Owls", f"{COUNTS} + ArrivalTime", {"family": "nbinom1"}),
    "zip": ("Owls", COUNTS, {"family": "poisson", "ziformula": "~ ArrivalTime"}),
    "zinb": ("Owls", COUNTS, {"family": "nbinom2", "ziformula": "~ 1"}),
    "beta": ("sleepstudy", "p ~ Days", {"family": "beta"}),
    "inverse_gaussian": ("sleepstudy", "s ~ Days", {"family": "inverse_gaussian"}),
    "lognormal": ("sleepstudy", "Reaction ~ Days", {"family": "lognormal"}),
    "student": ("sleepstudy", "Reaction ~ Days", {"family": "student"}),
}


@cache
def data(name: str) -> pd.DataFrame:
    table = load_dataset(name)
    if name == "sleepstudy":
        table = table.assign(
            w=1 + table["Days"] % 3,
            o=10 * table["Days"],
            s=table["Reaction"] / 1000,
            p=(table["Reaction"] - 150) / 400,
        )
    return table.loc[table["id"].astype(int) % 8 == 0] if name == "VerbAgg" else table


@cache
def fitted(model: str, method: str = "auto") -> Fit:
    name, formula, arguments = MODELS[model]
    return fit(formula, data(name), method=method, **arguments)


def values(entry: Any) -> np.ndarray:
    return np.array(list(entry.values()) if isinstance(entry, dict) else entry, dtype=float)


@pytest.mark.parametrize("model", list(MODELS))
def test_estimates_and_likelihood(model: str) -> None:
    """Coefficients, standard errors, log-likelihood, AIC with the dispersion counted, and no random effects anywhere."""
    ref, m = REFERENCE[model], fitted(model, "ml")
    se = values(ref["se"]) if "se" in ref else m.bse.to_numpy()
    np.testing.assert_allclose(m.params.to_numpy(), values(ref["coef"]), atol=2e-5 * se.max(), rtol=0)
    assert m.llf == pytest.approx(ref["logLik"], abs=1e-6)
    assert m.aic == pytest.approx(ref["AIC"], abs=1e-5)
    assert m.converged
    assert (m.ngroups, m.theta.size, m.coef()) == ({}, 0, {})
    assert m.ranef().empty
    if not m.problem.is_linear:
        np.testing.assert_allclose(m.bse.to_numpy(), se, rtol=3e-5)
        assert np.isinf(m.df).all()


@pytest.mark.parametrize("model", [name for name, ref in REFERENCE.items() if ref.get("disp")])
def test_dispersion_and_zero_inflation(model: str) -> None:
    """glmmTMB's coefficients: log sigma^2 for gaussian, log of one over sigma^2 for gamma, log phi for the others."""
    ref, m = REFERENCE[model], fitted(model)
    disp, zi = np.atleast_1d(ref["disp"]), np.atleast_1d(ref["zi"])
    factor = {"gaussian": 0.5, "gamma": -0.5}.get(m.family, 1.0)
    np.testing.assert_allclose(m.estimate.aux[0], factor * disp, atol=3e-5)
    if zi.size:
        np.testing.assert_allclose(m.estimate.aux[-1], zi, atol=3e-5)
    tidy = m.tidy()
    if "disp" in tidy["component"].tolist():
        errors = tidy.loc[tidy["component"] == "disp", "std_error"]
        np.testing.assert_allclose(errors, np.abs(factor) * np.atleast_1d(ref["disp_se"]), rtol=1e-4)


def test_zero_inflation_alone() -> None:
    ref, m = REFERENCE["zip"], fitted("zip")
    np.testing.assert_allclose(m.estimate.aux[0], ref["zi"], rtol=1e-4)
    table = m.tidy()
    errors = table.loc[table["component"] == "zi", "std_error"]
    np.testing.assert_allclose(errors, ref["zi_se"], rtol=1e-4)


@pytest.mark.parametrize("model", ["inverse_gaussian", "lognormal", "student"])
def test_scales(model: str) -> None:
    assert fitted(model).sigma == pytest.approx(REFERENCE[model]["sigma"], rel=1e-5)


@pytest.mark.parametrize("model", ["lm", "lm_weights_offset", "lm_factors"])
def test_least_squares_by_reml_has_the_digits_of_lm(model: str) -> None:
    ref, m = REFERENCE[model], fitted(model)
    assert (m.method, m.plan.method, m.plan.engine) == ("REML", "reml", "none")
    np.testing.assert_allclose(m.params, values(ref["coef"]), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(m.bse, values(ref["se"]), rtol=1e-9)
    np.testing.assert_allclose(m.pvalues, values(ref["p"]), rtol=1e-7)
    assert m.sigma == pytest.approx(ref["sigma"], rel=1e-10)
    assert m.llf == pytest.approx(ref["logLik_reml"], abs=1e-8)
    assert set(m.df) == set(fitted(model, "ml").df) == {ref["df"]}
    np.testing.assert_allclose(m.fittedvalues.iloc[:10], ref["fitted"], rtol=1e-9)
    np.testing.assert_allclose(m.residuals().iloc[:10], ref["residuals"], atol=1e-8)
    tests = m.anova(3)
    np.testing.assert_allclose(tests["F value"], values(ref["F"]), rtol=1e-9)
    assert set(tests["DenDF"]) == {ref["df"]}
    np.testing.assert_allclose(m.anova(3, ddf="kenward-roger")["F value"], tests["F value"], rtol=1e-8)
    np.testing.assert_allclose(m.anova(3, ddf="kenward-roger")["DenDF"], ref["df"], rtol=1e-8)


def test_least_squares_predicts_as_lm() -> None:
    ref, m = REFERENCE["lm"]["predict"], fitted("lm")
    found = m.predict(pd.DataFrame(ref["new"]), se=True)
    np.testing.assert_allclose(found["fit"], ref["fit"], rtol=1e-9)
    np.testing.assert_allclose(found["se"], ref["se"], rtol=1e-9)
    np.testing.assert_allclose(m.conf_int(), REFERENCE["lm"]["confint"], rtol=1e-9)
    both = m.predict(pd.DataFrame(ref["new"]), interval="prediction", se=True)
    np.testing.assert_allclose(both[["lower", "upper"]], ref["prediction"], rtol=1e-6)
    np.testing.assert_allclose(both["se"], ref["se"], rtol=1e-9)
    mean = m.predict(pd.DataFrame(ref["new"]), interval="confidence")
    reach = stats.t.ppf(0.975, 178) * values(ref["se"])
    np.testing.assert_allclose(mean["upper"] - mean["fit"], reach, rtol=1e-6)


@pytest.mark.parametrize("model", ["logit", "bernoulli", "poisson"])
def test_generalised_residuals_are_those_of_glm(model: str) -> None:
    ref, m = REFERENCE[model], fitted(model)
    for kind, expected in ref["residuals"].items():
        np.testing.assert_allclose(m.residuals(kind).iloc[:10], expected, rtol=1e-6, atol=1e-8, err_msg=kind)
    np.testing.assert_allclose(m.fittedvalues.iloc[:10], ref["fitted"], rtol=1e-7)


@pytest.mark.parametrize("reference", ["quasibinomial", "quasi_gamma"])
def test_quasi_likelihood_has_pearson_s_dispersion(reference: str) -> None:
    ref, m = (
        REFERENCE[reference],
        fitted({"quasibinomial": "logit", "quasi_gamma": "gamma_log"}[reference], "pql"),
    )
    np.testing.assert_allclose(m.params, values(ref["coef"]), rtol=1e-6)
    np.testing.assert_allclose(m.bse, values(ref["se"]), rtol=1e-5)
    assert m.sigma**2 == pytest.approx(ref["phi"], rel=1e-5)
    assert "quasi-likelihood" in str(m)
    assert "traces" not in str(m)


# -- beside mixed models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "mixed", "arguments"),
    [
        ("lm", "sleep_int_ml", {}),
        ("logit", "cbpp_laplace", {}),
        ("logit", "cbpp_agq9", {"nagq": 9}),
    ],
)
def test_it_is_the_smaller_model_of_a_likelihood_ratio_test(
    model: str, mixed: str, arguments: dict[str, Any]
) -> None:
    """Chi-square from R's two log-likelihoods; by update() both ways, which carries arguments along."""
    name, formula, given = MODELS[model]
    group = {"lm": "Subject", "logit": "herd"}[model]
    larger = fit(f"{formula} + (1 | {group})", data(name), **given, **arguments)
    smaller = larger.update(formula)
    assert smaller.llf == pytest.approx(fitted(model).llf, abs=1e-9)
    ref = json.loads((Path(__file__).parent / f"{mixed}.json").read_text(encoding="utf-8"))
    expected = 2.0 * (ref.get("logLik_full", ref["logLik"]) - REFERENCE[model]["logLik"])
    for pair in ((smaller, larger), (larger, smaller), (fitted(model, "ml"), larger)):
        table = anova(*pair)
        assert table["Chisq"].iloc[1] == pytest.approx(expected, abs=2e-5)
        assert table["Df"].iloc[1] == 1.0
        assert table["npar"].tolist() == [smaller.df_model, larger.df_model]
    assert smaller.update(larger.formula).llf == pytest.approx(larger.llf, abs=1e-8)


def test_two_of_them_are_compared() -> None:
    small = fitted("lm").update("Reaction ~ 1")
    table = anova(small, fitted("lm"))
    expected = 180 * np.log(1.0 + values(REFERENCE["lm"]["F"])[0] / 178)
    assert table["Chisq"].iloc[1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("model", ["lm", "gaussian_disp", "logit", "zip", "gamma_log"])
def test_everything_follows(model: str, tmp_path: Path) -> None:
    """Draws, intervals, tables, text, files: what a mixed fit does, or a refusal that says why."""
    m = fitted(model)
    draws = m.simulate(200, seed=1).to_numpy()
    spread = draws.std() / np.sqrt(draws.size) * 6.0
    assert abs(draws.mean() - m.fittedvalues.mean()) < max(spread, 0.01)
    again = m.refit(m.problem.y)
    np.testing.assert_allclose(again.params, m.params, rtol=1e-5)
    assert np.isfinite(m.bootstrap(3, seed=1).to_numpy()).all()
    assert bool((m.conf_int().to_numpy()[:, 0] < m.params.to_numpy()).all())
    m.save(tmp_path / "fit.lmm")
    loaded = load(tmp_path / "fit.lmm")
    np.testing.assert_allclose(loaded.bse, m.bse, rtol=1e-6)
    text = str(m)
    assert "mixed" not in text
    assert "No random effects" in text
    assert "Groups" not in text or model == "lm"
    assert "mixed" not in m._repr_html_()
    assert m.varcorr()["grp"].tolist() == (["Residual"] if model == "lm" else [])
    with pytest.raises(PlanError, match="no random effects"):
        m.naivete()


def test_no_r2_beyond_the_fixed_part() -> None:
    marginal, conditional = fitted("lm").r2().to_numpy()
    explained = float(np.var(fitted("lm").fittedvalues.to_numpy(), ddof=1))
    assert marginal == pytest.approx(conditional, rel=1e-12)
    assert marginal == pytest.approx(explained / (explained + REFERENCE["lm"]["sigma"] ** 2))
    assert fitted("lm").icc().empty


def test_plans_say_what_is_done() -> None:
    name, formula, arguments = MODELS["logit"]
    text = str(plan(formula, data(name), **arguments))
    assert "maximum likelihood; there is nothing to integrate out" in text
    assert "no random effects, such as (1 | group)" in text
    assert "least squares" in str(plan("Reaction ~ Days", data("sleepstudy")))
    asked = plan("Reaction ~ Days", data("sleepstudy"), method="krylov", probes=8)
    assert "engine='krylov' was asked for, and has nothing to do" in asked.reasons[-1]
    assert type(asked).from_dict(asked.to_dict()) == asked
    posterior = str(plan("Reaction ~ Days", data("sleepstudy"), method="hmc"))
    assert "engine: none; the formula has no random effects" in posterior


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "reml", "family": "gamma"}, "REML is defined for Gaussian"),
        ({"probes": 8}, "option of engine='krylov' only"),
        ({"nagq": 3}, "no meaning for a Gaussian response"),
        ({"start": [1.0]}, "no covariance parameter"),
    ],
)
def test_refusals(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        fit("Reaction ~ Days", data("sleepstudy"), **arguments)


def test_a_variance_of_zero_gives_the_plain_model() -> None:
    """The mixed model's boundary is this model: same likelihood, coefficients and, by REML, standard errors."""
    table = load_dataset("Dyestuff2")
    with pytest.warns(SingularFitWarning):
        mixed = fit("Yield ~ 1 + (1 | Batch)", table)
    plain = fit("Yield ~ 1", table)
    assert plain.llf == pytest.approx(mixed.llf, abs=1e-9)
    np.testing.assert_allclose(plain.bse, mixed.bse, rtol=1e-9)


def test_a_posterior() -> None:
    """The sampler moves in all parameters; means are near least squares under weak priors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 200 draws are few
        m = fit("Reaction ~ Days", data("sleepstudy"), method="hmc", chains=2, draws=200, seed=1)
    assert "nothing to integrate out" in str(m.plan)
    ref = REFERENCE["lm"]
    assert (np.abs(m.params.to_numpy() - values(ref["coef"])) < 0.3 * values(ref["se"])).all()
    assert m.sigma == pytest.approx(ref["sigma"], rel=0.03)
