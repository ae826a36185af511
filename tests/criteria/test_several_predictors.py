"""Laplace's approximation with random effects in several linear predictors, against all of it written out in dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmmformula import build
from lmmformula.criteria.several import SeveralLaplace
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.engines.sparse import SparseEngine
from lmmformula.ir.problem import Problem
from lmmformula.ir.stacked import in_one
from lmmformula.numerics.x64 import x64
from lmmformula.typing import Array

MODELS = {
    "gaussian": ("bf(y ~ x + (1 | g), sigma ~ x + (1 + x | g))", {}),
    "gaussian crossed": ("bf(y ~ x + (x | g), sigma ~ 1 + (1 | h))", {}),
    "gaussian shared": ("bf(y ~ x + (1 |p| g), sigma ~ x + (1 + x |p| g))", {}),
    "zero-inflated": ("bf(n ~ x + (1 | g), zi ~ x + (1 | g))", {"family": "zero_inflated_poisson"}),
    "nbinom2": ("bf(n ~ x + (1 | g), shape ~ 1 + (1 | h))", {"family": "nbinom2"}),
    "gamma": ("bf(p ~ x + (1 | g), sigma ~ 1 + (1 | h))", {"family": "gamma(link='log')"}),
}
ENGINES = (DenseEngine(), SparseEngine())


def data() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(3)
    n, g, h = 90, np.repeat(np.arange(10), 9), np.tile(np.arange(6), 15)
    x, b, c, d = rng.normal(size=n), rng.normal(size=10), rng.normal(size=10), rng.normal(size=6)
    y = 1 + 0.5 * x + 0.7 * b[g] + np.exp(-0.5 + 0.3 * x + 0.4 * c[g]) * rng.normal(size=n)
    mu = np.exp(1 + 0.3 * x + 0.4 * b[g] + 0.2 * d[h])
    return {
        "y": y,
        "x": x,
        "g": g.astype(str),
        "h": h.astype(str),
        "n": rng.poisson(mu) * (rng.uniform(size=n) > 0.25),
        "p": rng.gamma(2.0, mu / 2.0),
    }


def made(name: str) -> Problem:
    formula, options = MODELS[name]
    return in_one(build(formula, data(), **options))


def written_out(problem: Problem, psi: Array, model: SeveralLaplace) -> float:
    """The criterion with dense Z and automatic differentiation of the whole penalised likelihood."""
    with x64():
        import jax
        import jax.numpy as jnp

        blocks = [problem.X.matrix, *(b.matrix for b in problem.aux)]
        layout = model.layout
        coefficients = [psi[layout.beta], *(psi[s] for s in layout.aux)]
        fixed = [x @ b for x, b in zip(blocks, coefficients, strict=True)]
        designs = [np.zeros((problem.n, 0)) for _ in blocks]
        theta = psi[layout.theta]
        for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
            lower = term.covariance.cholesky(theta[s])
            basis = np.ones((problem.n, 1)) if term.basis is None else term.basis
            for k in range(len(designs)):
                z = np.zeros((problem.n, term.m, term.k))
                z[np.arange(problem.n), term.codes] = basis * term.columns_in(k)
                designs[k] = np.hstack([designs[k], (z @ lower).reshape(problem.n, -1)])
        density = problem.family.log_density(problem.y, problem.weights, jnp)

        def h(u):
            eta = [f + z @ u for f, z in zip(fixed, designs, strict=True)]
            return -jnp.sum(density(eta[0], tuple(eta[1:]))) + 0.5 * u @ u

        u, slope, bend = jnp.zeros(designs[0].shape[1]), jax.jit(jax.grad(h)), jax.jit(jax.hessian(h))
        for _ in range(60):
            step, values = slope(u), bend(u)
            low = float(jnp.linalg.eigvalsh(values)[0])
            step = jnp.linalg.solve(values + max(0.0, 1.0 - low) * (low < 0) * jnp.eye(len(u)), step)
            size = 1.0
            while not h(u - size * step) <= h(u) + 1e-10 and size > 1e-8:
                size /= 2
            u = u - size * step
        return float(2 * h(u) + jnp.linalg.slogdet(bend(u))[1])


def somewhere(problem: Problem, model: SeveralLaplace) -> Array:
    rng, layout = np.random.default_rng(5), model.layout
    psi = 0.2 * rng.normal(size=layout.size)
    psi[layout.theta] = 0.4 + 0.1 * rng.normal(size=problem.n_theta)
    return psi


@pytest.mark.parametrize("name", MODELS)
def test_is_what_it_is_written_out(name):
    problem = made(name)
    model = SeveralLaplace.over(problem, BlockedEngine())
    psi = somewhere(problem, model)
    point = model(psi)
    assert point.deviance == pytest.approx(written_out(problem, psi, model), rel=1e-10)
    for engine in ENGINES:
        same = SeveralLaplace.over(problem, engine)(psi)
        assert same.deviance == pytest.approx(point.deviance, rel=1e-11)
        np.testing.assert_allclose(same.gradient, point.gradient, rtol=1e-7, atol=1e-8)
    check_gradient(model, psi)


def check_gradient(model: SeveralLaplace, psi: Array) -> None:
    """Against central differences."""
    point = model(psi)
    for j in range(len(psi)):
        move = np.zeros(len(psi))
        move[j] = 1e-4
        change = (model(psi + move, u=point.u).deviance - model(psi - move, u=point.u).deviance) / 2e-4
        assert point.gradient[j] == pytest.approx(change, rel=1e-6, abs=1e-5)
