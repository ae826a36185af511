"""Limits of memory hold for every method and before columns are made; one factor is factorised, whatever its columns."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from lmmformula import PlanError, build, fit, plan
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.factorised_cost import exact_cost
from lmmformula.engines.krylov.cost import krylov_cost
from lmmformula.engines.krylov.coupled import Coupled
from lmmformula.engines.rates import BYTES
from lmmformula.frame.width import HELD
from lmmformula.ir.blocks import Blocks
from lmmformula.planner import engines


def wide(n: int, levels: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    f = np.array([f"l{i}" for i in range(levels)])[rng.integers(0, levels, n)]
    return {"y": rng.normal(size=n), "f": f, "g": rng.integers(0, 20, n), "x": rng.normal(size=n)}


@pytest.mark.parametrize("formula", ["y ~ f + (1 | g)", "y ~ x + (0 + f | g)", "y ~ f:x + (1 | g)"])
@pytest.mark.parametrize("call", [build, plan, fit])
def test_columns_are_counted_before_they_are_made(call: Any, formula: str) -> None:
    data = wide(10_000, 1_000)
    tracemalloc.start()
    with pytest.raises(PlanError, match=r"`f(:x)?`.* 1,000 columns.* for 10,000 rows.*80 MB.*20 MB are"):
        call(formula, data, memory_limit="20 MB")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_count_is_that_of_the_planner() -> None:
    assert BYTES["table"] == HELD


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "pql", "traces": "diagonal"}, "the fit needs about"),
        ({"method": "pql", "traces": "exact"}, "about"),
        ({"method": "hmc", "marginalize": "none", "draws": 1_000}, "about"),
        ({"method": "krylov"}, "about"),
        ({"method": "ml"}, "about"),
    ],
)
def test_memory_limits_hold_for_every_method(arguments: dict[str, Any], said: str) -> None:
    rng = np.random.default_rng(1)
    n = 6_000
    data = {"y": rng.normal(size=n), "a": rng.integers(0, 400, n), "b": rng.integers(0, 300, n)}
    formula = "y ~ 1 + (1 | a) + (1 | b)"
    enough = plan(formula, data, memory_limit="20 GB", **arguments)
    assert enough.n == n
    with pytest.raises(PlanError, match=f"{said}.*300 kB are available"):
        plan(formula, data, memory_limit="300 kB", **arguments)


def test_draws_are_counted() -> None:
    """What is refused is the draws: fewer of them fit into the same memory."""
    data = wide(2_000, 3)
    formula, limit = "y ~ x + (1 | g)", "300 MB"
    few = plan(formula, data, method="hmc", draws=1_000, memory_limit=limit)
    assert few.method == "hmc"
    with pytest.raises(PlanError, match="Ask for fewer draws"):
        plan(formula, data, method="hmc", draws=200_000, memory_limit=limit)


def test_one_factor_with_many_columns_is_factorised_and_promised_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With nothing dense both engines do the same work, standard errors included: measured 6.1 s and 6.0 s of 500,000 rows."""
    rng = np.random.default_rng(0)
    n, p = 20_000, 19
    data: dict[str, Any] = {f"x{j}": rng.normal(size=n) for j in range(p)}
    data |= {"g": rng.integers(0, 500, n), "y": rng.poisson(1.0, n)}
    formula = f"y ~ {' + '.join(f'x{j}' for j in range(p))} + (1 | g)"
    problem = build(formula, data, family="poisson")
    blocks = Blocks(problem.terms, problem.n)
    exact = BlockedEngine().prepare(blocks)
    by_factor = exact_cost(problem, exact.plan, exact.dense_side).seconds
    by_steps = krylov_cost(problem, blocks, Coupled.of(blocks), 8).seconds
    assert 0.8 < by_steps / by_factor < 1.4
    monkeypatch.setattr(engines, "WORTH_IT", 0.0)
    monkeypatch.setattr(engines, "FASTER", 0.0)
    assert plan(formula, data, family="poisson").engine == "blocked"
