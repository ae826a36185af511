r"""Spherical random effects, centred and scaled by what the data say of them at the current variances.

Non-centred effects u (b = L u) do not depend on the variances a priori; where a level has many rows they do a posteriori, since
then b is known and u = b / sd is not. Neither parametrisation serves all levels (Papaspiliopoulos, Roberts & Skold 2007).
So u is written in terms of v, standard normal in the normal approximation of the posterior at *any* variances and
coefficients (Christensen, Roberts & Skold 2006)::

    u = M^-1 L'Z'r(beta) + F^-T v,     M = L'Z'WZL + I = F F',     r(beta) = W (Z b^ - X (beta - beta^)) + s^

with the weights W, scores s^ and fits of one point, the mode. Without information (W = 0) that is u = v: non-centred; with
much it is centred. The density of v gains ``log|du/dv| = -log|F|``; the posterior is the same whatever W, s^ and the point.

M is block diagonal after elimination for a chain of nested groups (:mod:`lmmformula.engines.elimination`), finest first, so F
costs O(q k^2). Groups that are crossed with a chain make chains of their own, each written as if the others stood at the
mode; what that leaves out is constant to first order, and the linear map of
:mod:`lmmformula.backends.posterior.sampling.scale` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.model.predictor import Predictor
from lmmformula.engines.elimination import choose_chain, oriented
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.groups import joined
from lmmformula.typing import Array, Index

__all__ = ["Whitening", "unit_lower"]

_UNROLLED = 6
"""Side up to which k x k factorisations are written out, which compile into arithmetic on whole stacks."""


def unit_lower(a: Any) -> tuple[Any, Any]:
    """F^-1 and log|F| of the Cholesky factors of a stack (m, k, k); log|F| is summed over the stack."""
    k = a.shape[-1]
    if k > _UNROLLED:
        lower = jnp.linalg.cholesky(a)
        eye = jnp.broadcast_to(jnp.eye(k), a.shape)
        inverse = jax.scipy.linalg.solve_triangular(lower, eye, lower=True)
        return inverse, jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)).sum()
    f: list[list[Any]] = [[None] * k for _ in range(k)]
    back: list[list[Any]] = [[jnp.zeros(a.shape[:-2])] * k for _ in range(k)]
    log_det = 0.0
    for j in range(k):
        pivot = jnp.sqrt(a[..., j, j] - sum(f[j][s] ** 2 for s in range(j)))
        log_det = log_det + jnp.log(pivot).sum()
        f[j][j] = pivot
        for i in range(j + 1, k):
            f[i][j] = (a[..., i, j] - sum(f[i][s] * f[j][s] for s in range(j))) / pivot
    for j in range(k):
        back[j][j] = 1.0 / f[j][j]
        for i in range(j + 1, k):
            back[i][j] = -sum(f[i][s] * back[s][j] for s in range(j, i)) / f[i][i]
    return jnp.stack([jnp.stack(row, -1) for row in back], -2), log_det


def _times(a: Any, b: Any) -> Any:
    """Stacks of small matrices multiplied, as elementwise sums."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


@dataclass(frozen=True, eq=False)
class _Chain:
    """Nested groups, finest first.

    Attributes
    ----------
    groups : tuple of int
    parents : dict (i, j) -> (m_i,) index array
    diag : tuple of (m, k, k) arrays
        Z'WZ of each group.
    pairs : dict (i, j) -> (m_i, k_i, k_j) array
    sums : tuple of (m, k) arrays
        Z'r at beta^.
    slopes : tuple of (m, k, p) arrays
        Z'WX.
    """

    groups: tuple[int, ...]
    parents: dict[tuple[int, int], Index]
    diag: tuple[Array, ...]
    pairs: dict[tuple[int, int], Array]
    sums: tuple[Array, ...]
    slopes: tuple[Array, ...]

    def solve(self, lowers: Sequence[Any], move: Any, v: Sequence[Any]) -> tuple[list[Any], Any]:
        """u of each group, (m, k), and log|F|; `move` is beta - beta^."""
        turned = [jnp.swapaxes(low, -1, -2) for low in lowers]
        sides = range(len(self.groups))
        diag: list[Any] = [
            _times(_times(turned[i][None], self.diag[i]), lowers[i][None]) + np.eye(len(turned[i]))
            for i in sides
        ]
        pairs: dict[tuple[int, int], Any] = {
            (i, j): _times(_times(turned[i][None], c), lowers[j][None]) for (i, j), c in self.pairs.items()
        }
        rhs: list[Any] = [
            ((own - slope @ move) @ low)[..., None]
            for own, slope, low in zip(self.sums, self.slopes, lowers, strict=True)
        ]
        log_det, inverse = jnp.zeros(()), []
        for i in sides:
            own, one = unit_lower(diag[i])
            inverse.append(own)
            log_det = log_det + one
            rhs[i] = _times(own, rhs[i])
            for j in range(i + 1, len(sides)):
                pairs[i, j] = _times(own, pairs[i, j])
            for j in range(i + 1, len(sides)):
                t, parent, m = jnp.swapaxes(pairs[i, j], -1, -2), self.parents[i, j], len(self.diag[j])
                diag[j] = diag[j] - _gathered(_times(t, pairs[i, j]), parent, m)
                rhs[j] = rhs[j] - _gathered(_times(t, rhs[i]), parent, m)
                for other in range(j + 1, len(sides)):
                    pairs[j, other] = pairs[j, other] - _gathered(_times(t, pairs[i, other]), parent, m)
        out: list[Any] = [None] * len(sides)
        for i in reversed(sides):
            right = rhs[i] + v[i][..., None]
            for j in range(i + 1, len(sides)):
                right = right - _times(pairs[i, j], out[j][self.parents[i, j]][..., None])
            out[i] = _times(jnp.swapaxes(inverse[i], -1, -2), right)[..., 0]
        return out, log_det


