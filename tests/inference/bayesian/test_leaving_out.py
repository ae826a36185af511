"""Leave-one-out and K-fold of posteriors, against closed forms, dense densities and fits without the rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows
from scipy.stats import t as student

from lmmformula import DataError, Fit, PlanError, fit, load_dataset, loo_compare
from lmmformula.families import resolve
from lmmformula.inference.bayesian.elpd import stacking_weights
from lmmformula.inference.bayesian.loo import smoothed, trusted_k, unit_log_likelihood
from lmmformula.inference.bayesian.refitting import log_density_of, without
from lmmformula.inference.posterior import flat

DATA = rows()


@cache
def _posterior(formula: str = "y ~ x + (x | g) + (1 | f)", draws: int = 1000) -> Fit:
    return fit(formula, DATA, method="hmc", sampler="importance", draws=draws, chains=2, seed=1, weights="w")


@cache
def _sleepstudy() -> Fit:
    sleep = load_dataset("sleepstudy")
    return fit(
        "Reaction ~ Days + (Days | Subject)", sleep, method="hmc", sampler="importance", draws=1000, seed=1
    )


@cache
def _linear() -> Fit:
    """A linear model, but for effects of groups whose prior leaves them at zero."""
    priors = {"b": "normal(0, 100)", "sd": "half_normal(0.001)"}
    return fit("y ~ x + f + (1 | g)", DATA, method="hmc", sampler="importance", seed=2, priors=priors)


def _linear_loo(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log p(y_i | y_-i) of a linear model under flat priors for beta and log sigma: t on n - 1 - p df."""
    out = []
    for i in range(len(y)):
        keep = np.arange(len(y)) != i
        inverse = np.linalg.inv(x[keep].T @ x[keep])
        beta = inverse @ x[keep].T @ y[keep]
        df = keep.sum() - x.shape[1]
        s2 = np.sum((y[keep] - x[keep] @ beta) ** 2) / df
        out.append(student.logpdf(y[i], df, x[i] @ beta, np.sqrt(s2 * (1 + x[i] @ inverse @ x[i]))))
    return np.array(out)


def test_a_linear_model_has_its_closed_form() -> None:
    m = _linear()
    exact = _linear_loo(m.problem.X.matrix, m.problem.y)
    found = m.loo()
    assert np.abs(found.pointwise["elpd"] - exact).max() < 0.03
    assert found.elpd == pytest.approx(exact.sum(), abs=0.15)
    assert 3.5 < found.p < 6.5  # four coefficients and sigma
    assert not len(found.bad)


def test_rows_by_a_fit_without_them_have_their_closed_form() -> None:
    m = _linear()
    gone = np.array([3])
    again = without(m, gone)
    assert again.nobs == m.nobs - 1
    exact = _linear_loo(m.problem.X.matrix, m.problem.y)[gone]
    assert log_density_of(again, m, gone) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("group", ["g", "f"])
def test_density_of_a_level_is_that_of_the_dense_covariance_matrix(group: str) -> None:
    m = _posterior()
    found, levels = unit_log_likelihood(m, group)
    problem, posterior = m.problem, m.posterior
    assert posterior is not None
    assert posterior.effects is not None
    assert problem.weights is not None
    own = next(i for i, t in enumerate(problem.terms) if t.group == group)
    other = 1 - own
    assert list(levels) == list(problem.terms[own].levels)
    for s, level in ((0, 0), (7, 2), (1500, 1)):
        at = problem.terms[own].codes == level
        z, z_other = (
            np.ones((problem.n, 1)) if (b := problem.terms[i].basis) is None else b for i in (own, other)
        )
        effects = flat(posterior.effects[other])[s][problem.terms[other].codes[at]]
        mean = problem.X.matrix[at] @ flat(posterior.beta)[s] + np.sum(z_other[at] * effects, axis=1)
        sds = [posterior[name].reshape(-1)[s] for name in posterior.names if name.startswith(f"sd:{group}:")]
        spread = np.diag(np.square(sds))
        if group == "g":
            spread[0, 1] = spread[1, 0] = posterior["cor:g:Intercept:x"].reshape(-1)[s] * sds[0] * sds[1]
        sigma = posterior["sigma"].reshape(-1)[s]
        cov = z[at] @ spread @ z[at].T + np.diag(sigma**2 / problem.weights[at])
        r = np.linalg.solve(np.linalg.cholesky(cov), problem.y[at] - mean)
        dense = -0.5 * (r @ r + np.linalg.slogdet(2.0 * np.pi * cov)[1])
        assert found[s, level] == pytest.approx(dense, rel=1e-9)


