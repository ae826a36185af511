"""Generalised models against lme4's glmer and glmmTMB: every number of every reference file, and likelihood-ratio tests."""

from __future__ import annotations

from typing import Any

import pytest
from compare import (
    GLMM_CHECKS,
    apart,
    check_lrt,
    fitted_model,
    lrt_arguments,
    lrt_pairs,
    model_ids,
    reference,
    report,
)

import lmmformula
from lmmformula.datasets import load_dataset

MODELS = [*model_ids("glmm"), *model_ids("tmb")]


@pytest.mark.parametrize("quantity", GLMM_CHECKS)
@pytest.mark.parametrize("model", MODELS)
def test_agrees_with_r(model: str, quantity: str) -> None:
    ref = reference(model)
    if quantity == "predict" and all("error" in p for p in ref["predict"]["predictions"]):
        pytest.skip(f"R itself failed to predict: {ref['predict']['predictions'][0]['error']}")
    differences = report(GLMM_CHECKS[quantity](ref, fitted_model(model)))
    assert not differences, f"{ref['r_call']}\n{differences}"


def moved(value: Any) -> Any:
    """A reference with every real number moved by one part in a hundred and a bit."""
    if isinstance(value, dict):
        return {k: v if k in ("newdata", "level") else moved(v) for k, v in value.items()}
    if isinstance(value, list):
        return [moved(v) for v in value]
    if isinstance(value, bool):
        return not value
    return 1.01 * value + 1e-3 if isinstance(value, float) else value


@pytest.mark.parametrize("quantity", [q for q in GLMM_CHECKS if q != "sigma"])
def test_a_moved_number_is_noticed(quantity: str) -> None:
    assert report(
        GLMM_CHECKS[quantity](moved(reference("grouseticks_laplace")), fitted_model("grouseticks_laplace"))
    )


@pytest.mark.parametrize("quantity", ["fixef", "standard_errors", "sigma"])
def test_a_moved_number_of_the_other_predictors_is_noticed(quantity: str) -> None:
    name = "tmb_owls_zinb1"
    main = {k: v for k, v in reference(name).items() if k in ("fixef", "vcov")}
    assert report(GLMM_CHECKS[quantity]({**moved(reference(name)), **main}, fitted_model(name)))


@pytest.mark.parametrize("model", MODELS)
def test_converged(model: str) -> None:
    fit = fitted_model(model)
    assert fit.converged
    assert not report(apart("gain left", fit.estimate.convergence.decrement, 0.0, 1e-6))


@pytest.mark.parametrize("pair", [*lrt_pairs("glmer"), *lrt_pairs("glmmTMB")], ids=lambda pair: pair["id"])
def test_likelihood_ratio(pair: dict[str, Any]) -> None:
    data = load_dataset(pair["dataset"])
    small, large = (
        lmmformula.fit(pair[f"formula_{size}"], data, **lrt_arguments(pair, size))
        for size in ("small", "large")
    )
    differences = report(check_lrt(pair, lmmformula.anova(large, small)))
    assert not differences, differences


def test_the_two_laplace_approximations_of_a_probit_model_are_two() -> None:
    """lme4 puts the expected, glmmTMB the observed information into the determinant; each has its reference file."""
    expected, observed = (fitted_model(m).llf for m in ("bacteria_probit_laplace", "tmb_bacteria_probit"))
    apart_in_r = reference("bacteria_probit_laplace")["logLik"] - reference("tmb_bacteria_probit")["logLik"]
    assert expected - observed == pytest.approx(apart_in_r, abs=4e-5)
    assert abs(apart_in_r) > 0.1
