"""Groups of four columns, whose products are made four rows at a time, against a factorisation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from lmmformula import build
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.krylov import schur
from lmmformula.engines.krylov.compressed import Compressed
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.engines.krylov.schur_pattern import are_alike
from lmmformula.ir.blocks import Blocks


@pytest.mark.parametrize("factors", ["gh", "ghi"])
def test_answers_are_those_of_a_factorisation(factors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schur, "COMPILED_ENTRIES", 0)
    monkeypatch.setattr(schur, "SINGLE_ENTRIES", 10**9)
    rng, n = np.random.default_rng(4), 300
    data = {name: rng.normal(size=n) for name in ("y", "x1", "x2", "x3")}
    data |= {name: rng.integers(0, m, n) for name, m in zip(factors, (9, 7, 5), strict=False)}
    terms = " + ".join(f"(x1 + x2 + x3 | {name})" for name in factors)
    problem = build(f"y ~ x1 + {terms}", data)
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(None, problem.X.matrix)
    lower = [np.tril(rng.normal(size=(4, 4))) for _ in factors]
    closely = KrylovEngine(probes=1000, tolerance=1e-13, probe_tolerance=1e-13)
    found = closely.prepare(blocks).factor(gram, lower)
    assert are_alike(blocks.groups)
    known = BlockedEngine().prepare(blocks).factor(gram, lower)
    np.testing.assert_allclose(found.logdet, known.logdet, rtol=1e-9)
    for x, y in zip(found.solve(gram.rhs), known.solve(gram.rhs), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-9)
    for x, y in zip(found.trace_blocks(), known.trace_blocks(), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-8)


@pytest.mark.parametrize("c", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_products_with_few_columns(c: int, kind: type) -> None:
    rng = np.random.default_rng(c)
    dense = rng.normal(size=(9, 7)) * (rng.random((9, 7)) < 0.4)
    dense[3] = 0.0
    sparse, x = csr_array(dense.astype(kind)), rng.normal(size=(7, 2 * c)).astype(kind)[:, ::2]
    pattern = Compressed(sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32), slice(None))
    found = pattern.times(sparse.data, x)
    assert found.dtype == kind
    np.testing.assert_allclose(found, dense @ x, rtol=1e-5, atol=1e-5)
