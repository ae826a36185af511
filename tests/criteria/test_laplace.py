"""The Laplace criterion of every family and link against its definition from the rows, with dense matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from oracle import Oracle, make_problem, random_theta, z_matrix

from lmmformula import build
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.rowmodel import Information
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.engines.dense import DenseEngine
from lmmformula.engines.sparse import SparseEngine
from lmmformula.errors import FitError, PlanError
from lmmformula.families import FAMILIES, make_family, resolve
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

ENGINES = {"blocked": BlockedEngine(), "dense": DenseEngine()}
EVERY = {
    str(f): f
    for base in [*FAMILIES.values(), resolve("student(df=4)")]
    for f in (make_family(base.distribution, link) for link in base.distribution.links)
}
REPRESENTATIVES = (
    "gaussian",
    "binomial",
    "poisson",
    "zero_inflated_poisson",
    "gamma",
    "inverse_gaussian",
    "nbinom1",
    "zero_inflated_nbinom1",
    "nbinom2",
    "zero_inflated_nbinom2",
    "beta",
    "lognormal",
    "student",
    "student(df=4)",
)
"""Families whose links are seen in every layout, by every engine; a criterion knows rows only, which others give alike."""

WHOLE = [name for name, f in EVERY.items() if f.name in REPRESENTATIVES]
MODE = 1e-18
"""Decrement at which a mode search ends here: the mode to rounding."""

CENTRE = {
    ("positive", "identity"): 4.0,
    ("positive", "sqrt"): 2.0,
    ("positive", "inverse"): 1.5,
    ("positive", "inverse_squared"): 1.5,
    ("real", "inverse"): 1.5,
    ("unit", "log"): -1.5,
}
"""An intercept well inside the range of a link, where that is not the whole line."""


@cache
def problem_of(name: str, layout: str, seed: int = 3) -> tuple[Problem, Array]:
    """A problem with a response drawn from the family at a psi = (beta, theta, alpha), and another psi near that one."""
    family, rng = EVERY[name], np.random.default_rng(seed)
    base = make_problem(layout, n=80, seed=seed)
    n, centre = base.n, CENTRE.get((family.distribution.mean_range, family.link))
    x = np.column_stack([np.ones(n), rng.uniform(-1, 1, n)])
    z = np.column_stack([np.ones(n), rng.uniform(-1, 1, n)])
    slope, constant = (
        FixedBlock(z[:, :k], ("(Intercept)", "z")[:k], (0, 1)[:k], ("z",)[: k - 1]) for k in (2, 1)
    )
    aux = (slope, constant, constant)[: len(family.auxiliaries)]
    beta = np.array([0.2 if centre is None else centre, 0.3])
    spread = 0.4 if centre is None else 0.08 * abs(centre)
    theta = random_theta(base) * (0.15 if family.link == "cloglog" else spread)
    alpha = [np.r_[a.typical, 0.2][: len(b.names)] for a, b in zip(family.auxiliaries, aux, strict=True)]
    offset = rng.uniform(-0.1, 0.1, n)
    eta = x @ beta + offset
    for term, s in zip(base.terms, base.theta_slices(), strict=True):
        lower = term.covariance.cholesky(theta[s])
        eta += z_matrix(term) @ (rng.normal(size=(term.m, term.k)) @ lower.T).ravel()
    assert family.valid(eta).all()
    trials = family.weights_are == "trials"
    weights = rng.integers(1, 7, n).astype(float) if trials else rng.uniform(0.5, 2, n)
    predictors = tuple(b.matrix @ a for b, a in zip(aux, alpha, strict=True))
    y = family.simulate(rng, eta, predictors, weights)
    family.check(y, weights)
    family = family.learn(y, weights)
    problem = replace(
        base, y=y, X=replace(base.X, matrix=x), weights=weights, offset=offset, family=family, aux=aux
    )
    psi = np.concatenate([beta, theta, *alpha])
    return problem, psi * (1 + 0.05 * rng.normal(size=len(psi)))


@dataclass(frozen=True)
class Dense:
    """h, its mode and the criterion from the rows, with Z as one matrix.

    Where `joint`, beta is found with u and psi is (theta, alpha).
    """

    problem: Problem
    information: Any = "observed"
    joint: bool = False

    def parts(self, psi: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        """Beta, Z Lambda and the auxiliary predictors."""
        p = self.problem
        beta, psi = (np.zeros(0), psi) if self.joint else (psi[: p.p], psi[p.p :])
        theta, psi = psi[: p.n_theta], psi[p.n_theta :]
        slices = zip(p.terms, p.theta_slices(), strict=True)
        lower = [np.kron(np.eye(t.m), t.covariance.cholesky(theta[s])) for t, s in slices]
        zl = np.hstack([z_matrix(t) @ low for t, low in zip(p.terms, lower, strict=True)])
        aux = []
        for block in p.aux:
            width = block.matrix.shape[1]
            aux.append(block.matrix @ psi[:width])
            psi = psi[width:]
        assert not psi.size
        return beta, zl, tuple(aux)

    def rows(self, eta: Array, aux: tuple[Array, ...], information: Any) -> Any:
        p = self.problem
        return p.family.rows(p.y, eta, aux, p.weights, information=information, derivatives=False)

    def mode(self, psi: Array, start: Array | None = None) -> tuple[Array, Array, float]:
        """(beta and) u, eta and h there: Newton's method with halved steps, to rounding."""
        p = self.problem
        beta, zl, aux = self.parts(psi)
        offset = 0.0 if p.offset is None else p.offset
        fixed = offset + (0.0 if self.joint else p.X.matrix @ beta)
        design = np.hstack([p.X.matrix, zl]) if self.joint else zl
        penalty = np.ones(design.shape[1])
        penalty[: p.p * self.joint] = 0.0
        at = np.zeros(design.shape[1]) if start is None else start

        def value(at: Array) -> tuple[float, Array]:
            eta = fixed + design @ at
            if not p.family.valid(eta).all():
                return np.inf, eta
            return -self.rows(eta, aux, "observed").loglik.sum() + 0.5 * (penalty * at) @ at, eta

        best, eta = value(at)
        slope = step = np.full(len(at), np.inf)
        for _ in range(60):
            rows = self.rows(eta, aux, "observed")
            slope = design.T @ rows.score - penalty * at
            hessian = (design.T * rows.weight) @ design + np.diag(penalty)
            if np.linalg.eigvalsh(hessian)[0] <= 0:
                weight = (
                    self.rows(eta, aux, "expected").weight
                    if p.family.informs
                    else np.maximum(rows.weight, 0.0)
                )
                hessian = (design.T * weight) @ design + np.diag(penalty)
            step = np.linalg.solve(hessian, slope)
            if slope @ step < 1e-22 * max(1.0, abs(best)):
                break
            trials = (at + 0.5**halving * step for halving in range(40))
            lower = ((t, *value(t)) for t in trials)
            found = next((f for f in lower if f[1] <= best + 1e-13 * max(1.0, abs(best))), None)
            if found is None:
                break
            at, best, eta = found
        assert slope @ step < 1e-14 * max(1.0, abs(best)), "no mode"
        return at, eta, best

    def at(self, psi: Array, start: Array | None = None) -> tuple[float, Array, Array]:
        """The criterion, M and (beta and) u."""
        at, eta, h = self.mode(psi, start)
        _, zl, aux = self.parts(psi)
        weight = self.rows(eta, aux, self.information).weight
        m = (zl.T * weight) @ zl + np.eye(zl.shape[1])
        sign, logdet = np.linalg.slogdet(m)
        assert sign > 0
        return 2 * h + logdet, m, at

    def gradient(
        self, psi: Array, start: Array | None = None, step: float = 3e-4, along: Array | None = None
    ) -> Array:
        """By differences of the criterion, the rule with error O(step^4); in psi's elements, or in other directions."""
        near = self.at(psi, start)[2]
        lines = np.eye(len(psi)) if along is None else along

        def moved(d: Array) -> float:
            return self.at(psi + d, near)[0] - self.at(psi - d, near)[0]

        return np.array([(8 * moved(d) - moved(2 * d)) / (12 * step) for d in step * lines])


