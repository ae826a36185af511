"""Every family with values of its response and parameters at which the contract is tested."""

from __future__ import annotations

from itertools import product
from typing import Literal

import numpy as np

from lmmformula.families import FAMILIES, Family, make_family, resolve

ETA = {
    "identity": np.array([0.3, 1.1, 2.6, 7.0]),
    "sqrt": np.array([0.4, 1.2, 2.5, 5.0]),
    "inverse": np.array([0.2, 0.7, 1.6, 3.0]),
    "inverse_squared": np.array([0.1, 0.5, 1.5, 4.0]),
}
FREE = np.array([-2.3, -0.6, 0.35, 1.7])
Y = {
    "reals": np.array([-1.4, 0.6, 2.2, 9.0]),
    "positive": np.array([0.05, 0.7, 2.0, 11.0]),
    "nonnegative": np.array([0.0, 0.05, 0.7, 11.0]),
    "counts": np.array([0.0, 1.0, 2.0, 30.0]),
    "positive counts": np.array([1.0, 2.0, 5.0, 30.0]),
    "proportions": np.array([0.0, 0.25, 0.75, 1.0]),
    "open unit": np.array([0.03, 0.4, 0.7, 0.98]),
    "half-open unit": np.array([0.0, 0.03, 0.4, 0.98]),
    "closed unit": np.array([0.0, 0.03, 0.7, 1.0]),
    "categories": np.array([1.0, 2.0, 3.0, 4.0]),
}
EVERY = [
    make_family(f.distribution, link)
    for f in (*FAMILIES.values(), resolve("student(df=4)"))
    for link in f.distribution.links
]
IDS = [str(f) for f in EVERY]


def aux_of(family: Family) -> tuple[float, ...]:
    """Auxiliary predictors at which a family is tested."""
    return tuple(a.typical for a in family.auxiliaries)


def informations(family: Family) -> tuple[Literal["observed", "expected"], ...]:
    """What `rows` can be asked for."""
    return ("observed", "expected") if family.informs else ("observed",)


def grid(family: Family) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every y with every eta, and weights."""
    own = family.distribution
    eta = ETA.get(family.link, FREE)
    if own.mean_range == "unit" and family.link == "log":
        eta = -np.abs(FREE)
    if "beta" in family.name and "binomial" not in family.name and family.link != "logit":
        eta = 0.6 * FREE  # keeps both shapes above 1, so that integrals over y have short tails
    y = Y[own.support]
    if "shifted" in family.name:  # above the shift, which is 0.6 of the ceiling 1
        y = np.where(y > 0, y + 1.0, 0.0)
    y, eta = (np.array(v) for v in zip(*product(y, eta), strict=True))
    weights = np.full(y.size, 4.0) if family.weights_are == "trials" else np.linspace(0.5, 3.0, y.size)
    return y, eta, weights


def sample_space(family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Values of y and the measure of each: atoms, and the trapezoidal rule where y is continuous."""
    own = family.distribution
    if own.support == "proportions":
        return np.arange(5.0) / 4, np.ones(5)
    if own.support == "categories":
        return np.arange(1.0, len(own.outcomes) + 1.0), np.ones(len(own.outcomes))
    if own.discrete:
        first = float(own.support == "positive counts")
        k = np.arange(first, 400.0 if "compois" in family.name else 3000.0)
        return k, np.ones(k.size)
    s = np.linspace(-40, 6, 2301) if family.name == "tweedie" else np.linspace(-40, 40, 8001)
    if own.support == "reals":
        y, dy = np.sinh(s), np.cosh(s)
    elif own.support in ("positive", "nonnegative"):
        shift = family.auxiliaries[1].value(aux_of(family)[1]) if "shifted" in family.name else 0.0
        y, dy = shift + np.exp(s), np.exp(s)
        y, dy = y[y > shift], dy[y > shift]
    else:
        y = 1 / (1 + np.exp(-s))
        y, dy = y[y < 1], (y * (1 - y))[y < 1]
    atoms = np.array(own.atoms)
    return np.concatenate([atoms, y]), np.concatenate([np.ones(atoms.size), dy * (s[1] - s[0])])
