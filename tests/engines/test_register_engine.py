"""One door for an engine: one that the package does not have, defined and registered here, does all that a fit does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.sparse import bsr_array, csc_array, csr_array, eye_array, kron
from scipy.sparse.linalg import SuperLU, splu

from lmmformula import ArgumentError, PlanError, anova, compare_methods, fit, load, load_dataset, plan
from lmmformula.engines.base import Across, Certain, Drawless, Exact, Paired, Stacked, Survey, traces
from lmmformula.engines.cost import Cost, Work, cells, searched, space_of_rows, standard_errors, table
from lmmformula.engines.registry import ENGINES, EngineRecord, names, register_engine, unregister_engine
from lmmformula.extensions import EXTENSIONS, key_of
from lmmformula.ir.across import Precision
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula import Fit

REFERENCE = Path(__file__).parents[1] / "reference"
SLEEP = "Reaction ~ Days + (Days | Subject)"
PENICILLIN = "diameter ~ 1 + (1 | plate) + (1 | sample)"


@dataclass(frozen=True)
class SuperLUEngine(Exact):
    """M as one sparse matrix, factorised by SuperLU; blocks of its inverse from solutions for all of its columns."""

    name: str = "superlu"

    def prepare(self, blocks: Levels) -> SuperLUPrepared:
        return SuperLUPrepared(blocks)

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """A solution for each column of the inverse: fine for few of them. An evaluation also puts sparse matrices together."""
        asked = searched(problem) + standard_errors(problem, blocks)
        q = float(problem.q)
        work = Work(
            calls=2.0 * asked.solved,
            pairs=asked.inverted * q**2 * 10.0,
            cells=cells(problem, asked),
            table=table(problem),
        )
        space = space_of_rows(problem, blocks, entries=8.0 * q**2)
        return Survey(Cost(work, space), ("in one sparse matrix",) * len(blocks.groups), "by SuperLU")


@dataclass(frozen=True, eq=False)
class SuperLUPrepared:
    blocks: Levels

    is_exact = True

    @property
    def dense_side(self) -> int:
        return 0

    @property
    def rough(self) -> SuperLUPrepared:
        return self

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> SuperLUFactor:
        groups = self.blocks.groups
        parts: list[list[Any]] = [[None] * len(groups) for _ in groups]
        for a, g in enumerate(groups):
            every = np.arange(g.m + 1), np.arange(g.m)
            parts[a][a] = bsr_array((gram.diag[a], every[1], every[0]), shape=(g.q, g.q))
        for (a, b), values in gram.cross.items():
            pattern, (ga, gb) = self.blocks.pattern(a, b), (groups[a], groups[b])
            block = bsr_array((values, pattern.indices, pattern.indptr), shape=(ga.q, gb.q))
            if a == b:
                parts[a][a] = parts[a][a] + block + block.T
            else:
                parts[a][b], parts[b][a] = block, block.T
        from scipy.sparse import block_array, block_diag

        lam = block_diag([kron(eye_array(g.m), f) for g, f in zip(groups, factors, strict=True)])
        known: Sequence[Precision | None] = across or [None] * len(groups)
        prior = block_diag(
            [
                kron(eye_array(g.m) if q is None else q.matrix, eye_array(g.k))
                for g, q in zip(groups, known, strict=True)
            ]
        )
        return SuperLUFactor(self, csc_array(lam.T @ block_array(parts) @ lam + prior), across)


@dataclass(frozen=True, eq=False)
class SuperLUFactor(Certain, Drawless, Paired):
    prepared: SuperLUPrepared
    matrix: csc_array
    across: Across

    @cached_property
    def lu(self) -> SuperLU:
        return splu(self.matrix)

    @property
    def logdet(self) -> float:
        """M is positive definite, so the signs of the pivots cancel."""
        return float(np.log(np.abs(self.lu.U.diagonal())).sum())

    def solve(self, rhs: Stacked) -> Stacked:
        x = self.lu.solve(np.concatenate([r.reshape(-1, r.shape[-1]) for r in rhs]))
        ends = np.cumsum([0, *(g.q for g in self.prepared.blocks.groups)])
        return tuple(x[i:j].reshape(r.shape) for i, j, r in zip(ends[:-1], ends[1:], rhs, strict=True))

    @cached_property
    def _inverse(self) -> Array:
        return self.lu.solve(np.eye(sum(g.q for g in self.prepared.blocks.groups)))

    def _cube(self, a: int, b: int) -> Array:
        groups = self.prepared.blocks.groups
        ends = np.cumsum([0, *(g.q for g in groups)])
        block = self._inverse[ends[a] : ends[a + 1], ends[b] : ends[b + 1]]
        return block.reshape(groups[a].m, groups[a].k, groups[b].m, groups[b].k)

    def inverse(self) -> SuperLUFactor:
        return self

    def diagonal(self, a: int) -> Array:
        return np.einsum("siSj,sS->sij", self._cube(a, a), np.eye(self.prepared.blocks.groups[a].m))

    def pair(self, a: int, b: int) -> Array:
        pattern = self.prepared.blocks.pattern(a, b)
        return self._cube(a, b)[pattern.rows(), :, pattern.indices, :]

    def against(self, a: int, q: csr_array) -> Array:
        return np.einsum("st,tisj->ij", q.toarray(), self._cube(a, a))

    def trace_blocks(self) -> tuple[Array, ...]:
        return traces(self, self.across, len(self.prepared.blocks.groups))


RECORD = EngineRecord("superlu", "SuperLU", lambda options, seed: SuperLUEngine(), extension=SuperLUEngine)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_engine(RECORD)
    yield
    unregister_engine("superlu")
    EXTENSIONS.pop(key_of(SuperLUEngine))


def both(formula: str, data: Any, **arguments: Any) -> tuple[Fit, Fit]:
    """By this engine, and by the package's own."""
    return fit(formula, data, engine="superlu", **arguments), fit(
        formula, data, engine="blocked", **arguments
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sleep_slope_reml", {"method": "reml"}),
        ("sleep_slope_ml", {"method": "ml"}),
        ("penicillin_reml", {}),
        ("cbpp_laplace", {"family": "binomial"}),
    ],
)
def test_likelihoods_are_those_of_lme4(name: str, arguments: dict[str, Any]) -> None:
    record = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    ours, theirs = both(record["formula"], load_dataset(record["dataset"]), **arguments)
    assert ours.estimate.engine == ours.plan.engine == "superlu"
    assert ours.llf == pytest.approx(record["logLik"], rel=1e-8)
    assert ours.llf == pytest.approx(theirs.llf, rel=1e-10)
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-5)
    np.testing.assert_allclose(ours.bse, theirs.bse, rtol=1e-5)


