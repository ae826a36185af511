"""A problem's twin in standard units: the same model, and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import LAYOUTS, Oracle, make_problem, make_term, random_theta

from lmmformula.families import resolve
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.estimate import Convergence, Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard import Standard
from lmmformula.numerics.columns import constant_combination, root_mean_square


def _in_other_units(problem: Problem, seed: int = 5) -> Problem:
    """The problem with columns of X and of every basis multiplied, and moved where a constant allows it."""
    rng = np.random.default_rng(seed)
    terms = []
    for term in problem.terms:
        if term.basis is None:
            terms.append(term)
            continue
        factors = 10.0 ** rng.uniform(-5, 5, term.k)
        if term.covariance.closed_under == "common":
            factors = np.full(term.k, factors[0])
        basis = term.basis * factors
        if term.covariance.closed_under == "linear":
            basis = basis + 300.0 * factors * (np.arange(term.k) > 0)
        terms.append(replace(term, basis=basis))
    x = problem.X.matrix * np.array([1.0, 1e6]) + np.array([0.0, 3e9])
    return replace(problem, X=replace(problem.X, matrix=x), terms=tuple(terms))


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_twin_has_the_deviance_of_the_problem(layout: str, reml: bool) -> None:
    """At theta and theta~, by the dense definition of both; weights of any size."""
    plain = make_problem(layout)
    for problem in (plain, replace(plain, weights=1e6 * plain.weights), _in_other_units(plain)):  # type: ignore[operator]
        standard = Standard.of(problem)
        theta = standard.theta_out(random_theta(problem))
        twin = Oracle(standard.problem, standard.theta_in(theta), reml).deviance
        own = Oracle(problem, theta, reml).deviance
        assert own == pytest.approx(twin + standard.deviance_shift(restricted=reml), rel=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_modes_and_coefficients_come_back(layout: str) -> None:
    problem = make_problem(layout)
    standard = Standard.of(problem)
    theta = random_theta(problem)
    own, twin = Oracle(problem, theta, False), Oracle(standard.problem, standard.theta_in(theta), False)
    np.testing.assert_allclose(standard.coefficients @ twin.solve()[0], own.solve()[0], rtol=1e-9)
    for i, (a, b) in enumerate(zip(own.modes(), twin.modes(), strict=True)):
        np.testing.assert_allclose(b @ standard.effects(i).T, a, rtol=1e-8, atol=1e-8 * np.abs(a).max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inward_and_outward_are_inverse(layout: str) -> None:
    problem = _in_other_units(make_problem(layout))
    standard, rng = Standard.of(problem), np.random.default_rng(3)
    p = problem.p
    half = standard.coefficients @ rng.normal(size=(p, p))
    theta = problem.canonical(standard.theta_out(random_theta(problem)))
    estimate = Estimate(
        method="REML",
        engine="dense",
        beta=standard.coefficients @ rng.normal(size=p),
        vcov=half @ half.T,
        theta=theta,
        sigma=0.7,
        deviance=12.5,
        modes=tuple(rng.normal(size=(t.m, t.k)) for t in problem.terms),
        convergence=Convergence(Status.CONVERGED, 1, 1, 0.0, 0.0, 1e-9),
        restricted=True,
    )
    again = standard.outward(standard.inward(estimate))
    for name in ("beta", "vcov", "theta", "sigma", "deviance"):
        old = getattr(estimate, name)
        np.testing.assert_allclose(
            getattr(again, name), old, rtol=1e-7, atol=1e-7 * np.abs(old).max(), err_msg=name
        )
    for a, b in zip(again.modes, estimate.modes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_stay_themselves_under_what_they_are_closed_under(kind: str) -> None:
    own, rng = KINDS[kind](3), np.random.default_rng(8)
    theta = own.canonical(own.start() + 0.3 * rng.normal(size=own.n_theta))
    a = {
        "linear": rng.normal(size=(3, 3)),
        "columns": np.diag(rng.uniform(0.1, 9.0, 3)),
        "common": 2.7 * np.eye(3),
    }[own.closed_under]
    lower, moved = own.cholesky(theta), own.cholesky(own.transformed(theta, a))
    np.testing.assert_allclose(moved @ moved.T, a @ lower @ lower.T @ a.T, rtol=1e-10, atol=1e-12)
    assert not np.triu(moved, 1).any()


def test_a_singular_matrix_keeps_its_rank() -> None:
    own = KINDS["us"](2)
    theta = own.transformed(np.array([0.0, 0.0, 0.5]), np.array([[1.0, -2_000.0], [0.0, 1.0]]))
    np.testing.assert_allclose(theta, [1_000.0, -0.5, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("family", "aux"),
    [("student", 2), ("gamma(link='identity')", 1), ("inverse_gaussian(link='1/mu^2')", 1), ("gaussian", 1)],
)
def test_a_family_with_a_scale_has_the_density_of_its_twin(family: str, aux: int) -> None:
    """Log densities of the rows at eta, a and at eta~, a~ differ by log c."""
    rng, n = np.random.default_rng(4), 40
    ones = FixedBlock(np.ones((n, 1)), ("(Intercept)",), (0,), ())
    x = FixedBlock(np.column_stack([np.ones(n), rng.normal(size=n)]), ("(Intercept)", "x"), (0, 1), ("x",))
    y = np.asarray(1e4 * rng.gamma(20.0, 1.0 / 20.0, n), dtype=np.float64)
    term = make_term("g", rng.integers(0, 5, n), KINDS["us"](1), rng)
    record = resolve(family)
    problem = Problem(y, x, (term,), None, None, record, "", np.arange(n), (ones,) * aux, n)
    standard = Standard.of(problem)
    f, c = standard.slope, standard.response
    assert c == pytest.approx(np.sqrt(np.mean(y**2)))
    eta = record.start(y) * rng.uniform(0.9, 1.1, n)
    alpha = [standard.aux_out(j, np.array([0.3])) for j in range(aux)]
    own = record.rows(y, eta, tuple(a[0] for a in alpha)).loglik
    twin = record.rows(y / c, eta / f, (0.3,) * aux).loglik
    np.testing.assert_allclose(own, twin - np.log(c), rtol=1e-9)
    assert standard.deviance_shift() == pytest.approx(2 * n * np.log(c))


def test_constants_in_the_span() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(20, 1))
    indicators = np.eye(3)[rng.integers(0, 3, 20)]
    np.testing.assert_array_equal(
        constant_combination([np.hstack([x, np.full((20, 1), 4.0)])], 2), [0.0, 0.25]
    )
    np.testing.assert_array_equal(constant_combination([np.hstack([indicators, x])], 4), [1.0, 1.0, 1.0, 0.0])
    assert constant_combination([np.hstack([indicators[:, :2], x])], 3) is None


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-5, 1.0, 1e300])
def test_root_mean_square_of_any_size(size: float) -> None:
    parts = [size * np.array([3.0]), size * np.array([-4.0])]
    assert root_mean_square(parts) == pytest.approx(size * np.sqrt(12.5), rel=1e-14)