def start_of(name: str, layout: str, *, joint: bool = False) -> tuple[Problem, Array, Array]:
    """Problem, psi of the criterion, and where beta starts if it is profiled."""
    problem, psi = problem_of(name, layout)
    return problem, psi[problem.p :] if joint else psi, psi[: problem.p]


def point_at(
    name: str, layout: str, engine: str = "blocked", information: Information = "observed"
) -> LaplacePoint:
    problem, psi = problem_of(name, layout)
    return Laplace.of(problem, ENGINES[engine], information=information)(psi, tolerance=MODE)


def flat(u: tuple[Array, ...]) -> Array:
    """Per group (m, k): the effects in the order of the columns of Z, for layouts with a term on each factor."""
    return np.concatenate([v.ravel() for v in u])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layout", ["slopes", "crossed"])
@pytest.mark.parametrize("name", WHOLE)
def test_value_and_mode_from_the_rows(name: str, layout: str, engine: str) -> None:
    problem, psi = problem_of(name, layout)
    for information in ("observed", "expected"):
        point = point_at(name, layout, engine, information)
        value, m, u = Dense(problem, information).at(psi)
        assert point.deviance == pytest.approx(value, rel=1e-11, abs=1e-10)
        assert point.factor.logdet == pytest.approx(np.linalg.slogdet(m)[1], abs=1e-6)
        np.testing.assert_allclose(flat(point.u), u, atol=2e-5)


