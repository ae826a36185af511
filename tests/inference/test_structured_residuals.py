"""What follows from fits with structured residuals."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, FormulaError, anova, fit, load, load_dataset, plan
from lmmformula.errors import DataError, PlanError
from lmmformula.typing import Array


@cache
def _visits() -> pd.DataFrame:
    """Forty patients, three visits, some of them missed."""
    rng = np.random.default_rng(8)
    root = np.array([[1.0, 0.0, 0.0], [0.6, 0.9, 0.0], [0.3, 0.5, 1.4]])
    e = rng.normal(size=(40, 3)) @ root.T
    s, v = np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40)
    arm = rng.integers(0, 2, 40)[s]
    y = 2.0 + 0.5 * v + 0.4 * arm * v + e.ravel()
    rows = pd.DataFrame(
        {
            "y": y,
            "s": [f"p{i:02d}" for i in s],
            "v": [f"v{i}" for i in v],
            "t": v,
            "arm": np.array(["a", "b"])[arm],
        }
    )
    return rows.iloc[np.flatnonzero(rng.uniform(size=120) < 0.9)].reset_index(drop=True)


@cache
def _fit(formula: str, method: str = "reml") -> Fit:
    return fit(formula, _visits(), method=method)


MMRM = "y ~ arm * v + unstr(v, gr = s)"
SERIAL = "y ~ arm + t + (1 | s) + ar(t, gr = s)"


def _covariance(m: Fit) -> Array:
    """sigma^2 R of all three visits of one patient."""
    residual = m.problem.residual
    assert residual is not None
    positions = np.arange(3.0)[None, :, None]
    return m.sigma**2 * residual.kind.relative(positions, m.estimate.residual)[0][0]


def test_varcorr_and_tidy_have_every_visit() -> None:
    m = _fit(MMRM)
    cov = _covariance(m)
    own = m.varcorr(se=True).iloc[1:]
    assert list(own["var1"]) == ["v0", "v1", "v2", "v0", "v0", "v1"]
    np.testing.assert_allclose(own["vcov"], [*np.diagonal(cov), cov[0, 1], cov[0, 2], cov[1, 2]], rtol=1e-10)
    assert own["se"].min() > 0.0
    tidy = m.tidy(conf_int=True)
    last = tidy[tidy["term"].str.startswith("cor(")]
    assert len(last) == 3
    limits = np.column_stack(
        [np.asarray(last[c], dtype=float) for c in ("conf_low", "estimate", "conf_high")]
    )
    assert (np.diff(limits, axis=1) > 0.0).all()


def test_exchangeable_residuals_are_a_random_intercept_where_they_agree() -> None:
    """Estimates, errors, degrees of freedom by both methods; cosy() has its own parametrisation and code."""
    data = load_dataset("Orthodont")
    one = fit("distance ~ age * Sex + cosy(gr = Subject)", data)
    other = fit("distance ~ age * Sex + (1 | Subject)", data)
    assert one.llf == pytest.approx(other.llf, abs=1e-8)
    for ddf in ("satterthwaite", "kenward-roger"):
        first, second = one.summary(ddf=ddf).fixed, other.summary(ddf=ddf).fixed
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-12)


def test_a_negative_correlation_that_no_random_intercept_has() -> None:
    rng = np.random.default_rng(4)
    e = rng.normal(size=(60, 3))
    e -= 0.8 * e.mean(axis=1, keepdims=True)
    data = {"y": e.ravel(), "g": np.repeat(np.arange(60), 3).astype(str)}
    m = fit("y ~ 1 + cosy(gr = g)", data)
    (rho,) = m.varcorr().loc[lambda t: t["var1"] == "rho", "sdcor"]
    sums = np.cov(e.T)
    assert rho == pytest.approx((sums.sum() - np.trace(sums)) / (2.0 * np.trace(sums)), abs=0.02)
    assert -0.5 < rho < 0.0


def _brute(m: Fit, elements: list[Array]) -> tuple[Array, Array]:
    """Phi and Kenward & Roger's adjusted one, of V linear in `elements`, row by row as the paper has it."""
    x, residual = m.problem.X.matrix, m.problem.residual
    assert residual is not None
    same = residual.codes[:, None] == residual.codes
    at = residual.positions[:, 0].astype(int)
    v = _covariance(m)[np.ix_(at, at)] * same
    g = [e[np.ix_(at, at)] * same for e in elements]
    inverse = np.linalg.inv(v)
    phi = np.linalg.inv(x.T @ inverse @ x)
    p = [-x.T @ inverse @ a @ inverse @ x for a in g]
    q = [[x.T @ inverse @ a @ inverse @ b @ inverse @ x for b in g] for a in g]
    info = np.array(
        [
            [
                np.trace(inverse @ g[i] @ inverse @ g[j])
                - 2.0 * np.trace(phi @ q[i][j])
                + np.trace(phi @ p[i] @ phi @ p[j])
                for j in range(len(g))
            ]
            for i in range(len(g))
        ]
    )
    w = 2.0 * np.linalg.inv(info)
    u = sum(w[i, j] * (q[i][j] - p[i] @ phi @ p[j]) for i in range(len(g)) for j in range(len(g)))
    return phi, phi + 2.0 * phi @ u @ phi


