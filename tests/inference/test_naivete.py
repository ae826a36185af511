"""Plain GLM next to a mixed model: against dense algebra, and in cases with a known answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit, load_dataset
from lmmformula.backends.pql import PQL
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
