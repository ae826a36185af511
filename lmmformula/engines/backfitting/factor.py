"""M by its single-factor operators: the sweeps of :mod:`lmmformula.engines.backfitting.clubbed` as a factor.

It answers `solve` to a tolerance, and `inverse` and `trace_blocks` by the blocks M_a^-1 alone: the off-diagonal
blocks B_ab are ignored there, an error of smaller order than the number of levels (Ghosh, Hastie & Owen 2022).

References
----------
Ghosh, Hastie & Owen (2022), Scalable logistic regression with crossed random effects, Electron. J. Stat. 16.
Ghosh, Hastie & Owen (2022a), Backfitting for large scale crossed random effects regressions, Ann. Stat. 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmmformula.engines.backfitting.centred import Centred, Centring, centres
from lmmformula.engines.backfitting.clubbed import Clubbed, Couplings, Operators
from lmmformula.engines.backfitting.information import fixed_information
from lmmformula.engines.backfitting.led import PAIRS, Led, leads
from lmmformula.engines.backfitting.operators import inverse_of, own_block
from lmmformula.engines.base import Certain, Drawless, Stacked, Uncoupled
from lmmformula.engines.equations import Equations
from lmmformula.errors import FitError
from lmmformula.ir.levels import Levels
from lmmformula.typing import Array

__all__ = ["BackfittingFactor", "BackfittingWeighted", "DiagonalInverse"]

SOLVE_TOLERANCE = 1e-10
"""Relative size of the last change at which `solve` ends."""
COLUMNS = 4
"""Right-hand sides that `solve` sweeps at a time: what Anderson's memory of them costs."""


class BackfittingWeighted(Couplings):
    """The blocks at one W."""

    @cached_property
    def centring(self) -> Centring | None:
        """Effects centred at the columns of X that are constant within levels, where these are known and so they can be."""
        gram = self.gram.by_level
        return None if gram is None or not centres(self.blocks.groups) else Centring(gram)

    def factor(self, factors: Sequence[Array]) -> BackfittingFactor:
        """Single-factor operators M_a^-1 for relative Cholesky factors `factors`."""
        own, inverses = [], []
        for group, diag, lower in zip(self.blocks.groups, self.gram.diag, factors, strict=True):
            own.append(own_block(diag, lower))
            inverses.append(inverse_of(own[-1], group.name))
        return BackfittingFactor(self, tuple(factors), tuple(own), tuple(inverses))


@dataclass(frozen=True, eq=False)
class DiagonalInverse(Uncoupled):
    """The blocks M_a^-1 in the place of the diagonal blocks of M^-1; pairs count as zero."""

    blocks: Levels
    inverses: tuple[Array, ...]
    has_pairs = False

    def diagonal(self, a: int) -> Array:
        """M_a^-1, (m_a, k_a, k_a)."""
        return self.inverses[a]

    def pair(self, a: int, b: int) -> Array:
        """Zeros on the pattern of (a, b)."""
        groups = self.blocks.groups
        return np.zeros((self.blocks.pattern(a, b).nnz, groups[a].k, groups[b].k))


@dataclass(frozen=True, eq=False)
class BackfittingFactor(Operators, Certain, Drawless):
    """M at one W and one theta through its single-factor operators."""

    at: BackfittingWeighted

    @property
    def logdet(self) -> float:
        """Not available: backfitting never factorises M."""
        raise FitError(
            "backfitting does not give log|M|, so a PQL fit has no likelihood; "
            'compare models by method="laplace" or "ml".'
        )

    def inverse(self) -> DiagonalInverse:
        """The single-factor operators in the place of selected blocks of M^-1."""
        return DiagonalInverse(self.blocks, self.inverses)

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group the sum over levels of M_a^-1: the diagonal approximation."""
        return tuple(v.sum(axis=0) for v in self.inverses)

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs by backfitting without fixed effects, to a relative change of `SOLVE_TOLERANCE`."""
        c = rhs[0].shape[-1] if rhs else 0
        if c > COLUMNS:
            out = tuple(np.empty_like(r) for r in rhs)
            for i in range(0, c, COLUMNS):
                some = slice(i, i + COLUMNS)
                part = tuple(np.ascontiguousarray(r[..., some]) for r in rhs)
                for whole, solved in zip(out, self.solve(part), strict=True):
                    whole[..., some] = solved
            return out
        empty = tuple(np.zeros((*r.shape[:2], 0)) for r in rhs)
        system = Clubbed(self, empty, np.zeros((0, 0)))
        start = tuple(np.zeros_like(r) for r in rhs)
        return system.solve(rhs, np.zeros((0, c)), (np.zeros((0, c)), start), relative=SOLVE_TOLERANCE).u

    def equations(self) -> Equations:
        """(1) with the columns that the Gram was formed with."""
        if (centring := self.at.centring) is not None:
            return Centred(self, centring)
        led = leads(self.blocks.groups, len(self.gram.vv)) and self.couplings[0, 1].nnz >= PAIRS
        kind = Led if led else Clubbed
        return kind(self, self.gram.rhs, self.gram.vv)

    def fixed_information(self) -> Array:
        """X'V^-1X, see :mod:`lmmformula.engines.backfitting.information`."""
        return fixed_information(self)
