r"""What leaving out rows takes from the equations of the fixed effects, without solving them again.

Model as in :mod:`lmmformula.criteria.linearised`, with v = [X R^-1, z - X beta] the columns of which products with V^-1 are
wanted: ``v'V^-1v = diag(I, r2)``. Rows I leave; with E = V^-1 v, and ``V_(I)`` for V of the rows that stay::

    v'V_(I)^-1 v  =  v'V^-1v - D,        D = E_I' [(V^-1)_II]^-1 E_I                                              (1)

(Haslett & Dillane 2004; Demidenko & Stukel 2005; Zewotir & Galpin 2005: all of them write out the inverse of a
partitioned matrix). With D in blocks D_xx, D_xr, D_rr the estimates without I, theta held, are

    beta* - beta*_(I) = (I - D_xx)^-1 D_xr,      r2_(I) = r2 - D_rr - D_xr'(I - D_xx)^-1 D_xr                     (2)

in the coordinates of X R^-1, and the information on them is I - D_xx. Nothing of size n x n is formed:

*Rows.* One row has ``(V^-1)_rr = w - w^2 z'Lambda M^-1 Lambda'z``, from blocks of M^-1 that the engine has.

*Groups.* Effects of a factor nested in I touch no row outside, so they leave with I; take a chain O of such factors, eliminate
it, and let C be the other effects that the rows of I touch, t of them. With ``V_O = W^-1 + Z_O Lambda Lambda'Z_O'`` on the
rows of I, ``A = Z_C Lambda`` there, and S = (M^-1)_CC,

    (V^-1)_II = V_O^-1 - V_O^-1 A S A'V_O^-1,      V_O^-1 (v - Z_C Lambda u_C) = E_I

for u_C the solution's effects of C (the columns H and u). By Woodbury's identity

    D = (v - A u_C)'E_I + G' S (I - N S)^-1 G,      G = A'E_I,    N = A'V_O^-1 A                                  (3)

t x t matrices, which do not grow with the rows; without crossed factors C is empty and D a sum over rows. V_O^-1 A takes solves
with the part of M that belongs to O: it is block diagonal over groups, so that one column serves the j-th effect of every
group at once. S takes one solve with M for each effect of the factors in C.

*Few groups that touch much of C* are cheaper without (3): ``v'V_(I)^-1 v`` is then formed from the Gram of the rows that stay,
one factorisation for each.
"""

from __future__ import annotations

import numpy as np

from lmmformula.engines.elimination import choose_chain
from lmmformula.inference.influence.clusters import ClusterLinear
from lmmformula.inference.influence.eliminated import Eliminated
from lmmformula.inference.influence.linear import Linear
from lmmformula.inference.influence.shared import through_shared
from lmmformula.inference.influence.taken import Taken
from lmmformula.inference.influence.touched import Touched
from lmmformula.inference.influence.units import Units
from lmmformula.ir.blocks import Blocks
from lmmformula.typing import Array

__all__ = ["of_groups", "of_rows"]

OVERHEAD = 1e6
"""What a factorisation takes whatever its size, in multiplications."""


def of_rows(linear: Linear | ClusterLinear, some: slice) -> Taken:
    """D of single rows; zero for those without weight. O(p^2) for each, after the leverages."""
    own, score = linear.precision[some], linear.score[some]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(linear.weights[some] == 0.0, 0.0, 1.0 / own)
    along = linear.along[some]
    xr = along * (score * scale)[:, None]
    return Taken(np.einsum("ni,nj,n->nij", along, along, scale), xr, score**2 * scale)


def of_groups(linear: Linear, units: Units) -> Taken:
    """D of the rows of each unit, by (3), or from the rows that stay where that takes less."""
    own = _own_chain(linear.blocks, units)
    shared = tuple(a for a in range(len(linear.blocks.groups)) if a not in own)
    if not shared:
        return _summed(linear, units, linear.without(()))
    touched = Touched.of(linear, units, shared)
    if _anew_is_cheaper(linear, touched):
        return _anew(linear, units)
    eliminated = Eliminated.of(linear, own)
    out = _summed(linear, units, linear.without(shared))
    for which, more in through_shared(linear, units, touched, eliminated):
        out.xx[which] += more[:, :-1, :-1]
        out.xr[which] += more[:, :-1, -1]
        out.rr[which] += more[:, -1, -1]
    return out


def _anew_is_cheaper(linear: Linear, touched: Touched) -> bool:
    """By multiplications: (3) with its solves for S, or a Gram and a factorisation for each unit."""
    groups, side, sizes = linear.blocks.groups, float(linear.dense_side), touched.sizes.astype(float)
    q, width = sum(g.q for g in groups), linear.p + 1 + sum(g.k for g in groups)
    solves = min(float(touched.q), float(sizes.sum()))
    through = float((sizes**3).sum()) + 2.0 * solves * (side**2 + q)
    return len(sizes) * (OVERHEAD + linear.n * width**2 + side**3 / 3.0) < through


def _anew(linear: Linear, units: Units) -> Taken:
    """D as the difference of v'V^-1v and that of the rows that stay."""
    p, v, total = linear.p, linear.without(()), np.eye(linear.p + 1)
    total[p, p] = float(v[:, p] @ linear.score)
    left = np.empty((units.m, p + 1, p + 1))
    for i in range(units.m):
        gram = linear.blocks.gram(np.where(units.codes == i, 0.0, linear.weights), v)
        factor = linear.prepared.factor(gram, linear.factors, linear.across)
        rhs = tuple(np.matmul(f.T, r) for f, r in zip(linear.factors, gram.rhs, strict=True))
        left[i] = gram.vv
        for r, x in zip(rhs, factor.solve(rhs), strict=True):
            left[i] -= r.reshape(-1, p + 1).T @ x.reshape(-1, p + 1)
    taken = total - left
    return Taken(taken[:, :p, :p], taken[:, :p, p], taken[:, p, p])


def _own_chain(blocks: Blocks, units: Units) -> tuple[int, ...]:
    """Groups nested in the units, a chain of them."""
    nested = []
    for a, own in enumerate(blocks.own):
        if own.group.is_blockwise:
            unit_of = np.zeros(own.group.m, dtype=np.intp)
            unit_of[own.codes] = units.codes
            if (unit_of[own.codes] == units.codes).all():
                nested.append(a)
    return choose_chain(blocks, nested) if nested else ()


def _summed(linear: Linear, units: Units, rest: Array) -> Taken:
    """Sums of (v - A u_C)'E over the rows of each unit; `rest` is v - A u_C."""
    p, codes, m, along = linear.p, units.codes, units.m, linear.along
    xx = np.empty((m, p, p))
    xr = np.empty((m, p))
    for i in range(p):
        xr[:, i] = np.bincount(codes, rest[:, i] * linear.score, m)
        for j in range(i + 1):
            xx[:, i, j] = xx[:, j, i] = np.bincount(codes, rest[:, i] * along[:, j], m)
    return Taken(xx, xr, np.bincount(codes, rest[:, p] * linear.score, m).astype(float))
