"""Criteria of many responses at once against the criterion of one, at the same theta; derivatives against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem, random_theta

from lmmformula.backends.batched import Batch, unbatched
from lmmformula.backends.exact import Exact
from lmmformula.criteria.batched import products
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

TOGETHER = [layout for layout in LAYOUTS if layout not in ("structured", "lags and ranks")]
RESPONSES = 4


def model_of(problem: Problem, *, reml: bool = True) -> Profiled:
    return Profiled.of(problem, BlockedEngine(), reml=reml)


def responses(problem: Problem, count: int = RESPONSES) -> Array:
    rng = np.random.default_rng(5)
    return problem.y[:, None] * rng.uniform(0.5, 20.0, count) + rng.normal(size=(problem.n, count))


def balanced(*, columns: int = 2) -> Problem:
    """Groups of equal rows, with a fixed effect between and one within groups."""
    problem = make_problem("slopes" if columns == 2 else "one", n=60)
    codes = np.repeat(np.arange(12, dtype=np.int32), 5)
    within = np.tile(np.linspace(-1.0, 1.0, 5), 12)
    basis = None if columns == 1 else np.column_stack([np.ones(60), within])
    (term,) = problem.terms
    term = replace(term, codes=codes, basis=basis, levels=np.arange(12).astype(str).astype(object))
    x = np.column_stack([np.ones(60), within, np.repeat(np.sin(np.arange(12.0)), 5)])
    fixed = replace(problem.X, matrix=x, names=("(Intercept)", "w", "b"), assign=(0, 1, 2))
    return replace(problem, X=fixed, terms=(term,), weights=None)


PROBLEMS = {
    **{layout: lambda layout=layout: make_problem(layout) for layout in TOGETHER},
    "no weights": lambda: make_problem("crossed", weighted=False),
    "balanced": balanced,
    "balanced, one column": lambda: balanced(columns=1),
}


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_values_derivatives_and_estimates_at_fixed_theta(name: str, reml: bool) -> None:
    problem = PROBLEMS[name]()
    model, y = model_of(problem, reml=reml), responses(problem)
    batch = Batch.of(model)
    own = products(model, y)
    criteria = batch.design.of_responses(own)
    thetas = np.array([random_theta(problem, seed) for seed in range(RESPONSES)])
    found = criteria.at(thetas, np.arange(RESPONSES))
    for j, theta in enumerate(thetas):
        point = model.with_response(y[:, j])(theta, exact=True)
        assert found.r2[j] * own.lengths[j] ** 2 == pytest.approx(point.r2, rel=1e-9)
        np.testing.assert_allclose(found.gradient[j], point.gradient, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(
            found.inverse[j], point.r_inverse @ point.r_inverse.T, rtol=1e-9, atol=1e-12
        )
        slopes = np.empty((problem.n_theta, problem.n_theta))
        for i in range(problem.n_theta):
            ends = np.repeat(theta[None], 2, axis=0)
            ends[:, i] += np.array([1.0, -1.0]) * 1e-5
            slopes[i] = -np.diff(criteria.at(ends, np.array([j, j])).gradient, axis=0)[0] / 2e-5
        scale = np.abs(slopes).max()
        np.testing.assert_allclose(found.hessian[j], slopes, atol=1e-6 * scale)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_estimates_are_those_of_the_criterion_of_one(name: str) -> None:
    problem = PROBLEMS[name]()
    model, y = model_of(problem), responses(problem)
    found = Batch.of(model).fit(y)
    assert found.converged.all()
    for j in range(RESPONSES):
        point = model.with_response(y[:, j])(found.theta[j], exact=True)
        assert found.deviance[j] == pytest.approx(point.deviance, rel=1e-12)
        np.testing.assert_allclose(found.beta[j], point.beta, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(found.vcov[j], point.sigma2 * point.unscaled_vcov, rtol=1e-8, atol=1e-12)
        assert found.sigma[j] == pytest.approx(np.sqrt(point.sigma2), rel=1e-9)


DETERMINED = [name for name in PROBLEMS if name not in ("same factor twice", "crossed slopes")]
"""Designs whose variances the data determine: of those left out the first has one variance twice, the other all but none."""


def standard_deviations(problem: Problem, theta: Array, sigma: float) -> Array:
    """Of all columns of all terms, and of the residual."""
    own = [
        np.linalg.norm(term.covariance.cholesky(theta[s]), axis=1)
        for term, s in zip(problem.terms, problem.theta_slices(), strict=True)
    ]
    return sigma * np.concatenate([*own, [1.0]])


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", DETERMINED)
def test_single_searches_end_where_these_do(name: str, reml: bool) -> None:
    """Standard deviations to a millionth of their own, whatever the two searches do."""
    problem = PROBLEMS[name]()
    model, y = model_of(problem, reml=reml), responses(problem)
    together = Batch.of(model).fit(y)
    for j in range(RESPONSES):
        one = Exact(reml=reml).optimise(model.with_response(y[:, j])).estimate
        mine = standard_deviations(problem, one.theta, one.sigma)
        theirs = standard_deviations(problem, together.theta[j], float(together.sigma[j]))
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6 * one.sigma)


def test_levels_of_one_class_are_collapsed() -> None:
    """Twelve levels of the same rows: those that X sees are as many as the columns of [Z'X], whatever the levels."""
    design = Batch.of(model_of(balanced())).design
    assert design.gram.shape == (1, 2, 2)  # type: ignore[union-attr]
    assert len(design.x) <= 4  # type: ignore[union-attr]


def test_singular_theta_is_evaluated_as_it_is() -> None:
    problem = make_problem("crossed slopes")
    model, y = model_of(problem), responses(problem, 1)
    criteria = Batch.of(model).design.of_responses(products(model, y))
    theta = random_theta(problem)
    theta[[2, 3, 4, 5]] = 0.0
    found = criteria.at(theta[None], np.array([0]))
    point = model.with_response(y[:, 0])(theta, exact=True)
    own = products(model, y).lengths[0]
    assert found.r2[0] * own**2 == pytest.approx(point.r2, rel=1e-10)
    assert np.isfinite(found.gradient).all()
    assert np.isfinite(found.hessian).all()
    assert found.gradient[0, 3] == pytest.approx(0.0, abs=1e-8)


def test_a_response_that_the_fixed_effects_reproduce_is_left_out() -> None:
    problem = make_problem("crossed")
    y = responses(problem)
    assert problem.offset is not None
    y[:, 1] = problem.X.matrix @ [3.0, 0.5] + problem.offset
    found = Batch.of(model_of(problem)).fit(y)
    assert found.converged.tolist() == [True, False, True, True]
    assert np.isnan(found.theta[1]).all()
    assert np.isnan(found.deviance[1])


def test_what_is_not_fitted_together_says_why() -> None:
    assert "response by response" in unbatched(model_of(make_problem("structured")))
    assert unbatched(model_of(make_problem("crossed"))) == ""
    problem = make_problem("slopes")
    empty = replace(problem, X=replace(problem.X, matrix=np.zeros((problem.n, 0)), names=(), assign=()))
    assert "without fixed effects" in unbatched(model_of(empty))
