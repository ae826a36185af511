"""Every engine answers as the dense matrix does, for every arrangement of groups and every way of multiplying."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from oracle import GENERAL, LAYOUTS, free, general_problem, make_problem, random_theta, z_matrix

from lmmformula.criteria.variance import Variances, relative_factors
from lmmformula.engines.base import Engine, is_constrained
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.constrained import prepare
from lmmformula.engines.elimination import Elimination
from lmmformula.engines.krylov.engine import PRECONDITIONERS
from lmmformula.engines.registry import ENGINES
from lmmformula.errors import FitError, PlanError
from lmmformula.ir.blocks import Blocks
from lmmformula.numerics.ragged import Ragged


@dataclass(frozen=True)
class Subject:
    """An engine, and how near to the dense matrix it must come where it answers exactly."""

    engine: Engine
    solutions: float = 1e-11
    blocks: float = 1e-11
    determinant: float | None = 1e-10
    """None: the engine has no determinant, and says so."""
    several: bool = True
    """Whether blocks of the inverse are exact for more than one group."""
    ways: tuple[str, ...] = ("by size",)
    """How products of ragged blocks may be formed, for an engine that forms them."""


def subjects() -> dict[str, Subject]:
    """Every engine of the registry, an estimating one with as many probes as there are effects, by which it becomes exact."""
    closely = {"probes": 1000, "tolerance": 1e-13, "probe_tolerance": 1e-13}
    limits: dict[str, dict[str, Any]] = {
        "blocked": {"ways": ("by size", "dense", "sparse", "compiled")},
        "backfitting": {"solutions": 1e-8, "determinant": None, "several": False},
        "krylov": {"solutions": 1e-9, "blocks": 1e-8, "determinant": 1e-8},
    }
    out = {}
    for name, record in ENGINES.items():
        own = (
            [{"preconditioner": p, **closely} for p in PRECONDITIONERS]
            if "probes" in record.options
            else [{}]
        )
        for options in own:
            key = ", ".join([name, *filter(None, [options.get("preconditioner")])])
            out[key] = Subject(record.make(options, 0), **limits.get(name, {}))
    return out


SUBJECTS = subjects()


def setting(layout: str, engine: str, theta=None):
    problem = make_problem(layout)
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(problem.weights, problem.X.matrix)
    theta = random_theta(problem) if theta is None else theta(problem)
    factors = relative_factors(problem.terms, blocks.groups, theta)
    # M from the rows: Z of the merged groups, effects ordered by group, level, column
    z = np.hstack([merged_z(problem, g) for g in blocks.groups])
    lam = block_diagonal([np.kron(np.eye(g.m), f) for g, f in zip(blocks.groups, factors, strict=True)])
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    m = lam.T @ (z.T * w) @ z @ lam + np.eye(z.shape[1])
    return blocks, m, SUBJECTS[engine].engine.prepare(blocks).factor(gram, factors)


def merged_z(problem, group):
    parts = [z_matrix(problem.terms[i]).reshape(problem.n, group.m, -1) for i, _ in group.members]
    return np.concatenate(parts, axis=2).reshape(problem.n, -1)


def block_diagonal(parts):
    out = np.zeros((sum(len(p) for p in parts), sum(p.shape[1] for p in parts)))
    row = column = 0
    for p in parts:
        out[row : row + p.shape[0], column : column + p.shape[1]] = p
        row, column = row + p.shape[0], column + p.shape[1]
    return out


CASES = [(layout, engine) for layout in LAYOUTS for engine in SUBJECTS]
WAYS = [(layout, engine, way) for layout, engine in CASES for way in SUBJECTS[engine].ways]


@pytest.mark.parametrize(("layout", "engine", "way"), WAYS)
def test_answers(layout: str, engine: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way != "by size":
        monkeypatch.setattr(Ragged, "way", lambda _: way)
    blocks, m, factor = setting(layout, engine)
    subject, inverse = SUBJECTS[engine], np.linalg.inv(m)
    rng = np.random.default_rng(0)
    rhs = tuple(rng.normal(size=(g.m, g.k, 2)) for g in blocks.groups)
    flat = np.concatenate([r.reshape(-1, 2) for r in rhs])
    solved = np.concatenate([r.reshape(-1, 2) for r in factor.solve(rhs)])
    np.testing.assert_allclose(solved, inverse @ flat, atol=subject.solutions)
    nothing = tuple(np.zeros((g.m, g.k, 0)) for g in blocks.groups)  # of a model without fixed effects
    assert [x.shape for x in factor.solve(nothing)] == [x.shape for x in nothing]
    if subject.determinant is None:
        with pytest.raises(FitError, match="no likelihood"):
            _ = factor.logdet
    else:
        assert factor.logdet == pytest.approx(np.linalg.slogdet(m)[1], abs=subject.determinant)
        assert factor.sharpened().factor.logdet == pytest.approx(factor.logdet, abs=subject.determinant)
    assert factor.logdet_stderr == 0.0
    if subject.several or len(blocks.groups) == 1:
        check_blocks(blocks, inverse, factor, subject.blocks)


def check_blocks(blocks: Blocks, inverse, factor, tolerance: float) -> None:
    """Blocks within levels and of levels that meet, and their sums."""
    starts = np.cumsum([0, *(g.q for g in blocks.groups)])
    cube = [
        inverse[i:j, i:j].reshape(g.m, g.k, g.m, g.k)
        for g, i, j in zip(blocks.groups, starts[:-1], starts[1:], strict=True)
    ]
    for a, g in enumerate(blocks.groups):
        own = np.stack([cube[a][s, :, s, :] for s in range(g.m)])
        np.testing.assert_allclose(factor.inverse().diagonal(a), own, atol=tolerance)
        np.testing.assert_allclose(factor.trace_blocks()[a], own.sum(axis=0), atol=10 * tolerance)
    for a, b in itertools.combinations(range(len(blocks.groups)), 2):
        ga, gb = blocks.groups[a], blocks.groups[b]
        pattern = blocks.pattern(a, b)
        block = inverse[starts[a] : starts[a + 1], starts[b] : starts[b + 1]].reshape(ga.m, ga.k, gb.m, gb.k)
        expected = block[pattern.rows(), :, pattern.indices, :]
        np.testing.assert_allclose(factor.inverse().pair(a, b), expected, atol=tolerance)


@pytest.mark.parametrize("engine", SUBJECTS)
@pytest.mark.parametrize("layout", GENERAL)
def test_answers_with_coupled_levels_or_a_refusal(layout: str, engine: str) -> None:
    """Dependent levels, and rows of several: M = Lambda'G Lambda + Q from the rows."""
    problem, subject = general_problem(layout), SUBJECTS[engine]
    blocks = Blocks(problem.terms, problem.n)
    if subject.engine.refuses(blocks):
        assert not subject.engine.is_exact
        if is_constrained(blocks) and subject.engine.name == "krylov":
            assert "sum to zero" in subject.engine.refuses(blocks)
            return
        with pytest.raises(PlanError, match="not block diagonal"):
            subject.engine.prepare(blocks)
        return
    variances = Variances.at(problem.terms, blocks.groups, random_theta(problem))
    w = np.ones(problem.n) if problem.weights is None else problem.weights
    gram = blocks.gram(w, problem.X.matrix)
    factor = prepare(subject.engine, blocks).factor(gram, variances.factors, variances.across)
    z = np.hstack([merged_z(problem, g) for g in blocks.groups])
    both = zip(blocks.groups, variances.factors, strict=True)
    lam = block_diagonal([np.kron(np.eye(g.m), f) for g, f in both])
    own = [None] * len(blocks.groups) if not variances.across else variances.across
    qs = [np.eye(g.m) if q is None else q.matrix.toarray() for g, q in zip(blocks.groups, own, strict=True)]
    prior = block_diagonal([np.kron(q, np.eye(g.k)) for g, q in zip(blocks.groups, qs, strict=True)])
    m = lam.T @ (z.T * w) @ z @ lam + prior
    spaces = [free(q, g.m) for q, g in zip(own, blocks.groups, strict=True)]
    lost = [g.m - b.shape[1] for b, g in zip(spaces, blocks.groups, strict=True)]
    basis = block_diagonal([np.kron(b, np.eye(g.k)) for b, g in zip(spaces, blocks.groups, strict=True)])
    inverse = basis @ np.linalg.inv(basis.T @ m @ basis) @ basis.T
    rhs = tuple(np.random.default_rng(0).normal(size=(g.m, g.k, 2)) for g in blocks.groups)
    flat = np.concatenate([r.reshape(-1, 2) for r in rhs])
    solved = np.concatenate([r.reshape(-1, 2) for r in factor.solve(rhs)])
    np.testing.assert_allclose(solved, inverse @ flat, atol=1e-10)
    assert factor.logdet == pytest.approx(np.linalg.slogdet(basis.T @ m @ basis)[1], abs=1e-9)
    starts = np.cumsum([0, *(g.q for g in blocks.groups)])
    for a, (g, q) in enumerate(zip(blocks.groups, qs, strict=True)):
        cube = inverse[starts[a] : starts[a + 1], starts[a] : starts[a + 1]].reshape(g.m, g.k, g.m, g.k)
        trace = np.einsum("st,tisj->ij", q, cube) + lost[a] * np.eye(g.k)
        np.testing.assert_allclose(factor.trace_blocks()[a], trace, atol=1e-10, rtol=1e-9)
        np.testing.assert_allclose(
            factor.inverse().diagonal(a), np.einsum("siSj,sS->sij", cube, np.eye(g.m)), atol=1e-10
        )


