"""The Krylov engine against the exact one: what it states as exact is, and its stated errors have nominal coverage."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem, random_theta
from scipy import stats

from lmmformula.criteria.profiled import Profiled
from lmmformula.criteria.variance import relative_factors
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.krylov import compressed, schur
from lmmformula.engines.krylov import engine as krylov
from lmmformula.engines.krylov.engine import SMALL, KrylovEngine
from lmmformula.engines.krylov.moments import Moments
from lmmformula.errors import ConvergenceWarning
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.numerics import threads
from lmmformula.numerics.conjugate_gradients import conjugate_gradients, quadrature, refined

SEEDS = 30


@pytest.fixture(params=["scipy", "compiled", "single"])
def way(request, monkeypatch):
    monkeypatch.setattr(schur, "COMPILED_ENTRIES", 10**9 if request.param == "scipy" else 0)
    monkeypatch.setattr(schur, "SINGLE_ENTRIES", 0 if request.param == "single" else 10**9)
    return request.param


def setting(layout: str):
    problem = make_problem(layout)
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(problem.weights, problem.X.matrix)
    factors = relative_factors(problem.terms, blocks.groups, random_theta(problem))
    return blocks, gram, factors, BlockedEngine().prepare(blocks).factor(gram, factors)


def test_a_plan_finds_no_patterns_and_a_fit_finds_them_once() -> None:
    problem = two_factors(*hard_designs()["crossed"])
    blocks = Blocks(problem.terms, problem.n)
    prepared = KrylovEngine().prepare(blocks)
    assert "pattern" not in vars(prepared.found)
    assert prepared.dense_side == 0
    rough = prepared.rough
    rough.factor(blocks.gram(None, problem.X.matrix), (np.array([[0.9]]), np.array([[0.6]])))
    assert rough.pattern is prepared.pattern


@pytest.mark.parametrize("layout", LAYOUTS)
def test_solutions(layout: str, way: str) -> None:
    blocks, gram, factors, exact = setting(layout)
    rng = np.random.default_rng(0)
    rhs = tuple(rng.normal(size=(g.m, g.k, 20)) for g in blocks.groups)
    solved = KrylovEngine(tolerance=1e-12).prepare(blocks).factor(gram, factors).solve(rhs)
    for ours, theirs in zip(solved, exact.solve(rhs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stated_errors_cover(layout: str, way: str) -> None:
    """Log-determinant and traces over seeds: errors in units of the stated ones behave like Student's t."""
    blocks, gram, factors, exact = setting(layout)
    engine, scores = KrylovEngine(probes=16), []
    for seed in range(SEEDS):
        found = KrylovEngine(seed=seed, probes=16).prepare(blocks).factor(gram, factors)
        pairs = [(found.logdet, exact.logdet, found.logdet_stderr)]
        for ours, theirs, error in zip(
            found.trace_blocks(), exact.trace_blocks(), found.trace_stderr(), strict=True
        ):
            pairs.append((ours[0, 0], theirs[0, 0], error[0, 0]))
        scores.append([(a - b) / max(e, 1e-7) for a, b, e in pairs])
    inside = np.abs(scores) < stats.t.ppf(0.975, engine.probes - 1)
    # D has 8 to 90 effects here, most of them deflated: what is left to a probe is a few squares, skewed; see below
    assert inside.sum(axis=0).min() >= 20
    assert np.abs(scores).max() < 8.0


@pytest.mark.parametrize("probes", [8, 16])
def test_coverage_is_nominal_at_ordinary_sizes(probes: int) -> None:
    """300 by 250 levels: 95 % of 120 seeds, a binomial count with standard deviation 2.4."""
    problem = two_factors(*hard_designs()["crossed"])
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(None, problem.X.matrix)
    factors = (np.array([[0.9]]), np.array([[0.6]]))
    exact = BlockedEngine().prepare(blocks).factor(gram, factors)
    scores = []
    for seed in range(120):
        found = KrylovEngine(seed=seed, probes=probes).prepare(blocks).factor(gram, factors)
        traces = [
            (ours[0, 0] - theirs[0, 0]) / error[0, 0]
            for ours, theirs, error in zip(
                found.trace_blocks(), exact.trace_blocks(), found.trace_stderr(), strict=True
            )
        ]
        scores.append([(found.logdet - exact.logdet) / found.logdet_stderr, *traces])
    inside = (np.abs(scores) < stats.t.ppf(0.975, probes - 1)).sum(axis=0)
    assert inside.min() >= 108  # 2.5 standard deviations below 114
    assert np.abs(np.mean(scores, axis=0)).max() < 0.4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_of_the_inverse_are_unbiased(layout: str, way: str) -> None:
    blocks, gram, factors, exact = setting(layout)
    found = [
        KrylovEngine(seed=seed, probes=16).prepare(blocks).factor(gram, factors).inverse()
        for seed in range(SEEDS)
    ]
    expected = exact.inverse()
    for a in range(len(blocks.groups)):
        _agree(np.stack([f.diagonal(a) for f in found]), expected.diagonal(a))
    for a, b in itertools.combinations(range(len(blocks.groups)), 2):
        _agree(np.stack([f.pair(a, b) for f in found]), expected.pair(a, b))


