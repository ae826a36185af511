"""Preconditioners of the whole system against the exact engine, and the inequalities of docs/krylov.md."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem, random_theta
from scipy import linalg, stats

from lmmformula.criteria.variance import relative_factors
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.krylov import schur
from lmmformula.engines.krylov.engine import PRECONDITIONERS, KrylovEngine
from lmmformula.engines.krylov.splitting import SPLITTINGS
from lmmformula.ir.blocks import Blocks
from lmmformula.typing import Array

SEEDS = 30


@pytest.fixture(params=["scipy", "compiled"])
def way(request, monkeypatch):
    monkeypatch.setattr(schur, "COMPILED_ENTRIES", 0 if request.param == "compiled" else 10**9)
    return request.param


def setting(layout: str, weights: Array | None = None):
    problem = make_problem(layout)
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(problem.weights if weights is None else weights, problem.X.matrix)
    factors = relative_factors(problem.terms, blocks.groups, random_theta(problem))
    return blocks, gram, factors, BlockedEngine().prepare(blocks).factor(gram, factors)


def operator(preconditioner: str, blocks, gram, factors) -> Array:
    """I - K formed column by column."""
    system = KrylovEngine(preconditioner=preconditioner).prepare(blocks).factor(gram, factors).complement
    return system.apply(np.eye(system.q))


@pytest.mark.parametrize("preconditioner", SPLITTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_solutions(layout: str, preconditioner: str, way: str) -> None:
    blocks, gram, factors, exact = setting(layout)
    rng = np.random.default_rng(0)
    rhs = tuple(rng.normal(size=(g.m, g.k, 20)) for g in blocks.groups)
    engine = KrylovEngine(tolerance=1e-12, preconditioner=preconditioner)
    solved = engine.prepare(blocks).factor(gram, factors).solve(rhs)
    for ours, theirs in zip(solved, exact.solve(rhs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("preconditioner", SPLITTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_spectrum_and_exact_log_determinant(layout: str, preconditioner: str, way: str) -> None:
    """I - K is symmetric and positive definite, and with its determinant log|M| is complete."""
    blocks, gram, factors, exact = setting(layout)
    system: Any = KrylovEngine(preconditioner=preconditioner).prepare(blocks).factor(gram, factors).complement
    matrix = system.apply(np.eye(system.q))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    values = np.linalg.eigvalsh(matrix)
    assert values.min() > 0.0
    if preconditioner == "ssor":
        assert values.max() <= 1.0 + 1e-12
    k = np.eye(system.q) - matrix
    square = system.moments(True).trace_square
    if preconditioner == "ssor":
        head, lower = system.square, system.correction(np.eye(system.q)).sum()
        assert np.trace(k) + lower == pytest.approx(head, rel=1e-10, abs=1e-12)
    else:
        head = 0.0
        assert np.abs(np.diag(k)).max() < 1e-12
        assert square == pytest.approx(np.sum(k * k), rel=1e-10, abs=1e-12)
    assert system.logdet + head + np.log(values).sum() == pytest.approx(exact.logdet, rel=1e-12)


@pytest.mark.parametrize("preconditioner", SPLITTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_stated_errors_cover(layout: str, preconditioner: str) -> None:
    """Log-determinant and traces over seeds: errors in units of the stated ones behave like Student's t."""
    blocks, gram, factors, exact = setting(layout)
    scores = []
    for seed in range(SEEDS):
        engine = KrylovEngine(seed=seed, probes=16, preconditioner=preconditioner)
        found = engine.prepare(blocks).factor(gram, factors)
        pairs = [(found.logdet, exact.logdet, found.logdet_stderr)]
        for ours, theirs, error in zip(
            found.trace_blocks(), exact.trace_blocks(), found.trace_stderr(), strict=True
        ):
            pairs.append((ours[0, 0], theirs[0, 0], error[0, 0]))
        scores.append([(a - b) / max(e, 1e-7) for a, b, e in pairs])
    inside = np.abs(scores) < stats.t.ppf(0.975, 15)
    # D has 8 to 90 effects here, most of them deflated: what is left to a probe is a few squares, skewed
    assert inside.sum(axis=0).min() >= 20
    assert np.abs(scores).max() < 8.0


