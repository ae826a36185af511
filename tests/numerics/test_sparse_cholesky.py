"""Sparse factors, solves and selected inverses against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.numerics import elimination, ordering
from lmmformula.numerics.ordering import minimum_degree
from lmmformula.numerics.sparse_cholesky import NotPositiveDefiniteError, SparsePattern, predicted


def random(n: int, density: float, seed: int) -> np.ndarray:
    """Diagonally dominant, with a random pattern."""
    rng = np.random.default_rng(seed)
    a = np.tril(rng.normal(size=(n, n)) * (rng.random((n, n)) < density), -1)
    a = a + a.T
    return a + np.diag(np.abs(a).sum(1) + rng.uniform(0.1, 1.0, n))


def grid(k: int) -> np.ndarray:
    line = np.diag(np.full(k, 2.01)) - np.diag(np.ones(k - 1), 1) - np.diag(np.ones(k - 1), -1)
    return np.kron(line, np.eye(k)) + np.kron(np.eye(k), line)


def arrow(n: int) -> np.ndarray:
    a = np.diag(np.full(n, 2.0 * n))
    a[0], a[:, 0] = 1.0, 1.0
    a[0, 0] = 2.0 * n
    return a


def blocks(sizes: list[int], seed: int) -> np.ndarray:
    """Full blocks, their rows mixed."""
    whole, start = np.zeros((sum(sizes), sum(sizes))), 0
    for m in sizes:
        whole[start : start + m, start : start + m] = random(m, 1.0, seed + m)
        start += m
    order = np.random.default_rng(seed).permutation(len(whole))
    return whole[np.ix_(order, order)]


def membership(rows: int, members: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = np.zeros((rows, members))
    for _ in range(2):
        z[np.arange(rows), rng.integers(members, size=rows)] += 0.5
    return z.T @ z + np.eye(members)


CASES = {
    "none": np.zeros((0, 0)),
    "one": np.array([[4.0]]),
    "two": np.array([[2.0, 1.0], [1.0, 3.0]]),
    "diagonal": np.diag(np.arange(1.0, 8.0)),
    "dense": random(30, 1.0, 1),
    "line": np.diag(np.full(60, 2.5)) - np.diag(np.ones(59), 1) - np.diag(np.ones(59), -1),
    "grid": grid(13),
    "arrow": arrow(300),
    "blocks": blocks([70, 50, 1, 7, 40], 2),
    "members": membership(300, 120, 3),
}


def compressed(a: np.ndarray, *, full: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compressed columns: where each begins, rows, values."""
    a = a if full else np.tril(a)
    columns, rows = np.nonzero(a.T)
    return np.concatenate([[0], np.cumsum((a != 0.0).sum(0))]), rows, a[rows, columns]


def check(a: np.ndarray, *, full: bool = False) -> SparsePattern:
    """Everything a factor answers, to 1e-10."""
    (indptr, indices, data), n = compressed(a, full=full), len(a)
    pattern = SparsePattern.of(indptr, indices)
    factor = pattern.factorise(data)
    rng = np.random.default_rng(n)
    inverse = np.linalg.inv(a)
    assert factor.logdet == pytest.approx(np.linalg.slogdet(a)[1], rel=1e-10, abs=1e-10)
    for shape in ((n,), (n, 1), (n, 5)):
        b = rng.normal(size=shape)
        np.testing.assert_allclose(factor.solve(b), inverse @ b, atol=1e-10)
        half = factor.half_solve(b)
        assert half.shape == b.shape
        np.testing.assert_allclose(half.T @ half, b.T @ inverse @ b, atol=1e-10)
    root = factor.half_solve_transposed(np.eye(n))
    np.testing.assert_allclose(root @ root.T, inverse, atol=1e-10)
    selected = factor.selected()
    columns = np.repeat(np.arange(n), np.diff(indptr))
    np.testing.assert_allclose(selected.data, inverse[indices, columns], atol=1e-10)
    np.testing.assert_allclose(selected.diagonal(), inverse.diagonal(), atol=1e-10)
    nodes, order = pattern.supernodes, pattern.elimination.order
    for s in range(len(nodes.first) - 1):  # every pair in the pattern of L
        rows = order[nodes.rows[nodes.row_ptr[s] : nodes.row_ptr[s + 1]]]
        own = order[nodes.first[s] : nodes.first[s + 1]]
        i, j = np.repeat(rows, len(own)), np.tile(own, len(rows))
        np.testing.assert_allclose(selected.at(i, j), inverse[i, j], atol=1e-10)
    return pattern


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("slower", [8.0, 0.0], ids=["tail", "one column as tail"])
def test_known_patterns(name: str, slower: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if not slower:
        monkeypatch.setattr(elimination, "_tail_start", lambda counts: max(len(counts) - 1, 0))
    check(CASES[name], full=slower == 0.0)


@pytest.mark.parametrize("seed", range(60))
def test_random_patterns(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 90))
    if seed % 3 == 0:  # lists are moved together often, and most rows count as dense
        monkeypatch.setattr(ordering, "_ROOM", 0)
        monkeypatch.setattr(ordering, "_DENSE", float(rng.uniform(0.1, 3.0)))
    if seed % 2:
        monkeypatch.setattr(elimination, "_tail_start", lambda counts: int(rng.integers(len(counts))))
    pattern = check(random(n, float(rng.choice([0.01, 0.05, 0.2, 0.6])), seed), full=bool(seed % 5))
    assert sorted(pattern.elimination.order) == list(range(n))


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_the_factor(seed: int) -> None:
    a = random(60, 0.06, seed)
    known = predicted(*compressed(a)[:2])
    exact = np.linalg.cholesky(a[np.ix_(known.order, known.order)])
    np.testing.assert_array_equal(known.counts, (exact != 0.0).sum(0))
    for j, parent in enumerate(known.parent):
        below = np.flatnonzero(exact[j + 1 :, j])
        assert parent == (j + 1 + below[0] if below.size else -1)
    flops = (known.counts[: known.tail] ** 2).sum() + (60 - known.tail) ** 3 / 3
    assert known.flops == pytest.approx(flops)
    assert known.nonzeros >= known.counts.sum() - 1


