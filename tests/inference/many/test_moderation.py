"""Moderated variances against limma's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import polygamma

from lmmformula import DataError, fit_many
from lmmformula.inference.many.adjusting import adjusted
from lmmformula.inference.many.moderation import moderated, trigamma_inverse

REFERENCE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "reference" / "many.json").read_text(encoding="utf-8")
)


def test_empirical_bayes_of_linear_models() -> None:
    ours = REFERENCE["limma"]
    design = pd.DataFrame({"a": ours["a"], "z": ours["z"]})
    found = fit_many("~ a + z", design, np.array(ours["y"]), moderated=True)
    assert found.prior is not None
    assert found.prior.df == pytest.approx(ours["df_prior"], rel=1e-8)
    assert found.prior.variance == pytest.approx(ours["s2_prior"], rel=1e-8)
    np.testing.assert_allclose(found.prior.variances, ours["s2_post"], rtol=1e-8)
    np.testing.assert_allclose(found.wide("estimate"), ours["coefficients"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.wide("statistic"), ours["t"], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.wide("p_value"), ours["p"], rtol=1e-7)
    np.testing.assert_allclose(found.wide("df")["a"], ours["df_total"], rtol=1e-8)
    np.testing.assert_allclose(found.wide("p_adjusted")["a"], REFERENCE["adjusted"], rtol=1e-7)
    assert "moderated towards" in repr(found)


def test_unequal_degrees_of_freedom() -> None:
    ours = REFERENCE["unequal"]
    s = np.array([0.5, 2, 1, 0.8, 4, 0.2, 1.5])
    found = moderated(s, np.array([3.0, 6, 9, 5, 4, 8, 7]))
    assert found.df == pytest.approx(ours["df_prior"], rel=1e-8)
    assert found.variance == pytest.approx(ours["var_prior"], rel=1e-8)
    np.testing.assert_allclose(found.variances, ours["var_post"], rtol=1e-8)


def test_variances_that_differ_by_chance_alone() -> None:
    found = moderated(np.array([1.0, 1.1] * 10), np.full(20, 5.0))
    assert REFERENCE["equal"]["df_prior"] == "Inf"
    assert np.isinf(found.df)
    assert found.variance == pytest.approx(REFERENCE["equal"]["var_prior"], rel=1e-10)
    np.testing.assert_allclose(found.variances, found.variance)


def test_the_inverse_of_trigamma() -> None:
    for y in (1e-3, 0.1, 1.0, 7.0, 1e4):
        assert trigamma_inverse(float(polygamma(1, y))) == pytest.approx(y, rel=1e-8)


def test_one_response_has_nobody_to_learn_from() -> None:
    with pytest.raises(DataError, match="borrow strength"):
        moderated(np.array([1.0, np.nan]), np.array([3.0, 3.0]))


def test_mixed_models_have_the_residual_degrees_of_freedom_of_their_variances() -> None:
    """Of a balanced one-way layout sigma^2 has n - m degrees of freedom, exactly."""
    rng = np.random.default_rng(6)
    groups, size, count = 12, 5, 30
    g = np.repeat(np.arange(groups), size)
    y = 2.0 * rng.normal(size=(groups, count))[g] + rng.normal(size=(groups * size, count))
    found = fit_many("~ 1 + (1 | g)", {"g": g}, y, moderated=True)
    np.testing.assert_allclose(found.estimates.residual_df, groups * (size - 1), rtol=1e-6)
    assert found.prior is not None
    ratio = found.frame["sigma_moderated"] / found.frame["sigma"]
    plain = fit_many("~ 1 + (1 | g)", {"g": g}, y)
    np.testing.assert_allclose(found.frame["std_error"], plain.frame["std_error"] * ratio)


def test_adjusting_leaves_out_what_is_missing() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(adjusted(p), [0.03, np.nan, 0.04, 0.04])
