"""Weighted draws of Laplace's approximation are those of the exact posterior, by quadrature over all random effects."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit, plan
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.record import Diagnostics
from lmmformula.backends.posterior.recovery.corrected import weighted_draws
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import PlanError
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.typing import Array


def _table(levels: int = 5, rows: int = 25) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    g, h, x = rng.permutation(rows) % levels, rng.permutation(rows) % 2, rng.standard_normal(rows)
    eta = 0.4 + 0.5 * x + 1.2 * rng.standard_normal(levels)[g] + 0.6 * np.array([-1.0, 1.0])[h]
    y = (rng.uniform(size=rows) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h})


def _density(formula: str, levels: int) -> LaplaceDensity:
    problem = build(formula, _table(levels), family="binomial")
    return LaplaceDensity.of(problem, exact_engine(), resolve_priors(problem)).settled()


def _by_quadrature(density: LaplaceDensity, x: Array, nodes: int) -> tuple[float, list[Array]]:
    """-2 log of the likelihood at x, and conditional means of u, by a grid over all of u around its mode."""
    point, problem = density(x).laplace, density.model.problem
    sizes = [u.size for u in point.u]
    m = np.zeros((sum(sizes), sum(sizes)))
    z = np.hstack([np.eye(t.m)[t.codes] * f[0, 0] for t, f in zip(problem.terms, point.factors, strict=True)])
    eta = problem.X.matrix @ density.mean.beta(x)
    mode = np.concatenate([u.ravel() for u in point.u])
    p = 1.0 / (1.0 + np.exp(-(eta + z @ mode)))
    m = z.T @ ((p * (1.0 - p))[:, None] * z) + np.eye(len(mode))
    half = np.linalg.inv(np.linalg.cholesky(m)).T
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(product(at, repeat=len(mode))))
    log_w = np.log(np.array(list(product(weight, repeat=len(mode))))).sum(axis=1)
    u = mode + grid @ half.T
    own = eta + u @ z.T
    log_p = (problem.y * own - np.logaddexp(0.0, own)).sum(axis=1) - 0.5 * (u**2).sum(axis=1)
    log_p += log_w + 0.5 * (grid**2).sum(axis=1) - 0.5 * len(mode) * np.log(2.0 * np.pi)
    top = log_p.max()
    share = np.exp(log_p - top)
    logdet = float(np.linalg.slogdet(m)[1])
    means = np.split(share @ u / share.sum(), np.cumsum(sizes)[:-1])
    return logdet - 2.0 * (top + float(np.log(share.sum()))), means


@pytest.mark.parametrize(
    ("formula", "levels"),
    [("y ~ x + (1 | g)", 5), ("y ~ x + (1 | g) + (1 | h)", 3)],
    ids=["levels", "crossed"],
)
def test_weights_are_the_exact_density_over_that_of_the_draws(formula: str, levels: int) -> None:
    density = _density(formula, levels)
    x = density.scale().mode + 0.5 * density.scale().half @ np.ones(density.d)
    deviance, means = _by_quadrature(density, x, 9)
    expected = 0.5 * (density(x).laplace.deviance - deviance)
    assert abs(expected) > 0.02  # there is something to correct
    copies = np.repeat(x[None], 400, axis=0)
    pieces = list(weighted_draws(density, copies, np.random.SeedSequence(1)))
    weights = np.exp(np.concatenate([w for w, _ in pieces]))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - np.exp(expected)) < 5.0 * error
    assert error < 0.03
    for a, (lower, exact) in enumerate(zip(density(x).laplace.factors, means, strict=True)):
        b = np.concatenate([own[a] for _, own in pieces])[..., 0] / lower[0, 0]
        gaps = weights[:, None] * (b - exact)  # of mean zero
        assert (np.abs(gaps.mean(axis=0)) < 5.0 * gaps.std(axis=0) / np.sqrt(len(gaps))).all()


def test_a_corrected_fit_has_the_exact_posterior() -> None:
    """Beside draws of the plain fit, weighted by quadrature of each level."""
    table = _table(levels=24, rows=72)
    given: dict[str, Any] = {"family": "binomial", "method": "hmc", "marginalize": "laplace", "seed": 1}
    plain, ours = (fit("y ~ x + (1 | g)", table, correct=own, **given).posterior for own in (False, True))
    assert plain is not None
    assert ours is not None
    assert np.isnan(plain.correction_k)
    assert ours.correction_k < 0.7
    assert ours.correction_efficiency > 0.7
    beta, sd = plain.beta.reshape(-1, 2), plain.variances.ravel()
    at, weight = np.polynomial.hermite_e.hermegauss(41)
    eta = (beta @ np.array([np.ones(len(table)), table["x"]]))[..., None] + sd[:, None, None] * at
    rows = table["y"].to_numpy()[:, None] * eta - np.logaddexp(0.0, eta)
    levels = np.array([rows[:, (table["g"] == g).to_numpy()].sum(axis=1) for g in range(24)])
    exact = np.log(np.exp(levels) @ weight).sum(axis=0) - 12.0 * np.log(2.0 * np.pi)
    problem = build("y ~ x + (1 | g)", table, family="binomial")
    density = LaplaceDensity.of(problem, exact_engine(), resolve_priors(problem)).settled()
    x = plain.x.reshape(-1, density.d)
    laplace = density.log_densities(x) - np.sum([p.log_prior(x) for p in density.predictors], axis=0)
    share = np.exp(exact - laplace - (exact - laplace).max())
    share /= share.sum()
    for theirs, mine in zip(
        (*beta.T, sd), (*ours.beta.reshape(-1, 2).T, ours.variances.ravel()), strict=True
    ):
        mean = float(share @ theirs)
        spread = float(np.sqrt(share @ (theirs - mean) ** 2))
        assert abs(float(mine.mean()) - mean) < 0.08 * spread  # both of some 3,000 effective draws
        assert float(mine.std()) == pytest.approx(spread, rel=0.08)
    shift = abs(float(plain.variances.mean() - ours.variances.mean()))
    assert shift > 0.08 * float(ours.variances.std())  # which Laplace's approximation misses by more
    assert ours.log_evidence - plain.log_evidence == pytest.approx(
        float(np.log(np.exp(exact - laplace).mean())), abs=0.05
    )


def test_weights_that_cannot_be_trusted_are_told() -> None:
    one = np.ones(1)
    told = Diagnostics(("x",), one, 1e4 * one, 1e4 * one, np.zeros(0), correction_k=0.9)
    assert "Pareto k of the weights that correct Laplace's approximation is 0.90" in told.advice[0]
    assert "marginalize='none'" in told.advice[0]


@pytest.mark.parametrize(
    ("formula", "given"),
    [("y ~ x + (1 | g)", {"family": "binomial"}), ("y ~ x + (1 | g)", {}), ("y ~ x", {"family": "binomial"})],
)
def test_what_is_not_approximated_is_not_corrected(formula: str, given: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="correct=True weights draws by Laplace's approximation"):
        fit(formula, _table(), method="hmc", correct=True, **given)


def test_plans_count_what_weights_of_draws_take() -> None:
    asked: dict[str, Any] = {"family": "binomial", "method": "hmc", "marginalize": "laplace"}
    seconds = {}
    for rows, draws in ((100, 1_000), (1_000, 1_000), (100, 4_000)):
        plain, corrected = (
            plan("y ~ x + (1 | g)", _table(5, rows), draws=draws, correct=correct, **asked)
            for correct in (False, True)
        )
        assert any("correct=True" in reason for reason in corrected.reasons)
        seconds[rows, draws] = corrected.seconds - plain.seconds
    first = seconds[100, 1_000]
    assert first > 0.0
    assert seconds[1_000, 1_000] == pytest.approx(10.0 * first)
    assert seconds[100, 4_000] == pytest.approx(4.0 * first)
