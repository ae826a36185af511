"""Draws of (beta, b) by perturbed equations have the exact conditional mean and covariance, also with weights and t priors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import build
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.recovery.gaussian import recover
from lmmformula.backends.posterior.recovery.perturbed import Perturbed
from lmmformula.engines.registry import exact_engine
from lmmformula.ir.prior_defaults import resolve_priors


def _density(priors: dict[str, str] | None = None) -> VarianceDensity:
    rng = np.random.default_rng(3)
    n = 120
    table = pd.DataFrame(
        {"g": rng.integers(0, 6, n), "h": rng.integers(0, 4, n), "x": rng.standard_normal(n)}
    )
    table["w"] = rng.uniform(0.5, 2.0, n)
    table["y"] = 1.0 + table["x"] + rng.standard_normal(6)[table["g"]] + rng.standard_normal(n)
    problem = build("y ~ x + (x | g) + (1 | h)", table, weights="w")
    return VarianceDensity.of(problem, exact_engine(), resolve_priors(problem, priors))


@pytest.mark.parametrize("priors", [None, {"b": "student_t(4, 0, 2)"}])
def test_means_and_covariances_are_those_of_the_dense_normal(priors: dict[str, str] | None) -> None:
    density, rng = _density(priors), np.random.default_rng(1)
    own, model = density.coordinates, density.model
    x = density.begin + 0.05 * rng.standard_normal((2, density.d))
    drawn = np.repeat(x, 3_000, axis=0)
    pieces = list(Perturbed(density, x.mean(axis=0)).pieces(drawn, np.random.SeedSequence(1)))
    assert all(p.solved.all() for p in pieces)
    rows = np.concatenate([p.places for p in pieces])
    assert (rows == np.arange(len(drawn))).all()
    means = np.hstack(
        [np.concatenate([p.delta for p in pieces])]
        + [np.concatenate([p.means[a] for p in pieces]).reshape(len(drawn), -1) for a in range(2)]
    )
    noise = np.hstack(
        [np.concatenate([p.delta_noise for p in pieces])]
        + [np.concatenate([p.noise[a] for p in pieces]).reshape(len(drawn), -1) for a in range(2)]
    )
    problem, ols = model.problem, model.base.ols
    w = np.asarray(problem.weights)
    q = problem.X.matrix @ ols.r_inverse
    blocks: Any = model.base.prepared.blocks
    z = np.hstack([rows.design().toarray() for rows in blocks.own])
    for i, at in enumerate(x):
        values = own.values(at)
        sigma = float(values[own.sigma])
        log_var = model.log_var0 + own.log_mixing(values)
        lows = own.factors(values)
        prior = [np.linalg.inv(np.kron(np.eye(m), low @ low.T)) for m, low in zip((6, 4), lows, strict=True)]
        design = np.hstack([q, z])
        precision = design.T @ (w[:, None] * design) / sigma**2
        precision[:2, :2] += model.shape.T @ (np.exp(-log_var)[:, None] * model.shape)
        precision[2:14, 2:14] += prior[0]
        precision[14:, 14:] += prior[1]
        residual = problem.y - problem.X.matrix @ ols.coefficients
        side = design.T @ (w * residual) / sigma**2
        side[:2] -= model.shape.T @ (np.exp(-log_var) * model.shift)
        covariance = np.linalg.inv(precision)
        sd = np.sqrt(np.diagonal(covariance))
        part = slice(3_000 * i, 3_000 * (i + 1))
        np.testing.assert_allclose(
            means[part] / sd, np.broadcast_to(covariance @ side / sd, (3_000, len(sd))), atol=5e-3
        )
        turned = np.linalg.solve(np.linalg.cholesky(covariance), noise[part].T)
        assert abs(turned.mean()) < 5.0 / np.sqrt(turned.size)
        # each entry of the sample covariance of 3,000 standard normals has a standard error of at most sqrt(2 / 3000)
        np.testing.assert_allclose(np.cov(turned), np.eye(len(sd)), atol=5.0 * np.sqrt(2.0 / 3_000))


def test_large_problems_are_recovered_by_it_with_the_moments_of_small_ones() -> None:
    density = _density()
    x = density.begin + 0.05 * np.random.default_rng(2).standard_normal((2, 500, density.d))
    small = recover(density, x, np.random.SeedSequence(1))

    @dataclass(frozen=True, eq=False)
    class Large(VarianceDensity):
        @property
        def is_small(self) -> bool:
            return False

    large = recover(Large(density.model, density.coordinates, density.begin), x, np.random.SeedSequence(1))
    sd = np.sqrt(np.diagonal(small[0].cov))
    np.testing.assert_allclose(large[0].mean / sd, small[0].mean / sd, atol=5e-3)
    np.testing.assert_allclose(np.sqrt(np.diagonal(large[0].cov)), sd, rtol=4.0 / np.sqrt(2 * 1_000))
    assert large[1].draws is not None
    for a in range(2):
        spread = small[1].sds[a]
        np.testing.assert_allclose(large[1].means[a] / spread, small[1].means[a] / spread, atol=5e-3)
        np.testing.assert_allclose(large[1].sds[a], spread, rtol=4.5 / np.sqrt(2 * 1_000))
        assert large[1].draws[a].shape == (2, 500, *spread.shape)
