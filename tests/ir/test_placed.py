"""Structures of time and space: Q against its definition, derivatives, further levels, units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import gamma, kv

from lmmformula.errors import DataError
from lmmformula.ir.across import Kernel, Markov, Placed, Proportional
from lmmformula.ir.across.markov import common_step
from lmmformula.ir.across.matern import matern

Array = NDArray[np.float64]
RNG = np.random.default_rng(8)
GROUPS = np.array([0, 0, 1, 1, 1, 2, 0, 2, 3, 1, 0])
M = len(GROUPS)
PLANE, LINE, STEPS = RNG.normal(size=(M, 2)), RNG.normal(size=M), RNG.permutation(M) * 0.25
A = np.cov(RNG.normal(size=(14, 40)))
CASES: dict[str, Placed] = {
    "ar1": Markov(STEPS, "ar1", GROUPS),
    "ou": Markov(LINE, "ou", GROUPS),
    "exp": Kernel(PLANE, "exp", GROUPS),
    "gau": Kernel(PLANE, "gau", GROUPS),
    "mat": Kernel(PLANE, "mat", GROUPS),
    "mat, nu = 1.5": Kernel(PLANE, "mat", GROUPS, 1.5),
    "exp of one group": Kernel(PLANE),
    "propto": Proportional(A, RNG.permutation(14)[:M], GROUPS),
}


def phi_of(across: Placed) -> Array:
    return across.start() + 0.3 * np.arange(1, len(across.roles) + 1)


def defined(across: Placed, phi: Array) -> Array:
    """The correlations as the literature writes them, of the natural parameters."""
    values = across.natural(phi)
    d = np.sqrt(((across.points[:, None] - across.points[None]) ** 2).sum(axis=2))
    name = across.name
    if isinstance(across, Proportional):
        r = across.known[np.ix_(across.places, across.places)]
    elif name == "ar1":
        r = values[0] ** np.round(d / 0.25)
    elif name == "mat":
        nu, t = values[1] if len(values) > 1 else 1.5, np.where(d > 0.0, d / values[0], 1.0)
        r = np.where(d > 0.0, 2.0 ** (1.0 - nu) / gamma(nu) * t**nu * kv(nu, t), 1.0)
    else:
        r = np.exp(-((d / values[0]) ** (2.0 if name == "gau" else 1.0)))
    return np.where(across.groups[:, None] == across.groups, r, 0.0)


@pytest.mark.parametrize("name", list(CASES))
def test_precision_is_the_inverse_of_the_definition(name: str) -> None:
    across, phi = CASES[name], phi_of(CASES[name])
    q, r = across.precision(phi), defined(across, phi)
    np.testing.assert_allclose(q.matrix.toarray() @ r, np.eye(M), atol=1e-6)
    assert q.logdet == pytest.approx(-np.linalg.slogdet(r)[1], abs=1e-6)
    np.testing.assert_allclose(q.variances, np.diagonal(r), atol=1e-7)


@pytest.mark.parametrize("name", list(CASES))
def test_derivatives_against_differences(name: str) -> None:
    across, phi, step = CASES[name], phi_of(CASES[name]), 1e-5
    found = across.derivatives(phi)
    assert len(found) == len(across.roles) == len(across.names) == len(across.natural(phi))
    for move, (dq, slope) in zip(step * np.eye(len(phi)), found, strict=True):
        high, low = across.precision(phi + move), across.precision(phi - move)
        wanted = (high.matrix - low.matrix).toarray() / (2.0 * step)
        np.testing.assert_allclose(dq.toarray(), wanted, atol=1e-6 * np.abs(wanted).max())
        assert slope == pytest.approx((high.logdet - low.logdet) / (2.0 * step), rel=1e-6)


@pytest.mark.parametrize("name", list(CASES))
def test_further_levels_leave_what_there_was_as_it_was(name: str) -> None:
    """The covariance of the first levels, and so what phi means, is that of the structure without the others."""
    across, phi = CASES[name], phi_of(CASES[name])
    new = across.points[:3] + {"ar1": 9.25, "propto": 0.0}.get(name, 7.1)
    groups = np.array([0, 5, 5]) if name != "exp of one group" else np.zeros(3, dtype=int)
    if name == "propto":
        new, groups = np.array([[0.0], [1.0], [2.0]]), np.array([8, 8, 9])
    larger = across.beside(new, groups)
    assert larger.m == M + 3
    whole = np.linalg.inv(larger.precision(phi).matrix.toarray())
    np.testing.assert_allclose(whole, defined(larger, phi), atol=1e-6)
    np.testing.assert_allclose(whole[:M, :M], defined(across, phi), atol=1e-6)


@pytest.mark.parametrize("name", ["ar1", "ou", "exp", "gau", "mat"])
@pytest.mark.parametrize("unit", [1e-9, 12.0, 1e7])
def test_units_of_positions_change_the_range_alone(name: str, unit: float) -> None:
    across = CASES[name]
    phi = phi_of(across)
    if isinstance(across, Markov):
        other: Placed = Markov(unit * across.positions - 3.0 * unit, name, GROUPS)
    else:
        other = Kernel(unit * across.points + unit, name, GROUPS)
    np.testing.assert_allclose(
        other.precision(phi).matrix.toarray(), across.precision(phi).matrix.toarray(), rtol=1e-5, atol=1e-9
    )
    wanted = across.natural(phi) * np.where(np.array(across.names) == "range", unit, 1.0)
    np.testing.assert_allclose(other.natural(phi), wanted, rtol=1e-9)


def test_a_process_on_a_line_is_an_exponential_field() -> None:
    """Two forms of one model: tridiagonal blocks, or dense ones."""
    line, field = Markov(LINE, "ou", GROUPS), Kernel(LINE[:, None], "exp", GROUPS)
    phi = np.array([-0.8])
    a, b = line.precision(phi), field.precision(phi)
    np.testing.assert_allclose(a.matrix.toarray(), b.matrix.toarray(), atol=1e-8)
    assert a.logdet == pytest.approx(b.logdet, abs=1e-8)
    assert line.natural(phi) == pytest.approx(field.natural(phi))
    half = Kernel(LINE[:, None], "mat", GROUPS, 0.5)
    np.testing.assert_allclose(half.precision(phi).matrix.toarray(), b.matrix.toarray(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("phi", [-1e4, -400.0, -40.0, -5.0, 5.0, 40.0, 400.0, 1e4])
@pytest.mark.parametrize("name", ["ar1", "ou", "exp", "gau", "mat"])
def test_any_phi_has_finite_numbers(name: str, phi: float) -> None:
    """Also ranges of nothing and without end, and correlations of -1 and 1."""
    own = CASES[name]
    assert isinstance(own, Markov | Kernel)
    at = np.full(len(own.roles), phi)
    q = own.precision(at)
    assert np.isfinite(q.matrix.data).all()
    assert np.isfinite(q.logdet)
    assert np.isfinite(q.solve(np.ones((own.m, 1)))).all()
    assert np.isfinite(own.bend(at)).all()
    assert np.isfinite(own.natural(at)).all()
    assert all(np.isfinite(d.data).all() and np.isfinite(s) for d, s in own.derivatives(at))


@pytest.mark.parametrize("nu", [0.2, 0.5, 1.0, 2.5, 20.0])
def test_interpolated_correlations_are_those_of_bessel_functions(nu: float) -> None:
    t = np.exp(np.random.default_rng(1).uniform(-7.0, 3.5, 20_000))
    one_by_one = [
        np.concatenate(c) for c in zip(*(matern(t[i : i + 5], nu) for i in range(0, 200, 5)), strict=True)
    ]
    for many, few in zip(matern(t, nu), one_by_one, strict=True):
        np.testing.assert_allclose(many[:200], few, atol=2e-11)


def test_the_smoothness_moves_the_correlation_as_its_integral_says() -> None:
    """K_nu(t) = int exp(-t cosh s) cosh(nu s) ds, whose derivative in nu is int exp(-t cosh s) s sinh(nu s) ds."""
    from scipy.special import digamma

    t, nu, s = np.array([0.05, 0.4, 1.0, 3.0]), 1.3, np.linspace(0.0, 9.0, 200_001)
    weight = np.exp(-t[:, None] * np.cosh(s)) * (s[1] - s[0])
    weight[:, 0] *= 0.5
    k, dk = (weight * np.cosh(nu * s)).sum(axis=1), (weight * s * np.sinh(nu * s)).sum(axis=1)
    r = 2.0 ** (1.0 - nu) / gamma(nu) * t**nu * k
    wanted = r * (np.log(t) - np.log(2.0) - digamma(nu) + dk / k)
    value, _, slope = matern(t, nu)
    np.testing.assert_allclose(value, r, rtol=1e-10)
    np.testing.assert_allclose(slope, wanted, rtol=1e-8)


@pytest.mark.parametrize(
    ("gaps", "step"),
    [
        ([2.0, 4.0, 7.0], 1.0),
        ([12.0, 24.0], 12.0),
        ([0.3, 0.75], 0.15),
        ([1 / 12, 5 / 12], 1 / 12),
        ([1.0, np.pi], None),
    ],
)
def test_the_common_step_of_gaps(gaps: list[float], step: float | None) -> None:
    found = common_step(np.array(gaps))
    assert found == (None if step is None else pytest.approx(step))


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"ou\(\) needs a different position .* 1 of 3"):
        Markov(np.array([0.0, 1.0, 1.0]), "ou")
    with pytest.raises(DataError, match="one position in each of its 3 groups"):
        Markov(np.arange(3.0), "ar1", np.arange(3))
    with pytest.raises(DataError, match="one position in each of its 2 groups"):
        Kernel(np.zeros((2, 2)), "exp", np.arange(2))
    with pytest.raises(DataError, match=r"Write ou\(\) for uneven gaps"):
        Markov(np.array([0.0, 1.0, 1.0 + np.sqrt(2.0)]), "ar1")
    with pytest.raises(DataError, match="of 2 levels are not"):
        Kernel(np.array([[0.0], [np.nan]]), "exp")
    with pytest.raises(DataError, match="steps of 2, and 1 of 1 new ones lie between"):
        Markov(np.array([0.0, 2.0, 6.0]), "ar1").beside(np.array([[3.0]]), np.zeros(1, dtype=int))
