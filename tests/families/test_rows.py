"""Derivatives of every family and link against differences, and the expected weight against its definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from contract import EVERY, IDS, aux_of, grid, informations, sample_space

from lmmformula.errors import PlanError
from lmmformula.families import Family, Rows, resolve

ASKED = [(family, information) for family in EVERY for information in informations(family)]


def slope(function: Callable[[float], np.ndarray], h: float = 1e-3) -> np.ndarray:
    """Derivative at 0 by the seven-point rule, error O(h^6)."""
    near, middle, far = (function(k * h) - function(-k * h) for k in (1, 2, 3))
    return (45 * near - 9 * middle + far) / (60 * h)


def shifted(aux: tuple[float, ...], j: int, by: float) -> tuple[float, ...]:
    return tuple(a + by * (i == j) for i, a in enumerate(aux))


def close(ours: Any, theirs: Any) -> None:
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9 * max(scale, 1.0))


@pytest.mark.parametrize(("family", "information"), ASKED, ids=lambda v: str(v))
def test_derivatives_in_eta(family: Family, information: Any) -> None:
    y, eta, w = grid(family)
    aux = aux_of(family)

    def at(e: np.ndarray) -> Rows:
        return family.rows(y, e, aux, w, information=information)

    rows = at(eta)
    assert rows.weight_eta is not None
    close(rows.score, slope(lambda h: at(eta + h).loglik))
    close(rows.weight_eta, slope(lambda h: at(eta + h).weight))  # type: ignore[arg-type]
    if information == "observed":
        close(rows.weight, -slope(lambda h: at(eta + h).score))


@pytest.mark.parametrize(
    ("family", "information"), [(f, i) for f, i in ASKED if f.auxiliaries], ids=lambda v: str(v)
)
def test_derivatives_in_auxiliaries(family: Family, information: Any) -> None:
    y, eta, w = grid(family)
    aux = aux_of(family)
    rows = family.rows(y, eta, aux, w, information=information)
    assert len(rows.d_aux) == len(rows.score_aux) == len(rows.weight_aux) == len(aux)
    for j in range(len(aux)):

        def at(h: float, j: int = j) -> Rows:
            return family.rows(y, eta, shifted(aux, j, h), w, information=information)

        close(rows.d_aux[j], slope(lambda h: at(h).loglik))
        close(rows.score_aux[j], slope(lambda h: at(h).score))
        close(rows.weight_aux[j], slope(lambda h: at(h).weight))


@pytest.mark.parametrize("family", EVERY, ids=IDS)
def test_cheap_rows_and_arrays_of_auxiliaries_agree(family: Family) -> None:
    y, eta, w = grid(family)
    aux = aux_of(family)
    for information in informations(family):
        whole = family.rows(y, eta, aux, w, information=information)
        cheap = family.rows(y, eta, aux, w, information=information, derivatives=False)
        by_row = family.rows(
            y,
            eta,
            tuple(np.full(y.size, a) for a in aux),
            w,
            information=information,
            constant=family.constant(y, w),
        )
        for other in (cheap, by_row):
            for name in ("loglik", "score", "weight"):
                assert getattr(other, name).shape == y.shape
                np.testing.assert_allclose(getattr(other, name), getattr(whole, name), rtol=1e-13, atol=1e-13)
        assert cheap.weight_eta is None
        assert cheap.d_aux == ()
        assert all(v.shape == y.shape for v in (*whole.d_aux, *whole.score_aux, *whole.weight_aux))


@pytest.mark.parametrize("family", EVERY, ids=IDS)
def test_expected_weight_is_the_expectation(family: Family) -> None:
    aux = aux_of(family)
    y, measure = sample_space(family)
    w = 4.0 if family.weights_are == "trials" else 1.0
    weights = np.full(y.size, w)
    for e in np.unique(grid(family)[1]):
        rows = family.rows(y, np.full(y.size, e), aux, weights)
        p = np.exp(rows.loglik) * measure
        p, score, weight = (np.where(p > 1e-300, v, 0.0) for v in (p, rows.score, rows.weight))
        assert p.sum() == pytest.approx(1, abs=1e-8)
        assert (p * score).sum() == pytest.approx(0, abs=1e-6 * (1 + (p * abs(score)).sum()))
        assert (p * score**2).sum() == pytest.approx((p * weight).sum(), rel=1e-6)
        if not family.informs:
            continue
        expected = family.rows(y[-1:], np.array([e]), aux, weights[:1], information="expected").weight[0]
        assert expected == pytest.approx((p * weight).sum(), rel=1e-6)
        assert expected > 0


@pytest.mark.parametrize("family", EVERY, ids=IDS)
def test_mean_and_variance_are_moments(family: Family) -> None:
    aux = aux_of(family)
    if family.name == "student":
        aux = (0.2, 2.0)
    y, measure = sample_space(family)
    weights = np.full(y.size, 4.0 if family.weights_are == "trials" else 1.0)
    for e in np.unique(grid(family)[1]):
        p = np.exp(family.rows(y, np.full(y.size, e), aux, weights).loglik) * measure
        p = np.where(p > 1e-300, p, 0.0)
        mean = (p * y).sum()
        assert family.mean(np.array([e]), aux)[0] == pytest.approx(mean, rel=1e-6)
        location = family.location(np.array([e]))
        variance = family.dispersion(aux) * family.unit_variance(location, aux, weights[:1])[0]
        expected = (p * (y - mean) ** 2).sum() * weights[0]
        assert variance == pytest.approx(expected, rel=1e-4 if "student" in family.name else 1e-6)


@pytest.mark.parametrize("family", [f for f in EVERY if f.is_canonical], ids=str)
def test_informations_agree_for_canonical_links(family: Family) -> None:
    y, eta, w = grid(family)
    aux = aux_of(family)
    observed = family.rows(y, eta, aux, w)
    expected = family.rows(y, eta, aux, w, information="expected")
    np.testing.assert_allclose(observed.weight, expected.weight, rtol=1e-9)
    np.testing.assert_allclose(observed.weight_eta, expected.weight_eta, rtol=1e-9, atol=1e-12)  # type: ignore[arg-type]


def test_closed_form_of_binomial_logit_equals_the_composition() -> None:
    family = resolve("binomial")
    y, eta, w = grid(family)
    direct = family.rows(y, eta, (), w)
    composed = family._composed(y, eta, (), w, family.constant(y, w), False, True)
    for name in ("loglik", "score", "weight", "weight_eta"):
        np.testing.assert_allclose(getattr(direct, name), getattr(composed, name), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "text", ["poisson(link='identity')", "gamma(link='inverse')", "binomial(link='log')"]
)
def test_outside_the_domain(text: str) -> None:
    family = resolve(text)
    sign = -1.0 if family.distribution.mean_range == "unit" else 1.0
    eta, y = sign * np.array([0.5, -0.5]), np.array([1.0, 1.0])
    rows = family.rows(y, eta, (0.1,) * len(family.auxiliaries))
    assert np.isfinite(rows.loglik[0])
    assert rows.loglik[1] == -np.inf
    assert np.isnan(rows.score[1])
    assert family.valid(eta).tolist() == [True, False]


def test_arguments_are_checked() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match=r"1 auxiliary predictors .phi., but 0"):
        resolve("nbinom2").rows(one, one)
    with pytest.raises(ValueError, match="information must be"):
        resolve("poisson").rows(one, one, information="fisher")  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [f for f in EVERY if not f.informs], ids=str)
def test_a_family_without_expected_information_says_so(family: Family) -> None:
    y, eta, w = grid(family)
    with pytest.raises(PlanError, match=f"family {family.name!r} gives no expected information"):
        family.rows(y, eta, aux_of(family), w, information="expected")
