"""Compiled sums over rows against the plain ones, and on any number of threads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lmmformula.ir import gram_ways
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import GroupBlock
from lmmformula.numerics import row_sums, tall
from lmmformula.numerics.row_sums import LevelOrder
from lmmformula.numerics.threads import edges, in_parts, worker_threads

N = 3_001


def term(name: str, m: int, k: int | None, rng: np.random.Generator) -> GroupBlock:
    """A term of m levels, some of them rare; k columns, or an intercept for None."""
    codes = np.concatenate([np.arange(m), (m * rng.random(N - m) ** 3).astype(int)])
    basis = None if k is None else rng.normal(size=(N, k))
    columns = tuple(f"c{j}" for j in range(k or 1))
    labels = np.arange(m).astype(str).astype(object)
    kind = KINDS["us"](len(columns))
    return GroupBlock(name, columns, labels, rng.permutation(codes).astype(np.int32), basis, kind)


def compiled_and_plain(blocks: Blocks, weights, v, monkeypatch) -> tuple[Gram, Gram]:
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    fast = blocks.gram(weights, v)
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", np.inf)
    return fast, blocks.gram(weights, v)


def pieces(gram: Gram) -> list[np.ndarray]:
    return [*gram.diag, *gram.rhs, gram.vv, *(gram.cross[pair] for pair in sorted(gram.cross))]


@pytest.mark.parametrize("shared", [0, row_sums.SHARED_CELLS])
@pytest.mark.parametrize("c", [0, 1, 9])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [[(40, None)], [(700, None), (30, None)], [(30, 2), (400, None), (50, 3)]])
def test_compiled_sums_are_the_plain_ones(shape, weighted: bool, c: int, shared: int, monkeypatch) -> None:
    """Groups of few levels and of many, with and without bases; `shared` zero has all of them summed level by level."""
    monkeypatch.setattr(row_sums, "SHARED_CELLS", shared)
    rng = np.random.default_rng(len(shape) + c)
    blocks = Blocks([term(f"g{i}", m, k, rng) for i, (m, k) in enumerate(shape)], N)
    weights = rng.uniform(0.0, 2.0, N) * (rng.random(N) > 0.1) if weighted else None
    fast, plain = compiled_and_plain(blocks, weights, rng.normal(size=(N, c)), monkeypatch)
    for ours, theirs in zip(pieces(fast), pieces(plain), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13 * np.abs(theirs).max(initial=1.0))


def test_columns_alone_are_those_of_the_gram(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    blocks = Blocks([term("a", 60, 2, rng), term("b", 500, None, rng)], N)
    weights, v = rng.random(N), rng.normal(size=(N, 3))
    for limit in (0.0, np.inf):
        monkeypatch.setattr(gram_ways, "COMPILED_SUMS", limit)
        gram = blocks.gram(weights, v)
        rhs, vv = blocks.weighted_columns(weights, v)
        for ours, theirs in zip((*rhs, vv), (*gram.rhs, gram.vv), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_threads_do_not_change_a_digit(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    terms = [term("a", 800, None, rng), term("b", 40, 2, rng)]
    weights, v = rng.random(N), rng.normal(size=(N, 5))
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    monkeypatch.setattr(tall, "ROWS", 100)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    found = []
    for threads in ("1", "2", "7"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        assert worker_threads() == int(threads)
        gram = Blocks(terms, N).gram(weights, v)
        found.append([*pieces(gram), tall.tall_transposed(v, weights), tall.tall_times(v, v[0])])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_rows_by_level() -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 50, N).astype(np.int32)
    codes[codes == 17] = 18  # a level without rows
    rows = LevelOrder.of(codes, 50)
    np.testing.assert_array_equal(rows.order, np.argsort(codes, kind="stable"))
    np.testing.assert_array_equal(np.diff(rows.ptr), np.bincount(codes, minlength=50))
    assert rows.cuts[0] == 0
    assert rows.cuts[-1] == 50


def test_no_rows(monkeypatch) -> None:
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    empty = GroupBlock("g", ("1",), np.zeros(0, object), np.zeros(0, np.int32), None, KINDS["us"](1))
    gram = Blocks([empty], 0).gram(None, np.zeros((0, 2)))
    np.testing.assert_array_equal(gram.vv, np.zeros((2, 2)))
    assert gram.rhs[0].shape == (0, 1, 2)


def test_parts_keep_their_order_and_the_error_state(monkeypatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cuts = edges(10, 3)
    assert in_parts(lambda i, j: (i, j), cuts) == list(itertools.pairwise([0, 3, 6, 9, 10]))
    with np.errstate(divide="ignore"):
        in_parts(lambda i, j: np.ones(j - i) / 0.0, cuts)
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda i, _: 1 // i, cuts)


@pytest.mark.parametrize(("k", "p"), [(1, 4), (3, 2), (2, 0)])
def test_tall_products(k: int, p: int, monkeypatch) -> None:
    monkeypatch.setattr(tall, "ROWS", 64)
    monkeypatch.setattr(tall, "_GRAM_CELLS", 64)
    rng = np.random.default_rng(3)
    a, x, b = rng.normal(size=(333, p)), rng.normal(size=(p, 2)), rng.normal(size=(333, 2))
    np.testing.assert_allclose(tall.tall_times(a, x), a @ x, atol=1e-13)
    np.testing.assert_allclose(tall.tall_transposed(a, b), a.T @ b, atol=1e-12)
    np.testing.assert_allclose(tall.tall_transposed(a, b[:, 0]), a.T @ b[:, 0], atol=1e-12)
    s, d = rng.normal(size=(111, k, p)), rng.normal(size=(111, k, k))
    d = d + np.swapaxes(d, 1, 2)
    expected = np.einsum("sip,sij,sjq->pq", s, d, s)
    np.testing.assert_allclose(tall.tall_gram(s, d), expected, atol=1e-11)
    monkeypatch.setattr(tall, "COMPILED", 0)
    found = tall.tall_gram(s, d)
    np.testing.assert_allclose(found, expected, atol=1e-11)
    if k == 1:
        np.testing.assert_array_equal(found, found.T)
