"""Rows to predict in the units of the twin at which a criterion is evaluated (:mod:`lmmformula.ir.standard`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Stacked
from lmmformula.ir.groups import Group
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.result import Fit

__all__ = ["WorkingRows"]

CELLS = 20_000_000
"""Numbers of a table of levels by rows that are held at a time."""

_Touched = tuple[int, slice, NDArray[np.intp], NDArray[np.int32], Array]
"""Of one term on a batch of rows: group, columns in the group, rows with a known level, these levels, Lambda'z of the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class WorkingRows:
    """Columns of the rows.

    Attributes
    ----------
    X : (n, p) array
    bases : mapping of a term to its (n, k) columns
    codes : mapping of a term to the (n,) levels of the fit, -1 where there is none
    unseen : mapping of a term to the (n,) mask of rows with a level that the fit has not seen
    """

    X: Array
    bases: dict[int, Array]
    codes: dict[int, NDArray[np.int32]]
    unseen: dict[int, NDArray[np.bool_]]

    @classmethod
    def of(cls, fit: Fit, rows: Any) -> WorkingRows:
        """From rows with ``X`` and ``parts`` in the user's units."""
        standard = fit.standard
        bases = {part.term: standard.basis_in(part.term, part.basis) for part in rows.parts}
        codes = {part.term: part.codes for part in rows.parts}
        unseen = {part.term: part.new_codes >= 0 for part in rows.parts}
        return cls(standard.fixed_in(rows.X), bases, codes, unseen)

    def errors(self, point: Any, fixed: Array, effects: Stacked) -> tuple[Array, Array]:
        """Relative to sigma^2 the variance of z'b given the parameters, (n,); and x'`fixed` + z'Lambda `effects`, (n, r)."""
        own, along = np.zeros(len(self.X)), self.X @ fixed
        if not self.bases:
            return own, along
        groups: Sequence[Group] = point.model.prepared.blocks.groups
        for batch, levels in self._touched(groups, point.factors):
            right = tuple(np.zeros((g.m, g.k, batch.stop - batch.start)) for g in groups)
            for a, columns, seen, codes, z in levels:
                right[a][codes, columns, seen] = z
            solved = point.factor.solve(right)
            for a, columns, seen, codes, z in levels:
                own[batch][seen] += np.einsum("nk,nk->n", z, solved[a][codes, columns, seen])
                along[batch][seen] += np.einsum("nk,nkr->nr", z, effects[a][codes][:, columns])
        return own, along

    def centre(self, point: Any) -> Array:
        """``x'beta + z'Lambda u`` at a point, (n,)."""
        out = self.X @ point.beta
        for a, group in enumerate(point.model.prepared.blocks.groups):
            effects = point.u[a] @ point.factors[a].T
            for i, columns in group.members:
                if i in self.codes:
                    seen = np.flatnonzero(self.codes[i] >= 0)
                    own = effects[self.codes[i][seen]][:, columns]
                    out[seen] += np.einsum("nk,nk->n", self.bases[i][seen], own)
        return out

    def unseen_variance(self, factors: dict[int, Array]) -> Array:
        """``|L'z|^2`` of the levels that the fit has not seen, (n,), for L of each term."""
        out = np.zeros(len(self.X))
        for i, mask in self.unseen.items():
            out[mask] += np.sum((self.bases[i][mask] @ factors[i]) ** 2, axis=1)
        return out

    def _touched(
        self, groups: Sequence[Group], factors: Sequence[Array]
    ) -> Iterator[tuple[slice, list[_Touched]]]:
        """Batches of rows, with what each term has on them."""
        q = sum(g.m * g.k for g in groups)
        step = max(1, min(256, CELLS // max(1, q)))
        for start in range(0, len(self.X), step):
            batch, levels = slice(start, min(start + step, len(self.X))), []
            for a, (group, factor) in enumerate(zip(groups, factors, strict=True)):
                for i, columns in group.members:
                    if i in self.codes:
                        codes = self.codes[i][batch]
                        seen = np.flatnonzero(codes >= 0)
                        z = self.bases[i][batch][seen] @ factor[columns, columns]
                        levels.append((a, columns, seen, codes[seen], z))
            yield batch, levels
