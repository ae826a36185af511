"""Closed forms of the package's families against automatic differentiation of their log densities."""

from __future__ import annotations

import numpy as np
import pytest
from contract import aux_of, grid

from lmmformula.families import FAMILIES, Family, make_family, resolve
from lmmformula.families.autodiff import differentiated

FULL = ("gaussian", "poisson", "nbinom2", "gamma", "zero_inflated_poisson", "hurdle_poisson")
"""Families whose third derivatives are compared too: compiling those of gamma functions takes seconds."""

SECOND = (
    "binomial",
    "inverse_gaussian",
    "nbinom1",
    "compois",
    "tweedie",
    "beta",
    "ordbeta",
    "lognormal",
    "student",
    "weibull",
)


@pytest.mark.parametrize("name", [*FULL, *SECOND])
def test_rows_are_the_derivatives_of_the_log_density(name: str) -> None:
    family = FAMILIES[name]
    y, eta, w = grid(family)
    inner = 1.0 if family.weights_are == "repeats" else w
    weights = None if family.weights_are == "repeats" else w
    full = name in FULL
    ours = family.rows(y, eta, aux_of(family), weights, derivatives=full)
    theirs = differentiated(
        family.distribution,
        family.link_function,
        y,
        eta,
        aux_of(family),
        inner,
        family.constant(y, weights),
        derivatives=full,
    )
    for mine, its in zip(_arrays(ours), _arrays(theirs), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(its).max()))


@pytest.mark.parametrize(
    "text", [f"{f.name}(link={link!r})" for f in FAMILIES.values() for link in f.distribution.links]
)
def test_one_density_in_two_namespaces(text: str) -> None:
    """The density as it is traced, here over NumPy, and the one that closed forms come with."""
    family: Family = make_family(resolve(text).distribution, resolve(text).link)
    y, eta, w = grid(family)
    ours = family.log_density(y, w, np)(eta, tuple(np.asarray(a) for a in aux_of(family)))
    np.testing.assert_allclose(ours, family.rows(y, eta, aux_of(family), w).loglik, rtol=1e-11, atol=1e-11)


def _arrays(rows: object) -> list[np.ndarray]:
    names = ("loglik", "score", "weight", "weight_eta", "d_aux", "score_aux", "weight_aux")
    values = [getattr(rows, name) for name in names]
    return [a for v in values if v is not None for a in (v if isinstance(v, tuple) else (v,))]
