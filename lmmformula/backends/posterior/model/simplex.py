r"""Steps of monotonic effects as an average step and a simplex: the coordinates of their coefficients.

The K coefficients of an effect, ``gamma = b D zeta`` (:mod:`lmmformula.ir.monotonic`), have the K coordinates
``(b, l_2, .., l_K)`` with ``zeta = softmax(0, l_2, .., l_K)``: additive log ratios (Aitchison 1986), for which a Dirichlet
prior has ::

    log p(l) = log G(sum_j a_j) - sum_j log G(a_j) + sum_j a_j log zeta_j,      d log p / dl_k = a_k - (sum_j a_j) zeta_k   (1)

b moves through zero freely, so that either direction of the effect is reached; where it is near zero the rows say nothing of l,
and the prior alone does. Coordinates of other coefficients are these themselves. With c all of them, the derivative of beta in
c has, besides ones, ::

    dgamma_j / db = D zeta_j,        dgamma_j / dl_k = b D zeta_j (1(j = k) - zeta_k)                                      (2)

References
----------
Aitchison (1986), The Statistical Analysis of Compositional Data. Buerkner & Charpentier (2020), British J. Math. Stat. Psychol.
73, 420-451.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

import numpy as np

from lmmformula.ir.priors import SimplexPrior
from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["Simplexes"]

INSIDE = 0.2
"""Share of the centre of the simplex in a first one, whose steps may have the wrong sign."""


@dataclass(frozen=True, eq=False)
class Simplexes:
    """The map from coordinates to coefficients.

    Attributes
    ----------
    effects : tuple of SimplexPrior
    p : int
        Coefficients.
    """

    effects: tuple[SimplexPrior, ...]
    p: int

    @property
    def columns(self) -> frozenset[int]:
        """Coefficients that are steps."""
        return frozenset(c for own in self.effects for c in own.columns)

    def beta(self, c: Numbers, xp: Namespace = np) -> Numbers:
        """Coefficients, (..., p), of coordinates (..., p)."""
        out = [c[..., j] for j in range(self.p)]
        for own in self.effects:
            zeta = xp.exp(_log_simplex(c, own, xp))
            for k, column in enumerate(own.columns):
                out[column] = c[..., own.columns[0]] * own.size * zeta[..., k]
        return xp.stack(out, axis=-1)

    def coordinates(self, beta: Array) -> Array:
        """Coordinates of coefficients (p,) of one sign, and near those of any others."""
        c = beta.copy()
        for own in self.effects:
            columns = list(own.columns)
            gamma = beta[columns]
            towards = np.maximum(gamma * (1.0 if gamma.sum() >= 0.0 else -1.0), 0.0)
            centre = np.full(len(columns), 1.0 / len(columns))
            zeta = (1.0 - INSIDE) * (towards / towards.sum() if towards.any() else centre) + INSIDE * centre
            c[columns] = np.r_[gamma.sum() / own.size, np.log(zeta[1:] / zeta[0])]
        return c

    def jacobian(self, c: Array) -> Array:
        """(2), (p, p), at one c."""
        out = np.eye(self.p)
        for own in self.effects:
            columns, zeta = list(own.columns), np.exp(_log_simplex(c, own, np))
            slopes = c[columns[0]] * own.size * (np.diag(zeta) - np.outer(zeta, zeta))
            out[np.ix_(columns, columns)] = np.column_stack([own.size * zeta, slopes[:, 1:]])
        return out

    def log_density(self, c: Numbers, xp: Namespace = np) -> Numbers:
        """(1), of one c."""
        out = 0.0
        for own in self.effects:
            alpha = own.alpha
            constant = lgamma(float(alpha.sum())) - sum(lgamma(float(a)) for a in alpha)
            out = out + constant + (alpha * _log_simplex(c, own, xp)).sum()
        return out

    def density_slope(self, c: Array) -> Array:
        """Its derivative, (p,)."""
        out = np.zeros(self.p)
        for own in self.effects:
            zeta = np.exp(_log_simplex(c, own, np))
            out[list(own.columns[1:])] = (own.alpha - own.alpha.sum() * zeta)[1:]
        return out

    def information(self) -> Array:
        """Root of what the priors say about log ratios, at their centre: rows (sum (K - 1), p)."""
        rows = []
        for own in self.effects:
            mean = own.alpha / own.alpha.sum()
            own_information = own.alpha.sum() * (np.diag(mean) - np.outer(mean, mean))[1:, 1:]
            part = np.zeros((len(mean) - 1, self.p))
            part[:, list(own.columns[1:])] = np.linalg.cholesky(own_information).T
            rows.append(part)
        return np.vstack([np.zeros((0, self.p)), *rows])


def _log_simplex(c: Numbers, own: SimplexPrior, xp: Namespace) -> Numbers:
    """log zeta, (..., K)."""
    first = xp.zeros_like(c[..., :1])
    ratios = xp.concatenate([first, c[..., np.array(own.columns[1:], dtype=int)]], axis=-1)
    top = xp.max(ratios, axis=-1, keepdims=True)
    return ratios - top - xp.log(xp.sum(xp.exp(ratios - top), axis=-1, keepdims=True))
