"""Areas on a map against mgcv and dense matrices, what is at an end of a range, and all that is done with their fits."""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracle import Oracle

from lmmformula import Fit, fit, load, load_dataset, plan
from lmmformula.errors import BoundaryWarning, PlanError
from lmmformula.typing import Array

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "areas.json").read_text(encoding="utf-8"))
PAIRS = load_dataset("lip_cancer_neighbours")
TYPES = ("escar", "icar", "bym2")


def data(name: str) -> pd.DataFrame:
    """Standardised rates and counts of the districts, once or twice, as tests/reference/areas.R has them."""
    one = load_dataset("lip_cancer").assign(y=lambda t: np.log((t["observed"] + 0.5) / t["expected"]))
    if name == "one":
        return one
    i = np.arange(1, 57)
    more = one.assign(y=one["y"] + 0.4 * np.cos(i), observed=(one["observed"] + 3 * i) % 17)
    return pd.concat([one, more], ignore_index=True)


@lru_cache
def fitted(kind: str, name: str = "two", family: str = "gaussian", method: str = "auto") -> Fit:
    mean = {"one": "y ~ 1", "two": "y ~ aff"}[name]
    if family == "poisson":
        mean = "observed ~ aff + offset(log(expected))"
    formula = f'{mean} + car(W, gr = district, type = "{kind}")'
    return fit(formula, data(name), family=family, method=method, data2={"W": PAIRS})


def neighbours() -> Array:
    w = np.zeros((56, 56))
    at = PAIRS.astype(int).to_numpy() - 1
    w[at[:, 0], at[:, 1]] = w[at[:, 1], at[:, 0]] = 1.0
    return w


@pytest.mark.parametrize("name", ["one", "two"])
def test_restricted_likelihood_is_that_of_mgcv(name: str) -> None:
    """mgcv's REML has the constants of ours: its flat prior of the intercept takes the null space of the penalty along."""
    known, m = REFERENCE["fits"][name], fitted("icar", name)
    assert -m.llf == pytest.approx(known["criterion"], abs=1e-8)
    np.testing.assert_allclose(m.params, known["coef"], rtol=1e-6)
    np.testing.assert_allclose(m.bse, known["se"], rtol=1e-6)
    assert m.sigma**2 == pytest.approx(known["scale"], rel=1e-5)
    assert m.varcorr()["vcov"].iloc[0] == pytest.approx(known["tau2"], rel=1e-5)
    np.testing.assert_allclose(m.fittedvalues.head(4), known["fitted"], rtol=1e-6)


def test_laplace_is_that_of_mgcv() -> None:
    """Its method="ML" of counts: penalised coefficients by Laplace's approximation, at the joint mode of all coefficients.

    That is nagq=0; the coefficients of the maximum of the approximation itself are better by a fraction of a unit.
    """
    known, best = REFERENCE["fits"]["counts"], fitted("icar", family="poisson")
    m = best.update(nagq=0)
    assert -m.llf == pytest.approx(known["criterion"], abs=1e-6)
    assert best.llf > m.llf
    assert (np.abs(m.params - known["coef"]) / known["se"]).max() < 1e-3
    assert m.varcorr()["vcov"].iloc[0] == pytest.approx(known["tau2"], rel=1e-3)
    np.testing.assert_allclose(m.fittedvalues.head(4), known["fitted"], rtol=1e-3)


def covariance(kind: str, phi: Array) -> Array:
    """Of the effects of the districts, relative to their variance, from its definition."""
    w = neighbours()
    q = np.diag(w.sum(axis=1)) - w
    if kind == "escar":
        return np.linalg.inv(np.diag(w.sum(axis=1)) - np.sin(phi[0]) ** 2 * w)
    _, part = np.unique(np.linalg.matrix_power(np.eye(56) + w, 56) > 0.0, axis=0, return_inverse=True)
    spread = np.linalg.pinv(q)
    if kind == "icar":
        return spread
    rho, out = np.sin(phi[0]) ** 2, np.zeros((56, 56))
    for p in np.unique(part):
        own = np.flatnonzero(part.ravel() == p)
        block = spread[np.ix_(own, own)]
        scale = np.exp(np.log(np.diagonal(block)).mean()) if len(own) > 1 else 1.0
        out[np.ix_(own, own)] = block / scale if len(own) > 1 else 1.0
    return (1.0 - rho) * np.eye(56) + rho * out


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_dense_definition_from_the_map(kind: str, method: str) -> None:
    """V from the matrix of neighbours alone, at the estimates and beside them."""
    m = fitted(kind, method=method)
    term = m.problem.terms[0]
    at = [list(map(str, term.levels)).index(str(d)) for d in data("two")["district"]]
    order = [list(map(str, term.levels)).index(str(d)) for d in range(1, 57)]
    z = np.eye(56)[np.argsort(order)][at]
    x, y = m.problem.X.matrix, m.problem.y
    for move in (0.0, 0.2):
        theta = m.estimate.theta - move
        v = np.eye(112) + theta[0] ** 2 * z @ covariance(kind, theta[1:]) @ z.T
        inverse = np.linalg.inv(v)
        xvx = x.T @ inverse @ x
        e = y - x @ np.linalg.solve(xvx, x.T @ inverse @ y)
        n = 112 - (2 if method == "reml" else 0)
        expected = np.linalg.slogdet(v)[1] + n * (1 + np.log(2 * np.pi * (e @ inverse @ e) / n))
        expected += np.linalg.slogdet(xvx)[1] if method == "reml" else 0.0
        oracle = Oracle(m.problem, theta, method == "reml").deviance
        assert oracle == pytest.approx(expected, rel=1e-9)
        if not move:
            assert -2.0 * m.llf == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
