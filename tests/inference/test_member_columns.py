"""A covariate for each member, ``(mmc(x1, x2) | mm(g1, g2))``: against a dense likelihood, and all that follows a fit."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from batched import source, streamed
from scipy.optimize import minimize

from lmmformula import Fit, fit, load
from lmmformula.errors import PlanError
from lmmformula.inference.posterior import Effects
from lmmformula.typing import Array

LEVELS = list("abcdefgh")
FORMULA = "y ~ 1 + (1 + mmc(x1, x2) | mm(g1, g2, weights = cbind(w1, w2)))"


@cache
def _rows() -> pd.DataFrame:
    rng, n = np.random.default_rng(2), 200
    columns = {name: rng.choice(LEVELS, n) for name in ("g1", "g2")}
    columns |= {name: 100.0 * rng.normal(size=n) + 50.0 for name in ("x1", "x2")}
    data = pd.DataFrame(columns).assign(w1=rng.uniform(0.1, 0.9, n), w2=lambda d: 1.0 - d["w1"])
    effects = pd.DataFrame(rng.normal(size=(8, 2)) * [1.0, 0.01], index=LEVELS)
    y = 2.0 + 0.5 * rng.normal(size=n)
    for j in (1, 2):
        own = effects.loc[data[f"g{j}"]].to_numpy()
        y = y + data[f"w{j}"].to_numpy() * (own[:, 0] + own[:, 1] * data[f"x{j}"].to_numpy())
    return data.assign(y=y, k=(y > 2.0).astype(int))


@cache
def _fit() -> Fit:
    return fit(FORMULA, _rows(), method="ml")


def _z(data: pd.DataFrame) -> Array:
    z = np.zeros((len(data), 8, 2))
    for j in (1, 2):
        at = data[f"g{j}"].map(LEVELS.index).to_numpy()
        w, x = data[f"w{j}"].to_numpy(), data[f"x{j}"].to_numpy()
        np.add.at(z, (np.arange(len(data)), at), w[:, None] * np.column_stack([np.ones(len(x)), x]))
    return z.reshape(len(data), 16)


def test_the_optimum_is_that_of_a_dense_likelihood() -> None:
    data, m = _rows(), _fit()
    z, y, n = _z(data), data["y"].to_numpy(), len(data)
    scaled = z * np.tile([1.0, 0.01], 8)

    def deviance(t: Array) -> float:
        lower = np.array([[t[0], 0.0], [t[1], t[2]]])
        v = np.exp(2.0 * t[3]) * np.eye(n) + scaled @ np.kron(np.eye(8), lower @ lower.T) @ scaled.T
        root = np.linalg.cholesky(v)
        x, own = np.linalg.solve(root, np.column_stack([np.ones(n), y])).T
        e = own - x * (x @ own) / (x @ x)
        return float(n * np.log(2.0 * np.pi) + 2.0 * np.log(np.diag(root)).sum() + e @ e)

    best = minimize(deviance, [1.0, 0.0, 1.0, -0.7], method="BFGS", options={"gtol": 1e-4})
    assert m.llf == pytest.approx(-0.5 * best.fun, abs=1e-6)
    sd = m.varcorr()["sdcor"].to_numpy()
    assert sd[0] == pytest.approx(abs(best.x[0]), rel=1e-4)
    assert sd[1] == pytest.approx(0.01 * np.hypot(best.x[1], best.x[2]), rel=1e-4)
    term, effects = m.problem.terms[0], np.random.default_rng(1).normal(size=(8, 2))
    np.testing.assert_allclose(term.apply(effects), z @ effects.ravel(), rtol=1e-10)


def test_engines_and_families() -> None:
    for engine in ("dense", "sparse"):
        assert fit(FORMULA, _rows(), method="ml", engine=engine).llf == pytest.approx(_fit().llf, abs=1e-8)
    small = "k ~ 1 + (mmc(x1, x2) || mm(g1, g2))"
    one = fit(small, _rows(), family="binomial")
    other = fit(small, _rows(), family="binomial", engine="dense")
    assert one.llf == pytest.approx(other.llf, abs=1e-7)
    assert list(one.varcorr()["var1"]) == ["(Intercept)", "mmc(x1, x2)"]


def test_units_of_a_covariate_do_not_matter() -> None:
    far = _rows().assign(x1=lambda d: 1e6 * d["x1"], x2=lambda d: 1e6 * d["x2"])
    m, other = _fit(), fit(FORMULA, far, method="ml")
    assert other.llf == pytest.approx(m.llf, abs=1e-7)
    np.testing.assert_allclose(other.varcorr()["sdcor"][1] * 1e6, m.varcorr()["sdcor"][1], rtol=1e-4)


def test_new_rows_new_levels_draws_and_files(tmp_path: Path) -> None:
    m, data = _fit(), _rows()
    np.testing.assert_allclose(m.predict(data.iloc[[5, 2]]), m.fittedvalues.iloc[[5, 2]], rtol=1e-10)
    new = data.head(2).assign(g2="zz", x2=[1.0, 300.0])
    known = m.ranef().pivot(index="grp", columns="term", values="condval")
    own = known.loc[new["g1"]]
    expected = m.params.iloc[0] + new["w1"] * (
        own["(Intercept)"].to_numpy() + own["mmc(x1, x2)"].to_numpy() * new["x1"]
    )
    np.testing.assert_allclose(m.predict(new, new_levels="population"), expected, rtol=1e-8)
    widths = m.predict(new, new_levels="population", interval="prediction").to_numpy()
    assert np.diff(widths[:, 1:])[1] > np.diff(widths[:, 1:])[0]  # an unknown slope times a larger covariate
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm").predict(data.head(3))
    np.testing.assert_array_equal(again, m.predict(data.head(3)))
    drawn = m.simulate(2_000, seed=1).to_numpy()
    cov = m.varcorr()["vcov"].to_numpy()
    sigma = np.array([[cov[0], cov[2]], [cov[2], cov[1]]])
    z = _z(data)
    expected_var = np.diag(z @ np.kron(np.eye(8), sigma) @ z.T) + m.sigma**2
    np.testing.assert_allclose(drawn.var(axis=1), expected_var, rtol=0.25)
    between = float(np.asarray(m.r2()["conditional"]))
    total = float(np.mean(expected_var) - m.sigma**2)
    assert between == pytest.approx(total / (total + m.sigma**2), rel=1e-8)


def test_effects_of_draws_add_up_over_members() -> None:
    term = _fit().problem.terms[0]
    draws = np.random.default_rng(0).normal(size=(3, 8, 2))
    basis = np.stack([z for _, z in term.parts()], axis=1)
    eta = np.zeros((3, 10))
    Effects(draws, term.codes, basis).add_to(eta, slice(5, 15))
    np.testing.assert_allclose(eta, np.stack([term.apply(b) for b in draws])[:, 5:15], rtol=1e-12)


def test_rows_in_batches_are_refused_by_name() -> None:
    with pytest.raises(PlanError, match="mmc"):
        streamed(FORMULA, source(_rows(), 50))
