"""Pairs that are read once: the complement that holds them twice, and the exact engine, answer the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.krylov import lean
from lmmformula.engines.krylov.engine import KrylovEngine, KrylovFactor
from lmmformula.engines.krylov.lean import LeanComplement, LeanPattern, is_lean
from lmmformula.engines.krylov.schur_pattern import SchurPattern
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.numerics.lean_kernels import united

FACTORS = (np.array([[0.9]]), np.array([[0.6]]))
FORMULA = "y ~ x + (1 | g) + (1 | h)"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any two groups of one column count as many."""
    monkeypatch.setattr(lean, "PAIRS", 0)
    monkeypatch.setattr(lean, "MET", 0)


def table(n: int = 6_000, levels: tuple[int, int] = (400, 90)) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    g, h = rng.integers(0, levels[0], n), (levels[1] * rng.uniform(size=n) ** 2).astype(int)
    x = rng.normal(size=n)
    y = (
        1.0
        + x
        + 0.7 * rng.normal(size=levels[0])[g]
        + 0.5 * rng.normal(size=levels[1])[h]
        + rng.normal(size=n)
    )
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h})


def design() -> tuple[Blocks, Gram]:
    problem = build(FORMULA, table())
    blocks = Blocks(problem.terms, problem.n)
    return blocks, blocks.gram(np.random.default_rng(1).uniform(0.5, 2.0, problem.n), problem.X.matrix)


def factor(blocks: Blocks, gram: Gram, **options) -> KrylovFactor:
    return KrylovEngine(**options).prepare(blocks).factor(gram, FACTORS)


@pytest.mark.usefixtures("small")
def test_the_operator_is_the_one_that_is_held_twice() -> None:
    blocks, gram = design()
    ours, theirs = (p(blocks).complement(gram, FACTORS) for p in (LeanPattern, SchurPattern))
    assert isinstance(ours, LeanComplement)
    np.testing.assert_allclose(ours.logdet, theirs.logdet, rtol=1e-13)
    np.testing.assert_allclose(ours.c_inverses[0], theirs.c_inverses[0], rtol=1e-13)
    rng = np.random.default_rng(2)
    for columns in (1, 3, 8, 9):
        x = rng.normal(size=(ours.q, columns))
        np.testing.assert_allclose(ours.apply(x), theirs.apply(x), atol=1e-12)
        rhs = tuple(rng.normal(size=(g.m, 1, columns)) for g in blocks.groups)
        for one, other in zip(ours.reduced(rhs), theirs.reduced(rhs), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-11)
        a, b = ours.reduced(rhs)
        for one, other in zip(ours.stacked(a, b), theirs.stacked(a, b), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-11)


@pytest.mark.usefixtures("small")
def test_solutions_are_those_of_a_factorisation() -> None:
    blocks, gram = design()
    exact = BlockedEngine().prepare(blocks).factor(gram, FACTORS)
    rng = np.random.default_rng(0)
    for columns in (1, 6, 20):  # alone, and beside a basis of outlying eigenvectors
        rhs = tuple(rng.normal(size=(g.m, g.k, columns)) for g in blocks.groups)
        found = factor(blocks, gram, tolerance=1e-12)
        for ours, theirs in zip(found.solve(rhs), exact.solve(rhs), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.usefixtures("small")
def test_traces_and_blocks_without_moments_are_those_of_the_same_probes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks, gram = design()
    ours = factor(blocks, gram, tolerance=1e-11, probe_tolerance=1e-11)
    monkeypatch.setattr(lean, "PAIRS", 10**12)
    theirs = factor(blocks, gram, tolerance=1e-11, probe_tolerance=1e-11, moments=False)
    assert isinstance(ours.prepared.pattern, LeanPattern)
    assert isinstance(theirs.prepared.pattern, SchurPattern)
    np.testing.assert_allclose(ours.logdet, theirs.logdet, rtol=1e-10)
    np.testing.assert_allclose(ours.logdet_stderr, theirs.logdet_stderr, rtol=1e-5)
    for get in (KrylovFactor.trace_blocks, KrylovFactor.trace_stderr):
        np.testing.assert_allclose(np.ravel(get(ours)), np.ravel(get(theirs)), rtol=1e-6, atol=1e-8)
    for a in (0, 1):
        np.testing.assert_allclose(ours.inverse().diagonal(a), theirs.inverse().diagonal(a), atol=1e-8)
    np.testing.assert_allclose(ours.inverse().pair(0, 1), theirs.inverse().pair(0, 1), atol=1e-8)


@pytest.mark.usefixtures("small")
def test_traces_are_unbiased() -> None:
    blocks, gram = design()
    exact = np.ravel(BlockedEngine().prepare(blocks).factor(gram, FACTORS).trace_blocks())
    found = [factor(blocks, gram, seed=seed, probes=16) for seed in range(30)]
    scores = [(np.ravel(f.trace_blocks()) - exact) / np.ravel(f.trace_stderr()) for f in found]
    assert np.abs(np.mean(scores, axis=0)).max() < 0.8  # four standard errors of a mean of 30
    assert np.abs(scores).max() < 8.0


@pytest.mark.usefixtures("small")
def test_a_fit_is_the_exact_one() -> None:
    data = table()
    exact, ours = (fit(FORMULA, data, method="reml", engine=e) for e in ("blocked", "krylov"))
    np.testing.assert_allclose(ours.params, exact.params, atol=1e-3 * exact.bse.min())
    np.testing.assert_allclose(ours.theta, exact.theta, rtol=1e-3)
    assert abs(ours.llf - exact.llf) < 5.0 * ours.llf_stderr + 1e-4
    np.testing.assert_allclose(ours.bse, exact.bse, rtol=1e-3)


def test_sums_do_not_depend_on_threads(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, gram = design()
    x = np.random.default_rng(3).normal(size=(blocks.groups[1].m, 5))
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        found.append(LeanPattern(blocks).complement(gram, FACTORS).apply(x))
    np.testing.assert_array_equal(*found)


def test_which_levels_suit() -> None:
    blocks, _ = design()
    assert not is_lean(blocks)  # few pairs
    assert isinstance(KrylovEngine().prepare(blocks).pattern, SchurPattern)


@pytest.mark.usefixtures("small")
def test_slopes_and_the_smaller_group_first_do_not_suit() -> None:
    data = table()
    for formula, suits in ((FORMULA, True), ("y ~ x + (x | g) + (1 | h)", False), ("y ~ x + (1 | g)", False)):
        problem = build(formula, data)
        assert is_lean(Blocks(problem.terms, problem.n)) == suits


def test_a_block_that_is_not_positive_is_said(small: None) -> None:
    blocks, gram = design()
    wrong = replace(gram, cross={(0, 1): 3.0 * gram.cross[0, 1]})
    with pytest.raises(FitError, match="not positive definite"):
        LeanPattern(blocks).complement(wrong, FACTORS)


def test_connected_parts() -> None:
    ptr, cols = np.array([0, 2, 2, 4, 5, 7]), np.array([0, 3, 1, 2, 4, 2, 5], dtype=np.int32)
    out = np.empty(7, dtype=np.int32)
    united(ptr, cols, out)
    np.testing.assert_array_equal(out, [0, 1, 1, 0, 2, 1, 3])
