"""Plans: what they decide, what they print, and that they survive JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lmmformula import PlanError, fit, load_dataset, plan
from lmmformula.engines.cost import Work
from lmmformula.engines.rates import SECONDS
from lmmformula.memory import in_words
from lmmformula.planner import Plan, engines
from lmmformula.planner.record import seconds_in_words


def crossed(n: int, m: int, k: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=n), "g": rng.integers(0, m, n), "h": rng.integers(0, k, n)}
    return {**data, "y": rng.normal(size=n), "z": rng.integers(0, 2, n)}


GAUSSIAN, BINARY = "y ~ x + (1 | g) + (1 | h)", "z ~ x + (1 | g) + (1 | h)"


@pytest.mark.parametrize(
    ("formula", "family", "size", "engine"),
    [
        (GAUSSIAN, "gaussian", (5_000, 300, 200), "blocked"),
        (GAUSSIAN, "gaussian", (200_000, 50_000, 300), "blocked"),
        (GAUSSIAN, "gaussian", (200_000, 15_000, 15_000), "krylov"),
        (BINARY, "binomial", (5_000, 300, 200), "blocked"),
        (BINARY, "binomial", (100_000, 9_000, 9_000), "krylov"),
    ],
)
def test_small_dense_parts_are_factorised_and_large_ones_iterated_on(
    formula: str, family: str, size: tuple[int, int, int], engine: str
) -> None:
    chosen = plan(formula, crossed(*size), family=family)
    assert chosen.engine == engine
    other = "krylov" if engine == "blocked" else "blocked"
    assert other in [a.engine for a in chosen.alternatives]
    assert all(a.against for a in chosen.alternatives)
    if family == "binomial":
        assert chosen.alternatives[-1].method == "pql"


def test_a_plan_survives_json() -> None:
    for formula, family in ((GAUSSIAN, "gaussian"), (BINARY, "binomial")):
        chosen = plan(formula, crossed(5_000, 300, 200), family=family)
        assert Plan.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    with pytest.raises(AttributeError):
        chosen.engine = "dense"  # type: ignore[misc]


def test_a_plan_prints_what_will_be_done_and_what_not() -> None:
    text = str(plan(BINARY, crossed(5_000, 300, 200), family="binomial"))
    assert "LAPLACE on the blocked engine" in text
    assert "dense part 200 x 200" in text
    assert "pql (backfitting)" in text
    assert "at the peak" in text


def test_the_fit_follows_the_plan() -> None:
    data = load_dataset("sleepstudy")
    promised = plan("Reaction ~ Days + (Days | Subject)", data)
    m = fit("Reaction ~ Days + (Days | Subject)", data)
    assert m.plan == promised
    assert m.estimate.engine == promised.engine
    assert promised.seconds < 1.0


def test_work_grows_with_every_size() -> None:
    assert Work(calls=1.0).seconds == SECONDS["calls"]
    sizes = [(10_000, 500, 400), (20_000, 1_000, 800), (40_000, 2_000, 1_600)]
    for engine in ("blocked", "krylov"):
        found = [plan(GAUSSIAN, crossed(*s), engine=engine, method="ml") for s in sizes]
        seconds, memory = [p.seconds for p in found], [p.memory for p in found]
        assert seconds == sorted(seconds)
        assert memory == sorted(memory)


def test_estimates_are_in_words_that_people_use() -> None:
    said = [seconds_in_words(s) for s in (0.234, 42.0, 200.0, 1e4, 2.1e5, 3e8)]
    assert said == ["0.2 s", "40 s", "3.3 min", "2.8 h", "2.4 days", "3,500 days"]
    assert [in_words(b) for b in (12, 3.4e6, 4.29e11, 1.7e12, 2e15)] == [
        "12 B",
        "3.4 MB",
        "429 GB",
        "1.7 TB",
        "2,000 TB",
    ]


def test_one_grouping_factor_is_not_called_nested() -> None:
    assert "one grouping factor" in plan("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff")).reasons[1]


def test_chains_that_are_too_large_are_not_sent_to_an_engine_that_has_none() -> None:
    data = crossed(20_000, 6_000, 5_000)
    with pytest.raises(PlanError, match="method='krylov', a likelihood"):
        plan(GAUSSIAN, data, method="hmc", memory_limit=1e8)
    with pytest.raises(PlanError, match="Use engine='krylov'"):
        plan(GAUSSIAN, data, method="ml", engine="blocked", memory_limit=1e8)


def test_a_posterior_has_estimates_for_both_samplers() -> None:
    data = load_dataset("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    chains = plan(formula, data, method="hmc", sampler="nuts")
    draws = plan(formula, data, method="hmc")
    assert draws.seconds < chains.seconds < 30.0
    assert (
        draws.memory < chains.memory < draws.memory + 1e8
    )  # neither loads JAX, and chains are compiled loops
    (other,) = chains.alternatives
    assert (other.engine, other.seconds, other.memory) == ("importance", draws.seconds, draws.memory)
    assert "sampler='importance'" in other.against
    assert plan(formula, data, method="hmc", sampler="importance").seconds == draws.seconds
    more = plan(formula, data, method="hmc", sampler="nuts", draws=10_000)
    assert more.seconds > chains.seconds
    assert more.memory > chains.memory
    (only,) = (plan(BINARY, crossed(2_000, 50, 20), family="binomial", method="hmc"),)
    assert only.alternatives == ()
    assert only.seconds > chains.seconds


@pytest.mark.parametrize(
    ("formula", "arguments"),
    [
        ("bf(y ~ x + (1 |p| g) + (1 |q| h)) + bf(n ~ x + (1 |p| g) + (1 |q| h), family = poisson)", {}),
        ("bf(n ~ x + (1 | g) + (1 | h), zi ~ (1 | g))", {"family": "zero_inflated_poisson"}),
    ],
)
def test_likelihoods_of_several_predictors_are_not_estimated(
    formula: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much faster iterations would be: no engine offers them, nor quasi-likelihood."""
    rng, n = np.random.default_rng(3), 400
    data = {"x": rng.normal(size=n), "g": rng.integers(0, 60, n), "h": rng.integers(0, 30, n)}
    data |= {"y": rng.normal(size=n), "n": rng.poisson(1.0, n)}
    monkeypatch.setattr(engines, "WORTH_IT", 0.0)
    monkeypatch.setattr(engines, "FASTER", 0.0)
    chosen = plan(formula, data, **arguments)
    assert chosen.engine in ("blocked", "sparse", "dense")
    assert not chosen.alternatives or {v.engine for v in chosen.alternatives} <= {
        "blocked",
        "sparse",
        "dense",
    }
