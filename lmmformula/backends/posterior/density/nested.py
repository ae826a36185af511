r"""The marginal density where every group is nested in the next: nothing dense is left to factorise.

In the notation of :mod:`lmmformula.backends.posterior.density.bordered`, with groups a_1 in a_2 in ... from the finest, S =
Z'W[Q y_0] and L relative to sigma, group by group and level by level::

    F_i F_i' = L_i'A_i L_i + I,      T_ij = F_i^-1 L_i'Z_i'WZ_j L_j,      h_i = F_i^-1 L_i'S_i
    A_j, Z_j'WZ_l, S_j  lose  sum over the levels of i in each level of j of  T_ij'T_ij, T_ij'T_il, T_ij'h_i

A level of i meets one level of j only, so what is lost stays block diagonal (:mod:`lmmformula.engines.elimination`). What
remains is F of the fixed effects and y_0 alone, [Q y_0]'W[Q y_0] - sum h_i'h_i with the prior of delta. O(q k^2 + q k (p + 1))
where the bordered form takes a Cholesky factorisation of the side of all groups but the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.density.bordered import Bordered
from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.backends.posterior.model.whitening import unit_lower
from lmmformula.engines.elimination import choose_chain, oriented
from lmmformula.ir.groups import joined
from lmmformula.typing import Array, Index

__all__ = ["Nested"]


@dataclass(frozen=True, eq=False)
class Nested:
    """The chain and its cross-products.

    Attributes
    ----------
    bordered : Bordered
        The form for any groups.
    chain : tuple of int
        All groups, finest first.
    parents : dict (i, j) -> (m_i,) index array
        Level of chain[j] that holds each level of chain[i].
    diag : tuple of (m, k, k) arrays
    pairs : dict (i, j) -> (m_i, k_i, k_j) array
    sides : tuple of (m, k, p + 1) arrays
    """

    bordered: Bordered
    chain: tuple[int, ...]
    parents: dict[tuple[int, int], Index]
    diag: tuple[Array, ...]
    pairs: dict[tuple[int, int], Array]
    sides: tuple[Array, ...]

    @classmethod
    def of(cls, bordered: Bordered) -> Nested | None:
        """None unless all of several groups make one chain."""
        base = bordered.model.base
        blocks, gram = base.prepared.blocks, base.gram
        chain = choose_chain(blocks)
        if len(chain) < 2 or len(chain) < len(blocks.groups):
            return None
        parents, pairs = {}, {}
        for i, a in enumerate(chain):
            for j, b in enumerate(chain[i + 1 :], start=i + 1):
                _, parents[i, j], order = oriented(blocks, a, b)
                values = gram.cross[min(a, b), max(a, b)]
                pairs[i, j] = values if a < b else np.swapaxes(values[order], 1, 2)
        diag, sides = (tuple(own[a] for a in chain) for own in (gram.diag, gram.rhs))
        return cls(bordered, chain, parents, diag, pairs, sides)

    def log_posterior(self, coordinates: Coordinates, x: Any, xp: Any, kernels: Any) -> Any:
        """log p(y | x) + log p(x) for one x, traceable by JAX."""
        model = self.bordered.model
        values = coordinates.values(x, jnp)
        sigma, log_var = values[coordinates.sigma], model.log_var0 + coordinates.log_mixing(values, jnp)
        groups = joined(model.groups, coordinates.factors(values, jnp), jnp)
        log_det, f = self._eliminated([groups[a] / sigma for a in self.chain])
        border = np.column_stack([model.shape, -model.shift])
        f = f + border.T @ ((jnp.exp(-log_var) * sigma**2)[:, None] * border)
        own_det, pivot = kernels.pivots(f)
        n, p = model.problem.n_observed, len(model.log_var0)
        twice = 2.0 * (n - p) * jnp.log(sigma) + log_det + own_det + log_var.sum() + pivot / sigma**2
        return model.constant - 0.5 * twice + coordinates.log_prior(x, jnp)

    def _eliminated(self, lowers: Sequence[Any]) -> tuple[Any, Any]:
        """Sum of log|F_i F_i'|, and what is left of [Q y_0]'W[Q y_0]."""
        turned = [low.T for low in lowers]
        every = range(len(self.chain))
        diag = [
            _times(_times(turned[i], a), lowers[i]) + np.eye(a.shape[-1]) for i, a in enumerate(self.diag)
        ]
        pairs = {(i, j): _times(_times(turned[i], c), lowers[j]) for (i, j), c in self.pairs.items()}
        sides = [_times(turned[i], s) for i, s in enumerate(self.sides)]
        rest, log_det = jnp.asarray(self.bordered.model.base.gram.vv), jnp.zeros(())
        for i in every:
            inverse, one = unit_lower(diag[i])
            log_det = log_det + 2.0 * one
            half = _times(inverse, sides[i])
            flat = half.reshape(-1, half.shape[-1])
            rest = rest - flat.T @ flat
            solved = {j: _times(inverse, pairs[i, j]) for j in every[i + 1 :]}
            for j, t in solved.items():
                back, parent, m = jnp.swapaxes(t, -1, -2), self.parents[i, j], len(self.diag[j])
                diag[j] = diag[j] - jax.ops.segment_sum(_times(back, t), parent, m)
                sides[j] = sides[j] - jax.ops.segment_sum(_times(back, half), parent, m)
                for other in every[j + 1 :]:
                    lost = jax.ops.segment_sum(_times(back, solved[other]), parent, m)
                    pairs[j, other] = pairs[j, other] - lost
        return log_det, rest


def _times(a: Any, b: Any) -> Any:
    """Stacks of small matrices multiplied, as elementwise sums."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)
