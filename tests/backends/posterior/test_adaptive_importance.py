"""Importance sampling that adapts: from proposals that miss the posterior, and to shapes that one component does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.sampling.importance import Importance, tempered
from lmmformula.backends.posterior.sampling.request import MOST_COORDINATES, tried_first
from lmmformula.numerics.pareto import weights_ess


@dataclass(frozen=True)
class Twisted:
    """x_1 ~ N(m, 1), x_2 | x_1 ~ N(bend (x_1 - m)^2, s^2), the others standard normal: log evidence 0."""

    d: int
    middle: float
    bend: float
    s: float = 0.5
    folded: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        first = x[:, 0] - self.middle
        second = (x[:, 1] - self.bend * first**2) / self.s
        squares = first**2 + second**2 + (x[:, 2:] ** 2).sum(axis=1)
        return -0.5 * squares - np.log(self.s) - 0.5 * self.d * np.log(2.0 * np.pi)


def unit(d: int) -> Scale:
    return Scale(np.zeros(d), np.eye(d), 0.0, 0, converged=True)


@pytest.mark.parametrize(("d", "middle", "bend"), [(3, 12.0, 0.0), (4, 0.0, 0.4), (12, 3.0, 0.2)])
def test_proposals_find_the_posterior(d: int, middle: float, bend: float) -> None:
    """Twelve standard deviations away; a parabola; many coordinates."""
    target = Twisted(d, middle, bend)
    found = Importance(draws=4_000).sample(target, unit(d), np.random.default_rng(1))
    assert found.trusted
    assert found.ess > 400
    assert found.log_evidence == pytest.approx(0.0, abs=0.1)
    error = 4.0 / np.sqrt(min(found.ess, 4_000.0))
    spread = np.sqrt(2.0 * bend**2 + target.s**2)
    assert found.x[:, 0].mean() == pytest.approx(middle, abs=error)
    assert found.x[:, 0].std() == pytest.approx(1.0, abs=error)
    assert found.x[:, 1].mean() == pytest.approx(bend, abs=error * spread)
    assert found.x[:, 2:].mean(axis=0) == pytest.approx(np.zeros(d - 2), abs=error)


def test_weights_are_tempered_no_more_than_needed() -> None:
    log_weights = np.append(-0.5 * np.linspace(0.0, 30.0, 400) ** 2, -np.inf)
    whole = np.exp(log_weights - np.log(np.exp(log_weights).sum()))
    np.testing.assert_allclose(tempered(log_weights, 2.0), whole, rtol=1e-12)
    for least in (40.0, 90.0):
        found = tempered(log_weights, least)
        assert found.sum() == pytest.approx(1.0)
        assert found[-1] == 0.0
        with np.errstate(divide="ignore"):
            assert weights_ess(np.log(found)) == pytest.approx(least, rel=1e-3)


def test_too_few_effective_draws_are_not_trusted() -> None:
    """One round of one component and one last sample do not suffice for a narrow parabola."""
    target = Twisted(4, 0.0, 3.0, s=0.1)
    rng = np.random.default_rng(2)
    poor = Importance(draws=1_000, rounds=1, attempts=1, pilot=100).sample(target, unit(4), rng)
    assert not poor.trusted


def test_a_density_that_exists_nowhere_is_not_trusted() -> None:
    class Nowhere(Twisted):
        def log_densities(self, x: np.ndarray) -> np.ndarray:
            return np.full(len(x), -np.inf)

    found = Importance(draws=200, pilot=100).sample(Nowhere(3, 0.0, 0.0), unit(3), np.random.default_rng(1))
    assert not found.trusted
    assert found.ess == 0.0
    assert found.log_evidence == -np.inf


def test_what_begins() -> None:
    assert tried_first("auto", 5, few=True) == "importance"
    assert tried_first("auto", MOST_COORDINATES + 1, few=True) == "nuts"
    assert tried_first("auto", 5, few=False) == "nuts"
    assert tried_first("nuts", 5, few=True) == "nuts"
    assert tried_first("importance", 50, few=True) == "importance"
