r"""Areas with a structured and an unstructured part: BYM2, the model of Besag, York & Mollie in Riebler's coordinates.

With v independent and u an intrinsic autoregression whose variances have geometric mean 1 (Sorbye & Rue 2014)::

    b = (1 - rho)^1/2 v + rho^1/2 u,    Var(b) = sigma^2 ((1 - rho) I + rho R^- )                                   (1)

so that sigma is a standard deviation of b whatever the map, and rho in (0, 1) the share of it that neighbours have in common
(Riebler, Sorbye, Simpson & Rue 2016, eqs. 5-7; Simpson et al. 2017). The precision of b alone is dense; that of (b, u) is as
sparse as the map. From b | u ~ N(rho^1/2 u, (1 - rho) I) and u ~ N(0, R^-)::

    Q = | 1/(1-rho) I             - rho^1/2/(1-rho) I      |      log|Q| = - m log(1-rho) + log|R|                    (2)
        | - rho^1/2/(1-rho) I     R + rho/(1-rho) I        |

with the constraints of u and the null vectors (rho^1/2 N, N), :mod:`lmmformula.ir.across.intrinsic`. The levels of the term are
those of b and, behind them, those of u. R = s (D - W) with a factor s of its own in each connected component; for a level
without neighbours R = 1: its u is standard normal, so that its effect has the variance sigma^2 like all others (Freni-
Sterrantino, Ventrucci & Rue 2018). rho = sin^2 phi.

References
----------
Besag, York & Mollie (1991), Bayesian image restoration, Ann. Inst. Statist. Math. 43. Riebler, Sorbye, Simpson & Rue (2016), An
intuitive Bayesian spatial model for disease mapping that accounts for scaling, Stat. Methods Med. Res. 25. Freni-Sterrantino,
Ventrucci & Rue (2018), A note on intrinsic conditional autoregressive models for disconnected graphs, Spat.
Spatio-temporal Epidemiol. 26.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.ir.across.base import Share
from lmmformula.ir.across.intrinsic import (
    Constrained,
    Intrinsic,
    components,
    constrained,
    laplacian,
    refuse_adjacency,
)
from lmmformula.ir.across.naturals import Natural, Portion
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Bym2"]


@dataclass(frozen=True, eq=False)
class _Map:
    """R of (2) with its constraints, and the pattern of Q.

    Attributes
    ----------
    structured : Constrained
        R.
    pattern : csr_array
        Of Q, (2 m, 2 m).
    own, mixed, below : (nnz,) arrays
        Elements of Q that are 1 in the upper left block, in those beside it, and on the diagonal of the last.
    given : (nnz,) array
        Elements of R in the last.
    """

    structured: Constrained
    pattern: csr_array
    own: Array
    mixed: Array
    below: Array
    given: Array


@dataclass(frozen=True, eq=False)
class Bym2(Share, Intrinsic):
    """Levels of b, then those of u, of as many areas.

    Attributes
    ----------
    neighbours : (m / 2, m / 2) csr_array
        W, symmetric, not negative, with a zero diagonal.
    """

    neighbours: csr_array
    name: str = "bym2"

    def __post_init__(self) -> None:
        refuse_adjacency(self.neighbours)

    @property
    def m(self) -> int:
        return 2 * self.areas

    @property
    def areas(self) -> int:
        """Levels of b."""
        return len(self.neighbours.indptr) - 1

    @property
    def shown(self) -> int:
        """Levels of b: those of u stand behind them."""
        return self.areas

    @property
    def names(self) -> tuple[str, ...]:
        return ("rho",)

    @cached_property
    def naturals(self) -> tuple[Natural, ...]:
        """rho, with the eigenvalues of the covariance of u; O(m^3), once."""
        roots = np.linalg.eigvalsh(self._map.structured.covariance())
        return (Portion(np.maximum(roots, 0.0)),)

    @cached_property
    def _map(self) -> _Map:
        from scipy.sparse import csr_array

        own = components(self.neighbours)
        r, m = laplacian(self.neighbours), self.areas
        sizes = np.bincount(own)
        linked = np.flatnonzero(sizes > 1)
        member = (own[:, None] == linked).astype(float)
        rows = np.repeat(np.arange(m), np.diff(r.indptr))
        diagonal = rows == r.indices
        r.data[diagonal & (sizes[own[rows]] == 1)] = 1.0
        weight = float(r.diagonal().mean())
        plain = Constrained(r, np.nan, member, member, member.argmax(axis=0), weight)
        logs = np.bincount(own, np.log(plain.variances)) / sizes
        r.data *= np.exp(logs)[own[rows]]  # alone: log 1 = 0
        structured = constrained(r, member, member, member.argmax(axis=0), weight)
        steps = np.arange(m)
        i = np.concatenate([steps, steps, steps + m, rows + m])
        j = np.concatenate([steps, steps + m, steps, r.indices + m])
        order = np.lexsort((j, i))
        kinds = np.repeat([0, 1, 1, 2], [m, m, m, len(rows)])[order]
        given = np.concatenate([np.zeros(3 * m), r.data])[order]
        ends = np.concatenate([[0], np.cumsum(np.bincount(i, minlength=2 * m))])
        pattern = csr_array((np.ones(len(i)), j[order], ends), shape=(2 * m, 2 * m))
        own_part, mixed, last = ((kinds == kind).astype(float) for kind in range(3))
        return _Map(structured, pattern, own_part, mixed, last * (i[order] == j[order]), given)

    def _filled(self, data: Array) -> csr_array:
        from scipy.sparse import csr_array

        pattern = self._map.pattern
        return csr_array((data, pattern.indices, pattern.indptr), shape=pattern.shape)

    def precision(self, phi: Array) -> Constrained:
        own, m, (rho, rest) = self._map, self.areas, self.held(phi)
        root, r = np.sqrt(rho), own.structured
        data = own.given + (own.own - root * own.mixed + rho * own.below) / rest
        sums, null = np.zeros((2 * m, r.count)), np.concatenate([root * r.null, r.null])
        sums[m:] = r.sums
        pins: Index = r.pins + m
        logdet = r.logdet - m * float(np.log(rest))
        return Constrained(self._filled(data), logdet, sums, null, pins, r.weight)

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        own, (rho, rest) = self._map, self.held(phi)
        slope, root = self.slope(phi), np.sqrt(rho)
        mixed = 0.5 / (root * rest) + root / rest**2
        data = (own.own + own.below) / rest**2 - mixed * own.mixed
        return ((self._filled(slope * data), self.areas * slope / rest),)
