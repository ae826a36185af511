"""Sensitivity to powers, variance explained, conditional effects and predictive checks of posteriors."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from kinds_of_fit import KINDS, rows
from scipy import stats

from lmmformula import DataError, Fit, fit
from lmmformula.inference.bayesian.log_prior import log_prior
from lmmformula.inference.bayesian.sensitivity import cjs_distance
from lmmformula.inference.posterior import flat

DATA = rows()
PRIORS = {"b": "student_t(3, 0, 2)", "sd": "exponential(1)", "cor": "lkj(3)", "sigma": "half_normal(2)"}


@cache
def _posterior() -> Fit:
    return fit(
        "y ~ x + (x | g)",
        DATA,
        method="hmc",
        sampler="importance",
        draws=1000,
        chains=2,
        seed=1,
        priors=PRIORS,
    )


def test_log_prior_of_each_class() -> None:
    m = _posterior()
    p, own = m.posterior, log_prior(_posterior())
    assert p is not None
    assert list(own) == ["b", "sd", "cor", "sigma"]
    x = m.problem.X.matrix[:, 1]
    beta = flat(p.beta)
    centre = p.priors.coefficients[0].distribution
    expected = stats.norm.logpdf(beta[:, 0] + beta[:, 1] * x.mean(), centre.mean, centre.sd)
    expected = expected + stats.t.logpdf(beta[:, 1], 3, 0, 2)
    np.testing.assert_allclose(own["b"], expected, rtol=1e-12)
    sds = sum(p[name].reshape(-1) for name in ("sd:g:Intercept", "sd:g:x"))
    np.testing.assert_allclose(np.ptp(own["sd"] + sds), 0.0, atol=1e-9)
    cor = p["cor:g:Intercept:x"].reshape(-1)
    np.testing.assert_allclose(own["cor"], 2.0 * np.log1p(-(cor**2)), rtol=1e-9, atol=1e-13)
    half = stats.halfnorm.logpdf(p["sigma"].reshape(-1), scale=2.0)
    np.testing.assert_allclose(own["sigma"], half, rtol=1e-12)


def test_distance_of_a_normal_that_moves() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(200_000)
    weights = np.exp(0.3 * x - 0.045)  # N(.3, 1) over N(0, 1)
    grid = np.linspace(x.min(), x.max(), 20_001)
    step = grid[1] - grid[0]

    def one(p: np.ndarray, q: np.ndarray) -> float:
        terms = p * (np.log2(p) - np.log2(0.5 * (p + q)))
        return step * (terms.sum() + 0.5 / np.log(2.0) * (q - p).sum())

    def both(p: np.ndarray, q: np.ndarray) -> float:
        return np.sqrt((one(p, q) + one(q, p)) / (step * (p + q).sum()))

    left = both(stats.norm.cdf(grid), stats.norm.cdf(grid - 0.3))
    right = both(stats.norm.sf(grid), stats.norm.sf(grid - 0.3))
    assert cjs_distance(x, weights) == pytest.approx(max(left, right), rel=0.02)
    assert cjs_distance(1e6 * x, weights) == pytest.approx(cjs_distance(x, weights), rel=1e-9)
    assert cjs_distance(x, np.ones_like(x)) < 1e-6


def test_sensitivity_agrees_with_arviz() -> None:
    arviz, base = pytest.importorskip("arviz_stats"), pytest.importorskip("arviz_base")
    m = _posterior()
    p = m.posterior
    assert p is not None
    tree = m.to_datatree(predictive=False)
    own = {name: v.reshape(p.chains, p.draws) for name, v in log_prior(m).items()}
    tree["log_prior"] = base.convert_to_datatree(own, group="log_prior")["log_prior"]
    found = m.prior_sensitivity()
    for group, column in (("prior", "prior"), ("likelihood", "likelihood")):
        theirs = arviz.psense(tree, group=group)
        np.testing.assert_allclose(found[column].iloc[:2], theirs["beta"], rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(found.loc["sigma", column], theirs["sigma"], rtol=2e-3, atol=1e-4)


def test_a_prior_far_from_the_data_is_named() -> None:
    m = fit(
        "y ~ x + (1 | g)",
        DATA,
        method="hmc",
        sampler="importance",
        draws=1000,
        chains=2,
        seed=1,
        priors={"b:x": "normal(5, 0.3)"},
    )
    found = m.prior_sensitivity("b")
    assert found["diagnosis"].to_dict()["x"] == "prior-data conflict"
    with pytest.raises(DataError, match="no class of priors"):
        m.prior_sensitivity("cor")


def test_variance_explained() -> None:
    m = _posterior()
    p = m.posterior
    assert p is not None
    assert p.effects is not None
    eta = flat(p.beta) @ m.problem.X.matrix.T
    z, codes = m.problem.terms[0].basis, m.problem.terms[0].codes
    assert z is not None
    full = eta + np.einsum("nk,snk->sn", z, flat(p.effects[0])[:, codes])
    sigma2 = p["sigma"].reshape(-1) ** 2
    found = m.bayes_r2(draws=True)
    for name, mean in (("conditional", full), ("marginal", eta)):
        explained = mean.var(axis=1, ddof=1)
        np.testing.assert_allclose(found[name], explained / (explained + sigma2), rtol=1e-9)
    summary = m.bayes_r2(level=0.9)
    assert summary["Estimate"].iloc[0] == pytest.approx(float(np.median(found["conditional"])))
    assert list(summary.columns) == ["Estimate", "Est.Error", "5 %", "95 %"]


def test_conditional_effects_are_predictions() -> None:
    m = fit("y ~ x * f + (1 | g)", DATA)
    ce = m.conditional_effects(points=5)
    assert ce.names == ("x", "f", "x:f")
    frame = ce["x:f"]
    assert len(frame) == 15
    expected = m.predict(frame[["x", "f"]].assign(g=0), re_form=None, interval="confidence", se=True)
    for name, theirs in (("estimate", "fit"), ("se", "se"), ("lower", "lower"), ("upper", "upper")):
        np.testing.assert_allclose(frame[name], expected[theirs])
    assert len(np.unique(ce["f"]["f"])) == 3
    at_two = m.conditional_effects("f", conditions={"x": 2.0})["f"]
    again = m.predict({"x": [2.0] * 3, "f": list(at_two["f"]), "g": [0] * 3}, re_form=None)
    np.testing.assert_allclose(at_two["estimate"], again)
    over_number = m.conditional_effects("f:x")["f:x"]
    assert len(np.unique(over_number["x"])) == 3
    assert len(ce.plot("x:f").lines) == 3
    assert "over x:f" in repr(ce)
    with pytest.raises(DataError, match="no variable 'g'"):
        m.conditional_effects("g")
    with pytest.raises(DataError, match="no column"):
        m.conditional_effects("x", conditions={"h": 1})


@pytest.mark.parametrize("kind", ["density", "ecdf", "bars", "stat", "intervals", "error"])
def test_predictive_checks_draw(kind: str) -> None:
    import matplotlib.pyplot as plt

    axes = KINDS["laplace"](DATA).pp_check(kind, n=20, seed=1)
    assert axes.has_data()
    plt.close(axes.figure)


def test_a_statistic_of_replicates_stands_beside_the_observed_one() -> None:
    import matplotlib.pyplot as plt

    axes = _posterior().pp_check("stat", n=200, stat=np.ptp, seed=1)
    assert f"observed {np.ptp(DATA['y']):.4g}" in axes.get_xlabel()
    plt.close(axes.figure)
    with pytest.raises(DataError, match="stat='range' is unknown"):
        _posterior().pp_check("stat", stat="range")
