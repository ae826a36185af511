"""Seconds and memory that plans promise, against recorded measurements (``benchmarks/plan_study.py``)."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lmmformula import PlanError, build, plan
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.cost import LIBRARIES, Space, Work
from lmmformula.engines.factorised_cost import exact_cost
from lmmformula.engines.rates import BYTES, SAMPLING, SECONDS
from lmmformula.ir.blocks import Blocks
from lmmformula.methods.planning import make_plan

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MEMORY, TIME = 1.5, 3.0
"""Factors that an estimate may be off by."""
QUICK = 0.5
"""Seconds below which a measurement is one of overheads."""
EXCEPT = {("grouseticks", "krylov"), ("grouseticks", "pql"), ("grouseticks", "corrected")}
"""Nested levels with a row each, where iterations take many steps; no plan takes them."""
ROWS = 100_000
"""Up to which plans are made here; of larger problems the recorded counts are taken."""


@cache
def cases() -> Any:
    """The module of cases, which is no part of the package."""
    found = importlib.util.spec_from_file_location("plan_cases", BENCHMARKS / "plan_cases.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["plan_cases"] = module
    found.loader.exec_module(module)
    return module


RECORDS = json.loads((BENCHMARKS / "results" / "plan.json").read_text(encoding="utf-8"))
BY_CASE: dict[str, list[dict[str, Any]]] = {}
for one in RECORDS:
    BY_CASE.setdefault(one["case"], []).append(one)


def within(promised: float, measured: float, factor: float) -> bool:
    return measured / factor <= promised <= measured * factor


@pytest.mark.parametrize("name", list(BY_CASE))
def test_plans_promise_what_was_measured(name: str) -> None:
    """Memory within 1.5, seconds within 3, on every case that rates were fitted to and on those that they were not."""
    case = cases().find(name)
    problem = build(case.formula, case.data(), family=case.family) if case.rows <= ROWS else None
    for record in BY_CASE[name]:
        arguments = dict(cases().ways(case)[record["way"]])
        if problem is None:
            space, work = Space(**record["space"]), Work(**record["work"])
            seconds, memory = work.seconds, space.bytes
        else:
            method, seed = arguments.pop("method"), arguments.pop("seed", None)
            chosen = make_plan(problem, method, {**arguments, "memory_limit": 1e13}, seed).plan
            seconds, memory = chosen.seconds, chosen.memory
        assert within(memory, record["memory"], MEMORY), (record["way"], memory, record["memory"])
        if (name, record["way"]) in EXCEPT:
            continue
        if "seconds" in record and max(seconds, record["seconds"]) > QUICK:
            assert within(seconds, record["seconds"], TIME), (record["way"], seconds, record["seconds"])


def test_what_a_fit_adds_to_the_libraries_is_near_too() -> None:
    """The interpreter is most of a small fit; of those that add 0.1 GB the estimate of that part alone holds as well."""
    seen = 0
    for record in RECORDS:
        if "space" not in record:
            continue
        space = Space(**record["space"])
        added = record["memory"] - space.libraries
        if added > 1e8:
            seen += 1
            assert within(space.bytes - space.libraries, added, 1.75), (record["case"], record["way"])
    assert seen >= 15


def test_every_count_has_a_rate() -> None:
    assert set(BYTES) == set(Space.__dataclass_fields__)
    assert set(SECONDS) == set(Work.__dataclass_fields__)
    assert set(LIBRARIES) < set(BYTES)
    assert all(rate >= 0.0 for rates in (BYTES, SECONDS, SAMPLING) for rate in rates.values())


def test_ways_are_those_that_couplings_take() -> None:
    """The cases cover all of them, so that their counts are all measured."""
    ways = set()
    for name in (
        "crossed, small",
        "crossed, even",
        "binary, wide",
        "crossed, slopes",
        "InstEval",
        "crossed, large",
    ):
        case = cases().find(name)
        problem = build(case.formula, case.data(), family=case.family)
        for coupling in BlockedEngine().prepare(Blocks(problem.terms, problem.n)).plan.couplings:
            way = coupling.ragged.way()
            ways.add(way)
    assert ways == {"dense", "sparse", "compiled"}


def test_libraries_do_not_count_against_the_limit() -> None:
    """What is loaded when a plan is made need not be found any more."""
    case = cases().find("crossed, small")
    problem = build(case.formula, case.data())
    exact = BlockedEngine().prepare(Blocks(problem.terms, problem.n))
    cost = exact_cost(problem, exact.plan, exact.dense_side)
    enough = cost.own_memory * 1.01
    assert enough < cost.space.libraries
    assert plan(case.formula, case.data(), engine="blocked", memory_limit=enough).memory == cost.memory
    with pytest.raises(PlanError, match="available"):
        plan(case.formula, case.data(), engine="blocked", memory_limit=0.9 * cost.own_memory)
