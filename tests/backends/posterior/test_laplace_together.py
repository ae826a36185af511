"""Laplace densities of many draws at once, where levels are independent: those of each draw by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmmformula import build, load_dataset
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.recovery.laplace import recover_modes
from lmmformula.engines.registry import exact_engine
from lmmformula.ir.priors import resolve_priors

MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "binomial": (
        "incidence / size ~ period + (1 | herd)",
        "cbpp",
        {"family": "binomial", "weights": "size"},
    ),
    "size": ("incidence ~ period + (1 | herd)", "cbpp", {"family": "nbinom2"}),
    "slopes": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {"family": "gamma(link='log')"}),
    "two terms": (
        "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)",
        "sleepstudy",
        {"family": "poisson"},
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_draws_together_are_draws_one_by_one(name: str) -> None:
    formula, data, arguments = MODELS[name]
    table = load_dataset(data)
    if name == "two terms":
        table["Reaction"] = np.round(table["Reaction"])
    problem = build(formula, table, **arguments)
    engine = exact_engine()
    density = LaplaceDensity.of(problem, engine, resolve_priors(problem))
    assert density.together(density.begin[None]) is None  # without modes to start from
    density = density.settled()
    rng = np.random.default_rng(1)
    scale = density.scale()
    x = scale.mode + 1.5 * rng.standard_normal((40, density.d)) @ scale.half.T
    one_by_one = np.array([density(own).value for own in x])
    np.testing.assert_allclose(density.log_densities(x), one_by_one, rtol=1e-9, atol=1e-7)

    effects = recover_modes(density, x.reshape(4, 10, -1), np.random.SeedSequence(1))
    points = [density(own).laplace for own in x]
    modes = [p.u[0] @ p.factors[0].T for p in points]
    spreads = [
        np.einsum("ij,mjl,il->mi", p.factors[0], p.factor.inverse().diagonal(0), p.factors[0]) for p in points
    ]
    mean = np.mean(modes, axis=0)
    sd = np.sqrt(np.mean(spreads, axis=0) + np.mean(np.square(modes), axis=0) - mean**2)
    np.testing.assert_allclose(np.hstack(effects.means), mean, atol=1e-7)
    np.testing.assert_allclose(np.hstack(effects.sds), sd, rtol=1e-6)
    assert effects.draws is not None
    assert [d.shape for d in effects.draws] == [(4, 10, t.m, t.k) for t in problem.terms]
    z = (np.concatenate(effects.draws, axis=-1).reshape(40, *mean.shape) - modes) / np.sqrt(spreads)
    assert abs(float(z.mean())) < 5.0 / np.sqrt(z.size)
    assert float((z**2).mean()) == pytest.approx(1.0, abs=8.0 / np.sqrt(z.size))
