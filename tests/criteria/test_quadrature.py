"""Adaptive quadrature against brute-force integrals over each level's effects."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp

from lmmformula import build
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.quadrature import Quadrature, QuadraturePoint
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

FORMULAS = {1: "y ~ x + (1 | g)", 2: "y ~ x + (x | g)", 3: "y ~ x + (x + z | g)"}
PSI: dict[int, list[float]] = {1: [0.9], 2: [0.8, -0.3, 0.6], 3: [0.8, -0.3, 0.2, 0.6, 0.1, 0.5]}
FAMILIES: dict[str, list[float]] = {
    "binomial": [],
    "binomial(link='probit')": [],
    "poisson": [],
    "gamma(link='log')": [-0.5],
    "nbinom2": [0.3],
    "student": [0.1, 1.2],
}


@cache
def problem_of(family: str, k: int, m: int = 12, n: int = 70) -> tuple[Problem, Array]:
    """A problem with one grouping factor and k columns, and a psi."""
    rng = np.random.default_rng(11)
    g = np.r_[np.arange(m), rng.integers(0, m, n - m)]
    x, z = rng.normal(size=(2, n))
    eta = 0.3 + 0.5 * x + rng.normal(size=m)[g] * (1 + 0.4 * x)
    data: dict[str, Any] = {"x": x, "z": z, "g": g.astype(str), "o": rng.uniform(-0.2, 0.2, n)}
    trials = rng.integers(1, 5, n)
    weights = None
    if family.startswith("binomial"):
        data["y"] = rng.binomial(trials, 1 / (1 + np.exp(-eta))) / trials
        weights = trials.astype(float)
    elif family.startswith("gamma"):
        data["y"] = rng.gamma(2.0, np.exp(eta) / 2)
    elif family == "student":
        data["y"] = eta + rng.standard_t(5, n)
    else:
        data["y"] = rng.poisson(np.exp(eta))
    problem = build(FORMULAS[k], data, family=family, offset="o", weights=weights)
    return problem, np.array([0.2, 0.4, *PSI[k], *FAMILIES[family]])


def quadrature(family: str, k: int, count: int, engine: Any = None) -> QuadraturePoint:
    problem, psi = problem_of(family, k)
    return Quadrature(Laplace.of(problem, engine or BlockedEngine()), count)(psi)


def level_densities(problem: Problem, psi: Array) -> list[Any]:
    """For each level the log of its rows' density times the density of z, b = L z, as a function of z (points, k)."""
    p, term, family = problem.p, problem.terms[0], problem.family
    beta, theta, alpha = psi[:p], psi[p : p + term.n_theta], psi[p + term.n_theta :]
    lower = term.covariance.cholesky(theta)
    offset = 0.0 if problem.offset is None else problem.offset
    fixed = problem.X.matrix @ beta + offset
    basis = np.ones((problem.n, 1)) if term.basis is None else term.basis
    out = []
    for level in range(term.m):
        rows = np.flatnonzero(term.codes == level)

        def log_density(z: Array, rows: Any = rows) -> Array:
            eta = fixed[rows] + z @ (basis[rows] @ lower).T
            points = len(eta)
            weights = None if problem.weights is None else np.tile(problem.weights[rows], points)
            aux = tuple(alpha)
            logs = family.rows(np.tile(problem.y[rows], points), eta.ravel(), aux, weights, derivatives=False)
            return logs.loglik.reshape(points, -1).sum(axis=1) - 0.5 * (z**2).sum(axis=1)

        out.append(log_density)
    return out


def by_quad(problem: Problem, psi: Array) -> float:
    """-2 log L of a scalar model, each level by scipy's adaptive rule."""
    total = 0.0
    for log_density in level_densities(problem, psi):
        coarse = np.linspace(-9, 9, 721)
        logs = log_density(coarse[:, None])
        top = logs.max()

        def density(z: float, f: Any = log_density, t: float = top) -> float:
            return float(np.exp(f(np.array([[z]]))[0] - t))

        mode = float(coarse[logs.argmax()])
        value, error = cast(Any, quad)(density, -12, 12, points=[mode], epsabs=1e-13, epsrel=1e-13, limit=400)
        assert error < 1e-9 * value
        total += top + np.log(value / np.sqrt(2 * np.pi))
    return -2 * total


def by_grid(problem: Problem, psi: Array, half: float = 8.0, points: int = 97) -> float:
    """-2 log L by the trapezoidal rule on a grid, which converges faster than any power for smooth integrands."""
    k = problem.terms[0].k
    axis = np.linspace(-half, half, points)
    grid = np.stack(np.meshgrid(*[axis] * k, indexing="ij"), axis=-1).reshape(-1, k)
    cell = k * (np.log(axis[1] - axis[0]) - 0.5 * np.log(2 * np.pi))
    return -2 * sum(float(cast(Any, logsumexp)(f(grid))) + cell for f in level_densities(problem, psi))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_node_is_laplace(family: str, k: int) -> None:
    point = quadrature(family, k, 1)
    assert point.deviance == pytest.approx(point.laplace.deviance, rel=1e-12)


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma(link='log')", "nbinom2"])
def test_scalar_integrals_against_adaptive_integration(family: str) -> None:
    exact = by_quad(*problem_of(family, 1))
    assert quadrature(family, 1, 25).deviance == pytest.approx(exact, abs=1e-8)
    assert abs(quadrature(family, 1, 1).deviance - exact) > 1e-3  # Laplace alone would not pass


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_integrals_against_a_fine_grid(family: str, k: int) -> None:
    exact = by_grid(*problem_of(family, k), points=641 if k == 1 else 129)
    assert quadrature(family, k, 25).deviance == pytest.approx(exact, abs=1e-8)
    assert quadrature(family, k, 25, DenseEngine()).deviance == pytest.approx(exact, abs=1e-8)


def test_three_dimensions() -> None:
    exact = by_grid(*problem_of("poisson", 3), half=6.5, points=53)
    assert quadrature("poisson", 3, 13).deviance == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_more_nodes_come_closer(family: str, k: int) -> None:
    exact = by_grid(*problem_of(family, k), points=641 if k == 1 else 129)
    errors = [abs(quadrature(family, k, count).deviance - exact) for count in (1, 5, 9, 17)]
    assert all(b < 0.2 * a for a, b in pairwise(errors) if a > 1e-6), errors
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma(link='log')"])
def test_gradient_is_that_of_the_integral(family: str, k: int) -> None:
    problem, psi = problem_of(family, k)
    step, points = 1e-4, 641 if k == 1 else 129
    expected = [
        (by_grid(problem, psi + d, points=points) - by_grid(problem, psi - d, points=points)) / (2 * step)
        for d in step * np.eye(len(psi))
    ]
    gradient = quadrature(family, k, 25).gradient
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
