r"""The largest of several correlated t statistics that share one standard error.

``T_j = a_j'z / s`` with z ~ N(0, I_r), unit vectors a_j (the rows of a root of the correlation matrix, r its rank, which may be
less than their number) and an independent s = chi_nu / sqrt(nu). In polar coordinates z = rho u, the direction u is uniform on
the sphere and ``rho^2 / (r s^2)`` has an F distribution on (r, nu) degrees of freedom (Somerville 1998; Deak 1980), hence ::

    P(max_j |T_j| > c) = E_u[ P(F_(r, nu) > (c / m(u))^2 / r) ],       m(u) = max_j |a_j'u|

and one-sided with ``m(u) = max_j a_j'u`` (directions with m <= 0 never exceed a c >= 0). One set of directions therefore serves
all c and all nu. They come from a Richtmyer lattice (multiples of the roots of primes, modulo 1, folded), on a circle from
equal steps, on a sphere in three dimensions from a lattice of its heights and longitudes; shifted at random several times: the
spread of these sets is the standard error. m is sorted and averaged in small groups, since the probability is smooth in m.

References
----------
Deak (1980), Numer. Math. 35, 369-380.
Genz & Bretz (2009), Computation of Multivariate Normal and t Probabilities: lattices (Richtmyer 1951), and radial integrals.
Somerville (1998), J. Comput. Graph. Statist. 7, 529-544.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array

__all__ = ["Largest", "largest"]

SETS = 8
"""Independent sets of directions."""
FIRST, LAST = 12, 15
"""Binary logarithms of the directions in a set, from the first try to the last."""
AIM = 3e-5
"""Standard error of a probability to come to."""
_NODES = 512
_DEGENERATE = 1e-9
_EDGE = 1e-15
_PLASTIC = 1.324717957244746 ** np.array([-1.0, -2.0])
"""Steps of the two-dimensional lattice by the real root of x^3 = x + 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Largest:
    """Distribution of the largest statistic.

    Attributes
    ----------
    rank : int
        r.
    reach : (sets, nodes) array
        m(u), of equally many directions at each node.
    one_sided : bool
    """

    rank: int
    reach: Array
    one_sided: bool

    def tail(self, c: float, df: float) -> tuple[float, float]:
        """``P(max > c)`` on `df` degrees of freedom, and its standard error."""
        if np.isnan(c) or np.isnan(df):
            return np.nan, np.nan
        with np.errstate(divide="ignore", over="ignore"):
            beyond = _radius_tail(self.rank, df, (c / self.reach) ** 2)
        if self.one_sided:
            # c >= 0: exceeded beyond c / m where m > 0. c < 0: exceeded unless m < 0 and the radius is beyond c / m.
            inside = np.where(self.reach > 0.0, 1.0, 1.0 - beyond)
            beyond = np.where(self.reach > 0.0, beyond, 0.0) if c >= 0.0 else inside
        sets = beyond.mean(axis=1)
        error = 0.0 if len(sets) == 1 else float(sets.std(ddof=1) / np.sqrt(len(sets)))
        return float(np.clip(sets.mean(), 0.0, 1.0)), error

    def quantile(self, level: float, df: float) -> float:
        """The c with ``P(max <= c) = level``."""
        from scipy.optimize import brentq
        from scipy.special import ndtri, stdtrit

        share = 1.0 - (1.0 - level) / 1e6  # beyond Bonferroni's bound of as many statistics
        above = float(ndtri(share) if np.isinf(df) else stdtrit(df, share))
        found = brentq(lambda c: self.tail(c, df)[0] - (1.0 - level), 0.0, above, xtol=1e-9)
        return float(found)  # pyright: ignore[reportArgumentType]


def _radius_tail(rank: int, df: float, squared: Array) -> Array:
    """``P(rho^2 / s^2 > squared)``."""
    from scipy.special import chdtrc, fdtrc

    return chdtrc(rank, squared) if np.isinf(df) else fdtrc(rank, df, squared / rank)


def largest(
    correlation: Array, *, one_sided: bool = False, seed: int | np.random.Generator | None = 0
) -> Largest:
    """The largest of statistics with this correlation matrix (possibly singular).

    The number of directions is doubled until the probability at the 5% point is known to `AIM`.

    Parameters
    ----------
    correlation : (m, m) array
    one_sided : bool
        The largest of T_j, instead of abs(T_j).
    seed : int or Generator
    """
    values, vectors = np.linalg.eigh(correlation)
    keep = values > _DEGENERATE * values[-1]
    root = vectors[:, keep] * np.sqrt(values[keep])
    rank = root.shape[1]
    if rank == 1:  # both directions of the line
        ends = np.array([root[:, 0].max(), (-root[:, 0]).max()])
        reach = ends if one_sided else np.abs(root).max(keepdims=True)[0]
        return Largest(1, reach[None, :], one_sided)
    rng = np.random.default_rng(seed)
    power = FIRST
    while True:
        reach = np.stack([_reaches(root, power, one_sided, rng) for _ in range(SETS)])
        found = Largest(rank, reach, one_sided)
        if power == LAST or found.tail(found.quantile(0.95, np.inf), np.inf)[1] < AIM:
            return found
        power += 1


def _reaches(root: Array, power: int, one_sided: bool, rng: np.random.Generator) -> Array:
    """m(u) at ``2^power`` directions, in ascending order and averaged in groups."""
    seen = _directions(root.shape[1], 2**power, rng) @ root.T
    reach = np.sort(seen.max(axis=1) if one_sided else np.abs(seen).max(axis=1))
    return reach.reshape(min(_NODES, len(reach)), -1).mean(axis=1)


def _directions(rank: int, n: int, rng: np.random.Generator) -> Array:
    """`n` points on the sphere of `rank` dimensions, evenly spread, turned or shifted at random."""
    from scipy.special import ndtri

    if rank == 2:
        angle = 2.0 * np.pi * (np.arange(n) + rng.random()) / n
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    count = np.arange(1.0, n + 1.0)[:, None]
    if rank == 3:  # heights are uniform (Archimedes)
        height, turn = ((count * _PLASTIC + rng.random(2)) % 1.0).T
        height, turn = 2.0 * height - 1.0, 2.0 * np.pi * turn
        across = np.sqrt(1.0 - height**2)
        return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
    folded = np.abs(2.0 * ((count * np.sqrt(_primes(rank)) + rng.random(rank)) % 1.0) - 1.0)
    z = ndtri(np.clip(folded, _EDGE, 1.0 - _EDGE))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _primes(count: int) -> Array:
    """The first primes."""
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return np.array(found, dtype=float)
