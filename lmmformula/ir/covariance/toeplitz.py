r"""A correlation for each lag: Toeplitz.

R_ij = rho_|i-j| is positive definite if and only if the partial autocorrelations p_1, ..., p_(k-1) of the sequence lie in
(-1, 1), and every such p gives one R (Barndorff-Nielsen & Schou 1973): they are the parameters. By the recursion of Durbin and
Levinson, with a^(h) the coefficients of the best linear predictor from h values before::

    rho_h = p_h v_(h-1) + sum_(l<h) a^(h-1)_l rho_(h-l),   v_h = v_(h-1) (1 - p_h^2)
    a^(h)_h = p_h,   a^(h)_l = a^(h-1)_l - p_h a^(h-1)_(h-l)                                        (1)

Sums and products alone, hence analytic in p.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.covariance.base import EDGE, Kind
from lmmformula.typing import Array, Entries, Namespace, Numbers

__all__ = ["HomogeneousToeplitz", "Toeplitz", "autocorrelations", "partial_autocorrelations"]


class Toeplitz(Kind):
    """Own variance for each column and one correlation for each lag between columns."""

    name = "toep"
    description = "Toeplitz: a correlation for each lag"

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0),) * (self.k - 1)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        return tuple((0, lag) for lag in range(1, self.k))

    @property
    def _lags(self) -> Entries:
        i = np.arange(self.k)
        return np.abs(i[:, None] - i[None, :])

    def correlation(self, r: Sequence[Numbers], xp: Namespace = np) -> Numbers:
        if not r:
            return np.eye(self.k)
        return xp.stack(autocorrelations(r), -1)[..., self._lags]

    def nearest(self, cor: Array) -> list[float]:
        """Partial autocorrelations of the means over each lag; drawn towards zero where these belong to no R."""
        known = np.where(np.isfinite(cor), cor, 0.0)
        rho = [float(np.mean(np.diagonal(known, lag))) for lag in range(1, self.k)]
        return np.clip(partial_autocorrelations(rho), -1.0 + 1e-6, 1.0 - 1e-6).tolist()

    # -- the correlations of the lags ------------------------------------------------------------------------------

    def reported(self, s: Sequence[Array], r: Sequence[Array]) -> list[Array]:
        return autocorrelations(r)[1:] if r else []

    def filled(self, correlations: Array) -> Array:
        ones = np.ones((*correlations.shape[:-1], 1))
        return np.concatenate([ones, correlations], axis=-1)[..., self._lags]

    def prior_shapes(self, eta: float) -> list[tuple[float, float, float]]:
        """Those by which the density of R is |R|^(eta - 1), as |R| = prod (1 - p_h^2)^(k - h); Beta(eta, eta) where eta < 1."""
        count = range(1, self.k)
        return [(-1.0, 1.0, eta if eta < 1.0 else 1.0 + (eta - 1.0) * (self.k - lag)) for lag in count]

    # -- profiles: t = logits of partial autocorrelations --------------------------------------------------------------

    def limits(self, pair: tuple[int, ...]) -> tuple[float, float]:
        return -1.0, 1.0

    def place(self, pair: tuple[int, ...]) -> int:
        """The first lag's correlation is a coordinate of its own.

        Raises
        ------
        PlanError
            For any other, which the coordinates of its kind do not hold.
        """
        if (lag := abs(pair[1] - pair[0])) != 1:
            raise PlanError(
                f"a Toeplitz covariance has partial autocorrelations for coordinates, so the correlation at lag {lag} cannot "
                "be held while the others move. conf_int(method='wald') and 'bootstrap' have intervals of it."
            )
        return 0

    def t_of(self, pair: tuple[int, ...], rho: float) -> float:
        return 2.0 * float(np.arctanh(np.clip(rho, -EDGE, EDGE)))

    def profile_coordinates(self, cor: Array, order: Sequence[int]) -> list[float]:
        return [2.0 * float(np.arctanh(np.clip(p, -EDGE, EDGE))) for p in self.nearest(cor)]


class HomogeneousToeplitz(Toeplitz):
    """One variance of all columns and one correlation for each lag."""

    name = "homtoep"
    description = "Toeplitz with one variance"
    shared_sd = True
    serial = True


def autocorrelations(p: Sequence[Numbers]) -> list[Numbers]:
    """rho_0 = 1, rho_1, ..., of partial autocorrelations, by (1); any shape, any array module."""
    one = 1.0 + 0.0 * p[0]
    rho, a, v = [one], [], one
    for h, own in enumerate(p, 1):
        rho.append(own * v + sum((a[i] * rho[h - 1 - i] for i in range(h - 1)), 0.0 * one))
        a = [*(a[i] - own * a[h - 2 - i] for i in range(h - 1)), own]
        v = v * (1.0 - own * own)
    return rho


def partial_autocorrelations(rho: Sequence[float]) -> list[float]:
    """The inverse of :func:`autocorrelations` for rho_1, ...; cut to +-1 where these belong to no positive definite R."""
    out: list[float] = []
    a: list[float] = []
    v = 1.0
    for h, own in enumerate(rho, 1):
        left = own - sum(a[i] * rho[h - 2 - i] for i in range(h - 1))
        p = float(np.clip(left / v, -1.0 + 1e-9, 1.0 - 1e-9))
        out.append(p)
        a = [*(a[i] - p * a[h - 2 - i] for i in range(h - 1)), p]
        v *= 1.0 - p * p
    return out
