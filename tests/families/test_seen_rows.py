"""Censored and truncated responses: what can be seen has probability one, derivatives are those of differences, JAX agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmmformula.errors import PlanError
from lmmformula.families import Family, resolve
from lmmformula.families.observed import Observed
from lmmformula.families.seen import Seen
from lmmformula.typing import Numbers

CASES: dict[str, tuple[float, ...]] = {
    "gaussian": (0.3,),
    "lognormal": (-0.5,),
    "student(df=4)": (0.2,),
    "gamma": (-0.4,),
    "inverse_gaussian": (-0.6,),
    "weibull": (0.3,),
    "exponential": (),
    "exgaussian": (0.1, 0.4),
    "poisson": (),
    "nbinom1": (0.5,),
    "nbinom2": (0.4,),
    "geometric": (),
    "genpois": (0.6,),
    "zero_inflated_poisson": (-0.7,),
    "truncated_nbinom2": (0.4,),
    "hurdle_poisson": (-0.3,),
}
"""Auxiliary predictors at which each is tested."""

ETA = np.array([0.3, 0.8, -0.2, 1.1, 0.5, 0.4, 0.9, 0.2])
KINDS = np.array([2, -1, 1, 2, 0, 0, 1, 2])


def seen(name: str) -> Family:
    family = resolve(name)
    return replace(family, distribution=Seen(family.distribution, censored=True, truncated=True))


def rows(family: Family) -> Observed:
    """Every kind of censoring, with bounds, one bound and none."""
    if family.is_discrete:
        y = np.array([2.0, 1.0, 3.0, 1.0, 4.0, 2.0, 5.0, 1.0])
        y2 = np.array([5.0, 2.0, 9.0, 4.0, 4.0, 2.0, 9.0, 2.0])
        least = np.array([-np.inf, 1, -np.inf, -np.inf, 1, -np.inf, 1, 1])
    else:
        y = np.array([0.5, 1.0, 2.0, 0.3, 1.5, 0.7, 1.2, 0.4])
        y2 = np.array([1.5, 2.0, 2.3, 4.0, 1.5, 0.9, 3.0, 0.41])
        least = np.array([-np.inf, 0.2, -np.inf, -np.inf, 0.1, -np.inf, 0.1, 0.2])
    most = np.array([np.inf, np.inf, np.inf, 8.0, 9.0, 3.0, 20.0, 6.0])
    lo = np.where(KINDS == -1, -np.inf, y)
    hi = np.select([KINDS == 1, KINDS == 2], [np.inf, y2], y)
    return Observed(y, np.column_stack([lo, hi, least, most]))


def probability(family: Family, y: Observed, aux: tuple[float, ...]) -> np.ndarray:
    """By the distribution function, or the density where y was seen."""
    lo, hi, least, most = y.known.T
    if family.is_discrete:
        least = np.where(np.isfinite(least), np.ceil(least) - 1.0, least)

    def cdf(at: np.ndarray) -> np.ndarray:
        inside = np.isfinite(at)
        return np.where(inside, family.cdf(np.where(inside, at, 1.0), ETA, aux), np.where(at > 0, 1.0, 0.0))

    own = np.exp(family.rows(y.plain, ETA, aux, derivatives=False).loglik)
    between = cdf(np.minimum(hi, most)) - cdf(np.maximum(lo, least))
    return np.where(lo == hi, own, between) / (cdf(most) - cdf(least))


@pytest.mark.parametrize("name", CASES)
def test_a_row_has_the_probability_of_what_is_known(name: str) -> None:
    family = resolve(name)
    y = rows(family)
    found = seen(name).rows(y, ETA, CASES[name], derivatives=False).loglik
    np.testing.assert_allclose(found, np.log(probability(family, y, CASES[name])), atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_differences(name: str) -> None:
    family, aux, h = seen(name), CASES[name], 1e-5
    y = rows(family)
    own = family.rows(y, ETA, aux)

    def slope(of: str, j: int | None = None) -> np.ndarray:
        def at(step: float) -> np.ndarray:
            moved = tuple(a + step * (i == j) for i, a in enumerate(aux))
            return getattr(family.rows(y, ETA + step * (j is None), moved), of)

        return (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)

    assert own.weight_eta is not None
    np.testing.assert_allclose(own.score, slope("loglik"), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(own.weight, -slope("score"), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(own.weight_eta, slope("weight"), rtol=1e-6, atol=1e-7)
    for j in range(len(aux)):
        np.testing.assert_allclose(own.d_aux[j], slope("loglik", j), rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(own.score_aux[j], slope("score", j), rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(own.weight_aux[j], slope("weight", j), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["gaussian", "gamma", "weibull", "nbinom2"])
def test_the_density_that_jax_traces_is_that_of_the_rows(name: str) -> None:
    import jax
    import jax.numpy as jnp

    from lmmformula.numerics.programs import compiled_loops
    from lmmformula.numerics.x64 import x64

    family, aux = seen(name), CASES[name]
    y = rows(family)
    own = family.rows(y, ETA, aux)
    with x64():
        density = family.log_density(y, None, jnp)
        a: Numbers = tuple(map(jnp.asarray, aux))
        at: Numbers = jnp.asarray(ETA)
        both = jax.jit(lambda e: (density(e, a), jax.grad(lambda f: density(f, a).sum())(e)))
        values, slopes = compiled_loops(both.lower(at), optimise=False)(at)
    np.testing.assert_allclose(np.array(values), own.loglik, atol=1e-11)
    np.testing.assert_allclose(np.array(slopes), own.score, atol=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "weibull", "poisson"])
def test_what_can_be_seen_has_probability_one(name: str) -> None:
    """Seen within a window, censored on either side of it, all of a truncated response."""
    family, aux = seen(name), CASES[name]
    least, low, high, most = (0.0, 1.0, 4.0, 9.0) if family.is_discrete else (0.1, 0.6, 2.5, 7.0)
    if family.is_discrete:
        at, measure = np.arange(low + 1.0, high + 1.0), 1.0
    else:
        nodes, weights = np.polynomial.legendre.leggauss(60)
        at, measure = low + (high - low) * (nodes + 1.0) / 2.0, weights * (high - low) / 2.0
    lo, hi = np.append(at, [-np.inf, high]), np.append(at, [low, np.inf])
    bounds = np.tile([least, most], (len(lo), 1))
    y = Observed(np.append(at, [low, high]), np.column_stack([lo, hi, bounds]))
    for eta in (-0.4, 0.7):
        p = np.exp(family.rows(y, np.full(len(lo), eta), aux, derivatives=False).loglik)
        assert np.sum(p[:-2] * measure) + p[-2:].sum() == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("eta", [-300.0, 300.0])
def test_far_out_it_stays_finite(eta: float) -> None:
    family = seen("gaussian")
    lo, hi = np.array([-np.inf, 1.0, 1.0]), np.array([0.0, np.inf, 2.0])
    y = Observed(np.array([0.0, 1.0, 1.0]), np.column_stack([lo, hi, np.tile([-np.inf, np.inf], (3, 1))]))
    own = family.rows(y, np.full(3, eta), (0.0,))
    assert own.weight_eta is not None
    for values in (own.loglik, own.score, own.weight, own.weight_eta, *own.d_aux):
        assert np.isfinite(values).all()
    assert (own.weight >= -1e-9).all()


def test_bounds_go_with_their_rows() -> None:
    y = rows(resolve("gaussian"))
    some = y[np.array([6, 0])]
    np.testing.assert_array_equal(some.known, y.known[[6, 0]])
    np.testing.assert_array_equal(y[2:5].known, y.known[2:5])
    np.testing.assert_array_equal((y / 10.0).known, y.known / 10.0)
    assert type(y - 1.0) is np.ndarray
    assert type(np.log(y)) is np.ndarray
    assert y.exactly(y.plain + 1.0).is_exact.all()


def test_responses_that_lost_their_bounds_are_refused() -> None:
    family = seen("gaussian")
    for y in (np.ones(3), rows(resolve("gaussian")).reshape(2, 4)[0]):
        with pytest.raises(PlanError, match="only bounds are known"):
            family.rows(y, np.zeros(len(y)), (0.0,))


def test_quantiles_are_within_what_is_known() -> None:
    family = seen("gaussian")
    y = rows(resolve("gaussian"))
    upper, lower = family.cdf(y, ETA, (0.3,)), family.cdf(y, ETA, (0.3,), below=True)
    exact = y.is_exact
    np.testing.assert_allclose(upper[exact], lower[exact])
    assert (upper[~exact] > lower[~exact]).all()
    assert (lower[KINDS == -1] == 0.0).all()
    assert (upper[KINDS == 1] == 1.0).all()