@pytest.mark.parametrize("layout", ["slopes", "crossed"])
@pytest.mark.parametrize("name", WHOLE)
def test_engines_agree(name: str, layout: str) -> None:
    blocked, dense = (point_at(name, layout, engine) for engine in ENGINES)
    assert blocked.deviance == pytest.approx(dense.deviance, rel=1e-12)
    for quantity in ("leverage", "gradient", "hessian", "fixed_information"):
        theirs = getattr(dense, quantity)
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(getattr(blocked, quantity), theirs, rtol=1e-8, atol=1e-9 * scale)


@pytest.mark.parametrize("information", ["observed", "expected"])
@pytest.mark.parametrize("layout", ["slopes", "crossed"])
@pytest.mark.parametrize("name", WHOLE)
def test_gradient_in_beta_theta_and_alpha(name: str, layout: str, information: Information) -> None:
    problem, psi = problem_of(name, layout)
    if information == "expected" and problem.family.is_canonical:
        return  # the same criterion, see test_informations_are_one_for_canonical_links
    agree(point_at(name, layout, "blocked", information).gradient, Dense(problem, information).gradient(psi))


@pytest.mark.parametrize("information", ["observed", "expected"])
@pytest.mark.parametrize("name", WHOLE)
def test_gradient_with_beta_profiled(name: str, information: Information) -> None:
    problem, psi, beta = start_of(name, "crossed", joint=True)
    model = Laplace.of(problem, BlockedEngine(), information=information, profile_beta=True)
    point = model(psi, beta=beta, tolerance=MODE)
    dense = Dense(problem, information, joint=True)
    value, _, both = dense.at(psi, np.concatenate([beta, np.zeros(problem.q)]))
    assert point.deviance == pytest.approx(value, rel=1e-11, abs=1e-10)
    np.testing.assert_allclose(point.beta, both[: problem.p], atol=1e-4)
    agree(point.gradient, dense.gradient(psi, both))


@pytest.mark.parametrize("name", [name for name in EVERY if name not in WHOLE])
def test_other_families_and_links(name: str) -> None:
    """Value and gradient, along one line through all parameters; weights that the family has not are refused by its name."""
    problem, psi = problem_of(name, "crossed")
    line = np.random.default_rng(1).normal(size=(1, len(psi)))
    for information in ("observed", "expected"):
        if information == "expected" and not problem.family.informs:
            with pytest.raises(PlanError, match=f"{problem.family.name!r} gives no expected information"):
                _ = point_at(name, "crossed", information="expected").deviance
            continue
        point, dense = point_at(name, "crossed", information=information), Dense(problem, information)
        assert point.deviance == pytest.approx(dense.at(psi)[0], rel=1e-11, abs=1e-10)
        agree(line @ point.gradient, dense.gradient(psi, along=line))


def agree(ours: Array, theirs: Array) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7 * np.abs(theirs).max())


@pytest.mark.parametrize("layout", ["structured", "chain and crossed", "same factor twice"])
@pytest.mark.parametrize("engine", ENGINES)
def test_structured_and_merged_covariances(layout: str, engine: str) -> None:
    problem, psi = problem_of("poisson(link='log')", layout)
    point = Laplace.of(problem, ENGINES[engine])(psi, tolerance=MODE)
    dense = Dense(problem)
    assert point.deviance == pytest.approx(dense.at(psi)[0], rel=1e-10)
    agree(point.gradient, dense.gradient(psi))


@pytest.mark.parametrize("layout", ["slopes", "crossed", "chain and crossed"])
@pytest.mark.parametrize("name", ["poisson(link='log')", "gamma(link='inverse')"])
def test_leverages_are_the_diagonal_of_the_hat_matrix(name: str, layout: str) -> None:
    problem, psi = problem_of(name, layout)
    point = Laplace.of(problem, BlockedEngine())(psi, tolerance=MODE)
    dense = Dense(problem)
    zl, m = dense.parts(psi)[1], dense.at(psi)[1]
    np.testing.assert_allclose(point.leverage, np.diagonal(zl @ np.linalg.solve(m, zl.T)), rtol=1e-6)


