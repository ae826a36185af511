"""The criterion of one grouping factor in one pass: against its definition with the n x n matrix V, and differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import LAYOUTS, Oracle, make_problem, random_theta

from lmmformula.backends.batched import Batch
from lmmformula.backends.exact import Exact
from lmmformula.criteria.one_factor import OneFactor
from lmmformula.criteria.profiled import Profiled
from lmmformula.criteria.remaining import Remaining
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import FitError
from lmmformula.ir.estimate import Status
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array


def terms_of(layout: str, *which: int) -> Problem:
    """Some of the terms of a layout, all of them on one factor."""
    problem = make_problem(layout)
    return replace(problem, terms=tuple(problem.terms[i] for i in which))


def without_columns() -> Problem:
    problem = make_problem("slopes")
    return replace(problem, X=replace(problem.X, matrix=np.zeros((problem.n, 0)), names=(), assign=()))


PROBLEMS = {
    "one": lambda: make_problem("one"),
    "slopes": lambda: make_problem("slopes"),
    "no weights": lambda: make_problem("slopes", weighted=False),
    "three columns": lambda: terms_of("crossed slopes", 1),
    "equal variances": lambda: terms_of("iid slopes", 0),
    "no correlations": lambda: terms_of("nested, named coarse first", 1),
    "two terms": lambda: terms_of("same factor twice", 0, 1),
    "no fixed effects": without_columns,
}
CASES = [(name, reml) for name in PROBLEMS for reml in (True, False)]


def criterion_of(problem: Problem, *, reml: bool) -> OneFactor:
    model = Profiled.of(problem, BlockedEngine(), reml=reml)
    assert OneFactor.suits(model)
    return OneFactor.of(model)


@pytest.mark.parametrize(("name", "reml"), CASES)
def test_value_against_the_dense_matrix(name: str, reml: bool) -> None:
    problem = PROBLEMS[name]()
    theta = random_theta(problem)
    point = criterion_of(problem, reml=reml)(theta)
    assert point.value == pytest.approx(Oracle(problem, theta, reml).deviance, rel=1e-11)


@pytest.mark.parametrize(("name", "reml"), CASES)
def test_derivatives_against_differences(name: str, reml: bool) -> None:
    problem = PROBLEMS[name]()
    theta, criterion, step = random_theta(problem), criterion_of(problem, reml=reml), 1e-5
    ends = [(criterion(theta + d), criterion(theta - d)) for d in step * np.eye(len(theta))]
    slopes = [(high.value - low.value) / (2 * step) for high, low in ends]
    bends = np.array([(high.gradient - low.gradient) / (2 * step) for high, low in ends])
    point = criterion(theta)
    np.testing.assert_allclose(point.gradient, slopes, atol=2e-6)
    np.testing.assert_allclose(point.hessian, bends, atol=1e-7 * np.abs(bends).max())


@pytest.mark.parametrize("reml", [True, False])
def test_a_singular_covariance_is_taken_as_it_is(reml: bool) -> None:
    """The deviance is even in a column of L: no slope out of zero, and a curvature that says whether to leave it."""
    problem = make_problem("slopes")
    criterion, theta = criterion_of(problem, reml=reml), np.array([0.7, 0.4, 0.0])
    point, (up, down) = criterion(theta), (criterion(theta + d) for d in ([0, 0, 1e-4], [0, 0, -1e-4]))
    assert point.value == pytest.approx(criterion.model(theta, exact=True).deviance, rel=1e-13)
    assert point.gradient[2] == 0.0
    assert point.hessian[2, 2] == pytest.approx((up.value + down.value - 2 * point.value) / 1e-8, rel=1e-3)


def test_levels_without_rows_add_nothing() -> None:
    """A group that is left out leaves levels whose products are zero."""
    problem = make_problem("slopes")
    model = Profiled.of(problem, BlockedEngine(), reml=True)
    stays = (problem.terms[0].codes > 2).astype(float)
    remaining, theta = Remaining.of_rows(model, stays), random_theta(problem)
    point = remaining(theta)
    found = OneFactor.of(remaining)(theta)
    assert found.value == pytest.approx(point.deviance, rel=1e-13)
    np.testing.assert_allclose(found.gradient, point.gradient, rtol=1e-9, atol=1e-9)


def test_it_says_where_it_does_not_suit() -> None:
    suits = [
        name
        for name in LAYOUTS
        if OneFactor.suits(Profiled.of(make_problem(name), BlockedEngine(), reml=True))
    ]
    assert suits == ["one", "slopes"]
    serial = terms_of("structured", 1)
    assert not OneFactor.suits(Profiled.of(serial, BlockedEngine(), reml=True))


def test_a_response_without_noise_is_refused_as_elsewhere() -> None:
    problem = make_problem("one", weighted=False)
    levels = problem.terms[0].codes.astype(float) ** 2
    model = Profiled.of(problem.with_response(levels), BlockedEngine(), reml=True)
    theta = np.array([1e9])
    with pytest.raises(FitError) as known:
        _ = model(theta).deviance
    with pytest.raises(FitError) as found:
        OneFactor.of(model)(theta)
    assert str(found.value) == str(known.value)


TOGETHER = [(name, reml) for name, reml in CASES if name not in ("two terms", "no fixed effects")]
"""Those that have one optimum, and that are fitted together."""


def standard_deviations(problem: Problem, theta: Array, sigma: float) -> Array:
    """Of all columns of all terms, and of the residual."""
    own = [
        np.linalg.norm(term.covariance.cholesky(theta[s]), axis=1)
        for term, s in zip(problem.terms, problem.theta_slices(), strict=True)
    ]
    return sigma * np.concatenate([*own, [1.0]])


@pytest.mark.parametrize(("name", "reml"), TOGETHER)
def test_single_searches_end_where_batched_ones_do(name: str, reml: bool) -> None:
    problem = PROBLEMS[name]()
    model, rng = Profiled.of(problem, BlockedEngine(), reml=reml), np.random.default_rng(7)
    y = problem.y[:, None] * rng.uniform(0.5, 20.0, 4) + rng.normal(size=(problem.n, 4))
    together = Batch.of(model).fit(y)
    for j in range(4):
        one = Exact(reml=reml).optimise(model.with_response(y[:, j])).estimate
        mine = standard_deviations(problem, one.theta, one.sigma)
        theirs = standard_deviations(problem, together.theta[j], float(together.sigma[j]))
        assert one.convergence.status is Status.CONVERGED
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6 * one.sigma)


@pytest.mark.parametrize("name", ["one", "slopes", "three columns"])
def test_the_search_ends_where_that_of_the_dense_engine_does(name: str) -> None:
    problem = PROBLEMS[name]()
    ours, theirs = (Exact(engine=engine).fit(problem).estimate for engine in (BlockedEngine(), DenseEngine()))
    assert ours.deviance <= theirs.deviance + 1e-12 * abs(theirs.deviance)
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-4, atol=1e-4)