def test_kenward_roger_of_an_unstructured_covariance_is_the_papers() -> None:
    m = _fit(MMRM)
    elements = []
    for a in range(3):
        for b in range(a, 3):
            e = np.zeros((3, 3))
            e[a, b] = e[b, a] = 1.0
            elements.append(e)
    phi, adjusted = _brute(m, elements)
    np.testing.assert_allclose(m.estimate.vcov, phi, rtol=1e-8)
    known = m.inference.uncertainty("kenward-roger")
    np.testing.assert_allclose(known.covariance, adjusted, rtol=1e-7)


def test_satterthwaite_is_that_of_differences_of_the_likelihood() -> None:
    """Variance of l'C l from the deviance of (phi, log sigma), by differences of values alone."""
    m = _fit("y ~ arm * v + cosy(gr = s)")
    point = m.optimum
    at = np.append(point.omega, 0.5 * np.log(point.sigma2))

    def deviance(x: Array) -> float:
        return point.model(x[:-1]).deviance_at(float(np.exp(2.0 * x[-1])))

    def variances(x: Array) -> Array:
        own = point.model(x[:-1])
        return np.exp(2.0 * x[-1]) * np.diagonal(own.unscaled_vcov)

    h, eye = 1e-3, np.eye(2)
    hessian = np.array(
        [
            [
                sum(a * b * deviance(at + h * (a * eye[i] + b * eye[j])) for a in (1, -1) for b in (1, -1))
                / (4.0 * h * h)
                for j in range(2)
            ]
            for i in range(2)
        ]
    )
    slope = np.array([(variances(at + h * e) - variances(at - h * e)) / (2.0 * h) for e in eye]).T
    spread = np.einsum("ri,ij,rj->r", slope, 2.0 * np.linalg.inv(hessian), slope)
    np.testing.assert_allclose(m.df, 2.0 * variances(at) ** 2 / spread, rtol=1e-4)


def test_modes_and_prediction_errors_are_those_of_the_dense_matrix() -> None:
    m = _fit(SERIAL)
    problem, residual = m.problem, m.problem.residual
    assert residual is not None
    same = residual.codes[:, None] == residual.codes
    at = residual.positions[:, 0].astype(int)
    r = _covariance(m)[np.ix_(at, at)] * same
    (term,) = problem.terms
    z = (term.codes[:, None] == np.arange(term.m)).astype(float)
    tau = float(m.varcorr()["vcov"].iloc[0])
    v = r + tau * z @ z.T
    inverse, x = np.linalg.inv(v), problem.X.matrix
    c = np.linalg.inv(x.T @ inverse @ x)
    np.testing.assert_allclose(m.estimate.vcov, c, rtol=1e-8)
    b = tau * z.T @ inverse @ (problem.y - x @ m.params)
    np.testing.assert_allclose(m.ranef()["condval"], b, rtol=1e-6)
    own = tau - tau**2 * np.diagonal(z.T @ inverse @ z)
    np.testing.assert_allclose(m.ranef(condsd=True)["condsd"], np.sqrt(own), rtol=1e-6)
    lines = tau * z @ z.T
    g = x - lines @ inverse @ x
    error = tau - np.einsum("ij,jk,ik->i", lines, inverse, lines) + np.einsum("ij,jk,ik->i", g, c, g)
    np.testing.assert_allclose(m.predict(se=True)["se"], np.sqrt(error), rtol=1e-6)
    new = m.predict(_visits().iloc[:5], se=True)
    np.testing.assert_allclose(new, m.predict(se=True).iloc[:5], rtol=1e-8)