@pytest.mark.parametrize("name", [str(f) for f in EVERY.values() if f.is_canonical])
def test_informations_are_one_for_canonical_links(name: str) -> None:
    observed, expected = (point_at(name, "crossed", information=i) for i in ("observed", "expected"))
    assert observed.deviance == pytest.approx(expected.deviance, rel=1e-12)
    np.testing.assert_allclose(observed.gradient, expected.gradient, rtol=1e-8, atol=1e-8)


def test_informations_are_two_for_other_links() -> None:
    observed, expected = (
        point_at("binomial(link='probit')", "crossed", information=i) for i in ("observed", "expected")
    )
    assert abs(observed.deviance - expected.deviance) > 1e-3


@pytest.mark.parametrize("layout", ["slopes", "crossed"])
def test_a_normal_response_has_its_exact_likelihood(layout: str) -> None:
    """Laplace's approximation of a normal integral is exact; beta and sigma as the profiled criterion finds them."""
    problem = make_problem(layout, n=80)
    theta, family = random_theta(problem), resolve("gaussian")
    oracle = Oracle(problem, theta, reml=False)
    beta, _, r2 = oracle.solve()
    sigma = np.sqrt(r2 / problem.n)
    constant = FixedBlock(np.ones((problem.n, 1)), ("(Intercept)",), (0,), ())
    alpha = np.atleast_1d(family.auxiliaries[0].predictor(np.array([sigma])))
    model = Laplace.of(replace(problem, aux=(constant,)), BlockedEngine())
    point = model(np.concatenate([beta, sigma * theta, alpha]))
    assert point.deviance == pytest.approx(oracle.deviance, rel=1e-11)
    assert np.abs(point.gradient[: problem.p]).max() < 1e-8 * np.abs(problem.X.matrix).max()
    # the profiled sigma is a stationary point with theta / sigma held
    along = point.psi.copy()
    along[: problem.p], along[-1] = 0.0, 1.0
    assert along @ point.gradient == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    "name", ["poisson(link='log')", "student(df=4, link='identity')", "gamma(link='log')"]
)
def test_zero_variances_are_no_special_case(name: str) -> None:
    """At theta = 0 the criterion is the deviance of the model without random effects."""
    problem, psi = problem_of(name, "crossed")
    model = Laplace.of(problem, BlockedEngine())
    zero = psi.copy()
    zero[model.layout.theta] = 0.0
    eta = model.predictor(psi[: problem.p], (), ())
    aux = model.aux_predictors(zero)
    expected = -2 * problem.family.rows(problem.y, eta, aux, problem.weights).loglik.sum()
    assert model(zero, exact=True).deviance == pytest.approx(expected, rel=1e-13)
    assert np.isfinite(model(zero).gradient).all()


def test_the_value_does_not_depend_on_where_the_search_starts() -> None:
    problem, psi = problem_of("binomial(link='cloglog')", "crossed")
    model, rng = Laplace.of(problem, BlockedEngine()), np.random.default_rng(8)
    for size in (0.1, 1.0, 4.0):
        u = tuple(size * rng.normal(size=v.shape) for v in model.zero_modes())
        assert model(psi, u=u).deviance == pytest.approx(model(psi).deviance, abs=1e-6)


def test_a_linear_predictor_outside_the_range_of_the_link_is_said() -> None:
    problem, psi = problem_of("poisson(link='identity')", "crossed")
    outside = np.r_[-psi[0], psi[1:]]
    with pytest.raises(FitError, match="range of the link"):
        Laplace.of(problem, BlockedEngine())(outside)


def test_a_search_ends_where_only_rounding_is_left() -> None:
    """Neighbours that are all but equal: entries of Q are large, and no step brings the decrement below what u'Qu loses."""
    rng = np.random.default_rng(5)
    group, time = np.repeat(np.arange(12), 10), np.tile(np.arange(5.0), 24)
    y = rng.gamma(7.0, np.exp(rng.normal(0.0, 0.2, 12)[group]) / 7.0)
    problem = build("y ~ 1 + ar1(t + 0 | g)", {"y": y, "g": group, "t": time}, family="gamma")
    model = Laplace.of(problem, SparseEngine())
    point = model(np.array([0.0, 0.2, 10.0, 2.0]), tolerance=1e-20)
    assert point.mode.steps < 20
    again = model(point.psi, u=point.u, tolerance=1e-20)
    assert again.deviance == pytest.approx(point.deviance, abs=1e-6)
