"""Rows to predict in the units of the twin at which a criterion is evaluated (:mod:`lmmformula.ir.standard`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Stacked
from lmmformula.ir.groups import Group
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.laplace import LaplacePoint
    from lmmformula.criteria.profiled import ProfiledPoint
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Rows

__all__ = ["WorkingRows"]

CELLS = 20_000_000
"""Numbers of a table of levels by rows that are held at a time."""

_Touched = tuple[int, int, slice, NDArray[np.intp], NDArray[np.int32], Array]
"""Of one term on a batch of rows: predictor, group, columns in the group, rows with a known level, these levels, Lambda'z."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One term on the rows, or one for each of the levels that rows have.

    Attributes
    ----------
    term : int
    basis : (n, k) array
    codes : (n,) array
        Levels of the fit, -1 where there is none.
    unseen : (n,) array
        Whether the fit has not seen the row's level.
    """

    term: int
    basis: Array
    codes: NDArray[np.int32]
    unseen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class WorkingRows:
    """Columns of the rows.

    Attributes
    ----------
    X : (n, p) array
    parts : list of Part
        Those of the mean's predictor.
    beside : tuple of lists of Part
        Those of each auxiliary predictor; empty where none has random effects.
    """

    X: Array
    parts: list[Part]
    beside: tuple[list[Part], ...] = ()

    @classmethod
    def of(cls, fit: Fitted, rows: Rows) -> WorkingRows:
        """From rows with ``X`` and ``parts`` in the user's units."""
        standard = fit.standard
        parts, *beside = (
            [Part(p.term, standard.basis_in(p.term, p.basis), p.codes, p.new_codes >= 0) for p in own]
            for own in (rows.parts, *rows.aux_parts)
        )
        return cls(standard.fixed_in(rows.X), parts, tuple(beside))

    @property
    def n_predictors(self) -> int:
        """Predictors that may have random effects, K."""
        return 1 + len(self.beside)

    def errors(
        self, point: LaplacePoint | ProfiledPoint, fixed: Array, effects: Stacked
    ) -> tuple[Array, Array]:
        """Of the mean's predictor relative to sigma^2: the variance of z'b given the parameters, (n,); and x'`fixed` +
        z'Lambda `effects`, (n, r).
        """
        own, along = replace(self, beside=()).joint_errors(point, fixed, effects)
        return own[:, 0, 0], along[:, 0]

    def joint_errors(
        self, point: LaplacePoint | ProfiledPoint, fixed: Array, effects: Stacked
    ) -> tuple[Array, Array]:
        """The same of all predictors: covariances, (n, K, K), and movements, (n, K, r), X in the mean alone."""
        n, k = len(self.X), self.n_predictors
        own, along = np.zeros((n, k, k)), np.zeros((n, k, fixed.shape[1]))
        along[:, 0] = self.X @ fixed
        if not (self.parts or any(self.beside)):
            return own, along
        groups: Sequence[Group] = point.model.prepared.blocks.groups
        for batch, levels in self._touched(groups, point.factors):
            size = batch.stop - batch.start
            right = tuple(np.zeros((g.m, g.k, k * size)) for g in groups)
            for j, a, columns, seen, codes, z in levels:
                right[a][codes, columns, j * size + seen] += z
            solved = point.factor.solve(right)
            for j, a, columns, seen, codes, z in levels:
                for i in range(k):
                    met = solved[a][codes, columns, i * size + seen]
                    own[batch][seen, j, i] += np.einsum("nk,nk->n", z, met)
                along[batch][seen, j] += np.einsum("nk,nkr->nr", z, effects[a][codes][:, columns])
        return own, along

    def centre(self, point: LaplacePoint | ProfiledPoint) -> Array:
        """``x'beta + z'Lambda u`` at a point, (n,)."""
        out = self.X @ point.beta
        for a, group in enumerate(point.model.prepared.blocks.groups):
            effects = point.u[a] @ point.factors[a].T
            for part, columns in _of(group, self.parts):
                seen = np.flatnonzero(part.codes >= 0)
                out[seen] += np.einsum("nk,nk->n", part.basis[seen], effects[part.codes[seen]][:, columns])
        return out

    def unseen_variance(self, factors: dict[int, Array]) -> Array:
        """``|L'z|^2`` of the levels that the fit has not seen, (n,), for L of each term."""
        out = np.zeros(len(self.X))
        for part in self.parts:
            out[part.unseen] += np.sum((part.basis[part.unseen] @ factors[part.term]) ** 2, axis=1)
        return out

    def _touched(
        self, groups: Sequence[Group], factors: Sequence[Array]
    ) -> Iterator[tuple[slice, list[_Touched]]]:
        """Batches of rows, with what each term has on them."""
        q = sum(g.m * g.k for g in groups)
        step = max(1, min(256, CELLS // max(1, q * self.n_predictors)))
        for start in range(0, len(self.X), step):
            batch, levels = slice(start, min(start + step, len(self.X))), []
            for a, (group, factor) in enumerate(zip(groups, factors, strict=True)):
                for j, parts in enumerate((self.parts, *self.beside)):
                    for part, columns in _of(group, parts):
                        codes = part.codes[batch]
                        seen = np.flatnonzero(codes >= 0)
                        z = part.basis[batch][seen] @ factor[columns, columns]
                        levels.append((j, a, columns, seen, codes[seen], z))
            yield batch, levels


def _of(group: Group, parts: Sequence[Part]) -> list[tuple[Part, slice]]:
    """Parts of the terms of a group, with their columns."""
    return [(part, columns) for i, columns in group.members for part in parts if part.term == i]
