"""Plain GLM next to a mixed model: against dense algebra, and in cases with a known answer."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, LmmformulaError, PlanError, RankDeficientWarning, build, fit, load_dataset
from lmmformula.backends.pql import PQL
from lmmformula.errors import LmmformulaWarning
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.inference.naivete import naivete, plot_naivete

FORMULA = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"


def pql(formula: str, data, family: str, **options) -> SimpleNamespace:
    problem = build(formula, data, family=family)
    return SimpleNamespace(problem=problem, estimate=PQL(**options).fit(problem).estimate)


def value(table: pd.DataFrame, name: str) -> float:
    return float(table["naivete"].to_numpy()[list(table.index).index(name)])


def test_a_predictor_of_persons_is_hit_hardest() -> None:
    table = naivete(pql(FORMULA, load_dataset("VerbAgg"), "binomial"))
    assert table["inefficiency"].to_numpy().min() >= 1.0 - 1e-9
    assert value(table, "Anger") > 3.0  # constant within a person with 24 answers
    assert table.attrs["worst_naivete"] >= table["naivete"].max() - 1e-9
    assert table.attrs["worst_inefficiency"] >= table["inefficiency"].max() - 1e-9
    assert set(table.attrs["worst_naivete_combination"]) == set(table.index)


def test_against_dense_algebra() -> None:
    data = load_dataset("bacteria")
    fitted = pql("y ~ trt + I(week > 2) + (1 | ID)", data, "binomial", traces="exact")
    table, problem, e = naivete(fitted), fitted.problem, fitted.estimate
    sm = pytest.importorskip("statsmodels.api")
    glm = sm.GLM(problem.y, problem.X.matrix, family=sm.families.Binomial()).fit()
    np.testing.assert_allclose(table["glm"], glm.params, rtol=1e-6)
    np.testing.assert_allclose(table["glm_se"], glm.bse, rtol=1e-6)
    x, z = problem.X.matrix, np.eye(problem.terms[0].m)[problem.terms[0].codes]
    mu = 1.0 / (1.0 + np.exp(-x @ e.beta - z @ e.modes[0][:, 0]))
    v = e.sigma**2 * (e.theta[0] ** 2 * z @ z.T + np.diag(1.0 / (mu * (1.0 - mu))))
    p0 = glm.fittedvalues
    h = np.linalg.solve(x.T @ (x * (p0 * (1 - p0))[:, None]), (x * (p0 * (1 - p0))[:, None]).T)
    true, best = h @ v @ h.T, np.linalg.inv(x.T @ np.linalg.solve(v, x))
    np.testing.assert_allclose(table["naivete"], np.diagonal(true) / glm.bse**2, rtol=1e-5)
    np.testing.assert_allclose(table["inefficiency"], np.diagonal(true) / np.diagonal(best), rtol=1e-5)
    np.testing.assert_allclose(e.vcov, best, rtol=1e-5)


def test_a_slope_may_be_called_rho() -> None:
    data = load_dataset("sleepstudy")
    tables = [
        naivete(
            fit(
                f"Reaction ~ {x} + ({x} | Subject)",
                data.rename(columns={"Days": x}),
                family="gamma(link='log')",
            )
        )
        for x in ("rho", "Days")
    ]
    np.testing.assert_array_equal(tables[0].to_numpy(), tables[1].to_numpy())


def test_balanced_gaussian_data_lose_nothing() -> None:
    """Reaction ~ Days with the same days for all: least squares is efficient for a random intercept."""
    table = naivete(
        pql("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"), "gaussian", traces="exact")
    )
    np.testing.assert_allclose(table["inefficiency"], 1.0, rtol=1e-8)
    assert value(table, "Days") < 1.0 < value(table, "(Intercept)")


def test_any_method_and_any_scale() -> None:
    data = load_dataset("sleepstudy")
    for family in ("gaussian", "gamma(link='log')"):
        table = naivete(fit("Reaction ~ Days + (1 | Subject)", data, family=family))
        np.testing.assert_allclose(table["inefficiency"], 1.0, atol=0.01)
        assert 1.0 < value(table, "(Intercept)") < 10.0


def test_the_plot_names_each_coefficient() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    ax = plot_naivete(naivete(pql("y ~ trt + (1 | ID)", load_dataset("bacteria"), "binomial")))
    assert [t.get_text() for t in ax.texts] == ["(Intercept)", "trtdrug", "trtdrug+"]
    pyplot.close(ax.figure)


def dense(fitted: Fit, w0: np.ndarray, w: np.ndarray, phi: float) -> tuple[np.ndarray, np.ndarray]:
    """H V H' and (X'V^-1X)^-1 by matrices of all rows; `w` and `w0` are working weights at unit dispersion."""
    problem = fitted.problem
    x, v = problem.X.matrix, np.diag(phi / w)
    for term, cov in zip(problem.terms, covariance_matrices(fitted), strict=True):
        levels = np.eye(term.m)[term.codes]
        basis = np.ones((problem.n, 1)) if term.basis is None else term.basis
        z = np.einsum("nm,nk->nmk", levels, basis).reshape(problem.n, -1)
        v += z @ np.kron(np.eye(term.m), cov) @ z.T
    h = np.linalg.solve(x.T @ (x * w0[:, None]), (x * w0[:, None]).T)
    return h @ v @ h.T, np.linalg.inv(x.T @ np.linalg.solve(v, x))


def check(fitted: Fit, glm: Any, w0: np.ndarray, w: np.ndarray, phi: float) -> None:
    table = fitted.naivete()
    true, best = dense(fitted, w0, w, phi)
    np.testing.assert_allclose(table["glm"], glm.params, rtol=1e-5)
    np.testing.assert_allclose(table["glm_se"], glm.bse, rtol=1e-5)
    np.testing.assert_allclose(table["naivete"], np.diagonal(true) / glm.bse**2, rtol=1e-5)
    np.testing.assert_allclose(table["inefficiency"], np.diagonal(true) / np.diagonal(best), rtol=1e-5)
    np.testing.assert_allclose(table["mixed_se"], np.sqrt(np.diagonal(best)), rtol=1e-5)


def counts() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 300
    g, h, x = rng.integers(0, 20, n), rng.integers(0, 12, n), rng.normal(size=n)
    time = rng.uniform(0.5, 3.0, n)
    eta = (
        0.4
        + (0.3 + 0.3 * rng.normal(size=20)[g]) * x
        + np.log(time)
        + 0.5 * rng.normal(size=20)[g]
        + 0.3 * rng.normal(size=12)[h]
    )
    table = {"y": rng.poisson(np.exp(eta)), "x": x, "twice": 2 * x, "g": g.astype(str), "h": h.astype(str)}
    return pd.DataFrame({**table, "off": np.log(time), "w": rng.integers(1, 4, n).astype(float)})


@pytest.mark.parametrize("method", ["laplace", "pql"])
def test_counts_with_weights_an_offset_and_a_dropped_column_against_dense_algebra(method: str) -> None:
    sm = pytest.importorskip("statsmodels.api")
    data = counts()
    with pytest.warns(RankDeficientWarning, match="twice"):
        m = fit(
            "y ~ x + twice + (1 + x | g) + (1 | h)",
            data,
            family="poisson",
            method=method,
            offset="off",
            weights="w",
        )
    x, w = m.problem.X.matrix, data["w"].to_numpy()
    assert x.shape[1] == 2
    glm = sm.GLM(data["y"].to_numpy(), x, sm.families.Poisson(), offset=data["off"], freq_weights=w).fit()
    phi = m.estimate.sigma**2 if method == "pql" else 1.0
    check(m, glm, glm.fittedvalues * w, m.fittedvalues.to_numpy() * w, phi)


def test_trials_against_dense_algebra() -> None:
    sm = pytest.importorskip("statsmodels.api")
    m = fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        load_dataset("cbpp"),
        family="binomial",
        method="laplace",
    )
    trials = np.asarray(m.problem.weights)
    y = np.column_stack([m.problem.y * trials, (1 - m.problem.y) * trials])
    glm = sm.GLM(y, m.problem.X.matrix, sm.families.Binomial()).fit()
    p0, p = glm.fittedvalues, m.fittedvalues.to_numpy()
    check(m, glm, trials * p0 * (1 - p0), trials * p * (1 - p), 1.0)


def test_gaussian_weights_against_dense_algebra() -> None:
    sm = pytest.importorskip("statsmodels.api")
    data = load_dataset("sleepstudy")
    w = np.linspace(0.5, 2.0, len(data))
    m = fit("Reaction ~ Days + (1 + Days | Subject)", data, weights=w)
    ols = sm.WLS(m.problem.y, m.problem.X.matrix, weights=w).fit()
    check(m, ols, w, w, m.sigma**2)
    np.testing.assert_allclose(m.naivete()["mixed_se"], m.bse, rtol=1e-6)


def test_crossed_pql_agrees_with_itself() -> None:
    """Its own standard errors, from the estimate and from the table."""
    m = fit(FORMULA, load_dataset("VerbAgg"), family="binomial", method="pql", traces="diagonal")
    np.testing.assert_allclose(m.naivete()["mixed_se"], m.bse, rtol=1e-6)


def test_a_level_for_each_row_brings_no_warning() -> None:
    m = fit("TICKS ~ YEAR + (1 | INDEX)", load_dataset("grouseticks"), family="poisson")
    assert np.all(m.naivete()["naivete"] > 1)


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("y ~ 0 + (1 | g)", {}, "no fixed effects"),
        ("y ~ x + (1 | g)", {"ziformula": "~ 1"}, "zero inflation"),
        ("y ~ x + (1 | g)", {"family": "nbinom2", "dispformula": "~ x"}, "predictors of the dispersion"),
    ],
)
def test_models_without_a_plain_counterpart(formula: str, options: dict[str, Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        m = fit(formula, counts(), **{"family": "poisson", **options})
    with pytest.raises(PlanError, match=message):
        m.naivete()


def test_the_plot_of_a_fit_goes_where_it_is_told() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    m = fit("y ~ trt + (1 | ID)", load_dataset("bacteria"), family="binomial", method="pql")
    ax = pyplot.subplots()[1]
    assert m.plot_naivete(ax) is ax
    points = ax.collections[0].get_offsets()
    np.testing.assert_allclose(points, m.naivete()[["naivete", "inefficiency"]])
    other = m.plot_naivete()
    assert other is not ax
    assert other.get_xscale() == "log"
    pyplot.close("all")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    m = fit("y ~ trt + (1 | ID)", load_dataset("bacteria"), family="binomial", method="pql")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(LmmformulaError, match=r"pip install 'lmmformula\[plots\]'"):
        m.plot_naivete()
