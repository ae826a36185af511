r"""Levels at points whose correlation is a function of their distance: exponential, Gaussian and Matern fields.

With t = distance / range, within a group of levels (other groups are independent)::

    exp   exp(-t)          gau   exp(-t^2)          mat   2^(1-nu) / Gamma(nu) t^nu K_nu(t)                  (1)

(Cressie 1993, sec. 2.3; the parametrisation of glmmTMB). ``Q = R^-1`` has a dense block for each group, so an evaluation
takes O(s^3) for s points in a group: 2,000 points take a minute, 10,000 are out of reach. dQ = -Q dR Q, dlog|Q| = -tr(Q dR).

phi is log(range / scale), scale the largest distance within a group, so that it has no unit; of ``mat`` with a free smoothness
then log(nu / (1 - nu / 50)): nu < 50, beyond which no data tell it from ``gau``.

Smooth fields (``gau``, and ``mat``, whose nu may grow) make R singular in floating point where points are close for the range.
Their R has 1e-9 added to its diagonal: V moves by 1e-9 of the field's variance, the deviance by less than n 1e-9 var / sigma^2,
and R stays definite for any range; that of ``exp`` has 1e-12, which matters where the range is beyond all bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.ir.across.base import Precision
from lmmformula.ir.across.matern import matern
from lmmformula.ir.across.naturals import Length, Natural, Smoothness
from lmmformula.ir.across.placed import FARTHEST, Batch, batches, block_diagonal, blocks_of, refuse_duplicates
from lmmformula.ir.covariance_roles import Role
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Kernel"]

RIDGE = {"exp": 1e-12, "gau": 1e-9, "mat": 1e-9}
"""Added to the diagonal of R."""
SMOOTHEST = 50.0
"""End of the range of nu."""
_START = {"exp": 0.3, "gau": 0.3, "mat": 0.15}
"""Range over the largest distance where a search begins: correlations of about a half at a fifth of that distance."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Levels at points, correlation a function of their distance over a range; Q has a dense block for each group.

    Attributes
    ----------
    points : (m, d) array
        Different within a group.
    name : {"exp", "gau", "mat"}
    within : (m,) int array or None
        Group of each level; None for a single one.
    nu : float or None
        A known smoothness of ``mat``; None where it is estimated.
    reach : float or None
        The distance that phi is relative to; None for the largest one within a group.
    """

    points: Array
    name: str = "exp"
    within: Index | None = None
    nu: float | None = None
    reach: float | None = None

    def __post_init__(self) -> None:
        refuse_duplicates(self.points, self.groups, self.name)
        if max(part.levels.shape[1] for part in self._batches) < 2:
            raise DataError(
                f"{self.name}() has one position in each of its {len(np.unique(self.groups)):,} groups, so no distance to "
                "estimate a range from; write (1 | g), or check what the groups are."
            )

    @property
    def m(self) -> int:
        return len(self.points)

    @property
    def groups(self) -> Index:
        """Group of each level."""
        return self._groups

    @cached_property
    def _groups(self) -> Index:
        return blocks_of(self.within, self.m)

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.CORRELATION,) * (1 + self._free)

    @property
    def names(self) -> tuple[str, ...]:
        return ("range", "nu") if self._free else ("range",)

    @property
    def _free(self) -> bool:
        """Whether the smoothness is estimated."""
        return self.name == "mat" and self.nu is None

    @cached_property
    def _batches(self) -> tuple[Batch, ...]:
        return batches(self.groups)

    @cached_property
    def _raw(self) -> list[Array]:
        """Distances within groups, (b, s, s) for each batch, in units of the points."""
        out = []
        for part in self._batches:
            own = self.points[part.levels]
            square = np.zeros((*part.levels.shape, part.levels.shape[1]))
            for axis in range(own.shape[2]):
                step = own[:, :, None, axis] - own[:, None, :, axis]
                square += step * step
            out.append(np.sqrt(square))
        return out

    @cached_property
    def scale(self) -> float:
        """The distance that phi is relative to."""
        return max(float(d.max()) for d in self._raw) if self.reach is None else self.reach

    def beside(self, points: Array, groups: Index) -> Kernel:
        """The same field, with further levels behind those that there are."""
        return Kernel(
            np.concatenate([self.points, points]),
            self.name,
            np.concatenate([self.groups, groups]),
            self.nu,
            self.scale,
        )

    # -- phi -------------------------------------------------------------------------------------------------------

    def start(self) -> Array:
        return np.array([np.log(_START[self.name]), 0.0][: 1 + self._free])

    @property
    def naturals(self) -> tuple[Natural, ...]:
        """The range, and the smoothness where it is free."""
        falls = {"exp": 2.0, "gau": 2.0**0.5, "mat": (8.0 * (self.nu or 1.0)) ** 0.5}[self.name]
        known = (Length(self.scale, falls, self.points.shape[1]), Smoothness(SMOOTHEST))
        return known[: 1 + self._free]

    def natural(self, phi: Array) -> Array:
        """The range, in the units of the points, and the smoothness."""
        found = [float(np.exp(np.clip(phi[0], -FARTHEST, FARTHEST))) * self.scale]
        return np.array([*found, self._smoothness(phi)] if self._free else found)

    def bend(self, phi: Array) -> Array:
        """Of the correlation r at the smallest distance t in units of the range, which far off is about e^-t or e^-t^2."""
        t = self._closest / self.scale * np.exp(min(-phi[0], FARTHEST))
        return np.array([2.0 * (t * t - 1.0) if self.name == "gau" else t - 1.0, 0.0][: 1 + self._free])

    @cached_property
    def _closest(self) -> float:
        """The smallest distance of two levels."""
        pairs = [d[:, *np.triu_indices(d.shape[1], 1)] for d in self._raw if d.shape[1] > 1]
        return min(float(d.min()) for d in pairs)

    def _smoothness(self, phi: Array) -> float:
        if self.nu is not None:
            return self.nu
        grown = float(np.exp(np.clip(phi[1], -20.0, 100.0)))
        return SMOOTHEST * grown / (SMOOTHEST + grown)

    def between(self, phi: Array, points: Array, groups: Index) -> Array:
        """Correlations of further points (r, d) in their groups with the levels, (r, m)."""
        square = np.zeros((len(points), self.m))
        for axis in range(points.shape[1]):
            square += (points[:, [axis]] - self.points[:, axis]) ** 2
        t = np.sqrt(square) * (np.exp(min(-phi[0], FARTHEST)) / self.scale)
        if self.name == "mat":
            r = matern(t, self._smoothness(phi), with_nu=False)[0]
        else:
            r = np.exp(-(t * t if self.name == "gau" else t))
        return np.where(groups[:, None] == self.groups, r, 0.0)

    # -- Q ---------------------------------------------------------------------------------------------------------

    def _correlations(self, phi: Array, *, slopes: bool) -> list[tuple[Array, ...]]:
        """R, and with `slopes` dR/dphi_j, of each batch."""
        stretch = np.exp(min(-phi[0], FARTHEST)) / self.scale
        nu, out = self._smoothness(phi) if self.name == "mat" else 0.0, []
        for distance in self._raw:
            t = distance * stretch
            if self.name == "mat":
                rows, cols = np.triu_indices(t.shape[1], 1)
                found = matern(t[:, rows, cols], nu, with_nu=slopes and self._free)
                r, fall, by_nu = (
                    _mirrored(v, len(t[0]), diagonal=d) for v, d in zip(found, (1.0, 0.0, 0.0), strict=True)
                )
                moves = (fall, by_nu * (nu * (1.0 - nu / SMOOTHEST)))[: 1 + self._free]
            else:
                power = t * t if self.name == "gau" else t
                r = np.exp(-power)
                moves = ((2.0 if self.name == "gau" else 1.0) * power * r,)
            r[:, np.arange(t.shape[1]), np.arange(t.shape[1])] += RIDGE[self.name]
            out.append((r, *(moves if slopes else ())))
        return out

    @cached_property
    def _kept(self) -> dict[bytes, tuple[list[Array], float]]:
        """The inverses at the phi asked for last: a value and its gradient are asked for in turn, maybe by several threads."""
        return {}

    def _inverses(self, phi: Array) -> tuple[list[Array], float]:
        """R^-1 of each batch, and log|R|."""
        key = np.asarray(phi, dtype=float).tobytes()
        kept = self._kept.get(key)
        if kept is None:
            found, logdet = [], 0.0
            for (r,) in self._correlations(phi, slopes=False):
                inverse, own = _inverse(r, self)
                found.append(inverse)
                logdet += own
            kept = found, logdet
            self._kept.clear()
            self._kept[key] = kept
        return kept

    def precision(self, phi: Array) -> Precision:
        inverses, logdet = self._inverses(phi)
        return Precision(block_diagonal(self._batches, inverses, self.m), -logdet)

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        """dQ = -Q dR Q; dlog|Q| = -tr(Q dR)."""
        inverses, slopes = self._inverses(phi)[0], self._correlations(phi, slopes=True)
        out = []
        for j in range(len(self.roles)):
            moved = [-(q @ own[1 + j] @ q) for q, own in zip(inverses, slopes, strict=True)]
            traces = sum(float(np.vdot(q, own[1 + j])) for q, own in zip(inverses, slopes, strict=True))
            out.append((block_diagonal(self._batches, moved, self.m), -traces))
        return tuple(out)


def _mirrored(values: Array, size: int, *, diagonal: float) -> Array:
    """Symmetric matrices (b, s, s) of the elements above their diagonals, (b, pairs)."""
    out = np.empty((len(values), size, size))
    rows, cols = np.triu_indices(size, 1)
    out[:, rows, cols] = out[:, cols, rows] = values
    out[:, np.arange(size), np.arange(size)] = diagonal
    return out


def _inverse(r: Array, kernel: Kernel) -> tuple[Array, float]:
    """R^-1 and log|R| of a stack of correlation matrices."""
    from scipy.linalg.lapack import get_lapack_funcs

    if len(r) > 1:
        try:
            lower = np.linalg.cholesky(r)
        except np.linalg.LinAlgError:
            raise _too_close(kernel) from None
        half = np.linalg.inv(lower)
        logs = np.log(np.diagonal(lower, axis1=1, axis2=2))
        return np.swapaxes(half, 1, 2) @ half, 2.0 * float(logs.sum())
    dpotrf, dpotri = get_lapack_funcs(("potrf", "potri"), (r,))
    factor, info = dpotrf(r[0], lower=1, clean=0)
    if info:
        raise _too_close(kernel)
    logdet = 2.0 * float(np.log(np.diagonal(factor)).sum())
    inverse, _ = dpotri(factor, lower=1)
    below = np.tril(inverse, -1)
    return (np.diag(np.diagonal(inverse)) + below + below.T)[None], logdet


def _too_close(kernel: Kernel) -> DataError:
    return DataError(
        f"the correlation matrix of {kernel.name}() is not positive definite in floating point: two of its points are too "
        f"close beside the largest distance, {kernel.scale:.3g}. Give points that are nearly the same one position."
    )
