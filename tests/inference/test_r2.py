"""R2 and ICC against their definitions, written out row by row."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lmmformula import PlanError, fit, load_dataset
from lmmformula.inference.r2 import variances


def test_random_slopes() -> None:
    data = load_dataset("sleepstudy")
    model = fit("Reaction ~ Days + (Days | Subject)", data)
    z = np.column_stack([np.ones(180), data["Days"]])
    table = model.varcorr()
    a, b, c = table["vcov"].iloc[[0, 2, 1]]
    cov = np.array([[a, b], [b, c]])
    random = np.mean([row @ cov @ row for row in z])
    fixed = np.var(z @ model.params.to_numpy(), ddof=1)
    total = fixed + random + model.sigma**2
    assert model.r2().to_dict()["marginal"] == pytest.approx(fixed / total)
    assert model.r2().to_dict()["conditional"] == pytest.approx((fixed + random) / total)
    assert model.icc().to_dict() == {"Subject": pytest.approx(random / (random + model.sigma**2))}


def test_several_terms() -> None:
    model = fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", load_dataset("sleepstudy"))
    assert list(model.icc().index) == ["Subject", "Subject.1"]
    nested = fit("strength ~ 1 + (1 | batch/cask)", load_dataset("Pastes"))
    variances = nested.varcorr()["vcov"]
    np.testing.assert_allclose(nested.icc(), variances.iloc[:-1] / variances.sum())
    assert nested.r2().to_dict()["marginal"] == 0.0
    assert nested.r2().to_dict()["conditional"] == pytest.approx(
        float(1 - variances.iloc[-1] / variances.sum())
    )


def test_weights_and_boundary() -> None:
    data = load_dataset("sleepstudy").assign(w=4.0)
    plain = fit("Reaction ~ Days + (1 | Subject)", data)
    weighted = fit("Reaction ~ Days + (1 | Subject)", data, weights="w")
    np.testing.assert_allclose(weighted.r2(), plain.r2(), rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        singular = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2"))
    assert singular.r2().to_dict() == {"marginal": 0.0, "conditional": 0.0}
    assert singular.icc().to_dict() == {"Batch": 0.0}


# -- generalised models --------------------------------------------------------------------------------------------

SALAMANDERS = "count ~ mined + (1 | site)"


def test_binomial_links_have_the_latent_variance() -> None:
    data = load_dataset("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    for link, latent in (("logit", np.pi**2 / 3), ("probit", 1.0), ("cloglog", np.pi**2 / 6)):
        model = fit(formula, data, family=f"binomial(link='{link}')")
        fixed = np.var(model.problem.X.matrix @ model.params.to_numpy(), ddof=1)
        random = model.varcorr()["vcov"].iloc[0]
        total = fixed + random + latent
        assert model.r2().to_dict()["marginal"] == pytest.approx(fixed / total)
        assert model.r2().to_dict()["conditional"] == pytest.approx((fixed + random) / total)
        assert model.icc().to_dict()["herd"] == pytest.approx(random / (random + latent))
    # lme4's estimates, by hand: 0.08536, 0.18721
    np.testing.assert_allclose(fit(formula, data, family="binomial").r2(), [0.08536, 0.18721], rtol=1e-3)


def test_null_count_models_as_in_nakagawa() -> None:
    # by hand from glmer's and glmmTMB's estimates: ln(1 + 1/lambda), ln(1 + 1/lambda + 1/theta)
    data = load_dataset("Salamanders")
    for family, share in (("poisson", 0.81877), ("nbinom2", 0.62759)):
        icc = fit("count ~ 1 + (1 | site)", data, family=family).icc()
        assert icc.to_dict() == {"site": pytest.approx(share, abs=3e-4)}
    np.testing.assert_allclose(fit(SALAMANDERS, data, family="nbinom1").r2(), [0.365197, 0.445559], rtol=1e-4)


def test_typical_mean_with_slopes_and_offset() -> None:
    data = load_dataset("sleepstudy")
    data["count"], data["off"] = np.round(np.maximum(data["Reaction"] - 180, 0) / 2), 0.1 * (data["Days"] % 3)
    model = fit("count ~ Days + (Days | Subject)", data, family="nbinom2", offset="off")
    z = np.column_stack([np.ones(180), data["Days"]])
    a, b, c = model.varcorr()["vcov"].iloc[[0, 2, 1]]
    half = 0.5 * np.einsum("ni,ij,nj->n", z, np.array([[a, b], [b, c]]), z)
    mean = np.mean(np.exp(z @ model.params.to_numpy() + data["off"].to_numpy() + half))
    assert variances(model)[2] == pytest.approx(np.log(1 + 1 / mean + 1 / model.dispersion["phi"]))


def test_continuous_families() -> None:
    data = load_dataset("sleepstudy")
    formula = "Reaction ~ Days + (1 | Subject)"
    gamma = fit(formula, data, family="gamma")
    assert variances(gamma)[2] == pytest.approx(np.log1p(gamma.dispersion["sigma"] ** 2))
    lognormal = fit(formula, data, family="lognormal")
    gaussian = fit(formula.replace("Reaction", "log(Reaction)"), data, method="ml")
    np.testing.assert_allclose(lognormal.r2(), gaussian.r2(), rtol=1e-4)
    student = fit(formula, data, family="student(df=5)")
    assert variances(student)[2] == pytest.approx(student.dispersion["sigma"] ** 2 * 5 / 3)
    spread = fit(formula, data, dispformula="~ Days")
    log_sd = spread.estimate.aux[0][0] + spread.estimate.aux[0][1] * data["Days"]
    assert variances(spread)[2] == pytest.approx(np.mean(np.exp(2 * log_sd)))


def test_delta_method() -> None:
    data = load_dataset("Salamanders")
    root = fit("count ~ 1 + (1 | site)", data.assign(count=data["count"] + 1), family="poisson(link='sqrt')")
    assert variances(root)[2] == pytest.approx(0.25)
    sleep = load_dataset("sleepstudy")
    sleep["share"] = sleep["Reaction"] / 600
    beta = fit("share ~ Days + (1 | Subject)", sleep, family="beta")
    mu = 1 / (1 + np.exp(-np.mean(beta.problem.X.matrix @ beta.params.to_numpy())))
    assert variances(beta)[2] == pytest.approx(1 / ((1 + beta.dispersion["phi"]) * mu * (1 - mu)))


@pytest.mark.parametrize(
    ("formula", "dataset", "arguments", "said"),
    [
        (SALAMANDERS, "Salamanders", {"family": "poisson", "ziformula": "~ 1"}, "zero-inflated"),
        ("r2 ~ Gender + (1 | item)", "VerbAgg", {"family": "binomial(link='cauchit')"}, "'cauchit'"),
        ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"family": "student(df=1.5)"}, "finite variance"),
    ],
)
def test_refusals(formula: str, dataset: str, arguments: dict[str, Any], said: str) -> None:
    model = fit(formula, load_dataset(dataset), **arguments)
    with pytest.raises(PlanError, match=said):
        model.r2()
    with pytest.raises(PlanError, match=said):
        model.icc()
