"""The information on beta by elimination and conjugate gradients against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem

from lmmformula.criteria.variance import relative_factors
from lmmformula.engines.backfitting import information
from lmmformula.engines.backfitting.engine import BackfittingEngine
from lmmformula.engines.backfitting.factor import BackfittingFactor
from lmmformula.engines.dense import DenseEngine
from lmmformula.ir.blocks import Blocks
from lmmformula.numerics.batched import flat, matmul


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("scale", [0.0, 0.6, 30.0])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_information_is_that_of_the_dense_engine(
    layout: str, scale: float, compiled: bool, monkeypatch
) -> None:
    monkeypatch.setattr(information, "COMPILED_PRODUCTS", 0.0 if compiled else np.inf)
    monkeypatch.setattr(information, "_PART_CELLS", 40)
    problem = make_problem(layout, n=200)
    blocks = Blocks(problem.terms, problem.n)
    theta = np.concatenate([scale * t.covariance.start() for t in problem.terms])
    factors = relative_factors(problem.terms, blocks.groups, theta)
    gram = blocks.gram(np.random.default_rng(1).uniform(0.2, 2.0, problem.n), problem.X.matrix)
    c = tuple(matmul(f.T, r) for f, r in zip(factors, gram.rhs, strict=True))
    u = DenseEngine().prepare(blocks).factor(gram, factors).solve(c)
    expected = gram.vv - sum(flat(x).T @ flat(y) for x, y in zip(c, u, strict=True))
    factor = BackfittingEngine().prepare(blocks).factor(gram, factors)
    assert isinstance(factor, BackfittingFactor)
    found = information.fixed_information(factor)
    scales = np.sqrt(np.diagonal(gram.vv))
    np.testing.assert_allclose(
        found / np.outer(scales, scales), expected / np.outer(scales, scales), atol=1e-11
    )
