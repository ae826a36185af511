"""Terms with dependent levels and rows of several levels: every criterion against the dense definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import GENERAL, Oracle, free, general_problem, random_theta, structures, z_matrix

from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.profiled import Profiled
from lmmformula.criteria.variance import Variances
from lmmformula.engines import registry
from lmmformula.engines.base import is_constrained
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.errors import DataError, PlanError
from lmmformula.families import resolve
from lmmformula.ir.across import Car, Kernel, Known, Markov
from lmmformula.ir.blocks import Blocks

EVERY = {name: record.make({}, 0) for name, record in registry.ENGINES.items()}
ENGINES = {name: engine for name, engine in EVERY.items() if engine.is_exact}
CASES = [(layout, engine) for layout in GENERAL for engine in ENGINES]
ITERATED = KrylovEngine(probes=1000, tolerance=1e-13, probe_tolerance=1e-13)
"""With as many probes as effects it is exact."""


@pytest.mark.parametrize("layout", list(GENERAL))
def test_gram_and_products(layout: str) -> None:
    problem = general_problem(layout)
    blocks = Blocks(problem.terms, problem.n)
    w, v = problem.weights, np.random.default_rng(0).normal(size=(problem.n, 3))
    assert w is not None
    gram = blocks.gram(w, v)
    z = [z_matrix(problem.terms[g.members[0][0]]) for g in blocks.groups]
    rng = np.random.default_rng(1)
    effects = [rng.normal(size=(g.m, g.k)) for g in blocks.groups]
    expected = sum(x @ e.ravel() for x, e in zip(z, effects, strict=True))
    np.testing.assert_allclose(blocks.apply(effects), expected, atol=1e-12)
    np.testing.assert_allclose(
        sum(t.apply(effects[a]) for a, t in enumerate(problem.terms)), expected, atol=1e-12
    )
    c = np.zeros((sum(g.q for g in blocks.groups),) * 2)
    starts = np.cumsum([0, *(g.q for g in blocks.groups)])
    own = []
    for a, g in enumerate(blocks.groups):
        full = ((z[a].T * w) @ z[a]).reshape(g.m, g.k, g.m, g.k)
        np.testing.assert_allclose(gram.diag[a], np.stack([full[s, :, s] for s in range(g.m)]), atol=1e-12)
        np.testing.assert_allclose(gram.rhs[a].reshape(-1, 3), (z[a].T * w) @ v, atol=1e-12)
        own.append(rng.normal(size=(g.m, g.k, g.k)))
        own[-1] = own[-1] + np.swapaxes(own[-1], 1, 2)
        for s in range(g.m):
            at = starts[a] + s * g.k
            c[at : at + g.k, at : at + g.k] = own[-1][s]
    pairs = {}
    for (a, b), values in gram.cross.items():
        ga, gb, pattern = blocks.groups[a], blocks.groups[b], blocks.pattern(a, b)
        full = ((z[a].T * w) @ z[b]).reshape(ga.m, ga.k, gb.m, gb.k)
        np.testing.assert_allclose(values, full[pattern.rows(), :, pattern.indices], atol=1e-12)
        pairs[a, b] = rng.normal(size=values.shape)
        for block, s, t in zip(pairs[a, b], pattern.rows(), pattern.indices, strict=True):
            i, j = starts[a] + s * ga.k, starts[b] + t * gb.k
            c[i : i + ga.k, j : j + gb.k] = block
            c[j : j + gb.k, i : i + ga.k] = block.T
    both = np.hstack(z)
    np.testing.assert_allclose(
        blocks.row_quadratic(own, pairs), np.einsum("ni,ij,nj->n", both, c, both), atol=1e-10
    )


@pytest.mark.parametrize(("layout", "engine"), CASES)
@pytest.mark.parametrize("reml", [True, False])
def test_gaussian_criterion(layout: str, engine: str, reml: bool) -> None:
    problem = general_problem(layout)
    theta = random_theta(problem)
    model = Profiled.of(problem, ENGINES[engine], reml=reml)
    point, oracle = model(theta), Oracle(problem, theta, reml)
    beta, cov, r2 = oracle.solve()
    assert point.deviance == pytest.approx(oracle.deviance, rel=1e-10)
    assert point.r2 == pytest.approx(r2, rel=1e-10)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-9)
    np.testing.assert_allclose(point.unscaled_vcov, cov, rtol=1e-8)
    modes = [np.zeros(0)] * len(problem.terms)
    for group, factor, u in zip(model.prepared.blocks.groups, point.factors, point.u, strict=True):
        for i, columns in group.members:
            modes[i] = (u @ factor.T)[:, columns]
    for found, expected in zip(modes, oracle.modes(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("layout", list(GENERAL))
def test_iterations_with_a_group_to_eliminate(layout: str) -> None:
    """Solutions, determinant, blocks and traces of the iterative engine; without such a group it says what it lacks."""
    problem = general_problem(layout)
    blocks = Blocks(problem.terms, problem.n)
    if is_constrained(blocks) or not any(g.is_blockwise for g in blocks.groups):
        with pytest.raises(PlanError, match=r"dependent levels|several levels|sum to zero"):
            ITERATED.prepare(blocks)
        return
    gram = blocks.gram(problem.weights, problem.X.matrix)
    at = Variances.at(problem.terms, blocks.groups, random_theta(problem))
    found, exact = (
        engine.prepare(blocks).factor(gram, at.factors, at.across) for engine in (ITERATED, DenseEngine())
    )
    rng = np.random.default_rng(0)
    rhs = tuple(rng.normal(size=(g.m, g.k, 2)) for g in blocks.groups)
    for x, expected in zip(found.solve(rhs), exact.solve(rhs), strict=True):
        np.testing.assert_allclose(x, expected, atol=1e-11)
    assert found.logdet == pytest.approx(exact.logdet, abs=1e-10)
    for t, expected in zip(found.trace_blocks(), exact.trace_blocks(), strict=True):
        np.testing.assert_allclose(t, expected, atol=1e-10)
    for pair in blocks.pairs():
        np.testing.assert_allclose(found.inverse().pair(*pair), exact.inverse().pair(*pair), atol=1e-11)


@pytest.mark.parametrize("layout", list(GENERAL))
@pytest.mark.parametrize("reml", [True, False])
def test_gaussian_gradient_and_curvature(layout: str, reml: bool) -> None:
    problem = general_problem(layout)
    model, theta = Profiled.of(problem, BlockedEngine(), reml=reml), random_theta(problem)
    point = model(theta)
    np.testing.assert_allclose(point.gradient, differences(lambda t: model(t).deviance, theta), atol=2e-5)
    sigma2 = 1.3 * point.sigma2
    moved = differences(lambda t: model(t).deviance_at(sigma2), theta)
    np.testing.assert_allclose(point.gradient_at(sigma2), moved, atol=2e-5)
    cov = differences(lambda t: model(t).unscaled_vcov, theta)
    np.testing.assert_allclose(
        point.half @ point.variances.seen(point.h) @ point.half.T, cov, atol=1e-6 * np.abs(cov).max()
    )
    assert np.linalg.eigvalsh(point.hessian).max() > 0.0


@pytest.mark.parametrize(("layout", "engine"), CASES)
@pytest.mark.parametrize("information", ["observed", "expected"])
def test_laplace_criterion(layout: str, engine: str, information) -> None:
    problem = counted(layout)
    theta = 0.5 * random_theta(problem)
    model = Laplace.of(problem, ENGINES[engine], information=information)
    psi = np.concatenate([[0.3, 0.002], theta])
    point = model(psi)
    z = np.hstack([z_matrix(problem.terms[i]) for g in model.prepared.blocks.groups for i, _ in g.members])
    sigma = block_diagonal(Oracle(problem, theta, False).sigma_blocks())
    values, vectors = np.linalg.eigh(sigma)
    seen = values > 1e-12 * values[-1]  # an intrinsic field has a lower rank than levels
    z = z @ (vectors[:, seen] * np.sqrt(values[seen]))
    eta = model.predictor(psi[:2], (), ())
    b = np.zeros(z.shape[1])
    for _ in range(60):  # Newton's method on independent effects
        rows = model.rows(eta + z @ b, (), "observed")
        b += np.linalg.solve((z.T * rows.weight) @ z + np.eye(len(b)), z.T @ rows.score - b)
    rows = model.rows(eta + z @ b, (), information)
    h = (z.T * rows.weight) @ z + np.eye(len(b))
    expected = -2.0 * rows.loglik.sum() + b @ b + np.linalg.slogdet(h)[1]
    assert point.deviance == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("layout", list(GENERAL))
def test_laplace_gradient_and_moves(layout: str) -> None:
    problem = counted(layout)
    model = Laplace.of(problem, BlockedEngine())
    psi = np.concatenate([[0.3, 0.002], 0.5 * random_theta(problem)])
    point = model(psi)
    np.testing.assert_allclose(
        point.gradient,
        differences(lambda p: model(p).deviance, psi),
        atol=3e-5 * np.abs(point.gradient).max(),
    )
    assert point.hessian.shape == (len(psi), len(psi))
    step = 1e-4 * np.random.default_rng(5).normal(size=len(psi)) * [1.0, 0.01, *np.ones(len(psi) - 2)]
    there = model(psi + step).u
    for predicted, found, before in zip(point.predicted_mode(psi + step), there, point.u, strict=True):
        assert np.abs(predicted - found).max() < 0.02 * np.abs(found - before).max() + 1e-9


def counted(layout: str):
    """The layout with counts for a response."""
    problem = general_problem(layout, weighted=False)
    y = np.random.default_rng(8).poisson(2.0, problem.n).astype(float)
    return replace(problem, y=y, family=resolve("poisson"))


def differences(f, x):
    """Derivatives of f in each element of x, by the five-point rule."""
    out = []
    for j in range(len(x)):
        h = np.zeros(len(x))
        h[j] = 2e-4 * max(abs(x[j]), 0.1)
        out.append((8.0 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12.0 * h[j]))
    return np.array(out)


def block_diagonal(parts):
    ends = np.cumsum([0, *(len(p) for p in parts)])
    out = np.zeros((ends[-1], ends[-1]))
    for p, at in zip(parts, ends[:-1], strict=True):
        out[at : at + len(p), at : at + len(p)] = p
    return out


@pytest.mark.parametrize("name", list(structures(10)))
def test_structures_are_precisions(name: str) -> None:
    """Symmetric, definite, with the determinant and derivatives that they say; draws have the covariance Q^-1."""
    across = structures(10)[name]
    phi = across.start() - 0.5  # a long range of a smooth kernel is all but singular
    q = across.precision(phi)
    dense, basis = q.matrix.toarray(), free(q)
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    inner = basis.T @ dense @ basis
    assert q.logdet == pytest.approx(np.linalg.slogdet(inner)[1], abs=1e-9)
    u = np.random.default_rng(1).normal(size=(across.m, 2))
    np.testing.assert_allclose(basis.T @ q.times(q.solve(u)), basis.T @ u, atol=1e-10)
    half, covariance = q.drawn(np.eye(across.m)), basis @ np.linalg.inv(inner) @ basis.T
    np.testing.assert_allclose(half @ half.T, covariance, atol=1e-10)
    np.testing.assert_allclose(q.variances, np.diagonal(covariance), atol=1e-10)
    moved = differences(lambda p: across.precision(p).matrix.toarray(), phi) if len(phi) else []
    slopes = differences(lambda p: across.precision(p).logdet, phi) if len(phi) else []
    for (dq, slope), dense_dq, dense_slope in zip(across.derivatives(phi), moved, slopes, strict=True):
        np.testing.assert_allclose(dq.toarray(), dense_dq, atol=1e-7 * np.abs(dense_dq).max())
        assert slope == pytest.approx(dense_slope, rel=1e-7)
    assert len(across.names) == len(across.roles) == len(phi)


def test_markov_and_kernels_are_their_correlations() -> None:
    x = np.array([0.0, 3.0, 1.0, 7.0])
    for phi in (0.4, -0.7):
        rho = np.tanh(phi)
        gaps = np.abs(x[:, None] - x)
        expected = np.sign(rho) ** gaps * np.abs(rho) ** gaps
        found = np.linalg.inv(Markov(x).precision(np.array([phi])).matrix.toarray())
        np.testing.assert_allclose(found, expected, atol=1e-12)
    kernel = Kernel(x[:, None])
    expected = np.exp(-np.abs(x[:, None] - x) / kernel.natural(np.array([-1.0])))
    np.testing.assert_allclose(
        np.linalg.inv(kernel.precision(np.array([-1.0])).matrix.toarray()), expected, atol=1e-12
    )


def test_what_is_no_structure_is_refused() -> None:
    from scipy.sparse import csr_array

    with pytest.raises(DataError, match="not symmetric"):
        Known.of_covariance(np.array([[1.0, 0.5], [0.2, 1.0]]))
    with pytest.raises(DataError, match="not positive definite"):
        Known.of_covariance(np.ones((3, 3)))
    with pytest.raises(DataError, match="not positive definite"):
        Known.of_precision(csr_array(np.array([[1.0, 2.0], [2.0, 1.0]])))
    with pytest.raises(DataError, match="not square"):
        Known.of_precision(csr_array(np.ones((2, 3))))
    with pytest.raises(DataError, match="not finite"):
        Known.of_covariance(np.array([[1.0, np.nan], [np.nan, 1.0]]))
    with pytest.raises(DataError, match="a different position for each level"):
        Markov(np.array([1.0, 1.0]))
    with pytest.raises(DataError, match="neighbour"):
        Car(csr_array(np.zeros((2, 2))))
    with pytest.raises(DataError, match="a different position for each level"):
        Kernel(np.zeros((2, 1))).precision(np.zeros(1))
