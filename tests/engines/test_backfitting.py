"""Clubbed backfitting against dense algebra, and its accelerator."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem

from lmmformula.criteria.variance import relative_factors
from lmmformula.engines.backfitting.clubbed import Clubbed
from lmmformula.engines.backfitting.engine import BackfittingEngine
from lmmformula.engines.backfitting.factor import BackfittingFactor
from lmmformula.engines.backfitting.led import Led, leads
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.covariance import IID
from lmmformula.ir.design import GroupBlock
from lmmformula.numerics.anderson import Anderson


def setup(layout: str):
    problem = make_problem(layout, n=200)
    blocks = Blocks(problem.terms, problem.n)
    theta = np.concatenate([0.6 * t.covariance.start() for t in problem.terms])
    factors = relative_factors(problem.terms, blocks.groups, theta)
    weights = np.random.default_rng(1).uniform(0.2, 2.0, problem.n)
    gram = blocks.gram(weights, problem.X.matrix)
    return problem, blocks, factors, weights, gram


def factored(blocks: Blocks, gram: Gram, factors: tuple[np.ndarray, ...]) -> BackfittingFactor:
    """M of rows in memory."""
    found = BackfittingEngine().prepare(blocks).factor(gram, factors)
    assert isinstance(found, BackfittingFactor)
    return found


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_solve_is_that_of_the_dense_engine(layout: str) -> None:
    _, blocks, factors, _, gram = setup(layout)
    rng = np.random.default_rng(2)
    rhs = tuple(rng.normal(size=(g.m, g.k, 3)) for g in blocks.groups)
    ours = factored(blocks, gram, factors)
    dense = DenseEngine().prepare(blocks).factor(gram, factors)
    solved = ours.solve(rhs)
    for a, b in zip(solved, dense.solve(rhs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    for a, b in zip(ours.times(solved), rhs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_clubbed_sweeps_reach_generalised_least_squares(layout: str) -> None:
    problem, blocks, factors, weights, gram = setup(layout)
    x, z = problem.X.matrix, np.random.default_rng(3).normal(size=problem.n)
    factor = factored(blocks, gram, factors)
    system = Clubbed(factor, gram.rhs, gram.vv)
    rhs = tuple((s @ f)[..., None] for s, f in zip(blocks.adjoint(weights * z), factors, strict=True))
    zero = (np.zeros((problem.p, 1)), tuple(np.zeros_like(r) for r in rhs))
    beta, u, _ = system.solve(rhs, (x.T @ (weights * z))[:, None], zero, relative=1e-13)
    fit = x @ beta[:, 0] + blocks.apply([v[..., 0] @ f.T for v, f in zip(u, factors, strict=True)])
    left = weights * (z - fit)
    np.testing.assert_allclose(x.T @ left, 0.0, atol=1e-8)
    for s, f, v in zip(blocks.adjoint(left), factors, u, strict=True):
        np.testing.assert_allclose(s @ f, v[..., 0], atol=1e-8)


@pytest.mark.parametrize("layout", ["one", "slopes"])
def test_one_group_needs_one_sweep_and_its_traces_are_exact(layout: str) -> None:
    problem, blocks, factors, weights, gram = setup(layout)
    assert [g.k for g in blocks.groups] == [{"one": 1, "slopes": 2}[layout]]
    ours = factored(blocks, gram, factors)
    dense = DenseEngine().prepare(blocks).factor(gram, factors)
    np.testing.assert_allclose(ours.trace_blocks()[0], dense.trace_blocks()[0], rtol=1e-10)
    np.testing.assert_allclose(ours.inverse().diagonal(0), dense.inverse().diagonal(0), rtol=1e-9)
    system, z = Clubbed(ours, gram.rhs, gram.vv), np.random.default_rng(3).normal(size=problem.n)
    rhs = ((blocks.adjoint(weights * z)[0] @ factors[0])[..., None],)
    far = (np.full((problem.p, 1), 7.0), (np.full_like(rhs[0], -3.0),))
    beta, u, sweeps = system.solve(rhs, (problem.X.matrix.T @ (weights * z))[:, None], far, relative=1e-13)
    assert sweeps == 1  # whatever the start
    fit = problem.X.matrix @ beta[:, 0] + blocks.apply([u[0][..., 0] @ factors[0].T])
    left = weights * (z - fit)
    np.testing.assert_allclose(problem.X.matrix.T @ left, 0.0, atol=1e-8)
    np.testing.assert_allclose(blocks.adjoint(left)[0] @ factors[0], u[0][..., 0], atol=1e-8)


def test_several_groups_take_more_than_one_sweep() -> None:
    problem, blocks, factors, weights, gram = setup("crossed")
    system = Clubbed(factored(blocks, gram, factors), gram.rhs, gram.vv)
    rhs = tuple((s @ f)[..., None] for s, f in zip(blocks.adjoint(weights), factors, strict=True))
    start = (np.zeros((problem.p, 1)), tuple(np.ones_like(r) for r in rhs))
    solved = system.solve(rhs, (problem.X.matrix.T @ weights)[:, None], start, relative=1e-13)
    assert solved.sweeps > 1


def test_there_is_no_determinant() -> None:
    _, blocks, factors, _, gram = setup(next(iter(LAYOUTS)))
    factor = factored(blocks, gram, factors)
    with pytest.raises(FitError, match="no likelihood"):
        _ = factor.logdet


def test_anderson_solves_a_slow_linear_map_in_few_steps() -> None:
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    a = q @ np.diag([0.999, 0.9, 0.7, 0.3, -0.2]) @ q.T
    c = rng.normal(size=5)
    mixer, x = Anderson(6), np.zeros(5)
    for _ in range(9):
        x = mixer(x, a @ x + c)
    np.testing.assert_allclose(x, np.linalg.solve(np.eye(5) - a, c), rtol=1e-6)


def clients_and_items(rng: np.random.Generator, n: int = 600) -> Blocks:
    """Two groups of one column each, the larger first."""
    sizes = {"client": 60, "item": 7}
    codes = {g: rng.integers(0, m, n).astype(np.int32) for g, m in sizes.items()}
    names = ("(Intercept)",)
    return Blocks(
        [GroupBlock(g, names, np.arange(m).astype(object), codes[g], None, IID(1)) for g, m in sizes.items()],
        n,
    )


@pytest.mark.parametrize("inexact", [0.0, 0.03])
def test_compiled_sweeps_are_the_others(inexact: float) -> None:
    """Same numbers, same number of sweeps; at theta nearby what was formed before only guides them."""
    rng, n = np.random.default_rng(4), 600
    blocks, x = clients_and_items(rng), np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    gram = blocks.gram(rng.uniform(0.2, 2.0, n), x)
    weighted = BackfittingEngine().prepare(blocks).weighted(gram)
    rhs, target = tuple(rng.normal(size=(g.m, 1, 1)) for g in blocks.groups), rng.normal(size=(3, 1))
    start = (rng.normal(size=(3, 1)), tuple(rng.normal(size=r.shape) for r in rhs))
    for sd, first in ((0.1, True), (1.5, True), (1.51, False), (0.7, True)):
        factor = weighted.factor((np.array([[sd]]), np.array([[0.5]])))
        assert isinstance(factor, BackfittingFactor)
        assert leads(blocks.groups, 3)
        assert type(factor.equations()) is Clubbed  # few pairs
        plain, compiled = (kind(factor, gram.rhs, gram.vv) for kind in (Clubbed, Led))
        one, other = (s.solve(rhs, target, start, relative=1e-13, inexact=inexact) for s in (plain, compiled))
        exact = first or not inexact
        assert one.sweeps == other.sweeps if first else other.sweeps <= 2 * one.sweeps
        for a, b in zip((one.beta, *one.u), (other.beta, *other.u), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-11 if exact else 2.0 * inexact * np.abs(a).max())
        value = plain.quadratic(rhs, target, one.beta, one.u)
        np.testing.assert_allclose(compiled.quadratic(rhs, target, one.beta, one.u), value, rtol=1e-12)
