"""The effects that leave with their unit: those of factors nested in the units, eliminated for all units at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Factor
from lmmformula.engines.registry import exact_engine
from lmmformula.inference.influence.linear import Linear
from lmmformula.ir.blocks import Blocks
from lmmformula.ir.groups import GroupRows
from lmmformula.typing import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Eliminated"]


@dataclass(frozen=True, slots=True, eq=False)
class Eliminated:
    """The effects O of :mod:`lmmformula.inference.influence.deletion`.

    Attributes
    ----------
    groups : tuple of int
    columns : tuple of sparse (n, q_a) arrays
        Z_a Lambda_a.
    factor : Factor or None
        The part of M that is theirs, which is block diagonal over units; None if there are none.
    widths : tuple of int
        k of each.
    """

    groups: tuple[int, ...]
    columns: tuple[csr_array, ...]
    factor: Factor | None
    widths: tuple[int, ...]

    @classmethod
    def of(cls, linear: Linear, groups: tuple[int, ...]) -> Eliminated:
        """The part of M of the groups `groups`, a chain of nested ones."""
        if not groups:
            return cls((), (), None, ())
        members = [linear.terms[i] for a in groups for i, _ in linear.blocks.groups[a].members]
        blocks, factors = Blocks(members, linear.n), [linear.factors[a] for a in groups]
        gram = blocks.gram(linear.weights, np.zeros((linear.n, 0)))
        columns = tuple(_columns(linear.blocks.own[a], linear.factors[a]) for a in groups)
        widths = tuple(linear.blocks.groups[a].k for a in groups)
        return cls(groups, columns, exact_engine().prepare(blocks).factor(gram, factors), widths)

    def without(self, rows: NDArray[np.intp], weights: Array, values: Array) -> Array:
        """V_O^-1 `values` for values (r, c) on `rows`, which are all rows of some units; `weights` are theirs."""
        weighted = weights[:, None] * values
        if self.factor is None:
            return weighted
        some = [z[rows] for z in self.columns]
        c = values.shape[1]
        rhs = tuple(
            np.asarray(z.T @ weighted).reshape(-1, k, c) for z, k in zip(some, self.widths, strict=True)
        )
        for z, solved in zip(some, self.factor.solve(rhs), strict=True):
            weighted -= weights[:, None] * (z @ solved.reshape(-1, c))
        return weighted


def _columns(own: GroupRows, factor: Array) -> csr_array:
    """Z_a Lambda_a of a group whose rows have one level each."""
    from scipy.sparse import csr_array

    n, k = len(own.codes), own.group.k
    values = np.full((n, 1), factor[0, 0]) if own.basis is None else own.basis @ factor
    indices = own.codes[:, None].astype(np.int64) * k + np.arange(k)
    return csr_array((values.ravel(), indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, own.group.q))
