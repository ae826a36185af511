r"""A fit with structured residuals given its random effects: its likelihood, and what fitted values move with.

Given b, ``y ~ N(mu, sigma^2 R(psi))``. With V, P and omega = (theta, psi) as in :mod:`lmmformula.criteria.clusters.criterion`,
r = P y and s = r2 / n_eff, fitted values are ``mu^ = y - R r``. For new responses of the same groups, and Sigma = s R,

    E (y* - mu^)'Sigma^-1 (y* - mu^) - E (y - mu^)'Sigma^-1 (y - mu^) = 2 E tr(d mu^/dy)

(Stein 1981), of which the part with omega held is ``rho = n - tr(R P)``. In the manner of
:mod:`lmmformula.inference.selection.conditional_aic`::

    d mu^/d omega_j = R P V_j r - R_j r,        d omega^/dy = (2 / s) D^-1 [P V_k r - (c_k / r2) r]_k,      c_k = r'V_k r
    Phi             = rho + (2 / s) sum_jk (D^-1)_jk [P V_k r - (c_k / r2) r]'(R P V_j r - R_j r)

sigma and psi are parameters of the conditional distribution itself and count one each, as sigma does where R = I (Vaida &
Blanchard 2005). Without random effects the conditional AIC with variances known is then the AIC by maximum likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.criteria.clusters.blocks import Block, residual_of
from lmmformula.criteria.clusters.data import Sums
from lmmformula.ir.frozen import computed_once
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ClusterPoint
    from lmmformula.inference.fitted import Fitted

__all__ = ["ConditionalFit"]


@dataclass(frozen=True, eq=False)
class ConditionalFit:
    """A fit by clusters, given its random effects.

    Attributes
    ----------
    fit : Fitted
    """

    fit: Fitted

    @property
    def point(self) -> ClusterPoint:
        """The criterion at the optimum."""
        return self.fit.optimum

    @property
    def n_parameters(self) -> int:
        """sigma and psi."""
        return 1 + len(self.point.omega) - len(self.point.theta)

    @computed_once
    def _residuals(self) -> list[tuple[Array, Array]]:
        """R and dR/domega of each pattern."""
        model = self.point.model
        theta, psi = model.split(self.point.omega)
        out = []
        for part in model.layout.parts:
            r, slopes = residual_of(part, model.residual, psi)
            out.append((r, np.concatenate([np.zeros((len(theta), *r.shape)), slopes])))
        return out

    @computed_once
    def llf(self) -> float:
        """log f(y | beta^, b^), in the user's units."""
        point, n = self.point, self.fit.problem.n
        sigma2 = self.fit.standard.sigma_in(self.fit.estimate) ** 2
        own = self._times(lambda j, _b, _s: self._residuals[j][0], point.scored)
        logdet = sum(
            float(np.linalg.slogdet(r)[1] @ s.patterns.counts)
            for (r, _), s in zip(self._residuals, point.model.sums, strict=True)
        )
        value = n * np.log(2.0 * np.pi * sigma2) + logdet + float(point.scored @ own) / sigma2
        return -0.5 * value - n * float(np.log(self.fit.standard.response))

    @computed_once
    def effective(self) -> float:
        """rho."""
        point, out = self.point, float(self.fit.problem.n)
        p = self.fit.problem.p
        for (r, _), block, sums in zip(self._residuals, point.blocks, point.model.sums, strict=True):
            out -= float(np.einsum("brs,bsr->b", r, block.inverse) @ sums.patterns.counts)
            inner = sums.quadratic(block.inverse @ r @ block.inverse)[:p, :p]
            out += float(np.sum(inner * point.unscaled))
        return out

    def moves(self) -> tuple[Array, Array]:
        """d mu^/d omega and s/2 times D d omega^/dy, (n, P) each."""
        point, r = self.point, self.point.scored
        fitted, responding = [], []
        for k in range(len(point.omega)):
            f = self._times(lambda j, b, _s, k=k: b.slopes[k], r)
            v = self._projected(f)
            own = self._times(lambda j, _b, _s: self._residuals[j][0], v)
            fitted.append(own - self._times(lambda j, _b, _s, k=k: self._residuals[j][1][k], r))
            responding.append(v - float(r @ f) / point.r2 * r)
        return np.array(fitted).T, np.array(responding).T

    def _projected(self, f: Array) -> Array:
        """P f."""
        point, p = self.point, self.fit.problem.p
        solved, along = self._times(lambda _j, b, _s: b.inverse, f), np.zeros(p)
        for sums in point.model.sums:
            along += np.einsum("crm,cr->m", sums.data[..., :p], solved[sums.patterns.rows])
        move, rest = point.unscaled @ along, np.array(f)
        for sums in point.model.sums:
            rest[sums.patterns.rows] -= sums.data[..., :p] @ move
        return self._times(lambda _j, b, _s: b.inverse, rest)

    def _times(self, blocks: Callable[[int, Block, Sums], Array], x: Array) -> Array:
        """Products of a block diagonal matrix, given by its blocks of each pattern, with a vector of the rows."""
        out = np.empty_like(x)
        for j, (block, sums) in enumerate(zip(self.point.blocks, self.point.model.sums, strict=True)):
            at, rows = sums.patterns.pattern, sums.patterns.rows
            out[rows] = np.einsum("crs,cs->cr", blocks(j, block, sums)[at], x[rows])
        return out
