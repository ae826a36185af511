"""Draws and moments of coefficients and random effects.

Moments of what was sampled are those of its draws; of what was integrated out and drawn back they are Rao-Blackwellised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array

__all__ = ["KEPT_BYTES", "NO_EFFECTS", "Coefficients", "Effects", "evenly", "kept"]

KEPT_BYTES = 5e8
"""Memory up to which the draws of all random effects are kept."""


def kept(draws: int, effects: int) -> bool:
    """Whether so many draws of so many random effects are kept."""
    return 8.0 * draws * effects <= KEPT_BYTES


def evenly(x: Array, most: int) -> Array:
    """At most so many rows of x, from the first to the last."""
    return x[np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).astype(int))]


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """Fixed effects.

    Attributes
    ----------
    draws : (chain, draw, p) array
    mean, cov : (p,), (p, p) arrays
    """

    draws: Array
    mean: Array
    cov: Array

    @classmethod
    def of(cls, draws: Array, centres: Array | None = None) -> Coefficients:
        """With the moments of the draws; the mean of their conditional means `centres` where these are known."""
        flat = draws.reshape(int(np.prod(draws.shape[:2])), draws.shape[2])
        mean = (flat if centres is None else centres.reshape(flat.shape)).mean(axis=0)
        return cls(draws, mean, np.atleast_2d(np.cov(flat.T)) if flat.shape[1] else np.zeros((0, 0)))

    def followed_by(self, later: Coefficients, share: float) -> Coefficients:
        """Draws end to end; moments pooled, these being `share` of all draws."""
        gap, rest = self.mean - later.mean, 1 - share
        return Coefficients(
            np.concatenate([self.draws, later.draws], axis=1),
            share * self.mean + rest * later.mean,
            share * self.cov + rest * later.cov + share * rest * np.outer(gap, gap),
        )


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


NO_EFFECTS = Effects((), (), ())
"""Of a predictor without random effects."""