def _agree(draws, expected) -> None:
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    z = (draws.mean(axis=0) - expected) / np.maximum(error, 1e-6)
    assert np.abs(z).max() < 6.5
    assert np.abs(draws.mean(axis=0) - expected).max() < 0.02


def test_solutions_from_single_precision_have_the_residual_that_they_state() -> None:
    rng = np.random.default_rng(3)
    q = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    for smallest in (0.1, 1e-4, 1e-7):
        a = (q * np.geomspace(smallest, 1.0, 60)) @ q.T
        narrow = a.astype(np.float32)
        b = np.column_stack([rng.normal(size=(60, 4)), np.zeros(60)])
        asked = 1e-4 if smallest < 1e-6 else 1e-9
        found = refined(lambda x: (narrow if x.dtype == np.float32 else a) @ x, b, asked, 1_000)  # noqa: B023
        assert found.converged.all()
        assert (found.residuals <= asked).all()
        np.testing.assert_allclose(
            np.linalg.norm(b - a @ found.x, axis=0), found.residuals * np.linalg.norm(b, axis=0), atol=1e-9
        )
        assert found.x[:, 4].tolist() == [0.0] * 60


def test_single_precision_gives_what_double_gives(monkeypatch) -> None:
    """With the same probes: log-determinant and traces, far within their standard errors."""
    monkeypatch.setattr(schur, "COMPILED_ENTRIES", 0)
    blocks, gram, factors, _ = setting("chain and crossed")
    answers = []
    for entries in (0, 10**9):
        monkeypatch.setattr(schur, "SINGLE_ENTRIES", entries)
        found = KrylovEngine(probes=8).prepare(blocks).factor(gram, factors)
        answers.append((found.logdet, *found.trace_blocks()))
        errors = (found.logdet_stderr, *found.trace_stderr())
    for single, double, error in zip(*answers, errors, strict=True):
        assert (np.abs(np.asarray(single) - double) <= 1e-2 * np.asarray(error) + 1e-6 * np.abs(double)).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exact_moments(layout: str, way: str) -> None:
    """Sums over the nonzeros of K against K formed column by column."""
    blocks, gram, factors, _ = setting(layout)
    complement: Any = KrylovEngine().prepare(blocks).factor(gram, factors).complement
    if not complement.q:
        return
    pattern, q = complement.pattern, complement.q
    k = np.eye(q) - complement.apply(np.eye(q))
    moments = Moments.of(complement)
    assert moments.trace_square == pytest.approx(np.sum(k * k), rel=1e-10, abs=1e-12)
    n = pattern.by_row.matrix(complement.n, q)
    if moments.heads is not None:
        chain = (n @ n.T + n @ k @ n.T).diagonal() @ complement.inv.ravel() ** 2
        assert moments.heads.chain == pytest.approx(chain, rel=1e-10)
        dense = np.concatenate([c.ravel() for c in complement.c_inverses]) ** 2 * (k * k).sum(axis=0)
        np.testing.assert_allclose(
            moments.heads.dense, np.add.reduceat(dense, pattern.plan.offsets), rtol=1e-10
        )
    rows = np.repeat(np.arange(pattern.rows), np.diff(pattern.by_row.ptr))
    np.testing.assert_allclose(moments.on_patterns.nk, (n @ k)[rows, pattern.by_row.cols], atol=1e-12)
    places = np.repeat(np.arange(q), np.diff(pattern.h.ptr))
    np.testing.assert_allclose(moments.on_patterns.kh, k[places, pattern.h.cols], atol=1e-12)
    for start, g in zip(pattern.plan.offsets, pattern.dense_groups, strict=True):
        own = k[start : start + g.q, start : start + g.q].reshape(g.m, g.k, g.m, g.k)
        for level in range(g.m):
            np.testing.assert_allclose(own[level, :, level], 0.0, atol=1e-9)  # blocks within levels vanish