@pytest.mark.parametrize("engine", SUBJECTS)
def test_records_say_what_engines_say(engine: str) -> None:
    record, made = ENGINES[engine.partition(",")[0]], SUBJECTS[engine].engine
    assert (record.name, record.is_exact) == (made.name, made.is_exact)


@pytest.mark.parametrize("engine", SUBJECTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_surveys_count_what_a_fit_takes(layout: str, engine: str) -> None:
    problem, subject = make_problem(layout), SUBJECTS[engine]
    blocks = Blocks(problem.terms, problem.n)
    found = subject.engine.survey(problem, blocks)
    assert len(found.roles) == len(blocks.groups)
    assert 0.0 < found.cost.seconds < 60.0
    assert 0.0 < found.cost.own_memory < found.cost.memory < 1e9
    assert found.dense == subject.engine.prepare(blocks).dense_side


@pytest.mark.parametrize(("layout", "engine"), CASES)
def test_zero_variances_are_no_special_case(layout: str, engine: str) -> None:
    blocks, m, factor = setting(layout, engine, theta=lambda p: np.zeros(p.n_theta))
    rhs = tuple(np.ones((g.m, g.k, 1)) for g in blocks.groups)
    for x in factor.solve(rhs):
        np.testing.assert_allclose(x, 1.0, atol=1e-12)  # M is the identity
    if SUBJECTS[engine].determinant is not None:
        assert factor.logdet == pytest.approx(np.linalg.slogdet(m)[1], abs=1e-12)


@pytest.mark.parametrize(
    ("layout", "chain", "dense"),
    [
        ("one", ["g"], []),
        ("crossed", ["g"], ["h"]),
        ("nested", ["gk", "g"], []),
        ("nested, named coarse first", ["gkl", "gk", "g"], []),
        ("chain and crossed", ["gkl", "gk", "g"], ["h", "f"]),
        ("same factor twice", ["g"], ["h"]),
    ],
)
def test_elimination_takes_the_largest_nested_chain(layout: str, chain: list[str], dense: list[str]) -> None:
    problem = make_problem(layout)
    plan = Elimination(Blocks(problem.terms, problem.n))
    names = [g.name for g in plan.blocks.groups]
    assert [names[a] for a in plan.chain] == chain
    assert [names[a] for a in plan.dense] == dense


def test_nothing_to_eliminate_is_no_special_case() -> None:
    """A model without random effects: M has no rows, its determinant is one."""
    blocks = Blocks((), 5)
    prepared = BlockedEngine().prepare(blocks)
    factor = prepared.factor(blocks.gram(np.ones(5), np.ones((5, 2))), ())
    assert (factor.logdet, factor.solve(()), factor.trace_blocks()) == (0.0, (), ())
    assert prepared.dense_side == 0
