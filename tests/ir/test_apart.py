"""Levels of the largest group that workers have to themselves: they eliminate them; what travels does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from spread import Here, Local, spread

from lmmformula import build
from lmmformula.backends.pql import PQL
from lmmformula.engines.backfitting import led_there
from lmmformula.engines.backfitting.apart import ApartClubbed, ApartLed
from lmmformula.engines.backfitting.apart_engine import ApartFactor
from lmmformula.engines.backfitting.engine import BackfittingEngine
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.problem import Problem
from lmmformula.ir.streamed import Spread, dealing
from lmmformula.ir.streamed.apart import GramApart, LevelArray
from lmmformula.ir.sums import AdjointOf, GramOf, LevelSums, TransposedOf, total_of

FORMULAS = {
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "slopes and three factors": "y ~ x + (x | g) + (1 | h) + (1 | k)",
    "one factor": "y ~ x + (1 | g)",
    "no fixed effects": "y ~ 0 + (1 | g) + (1 | h)",
}


@pytest.fixture(autouse=True)
def _many_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few levels there are, they are many."""
    monkeypatch.setattr(dealing, "LITTLE", 0.0)


def data(n: int = 1_500, m: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, h, k = (rng.integers(0, size, n) for size in (m, 12, 5))
    x = rng.normal(size=n)
    eta = 0.3 * x + 0.7 * rng.normal(size=m)[g] + 0.5 * rng.normal(size=12)[h] + 0.3 * rng.normal(size=5)[k]
    eta += 0.4 * x * rng.normal(size=m)[g]
    y = (rng.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    return pd.DataFrame({"y": y, "z": eta + rng.normal(size=n), "x": x, "g": g, "h": h, "k": k})


def problem(layout: str = "crossed", **options: Any) -> Problem:
    return build(FORMULAS[layout], data(**options), family="binomial")


def store(spread_out: Problem) -> Spread:
    return cast("Any", spread_out.data).store


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("stores", [2, 7])
@pytest.mark.parametrize("layout", FORMULAS)
def test_estimates_are_those_of_rows_in_memory(
    layout: str, stores: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 7 stores sums are added up two by two; two groups of one column have compiled sweeps of one way there and back."""
    if compiled:
        monkeypatch.setattr("lmmformula.engines.backfitting.apart_engine.COMPILED", 0)
    own = problem(layout)
    there = spread(own, stores=stores)
    assert store(there).apart
    one, other = (PQL(tolerance=1e-10).fit(p).estimate for p in (there, own))
    for name in ("beta", "theta", "sigma", "vcov"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-11)
    for a, b in zip(one.modes, other.modes, strict=True):
        assert isinstance(a, np.ndarray)
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", [ApartClubbed, ApartLed])
def test_which_sweeps(kind: type[ApartClubbed], monkeypatch: pytest.MonkeyPatch) -> None:
    if kind is ApartLed:
        monkeypatch.setattr("lmmformula.engines.backfitting.apart_engine.COMPILED", 0)
    for layout in FORMULAS:
        rows = spread(problem(layout), stores=2).data
        (gram,) = rows.together(GramOf(None, fixed=True, apart=True))
        factors = [np.eye(g.k) for g in rows.levels.groups]
        found = BackfittingEngine().prepare(rows.levels).factor(gram, factors)
        assert isinstance(found, ApartFactor)
        suits = layout in ("crossed", "no fixed effects")
        assert type(found.equations()) is (kind if suits else ApartClubbed)


def test_a_worker_that_has_forgotten_its_sweep_makes_it_again() -> None:
    """As one does that takes over from another that died."""
    rows = spread(problem(), stores=2).data
    (gram,) = rows.together(GramOf(None, fixed=True, apart=True))
    found = BackfittingEngine().prepare(rows.levels).factor(gram, [np.eye(g.k) for g in rows.levels.groups])
    assert isinstance(found, ApartFactor)
    lead, rng = cast("Any", found.lead.pieces.remotes[0]).value, np.random.default_rng(1)
    t = rng.normal(size=(len(lead.inverse), 1, 1))
    guess, effects, move = (rng.normal(size=m) for m in (2, 12, 2))
    led_there.swept_once(lead, t, np.zeros(1), guess, effects, 5)
    known = led_there.closed(lead, t, guess, effects, move, 5)
    lead.remembered.clear()
    np.testing.assert_array_equal(led_there.closed(lead, t, guess, effects, move, 5), known)


def test_the_same_stores_give_the_same_bits() -> None:
    own = problem("slopes and three factors")
    one, other = (PQL().fit(spread(own, stores=6)).estimate for _ in range(2))
    np.testing.assert_array_equal(one.beta, other.beta)
    np.testing.assert_array_equal(one.vcov, other.vcov)


def test_numbers_of_workers_move_last_digits() -> None:
    own = problem()
    found = [PQL(tolerance=1e-12).fit(spread(own, stores=stores)).estimate for stores in (1, 3, 4, 6)]
    for other in found[1:]:
        np.testing.assert_allclose(other.beta, found[0].beta, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(other.theta, found[0].theta, rtol=1e-10, atol=1e-12)


class Counting(Local):
    """Workers that count the bytes of what comes and goes."""

    def __init__(self) -> None:
        self.down = self.up = 0

    def submit(self, function: Any, *arguments: Any, at: int | None = None) -> Here:
        self.down += sum(len(cloudpickle.dumps(a)) for a in arguments if not isinstance(a, Here))
        return super().submit(function, *arguments, at=at)

    def results(self, remotes: Any) -> Iterator[Any]:
        self.up += sum(len(cloudpickle.dumps(remote.value)) for remote in remotes)
        return super().results(remotes)


def test_what_travels_does_not_grow_with_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty times as many levels, four times as many pairs: as many bytes in an outer iteration."""
    monkeypatch.setattr("spread.Local", Counting)
    sent = []
    for n, m in ((1_500, 100), (6_000, 2_000)):
        there = spread(problem(n=n, m=m), stores=3)
        workers = cast("Counting", store(there).workers)
        at: list[tuple[int, int]] = []
        PQL(max_inner=1).fit(
            there, progress=lambda *_, w=workers, at=at: at.append((w.down, w.up)) if len(at) < 3 else None
        )
        sent.append(np.diff(at[:3], axis=0)[-1])
    few, many = sent
    assert (many < 1.5 * few + 1_000).all()
    assert many[1] < 8 * 2_000  # less than one number for each of the 2,000 levels


@pytest.mark.parametrize("stores", [3, 6])
def test_sums(stores: int) -> None:
    """Asked for apart and not: the same numbers, and of the same sums in one pass."""
    own = problem("slopes and three factors")
    there = spread(own, stores=stores)
    rows, here = there.data, own.data
    asked = [
        (GramOf(r.weights, fixed=True, apart=True), AdjointOf(r.y, apart=True), GramOf(None, more=(r.y,)),
         TransposedOf(r.y), LevelSums(1, r.y), total_of(r.y))
        for r in (rows, here)
    ]  # fmt: skip
    found, known = rows.together(*asked[0]), here.together(*asked[1])
    assert isinstance(found[0], GramApart)
    assert isinstance(found[1][0], LevelArray)
    for gram, other in ((found[0].here, known[0]), (found[2], known[2])):
        for pair, values in gram.cross.items():
            np.testing.assert_allclose(values, other.cross[pair], rtol=1e-11, atol=1e-11)
        for a, b in zip((*gram.diag, *gram.rhs, gram.vv), (*other.diag, *other.rhs, other.vv), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
    for a, b in zip(found[1], known[1], strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-11, atol=1e-11)
    for a, b in zip(found[3:], known[3:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_patterns_are_brought_when_they_are_asked_for() -> None:
    own = problem()
    pattern, known = spread(own, stores=3).data.levels.pattern(0, 1), own.data.levels.pattern(0, 1)
    assert pattern.nnz == known.nnz
    assert "_whole" not in vars(pattern)
    np.testing.assert_array_equal(pattern.indices, known.indices)
    np.testing.assert_array_equal(pattern.indptr, known.indptr)


def test_arithmetic_of_levels() -> None:
    own = problem("slopes and three factors")
    there = spread(own, stores=3).data
    (far, *_), (near, *_) = there.together(AdjointOf(there.y, apart=True))[0], own.data.adjoint(own.y)
    assert isinstance(far, LevelArray)
    matrix = np.array([[2.0, 0.0], [0.5, 1.5]])
    plain = np.arange(near.size, dtype=float).reshape(near.shape)
    same = (
        (far + 0.5 * (far - plain), near + 0.5 * (near - plain)),
        (plain - far / 3.0, plain - near / 3.0),
        (plain + far, plain + near),
        ((far @ matrix)[..., None], (near @ matrix)[..., None]),
        ((far @ matrix)[..., None][..., 0], near @ matrix),
        (far.with_inverse(matrix), np.linalg.solve(matrix, near.T).T),
        (far - np.zeros_like(near), near),
        (far[:, 1:], near[:, 1:]),
        (far.T @ (far @ matrix), near.T @ near @ matrix),
        (np.vdot(far, far - plain), np.vdot(near, near - plain)),
        (np.sqrt(np.abs(np.asarray(far))), np.sqrt(np.abs(near))),
        (np.concatenate([far, plain]), np.concatenate([near, plain])),
    )
    for one, other in same:
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-12)
    assert far.any()
    assert not (far - far).any()
    assert (len(far), far.ndim, far.size, far.dtype) == (len(near), near.ndim, near.size, near.dtype)
    again = cloudpickle.loads(cloudpickle.dumps(far))
    assert isinstance(again, np.ndarray)
    np.testing.assert_allclose(again, near, rtol=1e-12)


def test_rows_move_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted partitions stay; others are dealt out, unless levels are few or rows are dear beside them."""
    own = problem()
    told = store(spread(own, stores=3)).told(9.0)
    assert "were dealt out by it once" in told
    assert "eliminates it" in told
    lead = max(own.terms, key=lambda term: term.m)
    order = np.argsort(lead.codes, kind="stable")
    codes = lead.codes[order]
    at = int(np.flatnonzero(codes[1:] != codes[:-1])[60]) + 1
    stays = own.at(order)
    halves = [cast("MemoryRows", stays.at(s).data) for s in (slice(0, at), slice(at, None))]
    workers = Local()
    from lmmformula.ir.streamed import there

    pieces = [Here(there.piece_of([(rows, 0)])) for rows in halves]
    apart = Spread(workers, pieces[0].value.layout, own.n, [[piece] for piece in pieces])
    assert apart.apart
    assert "dealt" not in apart.told(9.0)
    monkeypatch.setattr(dealing, "PASSES", 0)
    stay = store(spread(own, stores=3))
    assert not stay.apart
    assert "whose sums travel, as rows would be more" in stay.told(9.0)
    monkeypatch.setattr(dealing, "LITTLE", 1e9)
    assert "has few levels" in store(spread(own, stores=3)).told(9.0)


def test_corrections_and_exact_traces_have_all_here() -> None:
    own = problem()
    for options in ({"correction": "laplace"}, {"traces": "exact"}):
        one, other = (
            PQL(tolerance=1e-10, **cast("Any", options)).fit(p).estimate for p in (spread(own), own)
        )
        np.testing.assert_allclose(one.beta, other.beta, rtol=1e-8)
        np.testing.assert_allclose(one.theta, other.theta, rtol=1e-8)
