"""R2 and ICC against their definitions, written out row by row."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lmmformula import fit, load_dataset


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