def test_without_moments_the_estimates_stay_unbiased() -> None:
    blocks, gram, factors, exact = setting("crossed slopes")
    values = [
        KrylovEngine(seed=s, probes=8, moments=False).prepare(blocks).factor(gram, factors) for s in range(40)
    ]
    draws = np.array([v.logdet for v in values])
    assert abs(draws.mean() - exact.logdet) < 4.0 * draws.std(ddof=1) / np.sqrt(len(draws))
    traces = np.array([v.trace_blocks()[0] for v in values])
    error = traces.std(axis=0, ddof=1) / np.sqrt(len(traces))
    assert (np.abs(traces.mean(axis=0) - exact.trace_blocks()[0]) < 5.0 * error + 1e-9).all()


def test_no_number_depends_on_the_threads(monkeypatch) -> None:
    monkeypatch.setattr(schur, "COMPILED_ENTRIES", 0)
    monkeypatch.setattr(compressed, "PART", 40)
    blocks, gram, factors, _ = setting("chain and crossed")
    answers = []
    for count in (1, 3):
        monkeypatch.setattr(threads, "worker_threads", lambda count=count: count)
        found = KrylovEngine().prepare(blocks).factor(gram, factors)
        answers.append((found.logdet, found.trace_blocks()[0], found.inverse().pair(0, 1)))
    assert answers[0][0] == answers[1][0]
    for one, three in zip(answers[0][1:], answers[1][1:], strict=True):
        np.testing.assert_array_equal(one, three)


def test_sharpened_reaches_the_accuracy() -> None:
    blocks, gram, factors, exact = setting("crossed slopes")
    rough = KrylovEngine(probes=4, accuracy=2e-6).prepare(blocks).factor(gram, factors)
    goal = 2.0 * 2e-6 * np.sqrt(SMALL)
    assert rough.logdet_stderr > goal
    sharp = rough.sharpened().factor
    assert sharp.logdet_stderr <= goal
    assert sharp.logdet == pytest.approx(exact.logdet, abs=5.0 * sharp.logdet_stderr + 1e-8)


def test_as_many_probes_as_effects_are_exact() -> None:
    blocks, gram, factors, exact = setting("chain and crossed")
    found = (
        KrylovEngine(probes=90, probe_tolerance=1e-10, tolerance=1e-10).prepare(blocks).factor(gram, factors)
    )
    assert found.logdet_stderr == 0.0
    assert found.logdet == pytest.approx(exact.logdet, abs=1e-9)
    for a in range(len(blocks.groups)):
        np.testing.assert_allclose(found.inverse().diagonal(a), exact.inverse().diagonal(a), atol=1e-8)
        np.testing.assert_allclose(found.trace_blocks()[a], exact.trace_blocks()[a], atol=1e-7)
    np.testing.assert_allclose(found.inverse().pair(0, 3), exact.inverse().pair(0, 3), atol=1e-8)


# -- conjugate gradients ----------------------------------------------------------------------------------------------


