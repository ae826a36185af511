"""What passes between a distribution, a link and the caller: arrays with one entry for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from lmmformula.typing import Array

__all__ = ["Array", "Aux", "Density", "Information", "Jet", "Maybe", "MeanRange", "Part", "Rows"]

MeanRange = Literal["real", "positive", "unit"]
"""Where the mean lives, and with that the coordinates of a density: (mu,), (log mu,), (log mu, log(1 - mu))."""

Maybe: TypeAlias = Array | float
"""One number per row, or one for all of them."""

Aux: TypeAlias = tuple[Maybe, ...]
"""Auxiliary linear predictors ``a_j``, in the order of ``family.auxiliaries``."""


class Jet(NamedTuple):
    """A function of eta and its first three derivatives.

    ``d1`` is the float 1.0, not an array, when the function is eta itself: composition then has nothing to do.
    """

    value: Array
    d1: Maybe
    d2: Maybe
    d3: Maybe


class Part(NamedTuple):
    """Derivatives of a log density in one coordinate ``c``: dl/dc, d2l/dc2, d3l/dc3, d2l/dc da_j, d3l/dc2 da_j."""

    d1: Maybe
    d2: Maybe
    d3: Maybe = 0.0
    d1_aux: tuple[Maybe, ...] = ()
    d2_aux: tuple[Maybe, ...] = ()


class Density(NamedTuple):
    """Log density, its derivatives in each coordinate, and dl/da_j."""

    loglik: Array
    parts: tuple[Part, ...]
    d_aux: tuple[Maybe, ...] = ()


class Information(NamedTuple):
    """Expected information ``I = -E d2l/dc2`` of one coordinate, dI/dc and dI/da_j."""

    value: Maybe
    d1: Maybe
    aux: tuple[Maybe, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Log density of every observation and its derivatives in the linear predictors; arrays (n,).

    Attributes
    ----------
    loglik : (n,) array
        l, with all constants; -inf where eta is outside the link's domain (derivatives are nan there).
    score : (n,) array
        dl/deta.
    weight : (n,) array
        -d2l/deta2, or its expectation over y.
    weight_eta : (n,) array or None
        dweight/deta; None when derivatives were not asked for.
    d_aux, score_aux, weight_aux : tuple of (n,) arrays
        dl/da_j, d2l/(deta da_j), dweight/da_j; empty when derivatives were not asked for.
    """

    loglik: Array
    score: Array
    weight: Array
    weight_eta: Array | None = None
    d_aux: tuple[Array, ...] = ()
    score_aux: tuple[Array, ...] = ()
    weight_aux: tuple[Array, ...] = ()
