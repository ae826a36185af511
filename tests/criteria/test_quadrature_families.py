"""Adaptive quadrature of every family and link, categories too, against the integral over each level's effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_laplace import CENTRE, EVERY
from test_quadrature import by_grid

from lmmformula import build
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.quadrature import Quadrature
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.families import OUTCOMES, Family, make_family

LEVELS, ROWS = 4, 28
CATEGORIES = {
    f"{name}({link})": make_family(f.distribution, link).of_response([np.arange(4)])
    for name, f in OUTCOMES.items()
    for link in f.distribution.links
    if not f.distribution.alike
}
NOT_EXACT = {name: f for name, f in EVERY.items() if f.normal is None}


def problem_of(family: Family, text: str) -> tuple[Any, np.ndarray]:
    """Rows of a response drawn from the family with one factor, and (beta, theta, alpha) near those that drew it."""
    rng = np.random.default_rng(20261127)
    centre = CENTRE.get((family.distribution.mean_range, family.link))
    spread = 0.4 if centre is None else 0.05 * abs(centre)
    g, x = np.arange(ROWS) % LEVELS, rng.uniform(-1, 1, ROWS)
    beta = np.array([0.2 if centre is None else centre, spread])
    eta = beta[0] + beta[1] * x + spread * rng.normal(size=LEVELS)[g]
    weights = rng.integers(1, 6, ROWS).astype(float)
    alpha = [a.typical for a in family.auxiliaries]
    y = family.simulate(rng, eta, tuple(alpha), weights)
    every = np.arange(1.0, len(family.outcomes) + 1.0)
    y[: every.size] = every
    data = {"x": x, "g": g.astype(str), "y": y}
    problem = build("y ~ x + (1 | g)", data, family=text, weights=weights)
    return problem, np.array([*beta[-problem.p :], spread, *alpha])


@pytest.mark.parametrize("name", NOT_EXACT | CATEGORIES)
def test_integrals_of_every_family(name: str) -> None:
    problem, psi = problem_of((NOT_EXACT | CATEGORIES)[name], name)
    point = Quadrature(Laplace.of(problem, BlockedEngine()), 41)(psi)
    assert point.deviance == pytest.approx(by_grid(problem, psi, points=321), rel=1e-8, abs=1e-6)