@pytest.mark.parametrize("kind", TYPES)
def test_engines_agree(kind: str, family: str) -> None:
    m = fitted(kind, family=family)
    for engine in ("dense", "sparse"):
        other = m.update(engine=engine)
        assert other.plan.engine == engine
        assert other.llf == pytest.approx(m.llf, abs=1e-6)
        np.testing.assert_allclose(other.params, m.params, atol=1e-4 * float(m.bse.min()))


def test_an_autoregression_at_its_end_is_intrinsic() -> None:
    """By REML: alpha = 1 has the likelihood of the intrinsic model, and a warning says what has become of the intercept."""
    with pytest.warns(
        BoundaryWarning, match=r"alpha\|district of \(1 \| district\) is estimated as 1.*cannot be told"
    ):
        m = fitted("escar", "one")
    limit = fitted("icar", "one")
    assert m.theta.to_numpy()[1] == 0.5 * np.pi
    assert m.llf == pytest.approx(limit.llf, abs=1e-5)
    assert m.sigma == pytest.approx(limit.sigma, rel=1e-4)
    assert m.bse.to_numpy()[0] > 1e3 * limit.bse.to_numpy()[0]
    rows = m.tidy(conf_int=True).set_index("term")
    assert rows.loc["alpha", "estimate"] == 1.0
    assert np.isnan(rows.loc["alpha", ["std_error", "conf_low", "conf_high"]].to_numpy(dtype=float)).all()


def test_a_share_is_an_angle_up_to_a_right_one() -> None:
    """theta has the angle of the first quadrant wherever a search went; intervals end at the ends of the range."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = [
            fitted("escar"),
            fitted("escar", method="ml"),
            fitted("bym2"),
            fitted("bym2", family="poisson"),
        ]
    for m in fits:
        angle = m.theta.iloc[1]
        assert 0.0 <= angle <= 0.5 * np.pi
        (row,) = m.tidy(conf_int=True).query("term in ('alpha', 'rho')").to_dict("records")
        assert row["estimate"] == pytest.approx(np.sin(angle) ** 2)
        if row["estimate"] < 1.0:
            assert 0.0 <= row["conf_low"] < row["estimate"] < row["conf_high"] <= 1.0
    beyond = fitted("escar")
    started = fit(
        beyond.formula,
        data("two"),
        data2={"W": PAIRS},
        start=[beyond.theta.iloc[0], np.pi - beyond.theta.iloc[1]],
    )
    assert started.theta.iloc[1] == pytest.approx(beyond.theta.iloc[1], abs=1e-3)


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_user_does(kind: str, tmp_path: Path) -> None:
    m, table = fitted(kind, family="poisson"), data("two")
    assert m.converged
    assert plan(m.formula, table, family="poisson", data2={"W": PAIRS}).engine == m.plan.engine
    text = str(m.summary())
    assert f"Levels of district are dependent: {'car' if kind == 'escar' else kind}" in text
    assert m.ngroups == {"district": 56}
    assert len(m.ranef(condsd=True)) == len(m.coef()["district"]) == 56
    assert m.ranef(condsd=True)["condsd"].between(0.01, 2.0).all()
    assert m.simulate(2, seed=1).shape == (112, 2)
    assert m.bootstrap(2, seed=1).shape[0] == 2
    assert np.isfinite(np.asarray(m.predict(table.head(4), se=True))).all()
    np.testing.assert_allclose(m.predict(table.head(4)), m.fittedvalues.head(4))
    assert len(m.augment()) == 112
    assert np.isfinite(m.refit(m.simulate(1, seed=3).iloc[:, 0].to_numpy()).llf)
    assert m.update(data=table.iloc[:-6]).nobs == 106
    assert m.update("~ . - aff").llf < m.llf
    m.save(tmp_path / "m.lmm")
    kept = load(tmp_path / "m.lmm")
    assert kept.llf == m.llf
    found, before = (own.predict(table.head(4), se=True) for own in (kept, m))
    np.testing.assert_allclose(found["fit"], before["fit"], rtol=1e-8)
    np.testing.assert_allclose(found["se"], before["se"], rtol=1e-5)  # from differences of gradients
    assert str(kept.summary()) == text


def test_simulations_have_the_covariance_of_the_map() -> None:
    """Variances of simulated effects of an area and its neighbours, and their sums of zero."""
    m = fitted("icar")
    y = m.simulate(4000, seed=11).to_numpy()
    effects = 0.5 * (y[:56] + y[56:])
    sd = m.varcorr()["sdcor"].iloc[0]
    x = m.problem.X.matrix @ m.params.to_numpy()
    found = np.cov(effects - 0.5 * (x[:56] + x[56:])[:, None])
    wanted = sd**2 * covariance("icar", np.zeros(0)) + 0.5 * m.sigma**2 * np.eye(56)
    errors = np.sqrt((wanted**2 + np.outer(np.diagonal(wanted), np.diagonal(wanted))) / 4000)
    assert (np.abs(found - wanted) / errors).max() < 5.0


@pytest.mark.parametrize("method", ["pql", "krylov"])
@pytest.mark.parametrize("kind", ["icar", "bym2"])
def test_methods_that_do_not_take_them_say_so(method: str, kind: str) -> None:
    with pytest.raises(PlanError, match=r"dependent levels|sum to zero"):
        fit(
            f'observed ~ aff + car(W, gr = district, type = "{kind}")',
            data("two"),
            family="poisson",
            method=method,
            data2={"W": PAIRS},
        )
