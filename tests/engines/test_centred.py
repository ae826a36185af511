"""Sweeps between effects that are centred at their predictors, against those with all columns and generalised least squares."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.engines.backfitting.centred import Centred
from lmmformula.engines.backfitting.clubbed import Clubbed
from lmmformula.engines.backfitting.engine import BackfittingEngine
from lmmformula.engines.backfitting.factor import BackfittingFactor
from lmmformula.ir import gram_ways
from lmmformula.ir.covariance import IID
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.memory_rows import MemoryRows

N = 900


def rows_of(order: tuple[int, int], *, constant: bool) -> tuple[MemoryRows, np.ndarray]:
    """Clients and items, in some order, with columns of each and of rows."""
    rng = np.random.default_rng(5)
    sizes = {"client": 150, "item": 12}
    codes = {g: np.r_[np.arange(m), rng.integers(0, m, N - m)].astype(np.int32) for g, m in sizes.items()}
    of = {g: rng.normal(size=(m, 3))[codes[g]] for g, m in sizes.items()}
    own = np.column_stack([rng.normal(size=(N, 2)), of["client"][:, :2], of["item"], of["client"][:, 2]])
    x = np.column_stack([own[:, :3], np.full(N, 2.0), own[:, 3:]]) if constant else own
    terms = [
        GroupBlock(g, ("(Intercept)",), np.arange(sizes[g]).astype(object), codes[g], None, IID(1))
        for g in np.array(list(sizes))[list(order)]
    ]
    return MemoryRows(rng.normal(size=N), None, None, x, (), terms), x


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """Limits at which a few rows and columns count as many."""
    monkeypatch.setattr(gram_ways, "COMPILED_SUMS", 0.0)
    monkeypatch.setattr(gram_ways, "WIDE", 8)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("constant", [True, False])
def test_the_solution_is_that_of_all_columns(order: tuple[int, int], *, constant: bool) -> None:
    """For the sums of a response and for any others, to rounding; as far as the same number of sweeps allows."""
    rows, x = rows_of(order, constant=constant)
    rng = np.random.default_rng(6)
    w, z, p = rng.uniform(0.2, 2.0, N), rng.normal(size=N), x.shape[1]
    gram = rows.gram(w, fixed=True)
    assert gram.by_level is not None
    factors = (np.array([[0.9]]), np.array([[0.4]]))
    factor = BackfittingEngine().prepare(rows.levels).weighted(gram).factor(factors)
    assert isinstance(factor, BackfittingFactor)
    ours, plain = factor.equations(), Clubbed(factor, gram.rhs, gram.vv)
    assert isinstance(ours, Centred)
    of_z = tuple((s @ f)[..., None] for s, f in zip(rows.levels.adjoint(w * z), factors, strict=True))
    others = tuple(rng.normal(size=r.shape) for r in of_z)
    start = (rng.normal(size=(p, 1)), tuple(rng.normal(size=r.shape) for r in of_z))
    for rhs, target in ((of_z, (x.T @ (w * z))[:, None]), (others, rng.normal(size=(p, 1)))):
        one, other = (s.solve(rhs, target, start, relative=1e-13) for s in (plain, ours))
        assert other.sweeps <= one.sweeps + 3
        for a, b in zip((one.beta, *one.u), (other.beta, *other.u), strict=True):
            np.testing.assert_allclose(b, a, atol=1e-10)
        for beta, u in ((one.beta, one.u), start):
            value = plain.quadratic(rhs, target, beta, u)
            np.testing.assert_allclose(ours.quadratic(rhs, target, beta, u), value, rtol=1e-11)
        rough = ours.solve(rhs, target, start, relative=1e-13, inexact=0.03)
        assert rough.sweeps < other.sweeps
        reached, end, begin = (
            rows.apply(beta[:, 0], [v[..., 0] @ f.T for v, f in zip(u, factors, strict=True)])
            for beta, u in ((rough.beta, rough.u), (other.beta, other.u), start)
        )
        assert w @ (reached - end) ** 2 < 0.1**2 * (w @ (begin - end) ** 2)


def test_least_squares_with_random_effects() -> None:
    """The solution makes scores of all columns zero, and those of the effects the effects themselves."""
    rows, x = rows_of((0, 1), constant=True)
    rng = np.random.default_rng(7)
    w, z = rng.uniform(0.2, 2.0, N), rng.normal(size=N)
    factors = (np.array([[1.3]]), np.array([[0.2]]))
    factor = BackfittingEngine().prepare(rows.levels).factor(rows.gram(w, fixed=True), factors)
    rhs = tuple((s @ f)[..., None] for s, f in zip(rows.levels.adjoint(w * z), factors, strict=True))
    zero = (np.zeros((x.shape[1], 1)), tuple(np.zeros_like(r) for r in rhs))
    beta, u, _ = factor.equations().solve(rhs, (x.T @ (w * z))[:, None], zero, relative=1e-13)
    left = w * (z - rows.apply(beta[:, 0], [v[..., 0] @ f.T for v, f in zip(u, factors, strict=True)]))
    np.testing.assert_allclose(x.T @ left, 0.0, atol=1e-8)
    for s, f, v in zip(rows.levels.adjoint(left), factors, u, strict=True):
        np.testing.assert_allclose(s @ f, v[..., 0], atol=1e-8)


def test_products_of_a_gram_by_level() -> None:
    rows, x = rows_of((0, 1), constant=True)
    rng = np.random.default_rng(8)
    w = rng.uniform(0.2, 2.0, N)
    effects = [rng.normal(size=(g.m, 1)) for g in rows.levels.groups]
    expected = x.T @ (w * rows.levels.apply(effects))
    np.testing.assert_allclose(rows.gram(w, fixed=True).columns_times(effects), expected, rtol=1e-11)
    np.testing.assert_allclose(rows.levels.gram(w, x).columns_times(effects), expected, rtol=1e-11)
