"""Densities of many draws at once: of Laplace's approximation where levels are independent, and without random effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmmformula import build, fit, load_dataset
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.density.outer import Outer
from lmmformula.backends.posterior.recovery.laplace import recover_modes
from lmmformula.backends.posterior.routes.choose import choose_route
from lmmformula.backends.posterior.routes.partial import Partial
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import PlanError
from lmmformula.ir.prior_defaults import resolve_priors

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


def test_importance_sampling_without_random_effects_is_the_posterior_of_one_number() -> None:
    """A Poisson mean, by quadrature on a grid."""
    data = load_dataset("cbpp")
    priors = {"Intercept": "normal(0, 1)"}
    arguments: dict[str, Any] = {"family": "poisson", "method": "hmc", "sampler": "importance", "seed": 1}
    m = fit("incidence ~ 1", data, priors=priors, draws=500, **arguments)
    grid = np.linspace(-1.0, 2.0, 4_001)
    y = data["incidence"].to_numpy()
    log_p = y.sum() * grid - len(y) * np.exp(grid) - 0.5 * grid**2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = float(p @ grid)
    sd = float(np.sqrt(p @ (grid - mean) ** 2))
    assert m.posterior is not None
    assert m.posterior.sampler == "importance"
    drawn = m.posterior.beta.ravel()
    assert abs(float(drawn.mean()) - mean) < 5.0 * sd / np.sqrt(len(drawn))
    assert float(drawn.std()) == pytest.approx(sd, rel=0.12)


def test_sigma_with_a_formula_and_all_effects_integrated_out_has_few_coordinates() -> None:
    problem = build("bf(Reaction ~ Days + (1 | Subject), sigma ~ Days)", load_dataset("sleepstudy"))
    route, engine = choose_route(problem), exact_engine()
    assert isinstance(route, Partial)
    route.check_sampler("importance", problem)
    joint = route.density(problem, engine, resolve_priors(problem), None, None)
    density = Outer(joint, route.folded(joint))
    ((place, _),) = density.folded
    x = density.begin + 0.1 * np.random.default_rng(1).standard_normal((3, density.d))
    turned = x.copy()
    turned[:, place] *= -1.0
    values = density.log_densities(x)
    np.testing.assert_allclose(density.log_densities(turned), values, rtol=1e-10)
    np.testing.assert_allclose([density.value_and_gradient(own)[0] for own in x], values, rtol=1e-10)


@pytest.mark.parametrize(
    ("formula", "arguments", "says"),
    [
        (
            "bf(Reaction ~ (1 | Subject), sigma ~ (1 | Subject))",
            {},
            "18 random effects of sigma:Subject .* do not integrate out",
        ),
        (
            "Reaction ~ (1 | Subject)",
            {"marginalize": "none"},
            "18 random effects of Subject .* marginalize='all'",
        ),
    ],
)
def test_importance_sampling_names_the_effects_that_are_sampled(
    formula: str, arguments: Any, says: str
) -> None:
    problem = build(formula, load_dataset("sleepstudy"))
    with pytest.raises(PlanError, match=says):
        choose_route(problem, **arguments).check_sampler("importance", problem)
