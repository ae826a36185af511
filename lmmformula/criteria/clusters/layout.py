r"""Which rows hang together, and which clusters of rows are alike.

Rows are connected by a residual group or by a level of a random-effects term; the connected components are clusters, and V
has a block for each. Two clusters whose rows agree, one by one, in position, group, level, columns of random effects and
weight have the same block at every parameter: they are of one *pattern*. In trials with planned visits there are as many
patterns as there are sets of visits that were kept, whatever the number of patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Entries

__all__ = ["MOST_ROWS", "Layout", "Patterns", "largest_cluster"]

MOST_ROWS = 4_000
"""Rows of a cluster of which a dense block is formed."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Clusters of b patterns with n rows each.

    Attributes
    ----------
    rows : (c, n) int array
        Positions of the rows of the c clusters, those of a pattern one after the other.
    ends : (b + 1,) int array
        Where the clusters of each pattern begin and end.
    positions : (b, n, d) array
    same : (b, n, n) float array
        One where two rows are of one residual group.
    directions : (b, n, g) array
        Columns of the log standard deviation.
    log_scale : (b, n) array
        -log(weight) / 2.
    bases : tuple of (b, n, k) arrays
        Columns of each random-effects term.
    meets : tuple of (b, n, n) float arrays
        One where two rows are of one level of the term.
    """

    rows: Entries
    ends: Entries
    positions: Array
    same: Array
    directions: Array
    log_scale: Array
    bases: tuple[Array, ...]
    meets: tuple[Array, ...]

    @cached_property
    def counts(self) -> Array:
        """Clusters of each pattern, (b,)."""
        return np.diff(self.ends).astype(float)

    @cached_property
    def pattern(self) -> Entries:
        """Pattern of each cluster, (c,)."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))

    @property
    def n(self) -> int:
        return self.rows.shape[1]


@dataclass(frozen=True, eq=False)
class Layout:
    """All clusters of a problem, by their numbers of rows."""

    parts: tuple[Patterns, ...]

    @classmethod
    def of(cls, problem: Problem) -> Layout:
        """O(n log n) for clusters of bounded size."""
        residual = problem.residual
        assert residual is not None
        labels = _components(problem)
        keys = [*residual.positions.T, residual.codes, labels]
        order = np.lexsort(keys)
        sizes = np.bincount(labels)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        found = []
        for n in np.unique(sizes):
            clusters = np.flatnonzero(sizes == n)
            rows = order[starts[clusters][:, None] + np.arange(n)]
            found.append(_patterns(problem, rows))
        return cls(tuple(found))


def largest_cluster(problem: Problem) -> int:
    """Rows of the largest cluster."""
    return int(np.bincount(_components(problem)).max(initial=0))


def _components(problem: Problem) -> Entries:
    """Cluster of each row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    assert problem.residual is not None
    if not problem.terms:
        return np.unique(problem.residual.codes, return_inverse=True)[1]
    n, at = problem.n, problem.n
    rows, levels = [], []
    for codes in (problem.residual.codes, *(t.codes for t in problem.terms)):
        rows.append(np.arange(n))
        levels.append(at + codes.astype(np.int64))
        at += int(codes.max(initial=0)) + 1
    i, j = np.concatenate(rows), np.concatenate(levels)
    graph = coo_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(at, at))
    return np.unique(connected_components(graph, directed=False)[1][:n], return_inverse=True)[1]


def _patterns(problem: Problem, rows: Entries) -> Patterns:
    """Clusters with as many rows each, (c, n), sorted by what they look like."""
    residual = problem.residual
    assert residual is not None
    directions = np.zeros((problem.n, 0)) if residual.variance is None else residual.variance.directions
    (held,) = problem.data.chunks()
    weights = held.weights
    log_scale = np.zeros(problem.n) if weights is None else -0.5 * np.log(weights)
    bases = [np.ones((problem.n, 1)) if t.basis is None else t.basis for t in problem.terms]
    within = [_first_alike(codes[rows]) for codes in (residual.codes, *(t.codes for t in problem.terms))]
    looks = np.concatenate(
        [
            residual.positions[rows],
            directions[rows],
            log_scale[rows][..., None],
            *(b[rows] for b in bases),
            *(w[..., None].astype(float) for w in within),
        ],
        axis=2,
    )
    kind = np.unique(looks.reshape(len(rows), -1), axis=0, return_inverse=True)[1].reshape(-1)
    rows = rows[np.argsort(kind, kind="stable")]
    ends = np.concatenate([[0], np.cumsum(np.bincount(kind))])
    alike = rows[ends[:-1]]
    meets = [_equal(codes[alike]) for codes in (residual.codes, *(t.codes for t in problem.terms))]
    return Patterns(
        rows,
        ends,
        residual.positions[alike],
        meets[0],
        directions[alike],
        log_scale[alike],
        tuple(b[alike] for b in bases),
        tuple(meets[1:]),
    )


def _first_alike(codes: NDArray[np.int32]) -> Entries:
    """For each row the first row of its cluster with the same code, (c, n)."""
    if codes.shape[1] > 64:  # clusters of so many rows are hardly alike
        return codes - codes[:, :1]
    return np.argmax(codes[:, :, None] == codes[:, None, :], axis=2)


def _equal(codes: NDArray[np.int32]) -> Array:
    return (codes[:, :, None] == codes[:, None, :]).astype(float)
