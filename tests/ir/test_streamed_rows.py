"""Rows on disk, or with workers, give the numbers of rows in memory, in parts of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import cloudpickle
import numpy as np
import pytest
from oracle import LAYOUTS, make_problem, random_theta
from spread import spread
from streamed import streamed
from test_rows_protocol import alike, counts, estimates_agree

from lmmformula.backends.exact import Exact
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.pql import PQL
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.families import resolve
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import range_of, total
from lmmformula.ir.streamed import records, sorting
from lmmformula.ir.streamed import store as streamed_store
from lmmformula.ir.streamed.narrow import narrowed, packed
from lmmformula.ir.streamed.parcels import sealed
from lmmformula.ir.streamed.vectors import Applied
from lmmformula.typing import Array

PLACES: dict[str, Callable[[Problem], Problem]] = {
    "parts of 1": lambda problem: streamed(problem, 1),
    "parts of 37": streamed,
    "one part": lambda problem: streamed(problem, 1_000),
    "three workers": spread,
}
TWO = ["parts of 37", "three workers"]


def order(parts: Any, whole: Any) -> list[int]:
    """Where the groups of rows in memory stand among those of rows on disk."""
    members = [g.members for g in parts.levels.groups]
    return [members.index(g.members) for g in whole.levels.groups]


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_products(layout: str, place: str) -> None:
    problem = make_problem(layout)
    whole, parts, rng = problem.data, PLACES[place](problem).data, np.random.default_rng(0)
    assert parts.n == problem.n
    own = order(parts, whole)
    beta, groups = rng.normal(size=2), whole.levels.groups
    effects = [rng.normal(size=(g.m, g.k)) for g in groups]
    theirs = [effects[own.index(a)] for a in range(len(own))]
    eta, ours = whole.apply(beta, effects), parts.apply(beta, theirs)
    assert total(parts, ours) == pytest.approx(total(whole, eta), rel=1e-12)
    assert range_of(parts, ours) == pytest.approx(range_of(whole, eta), rel=1e-12)
    sums, known = parts.adjoint(ours), whole.adjoint(eta)
    grams = [rows.gram(rows.weights, fixed=True, more=(v,)) for rows, v in ((parts, ours), (whole, eta))]
    alike(grams[0].vv, grams[1].vv)
    for a, b in enumerate(own):
        alike(sums[b], known[a])
        alike(grams[0].diag[b], grams[1].diag[a])
        alike(grams[0].rhs[b], grams[1].rhs[a])
        alike(parts.level_sums(b, ours), whole.level_sums(a, eta)) if not groups[a].several else None
    for a, b in whole.levels.pairs():
        alike(dense(parts, grams[0], own[a], own[b]), dense(whole, grams[1], a, b))


def test_levels_of_many_rows_are_split() -> None:
    """A level that is larger than a part lies in several, and its pairs are found among all."""
    problem = make_problem("crossed", n=900)
    whole, parts = problem.data, streamed(problem, 4).data
    assert not cast("Any", parts).store.whole_levels
    own, beta, rng = order(parts, whole), np.array([0.2, 0.5]), np.random.default_rng(3)
    effects = [rng.normal(size=(g.m, g.k)) for g in whole.levels.groups]
    eta = whole.apply(beta, effects), parts.apply(beta, [effects[own.index(a)] for a in range(len(own))])
    grams = whole.gram(whole.y**2, more=(eta[0],)), parts.gram(parts.map(square)[0], more=(eta[1],))
    for a, b in enumerate(own):
        alike(grams[1].diag[b], grams[0].diag[a])
        alike(grams[1].rhs[b], grams[0].rhs[a])
    for a, b in whole.levels.pairs():
        alike(dense(parts, grams[1], own[a], own[b]), dense(whole, grams[0], a, b))
    pairs: dict[tuple[int, int], Array] = {
        (0, 1): rng.normal(size=whole.levels.pattern(0, 1).nnz)[:, None, None]
    }
    theirs: dict[tuple[int, int], Array] = (
        pairs if own == [0, 1] else {(0, 1): turned(whole.levels.pattern(0, 1), pairs[0, 1])}
    )
    inner = [rng.normal(size=(g.m, 1, 1)) for g in whole.levels.groups]
    ours = parts.row_quadratic([inner[own.index(a)] for a in range(len(own))], theirs)
    assert total(parts, ours) == pytest.approx(total(whole, whole.row_quadratic(inner, pairs)), rel=1e-12)


def square(chunk: Any) -> tuple[Array]:
    return (chunk.y**2,)


def turned(pattern: Any, values: Array) -> Array:
    """Values of the pairs with the groups the other way round."""
    return values[np.lexsort((pattern.rows(), pattern.indices))]


def dense(rows: Any, gram: Any, a: int, b: int) -> Array:
    """Z_a'WZ_b, or of different levels of one group the half that is held."""
    if a > b:
        return dense(rows, gram, b, a).T
    ga, gb, pattern = rows.levels.groups[a], rows.levels.groups[b], rows.levels.pattern(a, b)
    out = np.zeros((ga.m, ga.k, gb.m, gb.k))
    for row, column, value in zip(pattern.rows(), pattern.indices, gram.cross[a, b], strict=True):
        out[row, :, column] = value
    return out.reshape(ga.q, gb.q)


