r"""The residuals of a model as data: groups, positions, and columns of the logarithm of their standard deviation.

``log s_r = w_r'a`` for the columns w of ``sigma ~``. With a constant in their span, W c = 1, sigma is profiled and what is
searched is delta in directions of mean zero, orthogonal and of unit size over the rows: with ``W - 1 w0' = U D V'``,
``A = sqrt(n) V D^-1``::

    log s_r = log sigma + (w_r - w0)'A delta,       a = A delta + c (log sigma - w0'A delta)

Neither units nor origin of the columns then matter to a search, and sigma is the geometric mean of the rows' deviations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.residual.base import ResidualKind
from lmmformula.ir.residual.exchangeable import Independent
from lmmformula.typing import Array, Entries

__all__ = ["ResidualBlock", "VarianceColumns", "variance_columns"]


@dataclass(frozen=True, slots=True, eq=False)
class VarianceColumns:
    """Columns of the log standard deviation.

    Attributes
    ----------
    block : FixedBlock
    centre : (g,) array
        w0.
    axes : (g, g - 1) array
        A.
    one : (g,) array
        c.
    """

    block: FixedBlock
    centre: Array
    axes: Array
    one: Array

    @property
    def n_delta(self) -> int:
        return self.axes.shape[1]

    @property
    def directions(self) -> Array:
        """(W - 1 w0') A of the rows, (n, g - 1)."""
        return (self.block.matrix - self.centre) @ self.axes

    def coefficients(self, delta: Array, log_sigma: float) -> Array:
        """a, on the scale of the user's columns."""
        moved = self.axes @ delta
        return moved + self.one * (log_sigma - float(self.centre @ moved))

    def spread(self, columns: Array, delta: Array) -> Array:
        """Deviation of rows with these columns (n, g) relative to sigma, (n,)."""
        return np.exp((columns - self.centre) @ (self.axes @ delta))


def variance_columns(block: FixedBlock) -> VarianceColumns:
    """The columns with what makes them free of units.

    Raises
    ------
    PlanError
        If no combination of them is constant, so that sigma would be one at the origin.
    """
    w = block.matrix
    one, *_ = np.linalg.lstsq(w, np.ones(len(w)), rcond=None)
    if np.abs(w @ one - 1.0).max(initial=0.0) > 1e-8:
        raise PlanError(
            f"the formula of sigma has the columns {', '.join(block.names)} and no constant in their span: sigma would be "
            "held at one where they are zero. Add the intercept, or a factor, as in sigma ~ 1 + x."
        )
    centre = w.mean(axis=0)
    _, sizes, turned = np.linalg.svd(w - centre, full_matrices=False)
    keep = sizes > 1e-10 * max(sizes.max(initial=0.0), 1e-300)
    axes = turned[keep].T / sizes[keep] * np.sqrt(len(w))
    return VarianceColumns(block, centre, axes, one)


@dataclass(frozen=True, slots=True, eq=False)
class ResidualBlock:
    """Structure of the residuals of a Gaussian model.

    Attributes
    ----------
    kind : ResidualKind
    codes : (n,) int32 array
        Group of each row; rows of different groups are independent.
    positions : (n, d) array
    group : str
        Name of the grouping factor; empty where all rows are one group, or each is its own.
    label : str
        The term as it stands in the formula; empty for a variance function alone.
    variance : VarianceColumns or None
    """

    kind: ResidualKind
    codes: NDArray[np.int32]
    positions: Array
    group: str
    label: str
    variance: VarianceColumns | None = None

    @classmethod
    def independent(cls, n: int) -> ResidualBlock:
        """Of n independent rows."""
        return cls(Independent(), np.arange(n, dtype=np.int32), np.zeros((n, 0)), "", "")

    @property
    def n_delta(self) -> int:
        return 0 if self.variance is None else self.variance.n_delta

    @property
    def n_psi(self) -> int:
        """Parameters besides sigma: phi, then delta."""
        return self.kind.n_phi + self.n_delta

    def split(self, psi: Array) -> tuple[Array, Array]:
        """phi and delta."""
        return psi[: self.kind.n_phi], psi[self.kind.n_phi :]

    def start(self) -> Array:
        return np.concatenate([self.kind.start(), np.zeros(self.n_delta)])

    def at(self, rows: slice | Entries) -> ResidualBlock:
        """Some of the rows: a slice, or positions."""
        variance = self.variance
        if variance is not None:
            variance = replace(variance, block=variance.block.at(rows))
        return replace(self, codes=self.codes[rows], positions=self.positions[rows], variance=variance)

    def deviations(self, psi: Array) -> Array:
        """Standard deviation of each row relative to sigma, without weights, (n,)."""
        phi, delta = self.split(psi)
        out = np.ones(len(self.codes))
        if not self.kind.homogeneous:
            own = self.kind.relative(self.positions[:, None, :], phi)[0]
            out = np.sqrt(own[:, 0, 0])
        return out if self.variance is None else out * np.exp(self.variance.directions @ delta)

    def names(self) -> tuple[str, ...]:
        """Of what :meth:`natural` gives."""
        own = () if self.variance is None else tuple(f"sigma: {n}" for n in self.variance.block.names)
        return (*self.kind.names, *own)

    def natural(self, psi: Array, log_sigma: float) -> Array:
        """Parameters as a reader knows them: those of the correlation, then coefficients of log sigma."""
        phi, delta = self.split(psi)
        known = self.kind.natural(phi)
        if self.variance is None:
            return known
        return np.concatenate([known, self.variance.coefficients(delta, log_sigma)])
