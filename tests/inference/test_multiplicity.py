"""Distributions behind adjusted p-values against integrals and closed forms; adjustments against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, stdtr
from scipy.stats import studentized_range

from lmmformula import DataError
from lmmformula.inference.multiplicity import (
    ADJUSTMENTS,
    Family,
    adjusted,
    critical_value,
    method_named,
    p_values,
    suited,
)
from lmmformula.numerics.multivariate_t import largest
from lmmformula.numerics.studentized_range import range_quantile, range_tail


@pytest.mark.parametrize("k", [2, 3, 20, 100])
@pytest.mark.parametrize("df", [1.0, 2.5, 10.0, 1000.0, np.inf])
def test_studentized_range(k: int, df: float) -> None:
    for q in (0.1, 1.0, 3.5, 8.0):
        assert range_tail(q, k, df) == pytest.approx(studentized_range.sf(q, k, df), abs=2e-10)


@pytest.mark.parametrize("t", [0.3, 3.0, 40.0])
def test_the_range_of_two_means_is_a_t_test(t: float) -> None:
    """Relative accuracy in the tail: 40 on 45 df has p = 1e-36."""
    assert range_tail(np.sqrt(2.0) * t, 2, 45.0) == pytest.approx(2.0 * stdtr(45.0, -t), rel=1e-9)


@pytest.mark.parametrize(
    ("level", "k", "df"), [(0.95, 3, 10.0), (0.99, 20, 5.0), (0.9, 4, np.inf), (0.95, 2, 1.0)]
)
def test_quantiles_of_the_range(level: float, k: int, df: float) -> None:
    q = range_quantile(level, k, df)
    assert range_tail(q, k, df) == pytest.approx(1.0 - level, rel=1e-8)
    assert q == pytest.approx(studentized_range.ppf(level, k, df), rel=1e-6)


def equicorrelated(m: int) -> np.ndarray:
    return np.full((m, m), 0.5) + 0.5 * np.eye(m)


@pytest.mark.parametrize("m", [2, 3, 4, 10])
@pytest.mark.parametrize("one_sided", [False, True])
def test_dunnett_by_one_integral(m: int, one_sided: bool) -> None:
    """Contrasts with a control have correlation 1/2: given the control they are independent."""

    def inside(c: float) -> float:
        root = np.sqrt(2.0) * c

        def given(z: float) -> float:
            low = 0.0 if one_sided else ndtr(z - root)
            return np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) * (ndtr(z + root) - low) ** m

        return quad(given, -9.0, 9.0, epsabs=1e-12)[0]

    found = largest(equicorrelated(m), one_sided=one_sided)
    for c in (1.0, 2.0, 3.0):
        p, error = found.tail(c, np.inf)
        assert p == pytest.approx(1.0 - inside(c), abs=max(5.0 * error, 1e-6))
        assert error < 5e-4


def test_all_pairs_by_the_range() -> None:
    """Differences of k means have a singular correlation, and the range as the distribution of their largest."""
    for k in (3, 4):
        rows = np.array([[(i == a) - 1.0 * (i == b) for i in range(k)] for a in range(k) for b in range(a)])
        found = largest(rows @ rows.T / 2.0)
        assert found.rank == k - 1
        p, error = found.tail(2.5, 10.0)
        assert p == pytest.approx(range_tail(2.5 * np.sqrt(2.0), k, 10.0), abs=max(5.0 * error, 1e-6))
        assert found.tail(found.quantile(0.95, 7.5), 7.5)[0] == pytest.approx(0.05, abs=1e-8)


def test_negative_bounds_of_the_largest() -> None:
    """One-sided with independent statistics: P(max > c) = 1 - Phi(c)^m, below zero too."""
    found = largest(np.eye(3), one_sided=True)
    for c in (-1.0, -0.2, 0.7):
        p, error = found.tail(c, np.inf)
        assert p == pytest.approx(1.0 - ndtr(c) ** 3, abs=5.0 * error)


def test_one_statistic_is_a_t_test() -> None:
    for side in (0, 1, -1):
        family = Family(0, 1, np.ones((1, 1)))
        t, df = np.array([-1.7]), np.array([11.0])
        np.testing.assert_allclose(adjusted("mvt", t, df, family, side), p_values(t, df, side), rtol=1e-10)


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert largest(equicorrelated(5), seed=3).tail(2.0, 9.0) == largest(equicorrelated(5), seed=3).tail(
        2.0, 9.0
    )


P = np.array([0.01, 0.04, 0.03, 0.005, 0.8])


@pytest.mark.parametrize(
    ("method", "expected"),
    [  # R's p.adjust
        ("bonferroni", [0.05, 0.2, 0.15, 0.025, 1.0]),
        ("holm", [0.04, 0.09, 0.09, 0.025, 0.8]),
        ("hochberg", [0.04, 0.08, 0.08, 0.025, 0.8]),
        ("fdr", [0.025, 0.05, 0.05, 0.025, 0.8]),
        ("by", [0.025 * 137 / 60, 0.05 * 137 / 60, 0.05 * 137 / 60, 0.025 * 137 / 60, 1.0]),
        ("sidak", list(1.0 - (1.0 - P) ** 5)),
        ("none", list(P)),
    ],
)
def test_adjustments_of_p_values(method: str, expected: list[float]) -> None:
    from scipy.special import ndtri

    family = Family(0, 5, np.eye(5))
    found = adjusted(method, -ndtri(P / 2.0), np.full(5, np.inf), family)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("method", [m for m in ADJUSTMENTS if m not in ("holm", "hochberg", "fdr", "by")])
def test_intervals_leave_zero_out_where_tests_reject(method: str) -> None:
    """A statistic at the critical value has the p-value 1 - level."""
    family, df = Family(4, 3, equicorrelated(6)), np.full(6, 17.3)
    for side in (0, 1) if method in ("none", "sidak", "bonferroni", "mvt") else (0,):
        c = critical_value(method, 0.9, df, family, 6, side)
        p = adjusted(method, c, df, family, side)
        np.testing.assert_allclose(p, 0.1, rtol=1e-6)


def test_adjustments_that_are_not_defined_give_way() -> None:
    assert suited("tukey", 6, 0, 0) == "sidak"  # no pairwise comparisons
    assert suited("tukey", 6, 4, 1) == "sidak"
    assert suited("dunnettx", 3, 0, -1) == "sidak"
    assert suited("tukey", 1, 2, 0) == "none"
    assert suited("mvt", 6, 4, 1) == "mvt"
    assert method_named("Dunnett") == "mvt"
    with pytest.raises(DataError, match="use one of"):
        method_named("nothing")


def test_missing_statistics_stay_out_of_the_family() -> None:
    t, df = np.array([2.0, np.nan, 1.0]), np.array([9.0, np.nan, 9.0])
    p = adjusted("holm", t, df, Family(0, 2, np.eye(2)))
    assert np.isnan(p[1])
    np.testing.assert_allclose(p[0], 2.0 * p_values(t, df)[0])