def fill(a: np.ndarray) -> int:
    """Nonzeros of L."""
    return int(predicted(*compressed(a)[:2]).counts.sum())


def test_matrices_that_need_no_fill_get_none() -> None:
    rng = np.random.default_rng(5)
    n = 500
    tree = np.array([rng.integers(i) for i in range(1, n)])
    mixed = rng.permutation(n)
    a = np.eye(n)
    a[mixed[1:], mixed[tree]] = a[mixed[tree], mixed[1:]] = 1.0
    assert fill(a) == 2 * n - 1
    assert fill(arrow(n)) == 2 * n - 1


def minimum_degree_exactly(a: np.ndarray) -> int:
    """Nonzeros of L when a variable of least degree is eliminated each time."""
    neighbours = {i: set(np.flatnonzero(row).tolist()) - {i} for i, row in enumerate(a)}
    total = 0
    while neighbours:
        i = min(neighbours, key=lambda j: len(neighbours[j]))
        own = neighbours.pop(i)
        total += 1 + len(own)
        for j in own:
            neighbours[j] = (neighbours[j] | own) - {i, j}
    return total


def test_as_little_fill_as_by_exact_degrees() -> None:
    """Within some percent in all: ties are broken differently, and degrees are bounds."""
    problems = [random(120, d, seed) for seed in range(4) for d in (0.02, 0.03, 0.05)]
    problems += [membership(300, 120, seed) for seed in range(4)]
    problems += [grid(k) for k in (9, 12, 14)]
    problems += [np.kron(random(60, 0.04, seed), np.ones((3, 3))) for seed in range(3)]
    ours, exact = (sum(f(a) for a in problems) for f in (fill, minimum_degree_exactly))
    print(ours, exact)
    assert ours < 1.02 * exact


def test_little_fill_on_a_grid() -> None:
    """Nested dissection of a grid of side k leaves about 7.75 k^2 log2(k) (George 1973)."""
    k = 60
    assert fill(grid(k)) < 0.6 * 7.75 * k**2 * np.log2(k)


def test_equal_rows_are_eliminated_together() -> None:
    """Cliques of six that share a border."""
    a = np.kron(np.eye(30), np.ones((6, 6)))
    a[-1], a[:, -1] = 1.0, 1.0
    assert fill(a) == 29 * (21 + 6) + 21
    columns, rows = np.nonzero((a - np.diag(a.diagonal())).T)
    order = minimum_degree(np.concatenate([[0], np.cumsum(np.bincount(columns))]), rows)
    at = np.argsort(order)[:174].reshape(29, 6)
    assert np.all(at.max(1) - at.min(1) == 5)


def test_a_pivot_that_is_not_positive_is_named() -> None:
    for a, variable in (
        (np.diag([1.0, 2.0, -1.0, 4.0]), 2),
        (np.diag([np.nan, 2.0]), 0),
        (np.diag([1.0, np.inf]), 1),
    ):
        indptr, indices, data = compressed(a)
        with pytest.raises(NotPositiveDefiniteError, match=f"pivot of row {variable} ") as raised:
            SparsePattern.of(indptr, indices).factorise(data)
        assert raised.value.variable == variable
    a = grid(12) - 2.0 * np.eye(144)
    indptr, indices, data = compressed(a)
    pattern = SparsePattern.of(indptr, indices)
    with pytest.raises(NotPositiveDefiniteError) as raised:
        pattern.factorise(data)
    order = pattern.elimination.order
    k = int(pattern.elimination.place[raised.value.variable])
    leading = a[np.ix_(order, order)]
    assert np.linalg.eigvalsh(leading[:k, :k]).min() > 0.0
    assert np.linalg.eigvalsh(leading[: k + 1, : k + 1]).min() <= 0.0


def test_patterns_that_mean_nothing_are_refused() -> None:
    for indptr, indices, message in (
        ([0, 1, 2], [0, 0], "1 entries lie above the diagonal"),
        ([0, 2, 3], [1, 1, 1], "1 of 3 entries of a pattern are repeated"),
        ([0, 1, 2], [0, 2], "rows of a pattern with 2 columns are 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            SparsePattern.of(np.array(indptr), np.array(indices))
    indptr, indices, data = compressed(CASES["line"])
    selected = SparsePattern.of(indptr, indices).factorise(data).selected()
    with pytest.raises(ValueError, match=r"\(0, 59\) among them"):
        selected.at(np.array([0, 0]), np.array([1, 59]))


def test_the_diagonal_need_not_be_given_where_others_are_unsorted() -> None:
    pattern = SparsePattern.of(np.array([0, 3, 4, 5]), np.array([2, 0, 1, 1, 2], dtype=np.int32))
    factor = pattern.factorise(np.array([1.0, 5.0, 2.0, 6.0, 7.0]))
    a = np.array([[5.0, 2.0, 1.0], [2.0, 6.0, 0.0], [1.0, 0.0, 7.0]])
    np.testing.assert_allclose(factor.solve(np.eye(3)), np.linalg.inv(a), atol=1e-12)
    pattern = SparsePattern.of(np.array([0, 1, 1]), np.array([1]))
    with pytest.raises(NotPositiveDefiniteError):
        pattern.factorise(np.array([1.0]))