def test_normalised_residuals_and_draws_have_the_covariance_of_the_model() -> None:
    m = _fit(SERIAL)
    residual = m.problem.residual
    assert residual is not None
    e = m.problem.y - m.fittedvalues.to_numpy()
    own, cov = m.residuals("normalized").to_numpy(), _covariance(m)
    for code in range(5):
        rows = np.flatnonzero(residual.codes == code)
        at = residual.positions[rows, 0].astype(int)
        root = np.linalg.cholesky(cov[np.ix_(at, at)])
        np.testing.assert_allclose(own[rows], np.linalg.solve(root, e[rows]), rtol=1e-8)
    drawn = m.simulate(4_000, seed=1).to_numpy() - (m.problem.X.matrix @ m.params.to_numpy())[:, None]
    first = np.flatnonzero(residual.codes == 0)
    at = residual.positions[first, 0].astype(int)
    tau = float(m.varcorr()["vcov"].iloc[0])
    expected = cov[np.ix_(at, at)] + tau
    np.testing.assert_allclose(np.cov(drawn[first]), expected, atol=0.1 * expected.max())


def test_smaller_models_nest_and_are_compared_by_ml() -> None:
    table = anova(_fit("y ~ arm * v + ar(t, gr = s)"), _fit(MMRM))
    by_ml = fit(MMRM, _visits(), method="ml")
    assert -2.0 * by_ml.llf == pytest.approx(table["-2*log(L)"].iloc[1], abs=1e-6)
    assert table["npar"].tolist() == [8, 12]


def test_saved_refitted_updated_and_drawn_again(tmp_path: Path) -> None:
    m = _fit(SERIAL)
    m.save(tmp_path / "m.lmm")
    back = load(tmp_path / "m.lmm")
    np.testing.assert_array_equal(back.df, m.df)
    pd.testing.assert_frame_equal(back.varcorr(se=True), m.varcorr(se=True))
    again = m.refit(2.0 * m.problem.y)
    assert again.sigma == pytest.approx(2.0 * m.sigma, rel=1e-6)
    np.testing.assert_allclose(again.estimate.residual, m.estimate.residual, atol=1e-5)
    less = m.update("~ . - arm")
    assert less.problem.residual is not None
    assert less.problem.X.names == ("(Intercept)", "t")
    assert m.update("~ . - ar(t, gr = s)").problem.residual is None
    assert len(m.bootstrap(5, seed=1)) == 5


def test_neither_units_nor_origins_matter() -> None:
    data = _visits().assign(
        z=lambda d: 1e3 + 1e-3 * d["t"], far=lambda d: 1e5 * (d["t"] + 0.5), big=lambda d: 1e6 * d["y"]
    )
    one = fit("bf(y ~ arm + (1 | s) + car1(t, gr = s), sigma ~ t)", data)
    other = fit("bf(big ~ arm + (1 | s) + car1(far, gr = s), sigma ~ z)", data)
    np.testing.assert_allclose(other.params, 1e6 * one.params, rtol=1e-6)
    np.testing.assert_allclose(other.df, one.df, rtol=1e-3)


def test_the_summary_shows_the_structure() -> None:
    text = str(_fit(SERIAL).summary())
    assert "Residual structure" in text
    assert "rho" in text
    assert "clusters" in str(plan(SERIAL, _visits()))


@pytest.mark.parametrize(
    ("formula", "more", "says"),
    [
        ("y ~ t + ar(t, gr = s)", {"method": "hmc"}, "does not take structured residuals"),
        ("y ~ t + (1 | s) + ar(t, gr = s)", {"method": "pql"}, "does not take structured residuals"),
        ("t ~ arm + ar(t, gr = s)", {"family": "poisson"}, "ar1(0 + time | group)"),
        ("y ~ t + ar(y, gr = s)", {}, "car1(time, gr = g)"),
        ("y ~ t + car1(t, gr = arm)", {}, "have the position of another row"),
        ("bf(y ~ t, sigma ~ ar(t, gr = s))", {}, "belongs into the main formula"),
        ("y ~ t + ar(t, gr = s)", {"engine": "dense"}, "by clusters of rows"),
    ],
)
def test_what_is_refused_by_name(formula: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises((PlanError, DataError, FormulaError)) as caught:
        fit(formula, _visits(), **more)
    assert says in str(caught.value)