def test_moved_draws_come_near_to_a_fit_without_the_row() -> None:
    """Rows of subject 332 and 309; by fits of 20,000 draws without them -14.3, -21.1 and -15.5 (spread .05)."""
    plain, moved = _sleepstudy().loo(), _sleepstudy().loo(moment_match=True)
    changed = moved.pointwise.index[(moved.pointwise["how"] == "moments").to_numpy()]
    assert set(plain.bad) == set(changed)
    assert {56, 59} <= set(changed)
    assert not len(moved.bad)
    assert moved.pointwise.loc[56, "elpd"] == pytest.approx(-21.1, abs=0.6)
    assert moved.pointwise.loc[59, "elpd"] == pytest.approx(-15.5, abs=0.4)
    same = moved.pointwise.index.difference(changed)
    pd.testing.assert_frame_equal(moved.pointwise.loc[same], plain.pointwise.loc[same])


def test_rows_that_cannot_be_trusted_are_fitted_without() -> None:
    found = _sleepstudy().loo(reloo=True)
    again = found.pointwise[(found.pointwise["how"] == "refit").to_numpy()]
    assert list(again.index) == list(_sleepstudy().loo().bad)
    assert again.loc[56, "elpd"] == pytest.approx(-21.1, abs=0.7)


def test_folds() -> None:
    m = _posterior("y ~ x + f + (1 | g)", 500)
    by_row, by_group = m.kfold(3, seed=4), m.kfold(4, group="g", seed=4)
    assert by_row.pointwise.index.equals(m.fittedvalues.index)
    assert by_row.elpd == pytest.approx(m.loo().elpd, abs=3 * by_row.se / np.sqrt(len(DATA)) + 6)
    assert by_group.elpd < by_row.elpd - 10  # effects of other groups are not known
    assert by_row.elpd == m.kfold(3, seed=4).elpd
    with pytest.raises(DataError, match="same units"):
        loo_compare(by_row, by_group)
    with pytest.raises(DataError, match="must lie between 2 and 8"):
        m.kfold(9, group="g")
    with pytest.raises(DataError, match="no grouping factor"):
        m.kfold(3, group="x")


def test_comparison() -> None:
    full, small = _posterior("y ~ x + f + (1 | g)", 500).loo(), _posterior("y ~ 1 + (1 | g)", 500).loo()
    table = loo_compare({"small": small, "full": full})
    assert list(table.index) == ["full", "small"]
    assert table["elpd_diff"].iloc[0] == 0.0
    difference = (small.pointwise["elpd"] - full.pointwise["elpd"]).to_numpy()
    assert table.loc["small", "elpd_diff"] == pytest.approx(difference.sum())
    assert table.loc["small", "se_diff"] == pytest.approx(np.sqrt(len(difference)) * difference.std(ddof=1))
    assert float(np.sum(table["weight"])) == pytest.approx(1.0)
    with pytest.raises(DataError, match="two models or more"):
        loo_compare(full)


def test_stacking_weights_are_the_best_mixture() -> None:
    rng = np.random.default_rng(3)
    elpd = rng.normal([-1.8, -2.0], 1.0, (200, 2))
    w = stacking_weights(elpd)
    grid = np.linspace(0, 1, 2001)
    scores = [np.log(v * np.exp(elpd[:, 0]) + (1 - v) * np.exp(elpd[:, 1])).sum() for v in grid]
    assert w[0] == pytest.approx(grid[int(np.argmax(scores))], abs=1e-3)


def test_smoothed_weights_agree_with_arviz() -> None:
    arviz = pytest.importorskip("arviz_stats")
    m = _posterior("y ~ x + f + (1 | g)", 1000)
    theirs = arviz.loo(m.to_datatree(predictive=False), pointwise=True, reff=1.0)
    log_lik, _ = unit_log_likelihood(m, None)
    ours = smoothed(log_lik)
    np.testing.assert_allclose(ours.elpd, np.ravel(theirs.elpd_i), atol=2e-3)
    np.testing.assert_allclose(ours.k, np.ravel(theirs.pareto_k), atol=2e-2)


def test_few_draws_trust_less() -> None:
    assert trusted_k(100) == pytest.approx(0.5)
    assert trusted_k(4000) == 0.7


def test_refusals() -> None:
    m = _posterior()
    count = replace(m, problem=replace(m.problem, family=resolve("poisson")))
    with pytest.raises(PlanError, match="use kfold"):
        count.loo("g")
    with pytest.raises(DataError, match="for rows"):
        _posterior().loo("g", reloo=True)
    with pytest.raises(PlanError, match="fit with method='hmc'"):
        KINDS["reml"](DATA).loo()