def test_quadrature_and_coupled_levels() -> None:
    data = load_dataset("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    ours, theirs = both(formula, data, family="binomial", nagq=9)
    assert ours.llf == pytest.approx(theirs.llf, rel=1e-9)
    rng, time = np.random.default_rng(4), np.tile(np.arange(30), 8)
    path = np.zeros(30)
    for t in range(1, 30):
        path[t] = 0.6 * path[t - 1] + rng.normal()
    g = np.repeat(np.arange(8), 30)
    y = path[time] + rng.normal(size=8)[g] + rng.normal(size=240)
    ours, theirs = both('y ~ 1 + (1 | g) + (1 | gr(t, cov = "ar1"))', {"y": y, "t": time, "g": g})
    assert ours.llf == pytest.approx(theirs.llf, rel=1e-8)


def test_the_plan_weighs_it_against_the_others() -> None:
    data = load_dataset("Penicillin")
    asked = plan(PENICILLIN, data, engine="superlu")
    assert asked.engine == "superlu"
    assert {t.role for t in asked.terms} == {"in one sparse matrix"}
    assert asked.reasons[-1] == "engine: superlu, as asked; by SuperLU"
    assert [a.engine for a in asked.alternatives][:2] == ["blocked", "krylov"]
    chosen = plan(PENICILLIN, data)
    (other,) = (a for a in chosen.alternatives if a.engine == "superlu")
    assert chosen.engine == "blocked"
    assert (other.seconds, other.memory) == (asked.seconds, asked.memory)
    assert other.seconds > chosen.seconds
    assert other.against == "as exact (engine='superlu')"


def test_the_cheapest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def free(self: SuperLUEngine, problem: Problem, blocks: Levels) -> Survey:
        return Survey(Cost(Work(), space_of_rows(problem, blocks)), ("free",) * len(blocks.groups), "")

    monkeypatch.setattr(SuperLUEngine, "survey", free)
    data = load_dataset("Penicillin")
    assert plan(PENICILLIN, data).engine == "superlu"
    monkeypatch.setattr(SuperLUEngine, "refuses", lambda self, blocks: "it is tired.")
    assert plan(PENICILLIN, data).engine == "blocked"
    with pytest.raises(PlanError, match=r"it is tired\. Leave out engine='superlu'"):
        plan(PENICILLIN, data, engine="superlu")


def test_what_follows_from_a_fit() -> None:
    ours, theirs = both(SLEEP, load_dataset("sleepstudy"), method="ml")
    assert "superlu" in str(ours.plan)
    assert "251.4" in str(ours.summary())
    np.testing.assert_allclose(ours.varcorr()["vcov"], theirs.varcorr()["vcov"], rtol=1e-5)
    for column in ("condval", "condsd"):
        np.testing.assert_allclose(
            ours.ranef(condsd=True)[column], theirs.ranef(condsd=True)[column], rtol=1e-4
        )
    new = {"Days": [3.5, 12.0], "Subject": ["308", "new"]}
    predicted = [m.predict(new, new_levels="population", se=True) for m in (ours, theirs)]
    np.testing.assert_allclose(predicted[0], predicted[1], rtol=1e-5)
    profiled = [m.conf_int(method="profile", parameters=["Days", "sigma"]) for m in (ours, theirs)]
    np.testing.assert_allclose(profiled[0], profiled[1], rtol=1e-4)
    np.testing.assert_allclose(ours.anova(ddf="satterthwaite"), theirs.anova(ddf="satterthwaite"), rtol=1e-4)
    smaller = ours.update(formula=". ~ . - Days")
    assert smaller.plan.engine == "superlu"
    assert anova(smaller, ours)["Chisq"].iloc[-1] == pytest.approx(2.0 * (ours.llf - smaller.llf), rel=1e-8)
    by = {"a": {"method": "ml", "engine": "superlu"}, "b": {"method": "ml"}}
    compared = compare_methods(SLEEP, load_dataset("sleepstudy"), by)
    assert [compared.fits[name].plan.engine for name in by] == ["superlu", "blocked"]


def test_a_fit_can_be_kept(tmp_path: Path) -> None:
    m = fit(SLEEP, load_dataset("sleepstudy"), engine="superlu")
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    assert isinstance(again.backend.engine, SuperLUEngine)
    np.testing.assert_array_equal(again.params, m.params)
    np.testing.assert_allclose(again.conf_int(), m.conf_int())


def test_a_name_is_taken_once_and_gone_when_unregistered() -> None:
    with pytest.raises(ArgumentError, match="there is an engine 'superlu' already"):
        register_engine(RECORD)
    assert "superlu" in names()
    unregister_engine("superlu")
    with pytest.raises(ArgumentError, match="engine='superlu' must be 'auto', 'blocked'"):
        fit(SLEEP, load_dataset("sleepstudy"), engine="superlu")
    assert "superlu" not in ENGINES
    register_engine(RECORD)
