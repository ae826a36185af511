"""From draws of sampled linear predictors to a posterior under its names, and to an estimate.

Outer coordinates give coefficients, variances and dispersions; random effects are b = L u. Moments of what was sampled are
those of its draws; of what was integrated out and drawn back they are those of the recovery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from lmmformula.backends.posterior.model.coordinates import TermPlaces
from lmmformula.backends.posterior.model.predictor import Predictor
from lmmformula.ir.covariance import CovarianceKind
from lmmformula.typing import Array

__all__ = ["KEPT_BYTES", "Effects", "Outer", "mean_covariances", "read_outer", "sampled_effects", "theta_of"]

KEPT_BYTES = 5e8
"""Memory up to which the draws of all random effects are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """Draws and moments of the random effects of several terms.

    Attributes
    ----------
    draws : tuple of (chain, draw, m, k) arrays, or None
    means, sds : tuple of (m, k) arrays
    """

    draws: tuple[Array, ...] | None
    means: tuple[Array, ...]
    sds: tuple[Array, ...]

    def followed_by(self, later: Effects, share: float) -> Effects:
        """Draws end to end; moments pooled, these being `share` of all draws."""
        draws, moments = None, []
        if self.draws is not None and later.draws is not None:
            pairs = zip(self.draws, later.draws, strict=True)
            draws = tuple(np.concatenate(pair, axis=1) for pair in pairs)
        for m1, s1, m2, s2 in zip(self.means, self.sds, later.means, later.sds, strict=True):
            mean = share * m1 + (1 - share) * m2
            between = share * (1 - share) * (m1 - m2) ** 2
            moments.append((mean, np.sqrt(share * s1**2 + (1 - share) * s2**2 + between)))
        return Effects(draws, tuple(m for m, _ in moments), tuple(s for _, s in moments))


@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    """What outer coordinates mean.

    Attributes
    ----------
    names : tuple of str
        Variances of the mean's terms, then for each auxiliary predictor its numbers and the variances of its terms.
    values : (chain, draw, names) array
    beta : (chain, draw, p) array
    aux : tuple of (chain, draw, p_j) arrays
        Coefficients of the auxiliary predictors, on the scale of the predictors.
    """

    names: tuple[str, ...]
    values: Array
    beta: Array
    aux: tuple[Array, ...]


def read_outer(predictors: Sequence[Predictor], x: Array) -> Outer:
    """Names and values for draws x (chain, draw, d) of which the outer coordinates are looked at."""
    mean, *further = predictors
    names, parts = list(mean.variance_names), [mean.variances(x)]
    for p in further:
        names += [*p.aux_names, *p.variance_names]
        parts += [p.aux_values(x), p.variances(x)]
    values = np.concatenate(parts, axis=-1)
    return Outer(tuple(names), values, mean.beta(x), tuple(p.beta(x) for p in further))


def sampled_effects(predictor: Predictor, x: Array) -> Effects:
    """b of the predictor's terms for draws x (chain, draw, d) with u as inner coordinates."""
    chains, draws = x.shape[:2]
    keep = 8.0 * chains * draws * predictor.n_inner <= KEPT_BYTES
    if keep:
        kept = tuple(predictor.effects(x))
        means = tuple(b.mean(axis=(0, 1)) for b in kept)
        return Effects(kept, means, tuple(b.std(axis=(0, 1)) for b in kept))
    first: list[Any] = [0.0] * len(predictor.terms)
    second: list[Any] = [0.0] * len(predictor.terms)
    flat = x.reshape(chains * draws, -1)
    for part in np.array_split(flat, max(1, len(flat) // 50)):
        for i, b in enumerate(predictor.effects(part)):
            first[i], second[i] = first[i] + b.sum(axis=0), second[i] + (b**2).sum(axis=0)
    means = tuple(s / len(flat) for s in first)
    spread = zip(second, means, strict=True)
    return Effects(None, means, tuple(np.sqrt(np.maximum(s / len(flat) - m**2, 0.0)) for s, m in spread))


def mean_covariances(places: Sequence[TermPlaces], means: dict[str, float]) -> list[Array]:
    """Covariance matrix of each term from the posterior means of its standard deviations and correlations."""
    out = []
    for own in places:
        t, k = own.priors.parameters, own.k
        sd = np.array([means[name] for name in t.sds]) * np.ones(k)
        cor = np.eye(k)
        if t.correlation == "matrix":
            for (a, b), name in zip(combinations(range(k), 2), t.cors, strict=True):
                cor[a, b] = cor[b, a] = means[name]
        elif t.correlation == "shared":
            lag = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
            cor = means[t.cors[0]] ** (lag if t.kind == "ar1" else np.minimum(lag, 1))
        out.append(cor * np.outer(sd, sd))
    return out


def theta_of(kinds: Sequence[CovarianceKind], covariances: Sequence[Array], sigma: float) -> Array:
    """Relative theta of absolute covariance matrices."""
    parts = [kind.from_covariance(c / sigma**2) for kind, c in zip(kinds, covariances, strict=True)]
    return np.concatenate([np.zeros(0), *parts])