def _gathered(values: Any, parent: Index, m: int) -> Any:
    return jax.ops.segment_sum(values, parent, m)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map from v to u for one predictor.

    Attributes
    ----------
    predictor : Predictor
    blocks : Blocks
    chains : tuple
    beta : (p,) array
        beta^.
    """

    predictor: Predictor
    blocks: Blocks
    chains: tuple[_Chain, ...]
    beta: Array

    @classmethod
    def of(cls, predictor: Predictor, weights: Array, score: Array, x: Array) -> Whitening:
        """From precisions and scores of the rows at x, where the predictor's u are modes."""
        terms = predictor.terms
        blocks = Blocks(terms, len(score))
        w = np.maximum(weights, 0.0)
        gram = blocks.gram(w, predictor.block.matrix) if terms else Gram((), {}, (), np.zeros((0, 0)))
        effects, left, chains = predictor.effects(x), set(range(len(blocks.groups))), []
        while left:
            groups = choose_chain(blocks, left)
            left -= set(groups)
            fitted = np.zeros(len(score))
            for a in groups:
                for i, _ in blocks.groups[a].members:
                    fitted += terms[i].apply(effects[i])
            chains.append(_chain(blocks, gram, groups, blocks.adjoint(w * fitted + score)))
        return cls(predictor, blocks, tuple(chains), predictor.beta(x))

    def __call__(self, x: Any) -> tuple[Any, Any]:
        """u in the order of x's inner coordinates, (q,), and log|F|, for x with v in their place."""
        own = self.predictor
        if not own.terms:
            return x[own.inner], jnp.zeros(())
        lowers, v = joined(self.blocks.groups, own.factors(x, jnp), jnp), self._by_group(x[own.inner])
        move, log_det = own.beta(x) - self.beta, jnp.zeros(())
        u: list[Any] = [None] * len(self.blocks.groups)
        for chain in self.chains:
            solved, one = chain.solve([lowers[a] for a in chain.groups], move, [v[a] for a in chain.groups])
            log_det = log_det + one
            for a, values in zip(chain.groups, solved, strict=True):
                u[a] = values
        parts: list[Any] = [None] * len(own.terms)
        for group, values in zip(self.blocks.groups, u, strict=True):
            for i, columns in group.members:
                parts[i] = values[:, columns].reshape(-1)
        return jnp.concatenate(parts), log_det

    def _by_group(self, v: Any) -> list[Any]:
        """Inner coordinates as (m, k) of each group."""
        ends = np.cumsum([0, *(t.q for t in self.predictor.terms)])
        out = []
        for group in self.blocks.groups:
            parts = [v[int(ends[i]) : int(ends[i + 1])].reshape(group.m, -1) for i, _ in group.members]
            out.append(parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1))
        return out


def _chain(blocks: Blocks, gram: Gram, groups: tuple[int, ...], sums: tuple[Array, ...]) -> _Chain:
    parents, pairs = {}, {}
    for i, a in enumerate(groups):
        for j, b in enumerate(groups[i + 1 :], start=i + 1):
            _, parents[i, j], order = oriented(blocks, a, b)
            values = gram.cross[min(a, b), max(a, b)]
            pairs[i, j] = values if a < b else np.swapaxes(values[order], 1, 2)
    return _Chain(
        groups,
        parents,
        tuple(gram.diag[a] for a in groups),
        pairs,
        tuple(sums[a] for a in groups),
        tuple(gram.rhs[a] for a in groups),
    )
