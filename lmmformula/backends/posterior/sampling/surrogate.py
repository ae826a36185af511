r"""A cheap stand-in for the log density of a few variances: a folded t with a Gaussian-process correction.

A trajectory of NUTS takes several gradients; where each is a factorisation they are nearly all of the time. So trajectories
run on a surrogate q and the density p itself decides about their ends (Liu 2001, sec. 9.4.3; Christen & Fox 2005; Rasmussen
2003 for a Gaussian process in this place). If a kernel K is reversible with respect to q, ``q(x) K(x, y) = q(y) K(y, x)``, then
Metropolis-Hastings with K as its proposal has the ratio ::

    p(y) K(y, x) / (p(x) K(x, y)) = (p(y) / q(y)) / (p(x) / q(x)) = w(y) / w(x)

and leaves p invariant *exactly*, whatever q is; how near q is to p settles only how often ends are accepted.

NUTS is reversible. Given the tree of states that was built, which has the same probability from each of its states (Hoffman &
Gelman 2014), state y is chosen from x either within the half of the tree that holds both, with probabilities that do not
depend on which of them is the start (induction over halves), or from the other half B of A with probability
``min(1, W_B / W_A) w_y / W_B = w_y / max(W_A, W_B)``, w being exp(-energy) and W its sums: ``w_x T(x, y) = w_y T(y, x)`` either
way. Integrating over momenta, which are drawn afresh, keeps that.

What is fitted. With r_i = log p(x_i) - log t(x_i) at the points where importance sampling has computed p anyway, t a
multivariate t with a wide guard, summed over the sign changes under which the density is even (see
:mod:`lmmformula.backends.posterior.sampling.importance`), and v the standardised coordinates with all signs turned to x > 0::

    log q(x) = log t(x) + sum_i a_i exp(-|v - v_i|^2 / (2 l^2)),       a = (K + D)^-1 (r - median r)

D grows where p is small, since nobody goes there. Away from the points the correction vanishes and the t's tails remain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lmmformula.backends.posterior.density.base import Concentrated
from lmmformula.backends.posterior.sampling.importance import Folding, ImportanceDraws
from lmmformula.numerics.student_mixture import StudentMixture, fit_mixture
from lmmformula.typing import Array, Index, Namespace, Numbers

__all__ = ["MOST_COORDINATES", "Surrogate", "fit_surrogate"]

MOST_COORDINATES = 12
"""Coordinates up to which some hundred points say enough about a density."""
POINTS = 800
LENGTH = 2.5
"""Length scale in standard deviations of the posterior."""
NOISE = 1e-3
HELD_OUT = 100
SOFT = 0.2
"""Where signs turn, in units of a folded coordinate: the correction is smooth and even there, as the density is."""
_DEPTH = 8.0
"""Log density below the highest, besides one for each coordinate, down to which points are used."""
_CLIP = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Surrogate:
    """log q of the module's head, up to a constant.

    Attributes
    ----------
    maps, shifts : (J, d, d), (J, d) arrays
        Component j's squared distance is ``|maps_j x - shifts_j|^2``; sign changes count as components.
    heads : (J,) array
        Log weights and constants of the components.
    df : float
    turns : (K, d) array
        For each folded standard deviation 1 at the coordinates that change sign with it, which stand first at `places`.
    places : tuple of int
    centre, whiten : (d,), (d, d) arrays
        v = whiten (folded x - centre).
    points, weights : (N, d), (N,) arrays
        v_i and a_i.
    """

    maps: Array
    shifts: Array
    heads: Array
    df: float
    turns: Array
    places: tuple[int, ...]
    centre: Array
    whiten: Array
    points: Array
    weights: Array

    def base(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """log t at x (..., d)."""
        d = self.maps.shape[-1]
        away = xp.einsum("jab,...b->...ja", self.maps, x) - self.shifts
        logs = self.heads - 0.5 * (self.df + d) * xp.log1p((away**2).sum(-1) / self.df)
        top = logs.max(-1)
        return top + xp.log(xp.exp(logs - top[..., None]).sum(-1))

    def standardised(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """v of x (..., d)."""
        for place, turn, own in zip(
            self.places, self.turns, np.eye(self.maps.shape[-1])[list(self.places)], strict=True
        ):
            at = x[..., place, None]
            size = xp.sqrt(at**2 + SOFT**2)
            x = x * (1.0 + turn * (at / size - 1.0)) + own * (size - at**2 / size)
        return (x - self.centre) @ self.whiten.T

    def log_density(self, x: Numbers, xp: Namespace = np) -> Numbers:
        """log q at x (..., d)."""
        v = self.standardised(x, xp)
        return self.base(x, xp) + _kernel(v, self.points, xp) @ self.weights


def _kernel(v: Numbers, points: Array, xp: Namespace) -> Numbers:
    """exp(-|v - v_i|^2 / (2 l^2)), (..., N)."""
    scaled = points / LENGTH**2
    half = 0.5 * (points * scaled).sum(-1)
    return xp.exp(v @ scaled.T - half - (0.5 / LENGTH**2) * (v**2).sum(-1)[..., None])


def fit_surrogate(
    density: Concentrated, found: ImportanceDraws, rng: np.random.Generator
) -> tuple[Surrogate, float]:
    """Fit q to what importance sampling has computed; with it the share of independent draws from q that p would accept.

    That share is estimated from `HELD_OUT` draws that are left out of the fit.
    """
    equal = np.full(len(found.x), 1.0 / len(found.x))
    mixture = fit_mixture(found.x, equal, 1, rng).with_guard(0.1, 1.5, 5.0)
    folding = Folding.of(density.folded, mixture, density.d)
    maps, shifts, heads = _components(mixture, folding)
    folded = density.folded
    turns = np.zeros((len(folded), density.d))
    for row, (place, cors) in zip(turns, folded, strict=True):
        row[[place, *cors]] = 1.0
    start = Surrogate(
        maps,
        shifts,
        heads,
        mixture.df,
        turns,
        tuple(place for place, _ in folded),
        np.zeros(density.d),
        np.eye(density.d),
        np.zeros((0, density.d)),
        np.zeros(0),
    )
    draws = start.standardised(found.x)
    centre = draws.mean(axis=0)
    half = np.linalg.cholesky(np.atleast_2d(np.cov(draws.T)) + 1e-10 * np.eye(density.d))
    whiten = np.linalg.inv(half)
    depth = found.log_densities.max() - found.log_densities
    near = np.flatnonzero(depth < _DEPTH + density.d)
    held = _places_of(found.x[:HELD_OUT], found.points)
    chosen = rng.permutation(np.setdiff1d(near, held))[:POINTS]
    points = (start.standardised(found.points[chosen]) - centre) @ whiten.T
    residual = found.log_densities[chosen] - start.base(found.points[chosen])
    residual = np.clip(residual - np.median(residual), -_CLIP, _CLIP)
    noise = NOISE * np.exp(np.clip(0.5 * (depth[chosen] - 0.5 * density.d), 0.0, _DEPTH))
    weights = np.linalg.solve(_kernel(points, points, np) + np.diag(noise), residual)
    out = replace(start, centre=centre, whiten=whiten, points=points, weights=weights)
    log_w = found.log_densities[held] - out.log_density(found.points[held])
    return out, _acceptance(log_w)


def _places_of(x: Array, points: Array) -> Index:
    """Where the rows of x stand among the points."""
    order = np.argsort(points[:, 0], kind="stable")
    return np.unique(order[np.searchsorted(points[order, 0], x[:, 0])])


def _acceptance(log_w: Array) -> float:
    """E min(1, w(y) / w(x)) for x from p and y from q, from log p / q at draws from p; y weighs 1 / w(y)."""
    share = np.exp(log_w.min() - log_w)
    ratio = np.minimum(1.0, np.exp(np.minimum(log_w[:, None] - log_w, 0.0)))
    return float((share / share.sum()) @ ratio.mean(axis=1))


def _components(mixture: StudentMixture, folding: Folding) -> tuple[Array, Array, Array]:
    """Maps, shifts and log weights of the mixture with every sign change of its own."""
    inverses = np.linalg.inv(mixture.halves)
    shifts = np.einsum("jab,jb->ja", inverses, mixture.means)
    log_det = np.log(np.diagonal(mixture.halves, axis1=1, axis2=2)).sum(axis=1)
    count = len(folding.signs)
    maps = np.concatenate([inverses * signs for signs in folding.signs])
    return maps, np.tile(shifts, (count, 1)), np.tile(np.log(mixture.weights) - log_det, count)
