"""Errors by clusters of generalised models: scores against fits' deviances of single clusters, and statsmodels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from lmmformula import Fit, PlanError, fit
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.quadrature import Quadrature
from lmmformula.engines.dense import DenseEngine
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array


def made(seed: int = 8, clusters: int = 16) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), rng.integers(3, 10, clusters))
    h = rng.integers(0, 3, len(g))
    x = rng.normal(size=len(g))
    eta = 0.4 + 0.5 * x + 1.0 * rng.normal(size=clusters)[g] + 0.6 * rng.normal(size=(clusters, 3))[g, h]
    eta += 0.4 * x * rng.normal(size=clusters)[g]
    columns = {
        "x": x,
        "g": g,
        "h": h,
        "count": rng.poisson(np.exp(eta)),
        "won": rng.binomial(5, 1 / (1 + np.exp(-eta))),
    }
    return pd.DataFrame({**columns, "y": eta + np.exp(0.3 * x) * rng.normal(size=len(g)), "trials": 5})


FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "poisson": ("count ~ x + (1 | g)", {"family": "poisson"}),
    "slopes": ("count ~ x + (x | g)", {"family": "poisson"}),
    "nested": ("cbind(won, trials - won) ~ x + (1 | g / h)", {"family": "binomial"}),
    "probit": ("cbind(won, trials - won) ~ x + (1 | g)", {"family": "binomial(link='probit')"}),
    "dispersion": ("count ~ x + (1 | g)", {"family": "nbinom2", "dispformula": "~ x"}),
    "sigma by x": ("y ~ x + (1 | g)", {"dispformula": "~ x"}),
    "quadrature": ("cbind(won, trials - won) ~ x + (1 | g)", {"family": "binomial", "nagq": 5}),
}


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    return {name: fit(formula, made(), **more) for name, (formula, more) in FITS.items()}


def only(problem: Problem, rows: NDArray[np.intp]) -> Problem:
    """The problem of some rows, with the levels that these have."""
    terms = []
    for term in problem.terms:
        levels, codes = np.unique(term.codes[rows], return_inverse=True)
        basis = None if term.basis is None else term.basis[rows]
        terms.append(replace(term, levels=term.levels[levels], codes=codes.astype(np.int32), basis=basis))
    return replace(
        problem,
        y=problem.y[rows],
        X=replace(problem.X, matrix=problem.X.matrix[rows]),
        terms=tuple(terms),
        weights=None if problem.weights is None else problem.weights[rows],
        rows=problem.rows[rows],
        aux=tuple(replace(block, matrix=block.matrix[rows]) for block in problem.aux),
    )


def scores(m: Fit, codes: NDArray[np.intp]) -> Array:
    """Central differences of the deviance of the problem of each cluster alone."""
    psi, nagq = m.optimum.psi, int(m.recall.arguments.get("nagq", 1))
    out = []
    for c in np.unique(codes):
        problem = only(m.standard.problem, np.flatnonzero(codes == c))
        laplace = Laplace.of(problem, DenseEngine())
        criterion: Any = laplace if nagq == 1 else Quadrature(laplace, nagq)
        moves = 1e-5 * np.eye(len(psi))
        out.append([(criterion(psi + d).deviance - criterion(psi - d).deviance) / 2e-5 for d in moves])
    return np.array(out)


@pytest.mark.parametrize("name", FITS)
def test_gradients_of_clusters_are_those_of_their_own_deviances(fits: dict[str, Fit], name: str) -> None:
    m = fits[name]
    codes = m.problem.terms[-1].codes if name != "nested" else np.asarray(made()["g"])
    codes = np.unique(codes, return_inverse=True)[1]
    point = m.optimum
    own = m.backend.profiled(point)(point.psi, u=point.u, beta=point.beta)
    found = own.gradient_by(codes, int(codes.max()) + 1)
    expected = scores(m, codes)
    assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert_allclose(found.sum(axis=0), own.gradient, atol=1e-6 * np.abs(found).max())


@pytest.mark.parametrize("name", FITS)
def test_the_sandwich(fits: dict[str, Fit], name: str) -> None:
    """The definition, with the gradients of the clusters' own deviances."""
    m = fits[name]
    g = np.asarray(made()["g"])
    bread = m.twin_vcov
    assert bread is not None
    half = 0.5 * scores(m, g) @ bread
    p, count = m.problem.p, len(np.unique(g))
    expected = m.standard.joint_out(half.T @ half, m.estimate)[:p, :p]
    assert_allclose(m.cov_params("CR0", "g"), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert_allclose(m.cov_params("CR1"), m.cov_params("CR0") * (count / (count - 1)), rtol=1e-10)
    assert_allclose(m.cov_params(cluster="g"), m.cov_params("CR1", "g"), rtol=1e-12)


def test_as_statsmodels_without_random_effects() -> None:
    """statsmodels' GLM with cov_type="cluster" and no correction."""
    data = made()
    m = fit("count ~ x", data, family="poisson")
    x = sm.add_constant(np.asarray(data["x"]))
    model = sm.GLM(np.asarray(data["count"]), x, family=sm.families.Poisson())
    theirs = model.fit(
        cov_type="cluster", cov_kwds={"groups": np.asarray(data["g"]), "use_correction": False}
    )
    assert_allclose(m.cov_params("CR0", "g"), theirs.cov_params(), rtol=1e-5)
    table = m.summary(vcov="CR0", cluster="g").fixed
    assert_allclose(table["z value"], theirs.tvalues, rtol=1e-5)
    wald = m.wald_test("x", vcov="CR0", cluster="g")
    assert_allclose(wald.statistic, theirs.tvalues[1] ** 2, rtol=1e-5)
    assert_allclose(m.anova(vcov="CR0", cluster="g")["Chisq"], theirs.tvalues[1] ** 2, rtol=1e-5)


def test_what_is_refused(fits: dict[str, Fit]) -> None:
    m = fits["poisson"]
    for kind in ("CR2", "CR3", "CR1S"):
        with pytest.raises(PlanError, match="use 'CR0' or 'CR1'"):
            m.cov_params(kind)
    with pytest.raises(PlanError, match="shared by clusters"):
        m.cov_params("CR1", "h")
    with pytest.raises(PlanError, match="nagq=0"):
        m.update(nagq=0).cov_params("CR1")
    with pytest.raises(PlanError, match="Krylov"):
        m.update(method="krylov").cov_params("CR1")
    with pytest.raises(PlanError, match="penalised quasi-likelihood has none"):
        m.update(method="pql").cov_params("CR1")


def test_more_combinations_than_clusters(fits: dict[str, Fit]) -> None:
    """Scores of two clusters add up to zero, so that their covariance matrix has rank one."""
    halves = np.asarray(made()["g"]) // 8
    test = fits["slopes"].wald_test(np.eye(2), vcov="CR0", cluster=np.minimum(halves, 1))
    assert test.df_num == 2
    assert np.isnan([test.statistic, test.pvalue]).all()
