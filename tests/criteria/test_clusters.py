"""The criterion by clusters against a dense covariance matrix of all rows, its gradient against differences."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from lmmformula import build
from lmmformula.criteria.clusters import ByCluster
from lmmformula.ir.problem import Problem

Array = NDArray[np.float64]

STRUCTURES = {
    "ar": "y ~ x + ar(t, gr = s)",
    "ma": "y ~ x + ma(t, gr = s)",
    "arma": "y ~ x + arma(t, gr = s)",
    "car1": "y ~ x + car1(u, gr = s)",
    "cosy": "y ~ x + cosy(gr = s)",
    "unstr": "y ~ x + unstr(v, gr = s)",
    "sp_exp": "y ~ x + sp_exp(u, w, gr = s)",
    "nugget": "y ~ x + sp_exp(u, w, gr = s, nugget = TRUE)",
    "one group": "y ~ x + ar(row)",
    "slopes": "y ~ x + (u | s) + ar(t, gr = s)",
    "apart": "y ~ x + (1 | g) + (1 | s) + unstr(v, gr = s)",
    "groups within levels": "y ~ x + (x || g) + cosy(gr = s)",
    "levels within groups": "y ~ x + (1 | s) + car1(row, gr = g)",
    "variance": "bf(y ~ x + (1 | s), sigma ~ f + x)",
    "known": "y ~ x + fcor(M)",
    "known within levels": "y ~ x + (u | s) + fcor(M)",
    "known and variance": "bf(y ~ x + fcor(M), sigma ~ f)",
    "both": "bf(y ~ x + (1 | s) + ar(t, gr = s), sigma ~ 0 + f)",
}


@cache
def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = [(s, t) for s in range(9) for t in range(4) if s < 5 or rng.uniform() < 0.7]
    s, t = np.array(rows).T
    n = len(s)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n) + 0.5 * rng.normal(size=9)[s],
            "x": rng.normal(size=n),
            "s": [f"s{i}" for i in s],
            "g": [f"g{i % 3}" for i in s],
            "f": rng.choice(["a", "b"], size=n),
            "t": t,
            "v": [f"v{i}" for i in t],
            "u": t + rng.uniform(0.1, 0.9, size=n),
            "w": rng.uniform(size=n),
            "k": rng.uniform(0.5, 2.0, size=n),
            "row": np.arange(n),
        }
    )


def _problem(name: str, weighted: bool = False) -> Problem:
    data, weights = _rows(), "k" if weighted else None
    return build(STRUCTURES[name], data, weights=weights, data2={"M": _known(data)}).with_modelled_residual()


def _known(data: pd.DataFrame) -> Array:
    """A covariance of rows of one s, with variances of their own."""
    root = np.random.default_rng(9).normal(size=(len(data), 60))
    return (root @ root.T) * (data["s"].to_numpy()[:, None] == data["s"].to_numpy()) / 30.0


def _dense(problem: Problem, omega: Array) -> Array:
    """V row by row, from the definition."""
    residual = problem.residual
    assert residual is not None
    n, theta, psi = problem.n, omega[: problem.n_theta], omega[problem.n_theta :]
    phi, delta = residual.split(psi)
    c, _ = residual.kind.relative(residual.positions[None], phi)
    v = c[0] * (residual.codes[:, None] == residual.codes)
    s = np.ones(n) if problem.weights is None else problem.weights**-0.5
    if residual.variance is not None:
        s = s * np.exp(residual.variance.directions @ delta)
    v = v * np.outer(s, s)
    for term, own in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = term.covariance.cholesky(theta[own])
        z = np.zeros((n, term.m, term.k))
        z[np.arange(n), term.codes] = 1.0 if term.basis is None else term.basis
        zl = (z @ lower).reshape(n, -1)
        v = v + zl @ zl.T
    return v


def _deviance(problem: Problem, v: Array, reml: bool) -> float:
    x, y, n, p = problem.X.matrix, problem.y, problem.n, problem.p
    inverse = np.linalg.inv(v)
    xvx = x.T @ inverse @ x
    e = y - x @ np.linalg.solve(xvx, x.T @ inverse @ y)
    n_eff = n - p * reml
    r2 = float(e @ inverse @ e)
    out = np.linalg.slogdet(v)[1] + n_eff * (1.0 + np.log(2.0 * np.pi * r2 / n_eff))
    return float(out + reml * np.linalg.slogdet(xvx)[1])


def _omega(model: ByCluster, seed: int = 2) -> Array:
    first = model.start()
    return first + 0.3 * np.random.default_rng(seed).normal(size=len(first))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_deviance_is_that_of_the_dense_matrix(name: str, reml: bool, weighted: bool) -> None:
    problem = _problem(name, weighted)
    model = ByCluster.of(problem, reml=reml)
    omega = _omega(model)
    assert model(omega).value == pytest.approx(_deviance(problem, _dense(problem, omega), reml), abs=1e-9)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_gradient_is_that_of_differences(name: str, reml: bool) -> None:
    model = ByCluster.of(_problem(name), reml=reml)
    omega = _omega(model)
    point, held = model(omega), 0.7
    for j in range(len(omega)):
        step = 1e-5 * np.eye(len(omega))[j]
        high, low = model(omega + step), model(omega - step)
        assert point.gradient[j] == pytest.approx((high.value - low.value) / 2e-5, rel=1e-6, abs=1e-6)
        slope = (high.deviance_at(held) - low.deviance_at(held)) / 2e-5
        assert point.gradient_at(held)[j] == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ["unstr", "slopes", "both"])
def test_the_curvature_is_the_average_information_of_the_dense_matrix(name: str) -> None:
    """Where V is linear in what is moved; so it is with Sigma and R for parameters, whose Jacobian is that of V here."""
    problem = _problem(name)
    model = ByCluster.of(problem, reml=True)
    omega = _omega(model)
    point = model(omega)
    v = _dense(problem, omega)
    moves = []
    for j in range(len(omega)):
        step = 1e-6 * np.eye(len(omega))[j]
        moves.append((_dense(problem, omega + step) - _dense(problem, omega - step)) / 2e-6)
    x, y = problem.X.matrix, problem.y
    inverse = np.linalg.inv(v)
    p = inverse - inverse @ x @ np.linalg.inv(x.T @ inverse @ x) @ x.T @ inverse
    kappa = model.n_eff / point.r2
    f = np.array([m @ p @ y for m in moves])
    along = f @ p @ y
    expected = kappa * f @ p @ f.T - kappa**2 / model.n_eff * np.outer(along, along)
    psi = slice(problem.n_theta, None)
    np.testing.assert_allclose(point.hessian[psi, psi], expected[psi, psi], rtol=1e-5, atol=1e-5)


def test_patterns_are_shared_by_clusters_that_look_alike() -> None:
    """Five subjects have all four visits; sums of their rows or one by one give the same numbers."""
    problem = _problem("unstr")
    model = ByCluster.of(problem, reml=True)
    assert sum(len(p.rows) for p in model.layout.parts) == 9
    assert sum(len(p.counts) for p in model.layout.parts) < 9
    assert any(s.products is not None for s in model.sums)
    again = [type(s)(s.patterns, s.data, None) for s in model.sums]
    one_by_one = ByCluster(problem, True, model.layout, tuple(again), model.triangle, model.ols)
    omega = _omega(model)
    assert one_by_one(omega).value == pytest.approx(model(omega).value, abs=1e-10)
    np.testing.assert_allclose(one_by_one(omega).gradient, model(omega).gradient, atol=1e-9)
    np.testing.assert_allclose(one_by_one(omega).hessian, model(omega).hessian, atol=1e-9)