def test_quadrature_is_exact_once_the_iteration_has_ended() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=(12, 12))
    a = a @ a.T + 0.5 * np.eye(12)
    b = rng.normal(size=(12, 3))
    b[:, 1] = 0.0
    found = conjugate_gradients(lambda x: a @ x, b, 1e-13, 50)
    values, vectors = np.linalg.eigh(a)
    expected = np.einsum("qc,qc->c", b, vectors @ (np.log(values)[:, None] * (vectors.T @ b)))
    np.testing.assert_allclose(
        quadrature(found, (b * b).sum(axis=0), np.log), expected, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(a @ found.x, b, atol=1e-10)
    assert found.converged.all()
    assert found.steps[1] == 0


def test_the_first_steps_leave_two_powers_of_the_operator() -> None:
    """A b and A^2 b of every column, of one that ends after a step too."""
    rng = np.random.default_rng(5)
    half = rng.standard_normal((12, 12))
    a = half @ half.T / 12 + np.eye(12)
    b = np.column_stack([rng.standard_normal((12, 2)), np.linalg.eigh(a)[1][:, 3], np.zeros(12)])
    found = conjugate_gradients(lambda x: a @ x, b, 1e-10, 50, powers=True)
    assert found.steps[2] == 1
    assert found.powers is not None
    for power, expected in zip(found.powers, (a @ b, a @ a @ b), strict=True):
        np.testing.assert_allclose(power, expected, atol=1e-12)
    assert conjugate_gradients(lambda x: a @ x, b, 1e-10, 50).powers is None


def test_each_column_has_a_status() -> None:
    a = np.diag(np.logspace(-12, 0, 200))
    b = np.column_stack([np.eye(200)[:, 0], np.ones(200)])
    found = conjugate_gradients(lambda x: a @ x, b, 1e-12, 20)
    assert found.converged.tolist() == [True, False]
    assert found.residuals[1] > 1e-12


# -- hard designs -----------------------------------------------------------------------------------------------------


def two_factors(g, h, n_seed: int = 0) -> Problem:
    rng = np.random.default_rng(n_seed)
    codes = [np.unique(c, return_inverse=True)[1].astype(np.int32) for c in (g, h)]
    n = len(g)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = x @ [1.0, 0.5] + sum(rng.normal(size=c.max() + 1)[c] for c in codes) + rng.normal(size=n)
    terms = tuple(
        GroupBlock(
            name, ("(Intercept)",), np.arange(c.max() + 1).astype(object), c, None, KINDS["us"](1), name
        )
        for name, c in zip("gh", codes, strict=True)
    )
    fixed = FixedBlock(x, ("(Intercept)", "x"), (0, 1), ("x",))
    family = make_problem("one").family
    return Problem(y, fixed, terms, None, None, family, "y", np.arange(n), n_rows_data=n)


def hard_designs():
    rng, n = np.random.default_rng(3), 4000
    g = rng.integers(0, 300, n)
    part = rng.integers(0, 12, n)
    half = np.where(rng.random(n) < 0.5, 0, rng.integers(1, 300, n))
    return {
        "crossed": (g, rng.integers(0, 250, n)),
        "almost nested": (g, np.where(rng.random(n) < 0.01, rng.integers(0, 60, n), g // 5)),
        "disconnected": (part * 30 + rng.integers(0, 30, n), part * 25 + rng.integers(0, 25, n)),
        "a level with half of all rows": (half, rng.integers(0, 250, n)),
        "a chain": (np.arange(n) // 20, (np.arange(n) + 10) // 20),
    }


RATIOS = ((1e-3, 1e-3), (0.9, 0.6), (1e3, 1e3), (1e3, 1e-3), (1e-3, 1e3))


@pytest.mark.parametrize("design", hard_designs())
@pytest.mark.parametrize("theta", RATIOS)
def test_hard_designs_end_well(design: str, theta: tuple[float, float]) -> None:
    """Variance ratios from 1e-6 to 1e6: the exact deviance within the stated error."""
    problem = two_factors(*hard_designs()[design])
    at = np.array(theta)
    exact = Profiled.of(problem, BlockedEngine(), reml=True)(at)
    ours = Profiled.of(problem, KrylovEngine(), reml=True)(at)
    assert abs(ours.deviance - exact.deviance) < 6.0 * ours.error + 1e-3
    scale = np.abs(exact.gradient) + 1.0
    assert (np.abs(ours.gradient - exact.gradient) / scale).max() < 0.02


def test_a_likelihood_that_cannot_be_known_well_says_so(monkeypatch) -> None:
    monkeypatch.setattr(krylov, "MAX_PROBES", 32)
    problem = two_factors(*hard_designs()["a chain"])
    point = Profiled.of(problem, KrylovEngine(), reml=False)(np.array([1e3, 1e3]))
    with pytest.warns(ConvergenceWarning, match="standard error of .* probes"):
        point.sharpened()


def test_solutions_that_do_not_converge_say_so() -> None:
    problem = two_factors(*hard_designs()["a chain"])
    point = Profiled.of(problem, KrylovEngine(max_steps=5), reml=False)(np.array([1e3, 1e3]))
    with pytest.warns(ConvergenceWarning, match="relative residual"):
        _ = point.r2


def test_easy_problems_do_not_warn() -> None:
    problem = two_factors(*hard_designs()["crossed"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point = Profiled.of(problem, KrylovEngine(), reml=False)(np.array([0.9, 0.6])).sharpened()
        assert np.isfinite(point.deviance)