@pytest.mark.parametrize("preconditioner", SPLITTINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_of_the_inverse_are_unbiased(layout: str, preconditioner: str) -> None:
    blocks, gram, factors, exact = setting(layout)
    found = [
        KrylovEngine(seed=seed, probes=16, preconditioner=preconditioner)
        .prepare(blocks)
        .factor(gram, factors)
        .inverse()
        for seed in range(SEEDS)
    ]
    expected = exact.inverse()
    for a in range(len(blocks.groups)):
        agree(np.stack([f.diagonal(a) for f in found]), expected.diagonal(a))
        np.testing.assert_allclose(found[0].diagonal(a).sum(axis=0), found[0].traces[a], rtol=1e-10)
    for a, b in itertools.combinations(range(len(blocks.groups)), 2):
        agree(np.stack([f.pair(a, b) for f in found]), expected.pair(a, b))


def agree(draws, expected) -> None:
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    z = (draws.mean(axis=0) - expected) / np.maximum(error, 1e-6)
    assert np.abs(z).max() < 6.5


# -- the bounds of docs/krylov.md, in its order -------------------------------------------------------------------------

TWO = ("crossed", "iid slopes")
MORE = (*TWO, "crossed slopes", "structured", "chain and crossed")


def eigenvalues(matrix: Array) -> Array:
    return np.linalg.eigvalsh(0.5 * (matrix + matrix.T))


def level_weights(blocks, gram, factors) -> list[float]:
    """omega of each group: the largest eigenvalue of L'Z'WZL over its levels."""
    return [float(np.linalg.eigvalsh(f.T @ d @ f).max()) for d, f in zip(gram.diag, factors, strict=True)]


def row_weights(layout: str, seed: int) -> tuple[Array, Array, float]:
    """Two sets of logit weights along a path, and r."""
    n, rng = make_problem(layout).n, np.random.default_rng(seed)
    eta = rng.normal(-1.0, 1.5, (2, n))
    eta[1] = eta[0] + rng.uniform(-0.8, 0.8, n)
    first, second = np.exp(eta) / (1.0 + np.exp(eta)) ** 2
    ratio = first / second
    assert np.abs(np.log(ratio)).max() <= np.abs(eta[0] - eta[1]).max() + 1e-12
    return first, second, max(1.0, ratio.max()) / min(1.0, ratio.min())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layout", MORE)
@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_each_eigenvalue_moves_by_at_most_the_ratio_of_weights(
    preconditioner: str, layout: str, seed: int
) -> None:
    first, second, r = row_weights(layout, seed)
    blocks, gram, factors, _ = setting(layout, first)
    one = eigenvalues(operator(preconditioner, blocks, gram, factors))
    two = eigenvalues(operator(preconditioner, blocks, setting(layout, second)[1], factors))
    assert r > 2.0
    if preconditioner != "ssor" or layout in TWO:
        assert (one <= r * two * (1 + 1e-9)).all()
        assert (two <= r * one * (1 + 1e-9)).all()
    else:
        groups = len(blocks.groups)
        jacobi = eigenvalues(operator("block-diagonal", blocks, gram, factors))
        assert one.max() / one.min() <= 1.0 + groups * (groups - 1) / (2.0 * jacobi.min())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layout", MORE)
def test_variances_that_move_count_like_weights(layout: str, seed: int) -> None:
    """r = max(b, beta) / min(a, alpha), alpha and beta the extreme ratios of the precisions Sigma^-1."""
    first, second, _ = row_weights(layout, seed)
    blocks, gram, factors, _ = setting(layout, first)
    problem = make_problem(layout)
    moved = relative_factors(problem.terms, blocks.groups, random_theta(problem, seed=9 + seed))
    ratios: list[Any] = [first / second]
    for one, two in zip(factors, moved, strict=True):
        ratios.append(np.linalg.svd(np.linalg.solve(one, two), compute_uv=False) ** 2)
    every = np.concatenate(ratios)
    r = every.max() / every.min()
    other = setting(layout, second)[1]
    for preconditioner in ("schur", "block-diagonal", *(("ssor",) if layout in TWO else ())):
        before = eigenvalues(operator(preconditioner, blocks, gram, factors))
        after = eigenvalues(operator(preconditioner, blocks, other, moved))
        assert (before <= r * after * (1 + 1e-9)).all()
        assert (after <= r * before * (1 + 1e-9)).all()


def test_rows_of_little_weight_hardly_count() -> None:
    """Ratios of weights on rows R enter through delta = |L'Z_R'W_R Z_R L| alone."""
    first, second, _ = row_weights("crossed", 5)
    light = np.random.default_rng(6).random(len(first)) < 0.2
    first[light], second[light] = 1e-4, 1e-12
    ratio = (first / second)[~light]
    blocks, gram, factors, _ = setting("crossed", first)
    other = setting("crossed", second)[1]
    delta = [
        len(blocks.groups)
        * max(level_weights(blocks, blocks.gram(np.where(light, w, 0.0), np.zeros((len(w), 0))), factors))
        for w in (first, second)
    ]
    r = (max(1.0, ratio.max()) + delta[0]) * (max(1.0, 1.0 / ratio.min()) + delta[1])
    assert r < 10.0
    for preconditioner in PRECONDITIONERS:
        one = eigenvalues(operator(preconditioner, blocks, gram, factors))
        two = eigenvalues(operator(preconditioner, blocks, other, factors))
        assert (one <= r * two * (1 + 1e-9)).all()
        assert (two <= r * one * (1 + 1e-9)).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layout", MORE)
def test_bounds_that_hold_whatever_the_weights(layout: str, seed: int) -> None:
    weights = row_weights(layout, seed)[0] * 10.0
    blocks, gram, factors, _ = setting(layout, weights)
    omega, groups = level_weights(blocks, gram, factors), len(blocks.groups)
    jacobi = eigenvalues(operator("block-diagonal", blocks, gram, factors))
    assert jacobi.min() >= 1.0 / (1.0 + max(omega)) - 1e-12
    assert jacobi.max() <= groups + 1e-12
    schur = KrylovEngine().prepare(blocks).factor(gram, factors).complement
    plan = schur.pattern.plan
    values = eigenvalues(schur.apply(np.eye(schur.q)))
    assert values.min() >= 1.0 / (1.0 + max(omega[j] for j in plan.dense)) - 1e-12
    if groups == 2:
        low = 1.0 / (1.0 + min(omega)) - 1e-12
        assert values.min() >= low
        assert values.max() <= 1.0 + omega[plan.dense[0]] + 1e-12
        assert eigenvalues(operator("ssor", blocks, gram, factors)).min() >= low


def test_a_level_bounds_the_top_by_its_largest_share() -> None:
    weights = row_weights("crossed", 1)[0]
    blocks, gram, factors, _ = setting("crossed", weights)
    schur = KrylovEngine().prepare(blocks).factor(gram, factors).complement
    a = schur.pattern.plan.chain[0]
    pattern = blocks.pattern(0, 1)
    level = pattern.rows() if a == 0 else pattern.indices
    share = (gram.cross[0, 1][:, 0, 0] / gram.diag[a][level, 0, 0]).max()
    assert eigenvalues(schur.apply(np.eye(schur.q))).max() <= 1.0 / (1.0 - share)


@pytest.mark.parametrize("layout", TWO)
def test_two_groups_relate_gauss_seidel_to_the_schur_complement(layout: str) -> None:
    """(5) of the module, and Ostrowski's factors between the two scalings of S."""
    blocks, gram, factors, _ = setting(layout)
    ssor: Any = KrylovEngine(preconditioner="ssor").prepare(blocks).factor(gram, factors).complement
    first = blocks.groups[0].q
    t = np.eye(ssor.q) - ssor.coupled(np.eye(ssor.q)) - np.eye(ssor.q)
    t = -t[:first, first:]
    scaled = np.eye(t.shape[1]) - t.T @ t
    matrix = ssor.apply(np.eye(ssor.q))
    np.testing.assert_allclose(matrix[:first, :first], np.eye(first), atol=1e-12)
    np.testing.assert_allclose(matrix[first:, :first], 0.0, atol=1e-12)
    np.testing.assert_allclose(matrix[first:, first:], scaled, atol=1e-12)
    schur = KrylovEngine().prepare(blocks).factor(gram, factors).complement
    chain = schur.pattern.plan.chain[0]
    scaled = scaled if chain == 0 else np.eye(first) - t @ t.T
    k = blocks.groups[1 - chain].k
    levels = [scaled[i : i + k, i : i + k] for i in range(0, len(scaled), k)]
    f = linalg.block_diag(*[np.linalg.inv(np.linalg.cholesky(b)) for b in levels])
    ours = schur.apply(np.eye(schur.q))
    np.testing.assert_allclose(eigenvalues(ours), eigenvalues(f @ scaled @ f.T), atol=1e-10)
    factor = eigenvalues(ours) / eigenvalues(scaled)
    low = min(np.linalg.eigvalsh(b).min() for b in levels)
    assert factor.min() >= 1.0 - 1e-9
    assert factor.max() <= 1.0 / low + 1e-9


def test_the_penalty_only_shrinks_the_spectrum_of_the_normalised_graph() -> None:
    """Eigenvalues of T'T in order below the squared singular values of D1^-1/2 B D2^-1/2, times the shares of the data."""
    blocks, gram, factors, _ = setting("crossed", row_weights("crossed", 2)[0])
    pattern = blocks.pattern(0, 1)
    b = pattern_matrix(pattern, gram.cross[0, 1][:, 0, 0], blocks)
    one, two = (gram.diag[a][:, 0, 0] for a in (0, 1))
    free = normalised(blocks, gram)
    assert free[0] == pytest.approx(1.0)
    lam = [1.0 / f[0, 0] ** 2 for f in factors]
    held = np.linalg.svd(b / np.sqrt(np.outer(one + lam[0], two + lam[1])), compute_uv=False)
    share = (one / (one + lam[0])).max() * (two / (two + lam[1])).max()
    assert (held**2 <= share * free**2 + 1e-12).all()
    ssor = np.sort(1.0 - eigenvalues(operator("ssor", blocks, gram, factors)))[::-1]
    np.testing.assert_allclose(ssor[: len(held)], held**2, atol=1e-12)


def test_gaps_of_the_weighted_graph_move_by_at_most_the_ratio() -> None:
    first, second, _ = row_weights("crossed", 3)
    gaps: list[Any] = []
    for weights in (first, second):
        blocks, gram, _, _ = setting("crossed", weights)
        gaps.append(1.0 - normalised(blocks, gram) ** 2)
    ratio = first / second
    r = ratio.max() / ratio.min()
    one, two = (g[1:] for g in gaps)
    assert (one <= r * two + 1e-12).all()
    assert (two <= r * one + 1e-12).all()


def normalised(blocks, gram) -> Array:
    """Singular values of D1^-1/2 B D2^-1/2."""
    b = pattern_matrix(blocks.pattern(0, 1), gram.cross[0, 1][:, 0, 0], blocks)
    one, two = (gram.diag[a][:, 0, 0] for a in (0, 1))
    return np.linalg.svd(b / np.sqrt(np.outer(one, two)), compute_uv=False)


@pytest.mark.parametrize("seed", range(3))
def test_random_pairs_leave_a_gap(seed: int) -> None:
    """Bernstein's bound on the second singular value, with probability .95, and the edge 2 / sqrt(rows per level)."""
    n, m, rng = 60_000, 200, np.random.default_rng(seed)
    g, h = rng.integers(0, m, n), rng.integers(0, m, n)
    b = np.zeros((m, m))
    np.add.at(b, (g, h), 1.0)
    one, two = b.sum(axis=1), b.sum(axis=0)
    s = np.linalg.svd(b / np.sqrt(np.outer(one, two)), compute_uv=False)[1]
    log = np.log(2 * m / 0.05)
    third = log / (3.0 * np.sqrt(one.min()))
    t = third + np.sqrt(third**2 + 2.0 * log)
    assert s <= t / np.sqrt(two.min()) < 0.5
    assert s == pytest.approx(2.0 / np.sqrt(n / m), rel=0.1)
    uneven = rng.lognormal(0.0, np.sqrt(np.log(2.0)), n)  # a coefficient of variation of one
    b = np.zeros((m, m))
    np.add.at(b, (g, h), uneven)
    s = np.linalg.svd(b / np.sqrt(np.outer(b.sum(axis=1), b.sum(axis=0))), compute_uv=False)[1]
    assert s == pytest.approx(2.0 * np.sqrt(2.0 / (n / m)), rel=0.15)


def pattern_matrix(pattern, values: Array, blocks: Blocks) -> Array:
    out = np.zeros((blocks.groups[0].m, blocks.groups[1].m))
    out[pattern.rows(), pattern.indices] = values
    return out


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_quadrature_and_solutions_converge_at_the_stated_rate(steps: int) -> None:
    """Gauss quadrature of the logarithm within 2 |z|^2 q^2m / (m (1 - q)); residuals within 2 sqrt(kappa) q^m."""
    blocks, gram, factors, _ = setting("crossed slopes")
    for preconditioner in PRECONDITIONERS:
        system = KrylovEngine(preconditioner=preconditioner).prepare(blocks).factor(gram, factors).complement
        matrix = system.apply(np.eye(system.q))
        values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
        root = np.sqrt(values[-1] / values[0])
        q = (root - 1.0) / (root + 1.0)
        z = np.random.default_rng(0).integers(0, 2, (system.q, 8)) * 2.0 - 1.0
        found = splitting_solution(system.apply, z, steps)
        exact = ((vectors.T @ z) ** 2 * np.log(values)[:, None]).sum(axis=0)
        error = np.abs(found[1] - exact)
        assert (error <= 2.0 * system.q * q ** (2 * steps) / (steps * (1.0 - q))).all()
        assert (found[0] <= 2.0 * root * q**steps).all()
        if steps > 2:  # two outliers at the bottom, the rest within [values[2], values[-1]]
            rest = np.sqrt(values[-1] / values[2])
            rate = ((rest - 1.0) / (rest + 1.0)) ** (steps - 2)
            assert (found[0] <= 2.0 * root * (values[-1] / values[:2]).prod() * rate).all()


def splitting_solution(apply, z: Array, steps: int) -> tuple[Array, Array]:
    """Relative residuals and quadratures of the logarithm after so many steps."""
    from lmmformula.numerics.conjugate_gradients import conjugate_gradients, quadrature

    found = conjugate_gradients(apply, z, 0.0, steps)
    return found.residuals, quadrature(found, np.einsum("qc,qc->c", z, z), np.log)


def test_remainders_and_their_variance() -> None:
    """|g| is below its leading term over what is left of one, and signs have variance 2 (|g|^2 - |diag g|^2)."""
    x = np.linspace(-3.0, 0.999, 4001)
    g = np.log1p(-x) + x + x**2 / 2
    assert (np.abs(g) <= np.abs(x) ** 3 / (3.0 * np.where(x > 0, 1.0 - x, 1.0)) + 1e-15).all()
    head = np.log1p(-x[x >= 0]) + x[x >= 0]
    assert (np.abs(head) <= x[x >= 0] ** 2 / (2.0 * (1.0 - x[x >= 0])) + 1e-15).all()
    blocks, gram, factors, _ = setting("crossed")
    matrix = operator("schur", blocks, gram, factors)
    values, vectors = np.linalg.eigh(matrix)
    h = (vectors * (np.log(values) + (1 - values) + (1 - values) ** 2 / 2)) @ vectors.T
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(h)))).T
    forms = np.einsum("qc,qc->c", signs, h @ signs)
    assert forms.mean() == pytest.approx(np.trace(h))
    assert forms.var() == pytest.approx(2.0 * (np.sum(h * h) - np.sum(np.diag(h) ** 2)))


# -- as an option of a fit ---------------------------------------------------------------------------------------------


def test_every_preconditioner_finds_the_same_estimates() -> None:
    from lmmformula import fit, load_dataset

    data, formula = load_dataset("Penicillin"), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    exact = fit(formula, data, method="ml")
    for preconditioner in PRECONDITIONERS:
        found = fit(formula, data, method="krylov", preconditioner=preconditioner)
        np.testing.assert_allclose(found.theta, exact.theta, rtol=1e-3)
        assert found.llf == pytest.approx(exact.llf, abs=4.0 * found.llf_stderr + 1e-5)


def test_an_unknown_preconditioner_is_refused() -> None:
    from lmmformula import PlanError, fit, load_dataset

    with pytest.raises(PlanError, match="preconditioner='ilu' must be 'schur', 'ssor'"):
        fit("diameter ~ 1 + (1 | plate)", load_dataset("Penicillin"), method="krylov", preconditioner="ilu")