@pytest.mark.parametrize("place", list(PLACES))
def test_columns(place: str) -> None:
    problem = make_problem("crossed")
    whole, parts = problem.data, PLACES[place](problem).data
    w = (parts.weights, whole.weights)
    alike(parts.fixed.gram(w[0]), whole.fixed.gram(w[1]))
    alike(parts.fixed.products(parts.fixed, parts.y), whole.fixed.products(whole.fixed, whole.y))
    alike(np.abs(parts.fixed.triangle(w[0])), np.abs(whole.fixed.triangle(w[1])))
    alike(parts.fixed.transposed(parts.y, w[0]), whole.fixed.transposed(whole.y, w[1]))
    alike(parts.fixed.square(parts.y, w[0]), whole.fixed.square(whole.y, w[1]))
    alike(parts.fixed.largest(), whole.fixed.largest())
    for ours, theirs in zip(parts.fixed.columns(parts.y), whole.fixed.columns(whole.y), strict=True):
        assert total(parts, ours) == pytest.approx(total(whole, theirs), rel=1e-12)
    with pytest.raises(PlanError, match="a number for each of"):
        parts.whole(parts.y)


def test_many_bins_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are sorted in bins and read from a file are those of one bin in memory, bit for bit."""
    problem = make_problem("crossed slopes")
    once = streamed(problem, 20).data
    monkeypatch.setattr(sorting, "BIN", 300)
    monkeypatch.setattr(records, "IN_MEMORY", 100)
    monkeypatch.setattr(records.Records.__init__, "__defaults__", (100,))
    again = streamed(problem, 20).data
    assert min(len(cast("Any", rows).store.blocks) for rows in (once, again)) > 3
    grams = [rows.gram(rows.weights, fixed=True) for rows in (once, again)]
    alike(grams[0].vv, grams[1].vv, 1e-14)
    for ours, theirs in zip(grams[0].diag, grams[1].diag, strict=True):
        alike(ours, theirs, 1e-14)


@pytest.mark.parametrize("layout", ["crossed slopes", "structured"])
def test_compiled_parts(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled loops give what is computed without them."""
    problem = make_problem(layout)
    parts = streamed(problem).data
    plain = parts.gram(parts.weights, fixed=True, more=(parts.y,))
    monkeypatch.setattr(streamed_store, "COMPILED", 1)
    fast = streamed(problem).data
    found = fast.gram(fast.weights, fixed=True, more=(fast.y,))
    alike(found.vv, plain.vv)
    for ours, theirs in zip((*found.diag, *found.rhs), (*plain.diag, *plain.rhs), strict=True):
        alike(ours, theirs)
    for pair, values in found.cross.items():
        alike(values, plain.cross[pair])


def test_numbers_are_held_exactly() -> None:
    rng = np.random.default_rng(1)
    columns = [
        np.ones(9),
        rng.integers(0, 2, 9).astype(float),
        rng.integers(-300, 300, 9).astype(float),
        np.arange(9) * 0.25,
        rng.normal(size=9),
        np.array([1e300, *range(8)]),
        np.array([np.inf, *range(8)], dtype=float),
        np.arange(9) + 70_000,
    ]
    held = [narrowed(c) for c in columns]
    content = packed(9, held)
    record = memoryview(content.content)
    for column, slot in zip(columns, content.slots, strict=True):
        np.testing.assert_array_equal(np.broadcast_to(slot.of(record, 9), 9), column)
    assert [slot.size for slot in content.slots] == [0, 1, 2, 4, 8, 8, 8, 4]


