"""A chain of nested groups, eliminated in NumPy and in JAX, against the dense matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import make_problem, z_matrix

from lmmformula.engines.chain import Chain
from lmmformula.engines.elimination import choose_chain
from lmmformula.ir.blocks import Blocks
from lmmformula.numerics.batched import segment_sum


class NumpyStacks:
    """What :mod:`lmmformula.numerics.stacks_jax` is in JAX."""

    times = staticmethod(np.matmul)

    @staticmethod
    def unit_lower(a: Any) -> tuple[Any, Any]:
        lower = np.linalg.cholesky(a)
        return np.linalg.inv(lower), np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum()

    @staticmethod
    def segment_sum(values: Any, parent: Any, m: int) -> Any:
        return segment_sum(parent, values, m)


@pytest.mark.parametrize("module", ["numpy", "jax"])
@pytest.mark.parametrize("layout", ["one", "nested, named coarse first", "chain and crossed"])
def test_elimination_along_the_chain(layout: str, module: str) -> None:
    """log|S|, and F^-T F^-1 s = S^-1 s."""
    from lmmformula.numerics import stacks_jax
    from lmmformula.numerics.x64 import x64

    ops: Any = NumpyStacks if module == "numpy" else stacks_jax
    problem, rng = make_problem(layout), np.random.default_rng(3)
    blocks = Blocks(problem.terms, problem.n)
    w = rng.uniform(0.5, 2.0, problem.n)
    groups = choose_chain(blocks)
    chain = Chain.of(blocks, blocks.gram(w, problem.X.matrix), groups)
    lowers, parts = [], []
    for a in groups:
        group = blocks.groups[a]
        ((i, _),) = group.members
        lowers.append(np.tril(rng.normal(size=(group.k, group.k))))
        parts.append(z_matrix(problem.terms[i]) @ np.kron(np.eye(group.m), lowers[-1]))
    sides = [rng.normal(size=(blocks.groups[a].m, blocks.groups[a].k, 2)) for a in groups]
    with x64():
        done = chain.eliminated(lowers, sides, ops)
        solved = [np.asarray(v) for v in done.back(done.sides, ops)]
    z = np.hstack(parts)
    s = z.T @ (w[:, None] * z) + np.eye(z.shape[1])
    assert 2.0 * float(done.log_det) == pytest.approx(np.linalg.slogdet(s)[1], rel=1e-12)
    expected = np.linalg.solve(s, np.concatenate([v.reshape(-1, 2) for v in sides]))
    np.testing.assert_allclose(
        np.concatenate([v.reshape(-1, 2) for v in solved]), expected, rtol=1e-9, atol=1e-12
    )
