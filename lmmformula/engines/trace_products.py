r"""``tr(M^-1 M_j M^-1 M_k)`` of a factorised M, for several symmetric M_j on its pattern.

With one eliminated group beside a small dense part, ``M = F F'`` for

    F = [ F_1       ]        T = F_1^-1 C,    S = R'R,
        [ T'    R'  ]

C the coupling and S the Schur complement. For ``M_j = [D C; C' E]`` with the blocks of M, let ``A = F_1^-1 D F_1^-T``, block
diagonal, and ``Y = F_1^-1 C - A T``. Then

    F^-1 M_j F^-T = [ A            Y R^-1                        ]
                    [ R^-T Y'      R^-T (E - T'F_1^-1 C - Y'T) R^-1 ]

and the trace is the sum of products of the elements of two such matrices: O(m k q_D^2) for each M_j, O(m k q_D) for each pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.engines.scaled import scaled, scaled_coupling
from lmmformula.ir.blocks import Gram
from lmmformula.numerics.batched import matmul, transpose
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.engines.blocked import BlockedFactor

__all__ = ["has_trace_products", "trace_products"]

CELLS = 400_000
"""Of the coupling, above which it is not held as a dense matrix."""
MOST = 4_000_000
"""Of all F^-1 M_j F^-T together."""


def has_trace_products(factor: BlockedFactor, count: int) -> bool:
    """Whether the pattern is such, and the traces of so many M_j are not dear."""
    plan = factor.plan
    if len(plan.chain) != 1 or factor.prepared.single or any(q is not None for q in factor.across):
        return False
    group = plan.blocks.groups[plan.chain[0]]
    cells = group.q * plan.q_dense
    return cells <= CELLS and count * (cells + group.q * group.k + plan.q_dense**2) <= MOST


def trace_products(factor: BlockedFactor, moves: Sequence[Gram], factors: Sequence[Array]) -> Array:
    """The traces for M_j = Lambda'G_j Lambda, (d, d), where :func:`has_trace_products` says so.

    Parameters
    ----------
    factor : BlockedFactor
    moves : sequence of Gram
        G_j.
    factors : sequence of (k_a, k_a) arrays
        L_a.
    """
    rows = np.stack([_whitened(factor, move, factors) for move in moves])
    return rows @ rows.T


def _whitened(factor: BlockedFactor, move: Gram, factors: Sequence[Array]) -> Array:
    """The elements of F^-1 M_j F^-T; those off the diagonal blocks once, times the root of 2."""
    plan, inv, a = factor.plan, factor.inv[0], factor.plan.chain[0]
    own = matmul(matmul(inv, scaled(factors[a], move.diag[a], factors[a])), transpose(inv))
    if not plan.dense:
        return own.ravel()
    ragged, back = plan.couplings[0].ragged, factor.dense.half()
    values = plan.per_level(0, inv, scaled_coupling(plan, move, factors, 0))
    met, coupling = ragged.dense(values), ragged.dense(factor.ragged[0])
    left = ragged.dense(values - plan.per_level(0, own, factor.ragged[0]))
    lower = np.tril(factor.dense_part(move, factors))
    rest = lower + np.tril(lower, -1).T - coupling.T @ met - left.T @ coupling
    return np.concatenate([own.ravel(), sqrt(2.0) * (left @ back).ravel(), (back.T @ rest @ back).ravel()])
