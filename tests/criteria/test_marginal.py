"""The marginal density against the n x n normal density with every effect integrated out; its derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import GENERAL, LAYOUTS, across_covariance, general_problem, make_problem, z_matrix

from lmmformula.criteria.marginal import Marginal, MarginalPoint
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import DataError, PlanError
from lmmformula.families import resolve
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

ENGINES = {"blocked": BlockedEngine(), "dense": DenseEngine()}
USER = {"Intercept": "normal(900, 40)", "b": "student_t(4, 0.1, 0.3)"}


def absolute_factors(problem: Problem, sigma: float, seed: int = 3) -> list[Array]:
    """A factor of every term in units of y, inside its kind."""
    rng = np.random.default_rng(seed)
    terms = [(t, t.covariance.start() + 0.3 * rng.normal(size=t.n_theta)) for t in problem.terms]
    return [sigma * t.covariance.cholesky(theta) for t, theta in terms]


def dense_logpdf(
    problem: Problem, priors: Priors, factors: list[Array], sigma: float, mixing: Array
) -> float:
    """log N(y; X T^-1 mu, sigma^2 W^-1 + Z S Z' + X V0 X'), from the rows."""
    n = problem.n
    weights = np.ones(n) if problem.weights is None else problem.weights
    v = np.diag(sigma**2 / weights)
    for term, lower in zip(problem.terms, factors, strict=True):
        z = z_matrix(term)
        v += z @ np.kron(across_covariance(term, term.covariance.start()), lower @ lower.T) @ z.T
    x = problem.X.matrix @ np.linalg.inv(priors.contrast)
    own = [c.distribution for c in priors.coefficients]
    sd = np.array([getattr(d, "sd", None) or d.scale for d in own])
    v += x @ np.diag(sd**2 * np.exp(mixing)) @ x.T
    y = np.log(problem.y) if problem.family.name == "lognormal" else problem.y
    offset = 0.0 if problem.offset is None else problem.offset
    e = y - offset - x @ np.array([d.mean for d in own])
    value = -0.5 * (n * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + e @ np.linalg.solve(v, e))
    return float(value - (y.sum() if problem.family.name == "lognormal" else 0.0))


def at(model: Marginal, factors: list[Array], sigma: float, mixing: Array) -> MarginalPoint:
    return model(factors, sigma, mixing)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_density_at_fixed_variances(layout: str, engine: str) -> None:
    problem = make_problem(layout)
    priors, mixing = resolve_priors(problem, USER), np.array([0.0, 0.4])
    factors = absolute_factors(problem, 1.3)
    point = Marginal.of(problem, ENGINES[engine], priors)(factors, 1.3, mixing)
    assert point.logpdf == pytest.approx(dense_logpdf(problem, priors, factors, 1.3, mixing), rel=1e-10)


KNOWN = [
    name
    for name, terms in GENERAL.items()
    if {across for *_, across, _ in terms} <= {None, "known", "precision"}
]
"""Arrangements whose dependence between levels has no parameters."""


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("layout", KNOWN)
def test_density_with_dependent_levels_and_memberships(layout: str, engine: str) -> None:
    problem = general_problem(layout)
    priors, mixing = resolve_priors(problem, USER), np.array([0.0, 0.4])
    factors = absolute_factors(problem, 1.3)
    point = Marginal.of(problem, ENGINES[engine], priors)(factors, 1.3, mixing)
    assert point.logpdf == pytest.approx(dense_logpdf(problem, priors, factors, 1.3, mixing), rel=1e-10)


@pytest.mark.parametrize("layout", [*LAYOUTS, *KNOWN])
def test_gradient_against_central_differences(layout: str) -> None:
    problem = make_problem(layout) if layout in LAYOUTS else general_problem(layout)
    model = Marginal.of(problem, BlockedEngine(), resolve_priors(problem, USER))
    factors, sigma, mixing, step = absolute_factors(problem, 1.3), 1.3, np.array([0.1, 0.4]), 1e-5
    point = model(factors, sigma, mixing)

    def slope(change) -> float:
        return (change(step) - change(-step)) / (2 * step)

    for i, lower in enumerate(factors):
        for r, c in zip(*np.tril_indices(len(lower)), strict=True):

            def moved(d: float, i=i, r=r, c=c) -> float:
                other = [f.copy() for f in factors]
                other[i][r, c] += d
                return model(other, sigma, mixing).logpdf

            assert point.d_factors[i][r, c] == pytest.approx(slope(moved), abs=2e-5)
    by_sigma = slope(lambda d: model(factors, sigma * np.exp(d), mixing).logpdf)
    assert point.d_log_sigma == pytest.approx(by_sigma, abs=2e-5)
    for j in range(2):
        by_mixing = slope(lambda d, j=j: model(factors, sigma, mixing + d * np.eye(2)[j]).logpdf)
        assert point.d_log_var[j] == pytest.approx(by_mixing, abs=2e-6)


@pytest.mark.parametrize("intercept", ["Intercept", "b:(Intercept)"])
def test_lognormal_and_both_intercepts(intercept: str) -> None:
    problem = make_problem("crossed slopes")
    twin = (problem.y - problem.y.mean()) / problem.y.std()
    problem = replace(problem, y=np.exp(twin), family=resolve("lognormal"))
    priors = resolve_priors(problem, {intercept: "normal(1, 2)"})
    factors, none = absolute_factors(problem, 0.4), np.zeros(2)
    point = Marginal.of(problem, BlockedEngine(), priors)(factors, 0.4)
    assert point.logpdf == pytest.approx(dense_logpdf(problem, priors, factors, 0.4, none), rel=1e-10)


def test_without_fixed_effects() -> None:
    problem = make_problem("slopes")
    problem = replace(problem, y=problem.y - 1000, X=FixedBlock(np.zeros((problem.n, 0)), (), (), ()))
    priors, factors, none = resolve_priors(problem), absolute_factors(problem, 1.0), np.zeros(0)
    point = Marginal.of(problem, BlockedEngine(), priors)(factors, 1.0)
    assert point.logpdf == pytest.approx(dense_logpdf(problem, priors, factors, 1.0, none), rel=1e-10)
    assert np.isfinite(point.d_log_sigma)


def test_effects_given_the_variances_against_the_dense_normal() -> None:
    """E and Var of beta from the joint normal of (beta, y)."""
    problem = make_problem("crossed slopes")
    priors, factors = resolve_priors(problem, {"b": "normal(0.1, 0.3)"}), absolute_factors(problem, 1.3)
    point = Marginal.of(problem, BlockedEngine(), priors)(factors, 1.3)
    weights, offset = problem.weights, problem.offset
    assert weights is not None
    assert offset is not None
    v = np.diag(1.3**2 / weights)
    for term, lower in zip(problem.terms, factors, strict=True):
        z = z_matrix(term)
        v += z @ np.kron(np.eye(term.m), lower @ lower.T) @ z.T
    x, t = problem.X.matrix, priors.contrast
    d = np.diag([c.distribution.sd**-2 for c in priors.coefficients])
    mu = np.array([c.distribution.mean for c in priors.coefficients])
    cov = np.linalg.inv(t.T @ d @ t + x.T @ np.linalg.solve(v, x))
    mean = cov @ (t.T @ d @ mu + x.T @ np.linalg.solve(v, problem.y - offset))
    np.testing.assert_allclose(point.beta, mean, rtol=1e-9)
    np.testing.assert_allclose(point.beta_half @ point.beta_half.T, cov, rtol=1e-8)


def test_zero_standard_deviation_has_a_value_and_a_slope_of_zero() -> None:
    problem = make_problem("slopes")
    model = Marginal.of(problem, BlockedEngine(), resolve_priors(problem))
    zero = np.diag([0.7, 0.0])
    none = model([np.diag([0.7, 1e-9])], 1.0).logpdf
    assert model([zero], 1.0).logpdf == pytest.approx(none, abs=1e-6)
    assert model([zero], 1.0).d_factors[0][1, 1] == 0.0


def test_families_that_do_not_integrate_out_are_refused() -> None:
    problem = replace(make_problem("one"), family=resolve("poisson"))
    with pytest.raises(PlanError, match="not for poisson"):
        Marginal.of(problem, BlockedEngine(), resolve_priors(problem))
    zeros = replace(make_problem("one"), family=resolve("lognormal"), y=np.zeros(150))
    with pytest.raises(DataError, match="150 of 150 values"):
        resolve_priors(zeros)
