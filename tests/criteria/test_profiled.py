"""The Gaussian criterion against its definition with the n x n matrix V, at fixed theta; derivatives against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import LAYOUTS, Oracle, make_problem, random_theta

from lmmformula.backends.optimum import modes
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import FitError

ENGINES = {"blocked": BlockedEngine(), "dense": DenseEngine()}
CASES = [(layout, engine, reml) for layout in LAYOUTS for engine in ENGINES for reml in (True, False)]


@pytest.mark.parametrize(("layout", "engine", "reml"), CASES)
def test_value_and_estimates_at_fixed_theta(layout: str, engine: str, reml: bool) -> None:
    problem = make_problem(layout)
    theta = random_theta(problem)
    point = Profiled.of(problem, ENGINES[engine], reml=reml)(theta)
    oracle = Oracle(problem, theta, reml)
    beta, cov, r2 = oracle.solve()
    assert point.deviance == pytest.approx(oracle.deviance, rel=1e-11)
    assert point.r2 == pytest.approx(r2, rel=1e-9)
    np.testing.assert_allclose(point.beta, beta, rtol=1e-9)
    np.testing.assert_allclose(point.unscaled_vcov, cov, rtol=1e-9, atol=1e-14)
    for ours, theirs in zip(modes(point), oracle.modes(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


@pytest.mark.parametrize(("layout", "engine", "reml"), CASES)
def test_gradient_against_central_differences(layout: str, engine: str, reml: bool) -> None:
    problem = make_problem(layout)
    theta = random_theta(problem)
    model = Profiled.of(problem, ENGINES[engine], reml=reml)
    step = 1e-5
    moved = [
        (model(theta + d).deviance - model(theta - d).deviance) / (2 * step)
        for d in step * np.eye(len(theta))
    ]
    np.testing.assert_allclose(model(theta).gradient, moved, atol=2e-6)


@pytest.mark.parametrize("reml", [True, False])
def test_gradient_with_sigma_held(reml: bool) -> None:
    problem = make_problem("crossed slopes")
    theta = random_theta(problem)
    model, sigma2, step = Profiled.of(problem, BlockedEngine(), reml=reml), 1.7, 1e-5
    moved = [
        (model(theta + d).deviance_at(sigma2) - model(theta - d).deviance_at(sigma2)) / (2 * step)
        for d in step * np.eye(len(theta))
    ]
    np.testing.assert_allclose(model(theta).gradient_at(sigma2), moved, atol=2e-6)


@pytest.mark.parametrize(
    "layout", [name for name in LAYOUTS if name != "same factor twice"]
)  # a ridge, no optimum
def test_average_information_is_near_the_hessian_at_an_optimum(layout: str) -> None:
    """At the optimum of data from the model AI and Hessian have the same expectation; here they agree within a factor 3."""
    from lmmformula.backends.exact import Exact

    problem = make_problem(layout, n=600)
    solution = Exact(reml=True).fit(problem)
    model, theta, step = solution.point.model, solution.estimate.theta, 1e-5
    hessian = np.array(
        [
            (model(theta + d).gradient - model(theta - d).gradient) / (2 * step)
            for d in step * np.eye(len(theta))
        ]
    )
    ratio = np.linalg.eigvals(np.linalg.solve(hessian, model(theta).hessian)).real
    assert ratio.min() > 1 / 3
    assert ratio.max() < 3


def test_another_response_is_the_same_as_another_problem() -> None:
    problem = make_problem("chain and crossed")
    theta = random_theta(problem)
    y = problem.y + np.random.default_rng(5).normal(size=problem.n)
    afresh = Profiled.of(replace(problem, y=y), BlockedEngine(), reml=True)(theta)
    reused = Profiled.of(problem, BlockedEngine(), reml=True).with_response(y)(theta)
    assert reused.deviance == pytest.approx(afresh.deviance, rel=1e-13)
    np.testing.assert_allclose(reused.gradient, afresh.gradient, rtol=1e-8, atol=1e-9)


def test_value_does_not_depend_on_where_y_and_x_are_centred() -> None:
    problem = make_problem("slopes")
    theta = random_theta(problem)
    shifted = replace(
        problem,
        y=problem.y + 1e7,
        X=replace(problem.X, matrix=problem.X.matrix @ np.array([[1.0, 1e5], [0.0, 1e-3]])),
    )
    plain = Profiled.of(problem, BlockedEngine(), reml=False)(theta)
    moved = Profiled.of(shifted, BlockedEngine(), reml=False)(theta)
    assert moved.r2 == pytest.approx(plain.r2, rel=1e-7)


def test_a_response_the_fixed_effects_reproduce_is_refused() -> None:
    problem = make_problem("one", weighted=False)
    exact = replace(problem, y=problem.X.matrix @ np.array([2.0, 3.0]))
    with pytest.raises(FitError, match="reproduce the response exactly"):
        Profiled.of(exact, BlockedEngine(), reml=True)
