"""Laplace's approximation of several responses, against all of it written out in dense matrices."""

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
from lmmformula.numerics.x64 import x64
from lmmformula.typing import Array

MODELS = {
    "gaussian and poisson": "bf(y ~ x + (x |p| g)) + bf(n ~ x + (1 |p| g), family = poisson)",
    "crossed, with a further predictor": (
        "bf(y ~ x + (1 |p| g), sigma ~ 1 + (1 |p| g)) + bf(b ~ 1 + (1 |p| g) + (1 | h), family = binomial)"
    ),
    "weights and offset": (
        "bf(n | weights(w) ~ x + (1 |p| g), family = poisson) + bf(y ~ offset(x) + (1 |p| g) + (1 | h))"
    ),
}


def data() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(3)
    n, g, h = 40, np.repeat(np.arange(8), 5), np.tile(np.arange(5), 8)
    x, b, d = rng.normal(size=n), rng.normal(size=8), rng.normal(size=5)
    return {
        "x": x,
        "g": g.astype(str),
        "h": h.astype(str),
        "w": rng.integers(1, 4, size=n).astype(float),
        "y": 1 + 0.5 * x + b[g] + 0.7 * rng.normal(size=n),
        "n": rng.poisson(np.exp(0.5 + 0.3 * x + 0.4 * b[g])).astype(float),
        "b": (rng.normal(size=n) + b[g] + d[h] > 0).astype(float),
    }


def written_out(problem: Problem, psi: Array, model: SeveralLaplace) -> float:
    """The criterion with dense Z and automatic differentiation of the whole penalised likelihood."""
    with x64():
        import jax
        import jax.numpy as jnp

        layout, theta = model.layout, psi[model.layout.theta]
        blocks = [problem.X.matrix, *(b.matrix for b in problem.aux)]
        coefficients = [psi[layout.beta], *(psi[s] for s in layout.aux)]
        fixed = [x @ b for x, b in zip(blocks, coefficients, strict=True)]
        if problem.offset is not None:
            fixed[0] = fixed[0] + problem.offset
        designs = [np.zeros((problem.n, 0)) for _ in blocks]
        for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
            lower = term.covariance.cholesky(theta[s])
            assert term.basis is not None
            for k in range(len(designs)):
                z = np.zeros((problem.n, term.m, term.k))
                z[np.arange(problem.n), term.codes] = term.basis * term.columns_in(k)
                designs[k] = np.hstack([designs[k], (z @ lower).reshape(problem.n, -1)])
        own = [
            (s, s.family.log_density(problem.y[s.rows], _some(problem.weights, s.rows), jnp))
            for s in problem.responses
        ]

        def h(u):
            eta = [f + z @ u for f, z in zip(fixed, designs, strict=True)]
            found = [f(eta[0][s.rows], tuple(eta[1 + a][s.rows] for a in s.aux)) for s, f in own]
            return 0.5 * u @ u - sum(jnp.sum(part) for part in found)

        u, slope, bend = jnp.zeros(designs[0].shape[1]), jax.jit(jax.grad(h)), jax.jit(jax.hessian(h))
        for _ in range(40):
            step, size = jnp.linalg.solve(bend(u), slope(u)), 1.0
            while not h(u - size * step) <= h(u) + 1e-10 and size > 1e-8:
                size /= 2
            u = u - size * step
        return float(2 * h(u) + jnp.linalg.slogdet(bend(u))[1])


def _some(weights: Array | None, rows: slice) -> Array | None:
    return None if weights is None else weights[rows]


@pytest.mark.parametrize("name", MODELS)
def test_is_what_it_is_written_out(name: str) -> None:
    problem = build(MODELS[name], data())
    model = SeveralLaplace.over(problem, BlockedEngine())
    rng = np.random.default_rng(5)
    psi = 0.2 * rng.normal(size=model.layout.size)
    psi[model.layout.theta] = 0.4 + 0.1 * rng.normal(size=problem.n_theta)
    point = model(psi)
    assert point.deviance == pytest.approx(written_out(problem, psi, model), rel=1e-9)
    for engine in (DenseEngine(), SparseEngine()):
        same = SeveralLaplace.over(problem, engine)(psi)
        assert same.deviance == pytest.approx(point.deviance, rel=1e-11)
        np.testing.assert_allclose(same.gradient, point.gradient, rtol=1e-7, atol=1e-8)
    for j in range(len(psi)):
        move = np.zeros(len(psi))
        move[j] = 1e-4
        change = (model(psi + move, u=point.u).deviance - model(psi - move, u=point.u).deviance) / 2e-4
        assert point.gradient[j] == pytest.approx(change, rel=1e-6, abs=1e-5)
