"""Mode searches that only lead to another place have the columns of X at other weights, and find the same mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmmformula import build
from lmmformula.criteria.laplace import Laplace
from lmmformula.engines.blocked import BlockedEngine


@pytest.fixture(scope="module")
def model() -> Laplace:
    rng, n = np.random.default_rng(6), 150
    data = {"y": rng.integers(0, 2, n), "x": rng.normal(size=n)}
    data |= {"g": rng.integers(0, 14, n), "h": rng.integers(0, 8, n)}
    return Laplace.of(build("y ~ x + (1 | g) + (1 | h)", data, family="binomial"), BlockedEngine())


THETA = np.array([0.7, 0.4])


def test_a_passing_search_finds_the_joint_mode(model: Laplace) -> None:
    joint = replace(model, profile_beta=True)
    direct = joint(THETA, tolerance=1e-14)
    passing = joint(THETA, tolerance=1e-14, passing=True)
    np.testing.assert_allclose(passing.beta, direct.beta, atol=1e-6)
    for one, other in zip(passing.u, direct.u, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert direct.mode.columns is None
    assert passing.mode.columns is not None
    np.testing.assert_allclose(passing.fixed_information, direct.fixed_information, rtol=1e-6)


def test_a_point_can_borrow_information_and_give_it_back(model: Laplace) -> None:
    psi = np.concatenate([np.zeros(model.problem.p), THETA])
    own = model(psi)
    elsewhere = model(0.5 * psi).system.fixed_part
    lent = model(psi, near=elsewhere)
    assert (lent.fixed_information == elsewhere.information).all()
    assert (lent.hessian != own.hessian).any()
    np.testing.assert_allclose(lent.gradient, own.gradient, rtol=1e-10, atol=1e-10)
    back = lent.with_own_columns()
    np.testing.assert_allclose(back.fixed_information, own.fixed_information, rtol=1e-10)
    np.testing.assert_allclose(back.hessian, own.hessian, rtol=1e-8, atol=1e-10)
    assert own.with_own_columns() is own
