"""Families of categories keep the contract of all families."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_family_draws
import test_rows
from contract import aux_of, grid

from lmmformula.families import OUTCOMES, Family, make_family
from lmmformula.families.autodiff import differentiated
from lmmformula.numerics.x64 import x64

CATEGORIES = (np.arange(4), ("a", "b", "c", "d"))

EVERY = [
    make_family(f.distribution, link).of_response([CATEGORIES])
    for f in OUTCOMES.values()
    for link in f.distribution.links
    if not f.distribution.tallies  # their responses are several numbers: test_multinomial.py
]
SHAPED = [
    replace(f, distribution=replace(f.distribution, threshold=kind))  # type: ignore[call-arg]
    for f in EVERY
    for kind in ("equidistant", "symmetric", "symmetric2")
    if f.name != "categorical" and f.link in ("logit", "cloglog")
]


SCALED = [
    f.with_parameters(["disc"])
    for f in (*EVERY, *SHAPED[:2])
    if f.name != "categorical" and f.link != "cauchit"
]


@pytest.mark.parametrize("family", SCALED, ids=str)
def test_derivatives_in_discrimination(family: Family) -> None:
    assert family.auxiliaries[0].name == "disc"
    test_rows.test_derivatives_in_eta(family, "observed")
    test_rows.test_derivatives_in_auxiliaries(family, "observed")
    test_rows.test_cheap_rows_and_arrays_of_auxiliaries_agree(family)
    y, eta, w = grid(family)
    aux = (0.4, *aux_of(family)[1:])
    ours = family.log_density(y, w, np)(eta, tuple(np.asarray(a) for a in aux))
    np.testing.assert_allclose(ours, family.rows(y, eta, aux, w).loglik, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("family", [*EVERY, *SHAPED], ids=str)
def test_derivatives(family: Family) -> None:
    test_rows.test_derivatives_in_eta(family, "observed")
    test_rows.test_derivatives_in_auxiliaries(family, "observed")
    test_rows.test_cheap_rows_and_arrays_of_auxiliaries_agree(family)


@pytest.mark.parametrize("family", [*EVERY, *SHAPED], ids=str)
def test_probabilities_and_moments(family: Family) -> None:
    test_rows.test_expected_weight_is_the_expectation(family)
    test_rows.test_mean_and_variance_are_moments(family)
    test_family_draws.test_distribution_function_adds_up_the_density(family)
    eta, aux = np.array([-30.0, -2.0, 0.4, 30.0]), aux_of(family)
    shares = family.probabilities(eta, aux)
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, rtol=1e-12)
    for k, share in enumerate(shares, 1):
        loglik = family.rows(np.full(4, float(k)), eta, aux, derivatives=False).loglik
        np.testing.assert_allclose(np.exp(loglik), share, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_draws_follow(family: Family) -> None:
    test_family_draws.test_draws_follow_the_distribution_function(family)


@pytest.mark.parametrize("family", EVERY, ids=str)
def test_one_density_in_two_namespaces(family: Family) -> None:
    y, eta, w = grid(family)
    ours = family.log_density(y, w, np)(eta, tuple(np.asarray(a) for a in aux_of(family)))
    np.testing.assert_allclose(ours, family.rows(y, eta, aux_of(family), w).loglik, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("family", [f for f in EVERY if f.link in ("logit", "loglog")], ids=str)
def test_posteriors_trace_the_density_of_laplace(family: Family) -> None:
    """The log density over JAX, and its slopes in all predictors, are the rows of a likelihood."""
    import jax
    import jax.numpy as jnp

    y, eta, w = grid(family)
    aux = tuple(np.full(y.size, a) for a in aux_of(family))
    rows = family.rows(y, eta, aux, w)
    with x64():
        each = family.log_density(y, w, jnp)
        value, pull = jax.vjp(each, eta, aux)
        score, slopes = pull(jnp.ones(y.size))
        found = [np.array(v) for v in (value, score, *slopes)]
    for mine, its in zip(found, (rows.loglik, rows.score, *rows.d_aux), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-8 * max(1.0, np.abs(its).max()))


@pytest.mark.parametrize("name", ["cumulative", "categorical"])
def test_third_derivatives_by_automatic_differentiation(name: str) -> None:
    family = next(f for f in EVERY if f.name == name)
    y, eta, _ = grid(family)
    ours = family.rows(y, eta, aux_of(family))
    theirs = differentiated(
        family.distribution, family.link_function, y, eta, aux_of(family), 1.0, 0.0, derivatives=True
    )
    for mine, its in (
        (ours.weight_eta, theirs.weight_eta),
        *zip(ours.weight_aux, theirs.weight_aux, strict=True),
        *zip(ours.score_aux, theirs.score_aux, strict=True),
    ):
        np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-11)  # type: ignore[arg-type]


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit", "loglog"])
def test_thresholds_out_of_order_are_impossible_and_far_tails_finite(link: str) -> None:
    family = next(f for f in EVERY if f.name == "cumulative" and f.link == link)
    y = np.array([2.0, 3.0])
    rows = family.rows(y, np.zeros(2), (0.5, 0.2, 1.0))
    assert rows.loglik[0] == -np.inf
    assert np.isfinite(rows.loglik[1])
    far = family.rows(np.arange(1.0, 5.0), np.full(4, 25.0), (-1.0, 0.0, 1.0))
    assert np.isfinite(far.loglik).all()
    assert np.isfinite(far.score).all()
    assert np.isfinite(far.weight_eta).all()  # type: ignore[arg-type]
