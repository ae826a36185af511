"""Population means of a transformed response whose residual variance has a formula."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lmmformula import DataError, Fit, fit, load_dataset
from lmmformula.reporting.marginal_means import MarginalMeans
from lmmformula.typing import Array, Record

AT = {"Days": [0.0, 5.0]}


@cache
def model(sigma: str = "~ half + w") -> Fit:
    data = load_dataset("sleepstudy")
    w = np.random.default_rng(1).normal(size=len(data))
    data["half"], data["w"] = np.where(data["Days"] % 2 == 0, "u", "v"), w
    return fit("log(Reaction) ~ Days + (Days | Subject)", data, dispformula=sigma, method="ml")


def by_hand(m: Fit, half: int, w: float) -> list[float]:
    """exp(eta + (s^2 + sigma^2) / 2)."""
    cov = m.inference.spread(0)[0]
    alpha = m.estimate.aux[0]
    sigma = np.exp(alpha @ [1.0, float(half), w])
    out = []
    for days in AT["Days"]:
        x = np.array([1.0, days])
        out.append(float(np.exp(x @ m.estimate.beta + 0.5 * (x @ cov @ x + sigma**2))))
    return out


@pytest.mark.parametrize(("half", "w"), [("u", 0.0), ("v", 2.0)])
def test_residual_variance_is_that_of_the_row(half: str, w: float) -> None:
    means = model().emmeans("Days", at={**AT, "half": half, "w": w}, average="population").table
    np.testing.assert_allclose(means["response"], by_hand(model(), half == "v", w), rtol=1e-10)


def test_rows_are_averaged_over_what_only_sigma_has() -> None:
    own = float(model().problem.aux[0].matrix[:, 2].mean())
    means = model().emmeans("Days", at=AT, average="population").table
    both = np.mean(np.log([by_hand(model(), 0, own), by_hand(model(), 1, own)]), axis=0)
    np.testing.assert_allclose(np.log(means["response"]), both, rtol=1e-6)


def test_standard_errors_know_the_formula_for_sigma() -> None:
    m, step = model(), 1e-5
    at = {**AT, "half": "v", "w": 2.0}
    where = m.optimum.model.layout.aux[0]

    def moved(j: int, by: float) -> Array:
        alpha = m.estimate.aux[0].copy()
        alpha[j] += by
        other = replace(m, estimate=replace(m.estimate, aux=(alpha,)))
        return other.emmeans("Days", at=at, average="population", regrid=True).table["response"].to_numpy()

    means = m.emmeans("Days", at=at, average="population", regrid=True)
    assert isinstance(means, MarginalMeans)
    rows = means.own.estimates.rows[:, where]
    slopes = np.stack([(moved(j, step) - moved(j, -step)) / (2.0 * step) for j in range(3)], axis=1)
    np.testing.assert_allclose(rows, slopes, rtol=1e-5)


def test_rows_say_what_the_residual_variance_needs() -> None:
    rows = {"Days": AT["Days"], "half": ["v", "v"], "w": [2.0, 2.0]}
    np.testing.assert_allclose(model().predict_population(rows), by_hand(model(), 1, 2.0), rtol=1e-10)
    with pytest.raises(DataError, match="whose formula names half, w"):
        model().predict_population({"Days": AT["Days"]})


def test_bias_is_that_of_one_variance_where_there_is_one() -> None:
    plain = fit("log(Reaction) ~ Days + (Days | Subject)", load_dataset("sleepstudy"), method="ml")
    cases: tuple[Record, ...] = ({"average": "population"}, {"kind": "response", "bias_adjust": True})
    for arguments in cases:
        one = plain.emmeans("Days", at=AT, **arguments).table["response"]
        other = model("~ 1").emmeans("Days", at=AT, **arguments).table["response"]
        np.testing.assert_allclose(other, one, rtol=1e-5)
