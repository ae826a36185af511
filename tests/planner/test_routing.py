"""When backfitting takes the place of a likelihood, and how to ask for the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmmformula import build, fit, plan
from lmmformula.engines.backfitting.cost import backfitting_cost
from lmmformula.engines.krylov.cost import krylov_cost
from lmmformula.engines.krylov.coupled import Coupled
from lmmformula.ir.blocks import Blocks
from lmmformula.planner import quasi

BINARY = "z ~ x + (1 | g) + (1 | h)"
LARGE = (60_000, 2_000, 2_000)


def crossed(n: int, m: int, k: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=n), "g": rng.integers(0, m, n), "h": rng.integers(0, k, n)}
    eta = rng.normal(size=m)[data["g"]] + rng.normal(size=k)[data["h"]]
    z = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    return {**data, "z": z, "count": rng.poisson(1.0, n), "positive": rng.gamma(2.0, size=n)}


@pytest.fixture(scope="module")
def large() -> dict[str, Any]:
    return crossed(*LARGE)


def test_a_bearable_likelihood_is_taken_and_an_unbearable_one_is_not(large, monkeypatch) -> None:
    usual = plan(BINARY, large, family="binomial")
    assert (usual.method, usual.engine) == ("laplace", "krylov")
    assert usual.seconds < quasi.PATIENCE
    monkeypatch.setattr(quasi, "WORTH_IT", 1.0)
    monkeypatch.setattr(quasi, "PATIENCE", 1.01 * usual.seconds)
    assert plan(BINARY, large, family="binomial") == usual
    monkeypatch.setattr(quasi, "PATIENCE", 0.99 * usual.seconds)
    chosen = plan(BINARY, large, family="binomial")
    assert (chosen.method, chosen.engine) == ("pql", "backfitting")
    assert chosen.seconds < usual.seconds
    assert "corrected to Laplace's approximation" in chosen.reasons[0]
    assert "method='laplace' asks for that" in chosen.reasons[0]
    assert [a.engine for a in chosen.alternatives] == ["krylov", "blocked"]
    assert chosen.alternatives[0].seconds == usual.seconds


@pytest.mark.parametrize(
    ("response", "family", "options", "engine"),
    [
        ("count", "poisson", {}, "backfitting"),
        ("z", "binomial", {"method": "laplace"}, "krylov"),
        ("z", "binomial", {"method": "krylov"}, "krylov"),
        ("z", "binomial", {"engine": "krylov"}, "krylov"),
        ("z", "binomial", {"nagq": 0}, "krylov"),
        ("z", "binomial(link='probit')", {}, "krylov"),
        ("positive", "gamma", {}, "krylov"),
        ("positive", "gaussian", {}, "blocked"),
    ],
)
def test_backfitting_comes_only_where_it_estimates_the_same(
    large, monkeypatch, response: str, family: str, options: dict[str, Any], engine: str
) -> None:
    monkeypatch.setattr(quasi, "PATIENCE", 0.0)
    monkeypatch.setattr(quasi, "WORTH_IT", 1.0)
    formula = BINARY.replace("z", response, 1)
    assert plan(formula, large, family=family, **options).engine == engine


def test_there_is_more_patience_where_levels_have_few_rows(monkeypatch) -> None:
    """Diagonal traces leave out more there; the line is a geometric mean, so that one poor factor beside a rich one will do."""
    monkeypatch.setattr(quasi, "PATIENCE", 0.0)
    monkeypatch.setattr(quasi, "WORTH_IT", 0.0)
    engines, means = [], []
    for m, k in ((2_000, 2_000), (6_000, 5_000), (10_000, 700)):
        data = crossed(40_000, m, k)
        problem = build(BINARY, data, family="binomial")
        means.append(quasi.rows_a_level(Blocks(problem.terms, problem.n)))
        engines.append(plan(BINARY, data, family="binomial").engine)
    assert means == pytest.approx([20.0, 7.3, 15.1], abs=0.2)
    assert engines[0] == engines[2] == "backfitting"
    assert engines[1] in ("krylov", "blocked")


def test_memory_alone_may_decide(large) -> None:
    problem = build(BINARY, large, family="binomial")
    blocks = Blocks(problem.terms, problem.n)
    iterated = krylov_cost(problem, blocks, Coupled.of(blocks), 8)
    backfitted = backfitting_cost(problem, blocks, corrected=True)
    assert backfitted.own_memory < iterated.own_memory
    between = 0.5 * (iterated.own_memory + backfitted.own_memory)
    chosen = plan(BINARY, large, family="binomial", memory_limit=between)
    assert chosen.engine == "backfitting"
    assert chosen.alternatives[0].against == "more memory than there is"
    assert "are available" in chosen.reasons[0]


def test_fit_follows_and_is_what_was_promised(monkeypatch) -> None:
    data = crossed(3_000, 300, 100)
    monkeypatch.setattr(quasi, "PATIENCE", 0.0)
    monkeypatch.setattr(quasi, "WORTH_IT", 0.0)
    m = fit(BINARY, data, family="binomial")
    asked = fit(BINARY, data, family="binomial", method="pql", traces="diagonal", correction="laplace")
    assert m.plan.engine == "backfitting"
    np.testing.assert_array_equal(m.params, asked.params)
    assert np.isnan(m.llf)
