"""Every route by one contract: a density with its gradient, and draws recovered in their shapes under a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import make_problem

from lmmformula.backends.posterior.density.scale import JointScale, Scale
from lmmformula.backends.posterior.routes.choose import choose_route
from lmmformula.backends.posterior.sampling.request import ChainOptions, Drawn, Request
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.problem import Problem


def binary() -> Problem:
    from lmmformula import build

    rng = np.random.default_rng(2)
    g, x = rng.integers(0, 8, 80), rng.normal(size=80)
    y = (rng.normal(size=80) < 0.5 * x + rng.normal(size=8)[g]).astype(float)
    return build("y ~ x + (1 | g)", {"y": y, "x": x, "g": g.astype(str)}, family="binomial")


WAYS: dict[str, tuple[Problem, Any]] = {
    "exact": (make_problem("crossed"), "all"),
    "partial": (make_problem("crossed"), ["g"]),
    "laplace": (binary(), "laplace"),
    "none": (binary(), "none"),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_contract(way: str) -> None:
    problem, marginalize = WAYS[way]
    route, priors = choose_route(problem, marginalize), resolve_priors(problem)
    assert route.dimensions(problem, priors) >= len(priors.terms)
    assert route.reason in route.integrated_out(problem, priors) or route.recovers_compiled
    density = route.density(problem, BlockedEngine(), priors, None, None)
    x, step = density.begin + 0.05, 1e-5
    value, gradient = density.value_and_gradient(x)
    assert np.isfinite(value)
    some = np.eye(density.d)[:: max(1, density.d // 6)]
    moved = [
        density.value_and_gradient(x + step * e)[0] - density.value_and_gradient(x - step * e)[0]
        for e in some
    ]
    np.testing.assert_allclose(some @ gradient, np.array(moved) / (2 * step), rtol=1e-4, atol=1e-4)
    if not route.is_few:
        outer = density.n_outer
        scale: Any = JointScale(x, np.eye(outer), np.zeros((0, 0)), np.ones(density.d - outer))
    else:
        scale = Scale(x, np.eye(density.d), value, 1, True)
    drawn = Drawn(x + 0.01 * np.random.default_rng(3).normal(size=(2, 3, density.d)), scale)
    request = Request(ChainOptions(2, 3, None, 0.8, 10), "nuts", 7)
    first, again = (route.recover(density, drawn, request, priors) for _ in range(2))
    assert first.variances.shape == (2, 3, len(first.names))
    assert first.beta.draws.shape == (2, 3, problem.p)
    assert first.effects.draws is not None
    assert [b.shape for b in first.effects.draws] == [(2, 3, t.m, t.k) for t in problem.terms]
    assert [b.shape for b in first.effects.means] == [(t.m, t.k) for t in problem.terms]
    np.testing.assert_array_equal(first.beta.draws, again.beta.draws)
    for ours, theirs in zip(first.effects.draws, again.effects.draws or (), strict=True):
        np.testing.assert_array_equal(ours, theirs)
