r"""Mixtures of multivariate Student t distributions, and their fit to weighted draws.

``q(x) = sum_j w_j t(x; m_j, S_j, df)``. For draws x_i with weights v_i one step of EM (Peel & McLachlan 2000; Cappe et al.
2008, sec. 4 for weighted draws) with r_ij the share of component j in x_i, d_ij its squared Mahalanobis distance and
``g_ij = (df + d) / (df + d_ij)``::

    w_j = sum_i v_i r_ij,   m_j = sum_i v_i r_ij g_ij x_i / sum_i v_i r_ij g_ij,
    S_j = sum_i v_i r_ij g_ij (x_i - m_j)(x_i - m_j)' / w_j
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma, log, pi

import numpy as np

from lmmformula.typing import Array

__all__ = ["StudentMixture", "fit_mixture"]


@dataclass(frozen=True, slots=True, eq=False)
class StudentMixture:
    """A mixture with J components in d dimensions.

    Attributes
    ----------
    weights : (J,) array
    means : (J, d) array
    halves : (J, d, d) array
        Lower Cholesky factors of the S_j.
    df : float
    """

    weights: Array
    means: Array
    halves: Array
    df: float

    @property
    def d(self) -> int:
        return self.means.shape[1]

    def distances(self, x: Array) -> Array:
        """Squared Mahalanobis distances, (J, S)."""
        inverses = np.linalg.inv(self.halves)
        return np.stack(
            [np.sum(((x - m) @ h.T) ** 2, axis=1) for m, h in zip(self.means, inverses, strict=True)]
        )

    def component_logpdf(self, x: Array) -> Array:
        """log w_j + log t_j at each row of x, (J, S)."""
        d, df = self.d, self.df
        constant = lgamma(0.5 * (df + d)) - lgamma(0.5 * df) - 0.5 * d * log(df * pi)
        log_det = np.log(np.diagonal(self.halves, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):
            head = np.log(self.weights) + constant - log_det
        return head[:, None] - 0.5 * (df + d) * np.log1p(self.distances(x) / df)

    def logpdf(self, x: Array) -> Array:
        """log q at each row of x, (S,)."""
        return np.logaddexp.reduce(self.component_logpdf(x), axis=0)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Draws (size, d), the components in proportion as exact as whole numbers allow."""
        edges = np.concatenate([[0.0], np.cumsum(self.weights) / self.weights.sum()])
        counts = np.diff(np.floor(edges * size + rng.uniform()).astype(int))
        counts[-1] += size - counts.sum()
        parts = []
        for m, h, count in zip(self.means, self.halves, counts, strict=True):
            z = rng.standard_normal((count, self.d)) / np.sqrt(rng.chisquare(self.df, (count, 1)) / self.df)
            parts.append(m + z @ h.T)
        return np.concatenate(parts)

    def below_zero(self) -> Array:
        """Smallest distance of any component of notable weight from zero, in its scales, for each coordinate (d,)."""
        scales = np.linalg.norm(self.halves, axis=2)
        return np.min(self.means / scales, axis=0)

    def with_guard(self, share: float, inflation: float, df: float) -> StudentMixture:
        """Add one wide component of weight `share` that has the mixture's mean and `inflation` times its scales.

        All components get the smaller `df`, so that the tails cover any target with tails up to theirs.
        """
        w = self.weights / self.weights.sum()
        centre = w @ self.means
        away = self.means - centre
        covariance = np.einsum("j,jab,jcb->ac", w, self.halves, self.halves) + (away.T * w) @ away
        wide = inflation * np.linalg.cholesky(covariance)
        return StudentMixture(
            np.append((1.0 - share) * w, share),
            np.vstack([self.means, centre]),
            np.concatenate([self.halves, wide[None]]),
            min(df, self.df),
        )


def fit_mixture(
    x: Array, weights: Array, components: int, rng: np.random.Generator, *, df: float = 8.0, steps: int = 25
) -> StudentMixture:
    """EM from random centres; components left with less weight than they can be estimated from are dropped.

    Parameters
    ----------
    x : (S, d) array
    weights : (S,) array
        Non-negative, with sum 1.
    """
    d = x.shape[1]
    mean = weights @ x
    covariance = ((x - mean).T * weights) @ (x - mean) + 1e-12 * np.eye(d)
    half = np.linalg.cholesky(covariance)
    first = rng.choice(len(x), components, p=weights)
    spread = 0.7 if components > 1 else 1.0
    now = StudentMixture(
        np.full(components, 1.0 / components),
        x[first] if components > 1 else mean[None],
        np.repeat(spread * half[None], components, axis=0),
        df,
    )
    effective = 1.0 / float(weights @ weights)
    for _ in range(steps):
        now = _em_step(now, x, weights, covariance, effective)
    return now


def _em_step(
    now: StudentMixture, x: Array, weights: Array, covariance: Array, effective: float
) -> StudentMixture:
    """One step of the module's head; the overall covariance counts as 2 d further draws of each component."""
    logs = now.component_logpdf(x)
    share = np.exp(logs - np.logaddexp.reduce(logs, axis=0)) * weights
    total = share.sum(axis=1)
    kept = total * effective > now.d + 2 if len(total) > 1 else np.array([True])
    if not kept.any():
        kept = total == total.max()
    pull = share * (now.df + now.d) / (now.df + now.distances(x))
    means, halves = [], []
    for j in np.flatnonzero(kept):
        mean = pull[j] @ x / pull[j].sum()
        away = x - mean
        own = (away.T * pull[j]) @ away / total[j]
        prior = 0.1 * now.d / (0.1 * now.d + total[j] * effective)
        means.append(mean)
        halves.append(np.linalg.cholesky((1.0 - prior) * own + prior * covariance))
    return StudentMixture(total[kept] / total[kept].sum(), np.array(means), np.array(halves), now.df)
