"""Searches go on from the states that they tell, whoever keeps these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lmmformula import fit
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.sampling.importance import Importance
from lmmformula.backends.posterior.sampling.remembered import BLOCK, remembered
from lmmformula.checkpoints import Keeper, Ongoing, keeping, ongoing
from lmmformula.numerics.trust_region import Standing, minimise
from lmmformula.typing import Array, Record

SLEEP = "Reaction ~ Days + (Days | Subject)"


class StoppedError(Exception):
    """In place of a crash."""


class Memory(Keeper):
    """Keeps states in memory; `most` of them, if given, before it ends the run."""

    def __init__(self, searches: Record | None = None, most: int = 10**9) -> None:
        self.searches, self.most = searches or {}, most

    def left(self, search: str) -> Record | None:
        return self.searches.get(search)

    def offer(self, search: str, state: Callable[[], Record], *, at_once: bool) -> None:
        if not self.most:
            raise StoppedError
        self.most -= 1
        self.searches = {**self.searches, search: state()}


def test_nobody_keeps_searches_unless_asked() -> None:
    assert ongoing("search") is None
    memory = Memory()
    with keeping(memory):
        here = ongoing("search")
        assert here == Ongoing(memory, "search")
        fit(SLEEP, "sleepstudy")
    assert ongoing("search") is None
    assert memory.searches["search"]["standing"].evaluations > 1


@pytest.mark.filterwarnings("ignore::lmmformula.errors.ConvergenceWarning")
def test_fits_that_a_sampler_starts_from_are_kept_by_nobody() -> None:
    """Several of different models have the same searches; where a sampler goes on, its start must not move by a rounding."""
    options: Record = {"method": "hmc", "sampler": "importance", "draws": 200, "seed": 1}
    memory = Memory()
    with keeping(memory):
        whole: Any = fit(SLEEP, "sleepstudy", **options)
    assert set(memory.searches) == {"mode", "importance sample"}
    again = Memory(memory.searches, most=0)  # nothing new to tell
    with keeping(again):
        m: Any = fit(SLEEP, "sleepstudy", **options)
    np.testing.assert_array_equal(m.posterior.x, whole.posterior.x)


class Valley:
    """Rosenbrock's function."""

    error = 0.0

    def __init__(self, x: Array) -> None:
        (a, b), self.x = x, x
        self.value = float((1 - a) ** 2 + 100 * (b - a**2) ** 2)
        self.gradient = np.array([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)])
        self.hessian = np.array([[2 - 400 * (b - 3 * a**2), -400 * a], [-400 * a, 200.0]])


def test_a_minimisation_goes_on_step_by_step() -> None:
    seen: list[tuple[Standing, bool]] = []
    start = np.array([-1.2, 1.0])
    whole = minimise(Valley, start, secants=2, keep=lambda standing, ended: seen.append((standing, ended)))
    assert [ended for _, ended in seen] == [False] * (len(seen) - 1) + [True]
    for standing, _ in seen:
        found = minimise(Valley, start, secants=2, standing=standing)
        np.testing.assert_allclose(found.x, whole.x, atol=1e-6)
        assert abs(found.evaluations - whole.evaluations) <= 3
    assert minimise(Valley, start, standing=seen[-1][0]).evaluations == whole.evaluations


class Bump:
    """A density of two coordinates that counts what it computes."""

    d = 2
    folded = ((0, ()),)

    def __init__(self) -> None:
        self.computed = 0

    def log_densities(self, x: Array) -> Array:
        self.computed += len(x)
        return -0.5 * ((x - 0.3) ** 2).sum(axis=1) - 0.1 * x[:, 0] ** 4

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        raise NotImplementedError  # importance sampling takes values alone


def test_importance_sampling_computes_no_density_twice() -> None:
    scale, sampler = Scale(np.zeros(2), np.eye(2), 0.0, 1, True), Importance(draws=500, pilot=300)
    whole, count = Bump(), Bump()
    expected = sampler.sample(whole, scale, np.random.default_rng(1))
    memory, runs = Memory(most=2), 0
    while True:
        try:
            found = sampler.sample(remembered(count, Ongoing(memory, "a")), scale, np.random.default_rng(1))
            break
        except StoppedError:
            memory, runs = Memory(memory.searches, most=2), runs + 1
    assert runs > 2
    np.testing.assert_array_equal(found.x, expected.x)
    assert found.evaluations == expected.evaluations
    assert count.computed <= whole.computed + runs * BLOCK  # what was lost with each run