@pytest.mark.parametrize("place", TWO)
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_gaussian_criterion(layout: str, reml: bool, place: str) -> None:
    problem = make_problem(layout)
    theta = random_theta(problem)
    ours, theirs = (
        Profiled.of(p, BlockedEngine(), reml=reml)(theta) for p in (PLACES[place](problem), problem)
    )
    names = ["deviance", "gradient", "beta", "hessian"]
    if (
        "rank" in layout
    ):  # a curvature through the inverse of a singular L is rounding where Sigma has no inverse
        names.remove("hessian")
    for name in names:
        alike(getattr(ours, name), getattr(theirs, name), 1e-10)


@pytest.mark.parametrize("place", TWO)
@pytest.mark.parametrize("family", ["poisson", "nbinom2", "binomial"])
def test_laplace_criterion(family: str, place: str) -> None:
    problem = counts("slopes", family)
    psi = np.concatenate([[0.3, 0.2], 0.5 * random_theta(problem), np.tile([0.3, 0.1], len(problem.aux))])
    points = [Laplace.of(p, BlockedEngine())(psi) for p in (PLACES[place](problem), problem)]
    for name in ("deviance", "gradient", "hessian"):
        alike(getattr(points[0], name), getattr(points[1], name), 1e-9)


@pytest.mark.parametrize("place", TWO)
@pytest.mark.parametrize("layout", ["crossed slopes", "nested"])
def test_gaussian_fits(layout: str, place: str) -> None:
    problem = make_problem(layout)
    backend = Exact(reml=True, tolerance=1e-14)
    estimates_agree(backend.fit(PLACES[place](problem)), backend.fit(problem))


@pytest.mark.parametrize("place", TWO)
@pytest.mark.parametrize("layout", ["slopes", "crossed"])
def test_laplace_fits(layout: str, place: str) -> None:
    problem = counts(layout, n=300)
    backend = LaplaceBackend(tolerance=1e-14)
    estimates_agree(backend.fit(PLACES[place](problem)), backend.fit(problem))


@pytest.mark.parametrize("place", TWO)
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("poisson", {}),
        ("poisson", {"traces": "exact"}),
        ("poisson", {"correction": "laplace"}),
        ("nbinom2", {}),
        ("gamma", {}),
    ],
)
def test_quasi_likelihood_fits(family: str, options: dict[str, Any], place: str) -> None:
    problem = counts("crossed", family)
    if family == "gamma":
        ones = FixedBlock(np.ones((problem.n, 1)), ("(Intercept)",), (0,), ())
        problem = replace(problem, y=problem.y + 0.5, aux=(ones,), family=resolve("gamma(link='log')"))
    backend = PQL(tolerance=1e-11, **options)
    estimates_agree(backend.fit(PLACES[place](problem)), backend.fit(problem))


def test_workers_have_few_levels() -> None:
    """Rows that come by the largest group: sums of a worker are of its own levels, and whatever is sent it, too."""
    problem = make_problem("crossed")
    lead = max(problem.terms, key=lambda term: term.m)
    order = np.argsort(lead.codes, kind="stable")
    store = cast("Any", spread(problem.at(order), stores=3, batch=50).data).store
    levels = [held.contents.within.levels[0] for held in store.stores]
    assert all(isinstance(own, slice) for own in levels)
    assert sum(own.stop - own.start for own in levels) <= lead.m + 2
    rows = store.new_levels()
    effects = [np.arange(g.q, dtype=float).reshape(g.m, g.k) for g in rows.groups]
    parcel = sealed([Applied(None, tuple(effects), False)] * 2)
    own, _ = parcel.restricted(rows.place_of(1), 1)
    sent = cast("Applied", own.apart[0])
    assert len(own.apart) == 1
    np.testing.assert_array_equal(sent.effects[0], effects[0][levels[1]])
    first, second = own.opened()
    assert first is second


def test_stores_can_be_moved() -> None:
    """A store that another worker takes over answers as before."""
    store = cast("Any", spread(make_problem("crossed slopes")).data).store
    placed = store.stores[0].remote.value
    again = cloudpickle.loads(cloudpickle.dumps(placed))
    for one, other in zip(placed.store.parts(()), again.store.parts(()), strict=True):
        np.testing.assert_array_equal(one.rows.fixed.matrix, other.rows.fixed.matrix)
    with pytest.raises(TypeError, match="cannot be sent"):
        cloudpickle.dumps(store)
