"""Every covariance kind: maps between theta, L, and standard deviations with correlations."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.criteria.variance import second_derivative
from lmmformula.ir.covariance import KINDS, Role, sd_cor, semidefinite_cholesky

CASES = [(name, k) for name in KINDS for k in (1, 2, 3, 5)]


def interior(kind):
    return kind.start() + np.random.default_rng(3).uniform(-0.4, 0.6, kind.n_theta)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_jacobian_against_central_differences(name: str, k: int) -> None:
    kind = KINDS[name](k)
    theta, step = interior(kind), 1e-6
    moved = [
        (kind.cholesky(theta + d) - kind.cholesky(theta - d)) / (2 * step)
        for d in step * np.eye(kind.n_theta)
    ]
    np.testing.assert_allclose(kind.jacobian(theta), moved, atol=1e-8)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_second_derivative_against_differences_along_every_element(name: str, k: int) -> None:
    kind = KINDS[name](k)
    theta, step = interior(kind), 1e-5
    moved = [
        (kind.jacobian(theta + d) - kind.jacobian(theta - d)) / (2 * step)
        for d in step * np.eye(kind.n_theta)
    ]
    np.testing.assert_allclose(second_derivative(kind, theta), moved, atol=1e-7)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_theta_comes_back_from_its_covariance(name: str, k: int) -> None:
    kind = KINDS[name](k)
    theta = kind.canonical(interior(kind))
    lower = kind.cholesky(theta)
    assert np.allclose(lower, np.tril(lower))
    again = kind.from_covariance(lower @ lower.T)
    if k == 1 and name in ("cs", "ar1", "homcs", "hetar1"):  # one column has no correlation to come back
        again, theta = again[:1], theta[:1]
    np.testing.assert_allclose(again, theta, atol=1e-9)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_canonical_keeps_the_covariance_and_its_diagonal_is_not_negative(name: str, k: int) -> None:
    kind = KINDS[name](k)
    theta = -interior(kind)
    before, after = kind.cholesky(theta), kind.cholesky(kind.canonical(theta))
    if name in ("iid", "diag", "us", "homdiag", "rr"):
        np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-12)
    assert (np.diag(after) >= 0).all()


@pytest.mark.parametrize(("name", "k"), CASES)
def test_names_match_theta(name: str, k: int) -> None:
    kind = KINDS[name](k)
    names = kind.names(tuple(f"c{i}" for i in range(k)))
    assert len(names) == kind.n_theta
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_roles_say_what_theta_does(name: str, k: int) -> None:
    """Elements that scale L double it, correlations leave the standard deviations alone, bounded ones reach the diagonal."""
    kind = KINDS[name](k)
    theta, roles = interior(kind), kind.roles
    assert len(roles) == kind.n_theta
    doubled = np.where([role.scales for role in roles], 2.0 * theta, theta)
    np.testing.assert_allclose(kind.cholesky(doubled), 2.0 * kind.cholesky(theta), rtol=1e-13)
    for j, (role, slope) in enumerate(zip(roles, kind.jacobian(theta), strict=True)):
        lower = kind.cholesky(theta)
        moves = np.abs(np.einsum("ij,ij->i", slope, lower)).max() if role is Role.CORRELATION else None
        assert moves is None or moves < 1e-12, "a correlation moves a standard deviation"
        if role is not Role.CORRELATION:
            assert np.diagonal(slope).any() == role.bounded, j


def test_structures() -> None:
    cs = KINDS["cs"](3)
    _, cor = sd_cor((lower := cs.cholesky(np.array([1.0, 2.0, 3.0, 0.4]))) @ lower.T)
    assert np.allclose(cor[np.tril_indices(3, -1)], cs.r_of(np.array([0, 0, 0, 0.4])))
    ar1 = KINDS["ar1"](4)
    theta = np.array([2.0, 1.0])
    cov = (lower := ar1.cholesky(theta)) @ lower.T
    (rho,) = ar1.r_of(theta)
    assert np.allclose(cov[:, 0], 4 * rho ** np.arange(4))


def test_semidefinite_cholesky_of_a_singular_matrix() -> None:
    cov = np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    lower = semidefinite_cholesky(cov)
    np.testing.assert_allclose(lower @ lower.T, cov, atol=1e-12)
    assert np.allclose(lower[:, 1:], 0)
    assert np.allclose(semidefinite_cholesky(np.zeros((2, 2))), 0)


@pytest.mark.parametrize("name", ["cs", "ar1", "homcs", "hetar1"])
@pytest.mark.parametrize("logit", [25.0, 40.0, 800.0])
def test_correlations_at_the_end_of_their_range_have_a_factor(name: str, logit: float) -> None:
    kind = KINDS[name](4)
    theta = np.append(np.arange(1.0, kind.n_theta), logit)
    lower = kind.cholesky(theta)
    sd, cor = sd_cor(lower @ lower.T)
    np.testing.assert_allclose(sd, np.broadcast_to(theta[:-1], 4), rtol=1e-9)
    np.testing.assert_allclose(cor, 1.0, atol=1e-9)
    assert np.isfinite(kind.jacobian(theta)).all()
