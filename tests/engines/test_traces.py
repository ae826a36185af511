"""Traces by few solutions, against those of the inverse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import hadamard

from lmmformula import build
from lmmformula.engines.blocked import BlockedEngine, BlockedFactor, BlockedPrepared
from lmmformula.engines.traces import Anchored, Sampled
from lmmformula.ir.blocks import Blocks, Gram


def setting() -> tuple[BlockedPrepared, Gram, list[np.ndarray]]:
    """Two nested factors to eliminate, with one of 16 levels of two columns crossed with them."""
    rng, n = np.random.default_rng(2), 400
    g = rng.integers(0, 40, n)
    data = {
        "y": rng.normal(size=n),
        "x": rng.normal(size=n),
        "g": g,
        "top": g // 8,
        "h": rng.integers(0, 16, n),
    }
    problem = build("y ~ x + (x | g) + (1 | top) + (x | h)", data)
    blocks = Blocks(problem.terms, problem.n)
    lower = [np.array([[0.8, 0.0], [0.3, 0.6]]), np.array([[0.7]]), np.array([[0.5, 0.0], [-0.2, 0.9]])]
    lower = [next(v for v in lower if len(v) == g.k) for g in blocks.groups]
    return BlockedEngine().prepare(blocks), blocks.gram(None, problem.X.matrix), lower


def test_signs_that_span_everything_leave_no_error() -> None:
    """(1) by the columns of a Hadamard matrix, whose products with themselves add up to the identity."""
    prepared, gram, lower = setting()
    assert prepared.dense_side == 32
    assert len(prepared.plan.chain) == 2
    way = Sampled(hadamard(32).astype(float), tuple(g.m for g in prepared.blocks.groups))
    known = prepared.factor(gram, lower).trace_blocks()
    found = replace(prepared, way=way).factor(gram, lower).trace_blocks()
    for a, b in zip(found, known, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(("moved", "sampled"), [(1e-6, True), (0.3, False)])
def test_traces_near_those_that_are_known(
    moved: float, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(2) nearby, the inverse from afar."""
    prepared, gram, lower = setting()
    way = Sampled.of_levels(prepared.blocks, prepared.dense_side)
    anchor = way.anchored(replace(prepared, way=way).factor(gram, lower))
    there = [v * (1.0 + moved) for v in lower]
    known = prepared.factor(gram, there).trace_blocks()
    inverted, by_inverse = [], BlockedFactor.inverse_traces

    def seen(self: BlockedFactor) -> tuple[np.ndarray, ...]:
        inverted.append(self)
        return by_inverse(self)

    monkeypatch.setattr(BlockedFactor, "inverse_traces", seen)
    assert isinstance(anchor, Anchored)
    found = replace(prepared, way=anchor).factor(gram, there).trace_blocks()
    assert (not inverted) is sampled
    for group, a, b, c in zip(prepared.blocks.groups, found, known, anchor.known, strict=True):
        np.testing.assert_allclose(a, b, atol=3e-5 * np.sqrt(group.m) if sampled else 1e-12)
        assert np.abs(a - b).max() < 0.2 * np.abs(b - c).max()
