r"""The marginal density where every group is nested in the next: nothing dense is left to factorise.

In the notation of :mod:`lmmformula.backends.posterior.density.bordered`, with S = Z'W[Q y_0], the chain of all groups is
eliminated (:mod:`lmmformula.engines.chain`). What remains is F of the fixed effects and y_0 alone, [Q y_0]'W[Q y_0] less the
products of F^-1 L'S, with the prior of delta. O(q k^2 + q k (p + 1)) where the bordered form takes a Cholesky factorisation
of the side of all groups but the largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.backends.posterior.density.bordered import Bordered, Kernels
from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.engines.chain import Chain
from lmmformula.engines.elimination import choose_chain
from lmmformula.ir.groups import joined
from lmmformula.numerics import stacks_jax
from lmmformula.typing import Array, Namespace, Numbers

__all__ = ["Nested"]


@dataclass(frozen=True, eq=False)
class Nested:
    """The chain and its cross-products.

    Attributes
    ----------
    bordered : Bordered
        The form for any groups.
    chain : Chain
        Of all groups.
    sides : tuple of (m, k, p + 1) arrays
    """

    bordered: Bordered
    chain: Chain
    sides: tuple[Array, ...]

    @classmethod
    def of(cls, bordered: Bordered) -> Nested | None:
        """None unless all of several groups make one chain."""
        base = bordered.model.base
        blocks, gram = base.prepared.blocks, base.gram
        groups = choose_chain(blocks)
        if len(groups) < 2 or len(groups) < len(blocks.groups):
            return None
        return cls(bordered, Chain.of(blocks, gram, groups), tuple(gram.rhs[a] for a in groups))

    def log_posterior(self, coordinates: Coordinates, x: Numbers, xp: Namespace, kernels: Kernels) -> Numbers:
        """log p(y | x) + log p(x) for one x, traceable by JAX."""
        model = self.bordered.model
        values = coordinates.values(x, xp)
        sigma, log_var = values[coordinates.sigma], model.log_var0 + coordinates.log_mixing(values, xp)
        groups = joined(model.groups, coordinates.factors(values, xp), xp)
        lowers = [groups[a] / sigma for a in self.chain.groups]
        sides = [stacks_jax.times(low.T, s) for low, s in zip(lowers, self.sides, strict=True)]
        done, f = self.chain.eliminated(lowers, sides, stacks_jax), xp.asarray(model.base.gram.vv)
        for half in done.sides:
            flat = half.reshape(-1, half.shape[-1])
            f = f - flat.T @ flat
        border = np.column_stack([model.shape, -model.shift])
        f = f + border.T @ ((xp.exp(-log_var) * sigma**2)[:, None] * border)
        own_det, pivot = kernels.pivots(f)
        n, p = model.problem.n_observed, len(model.log_var0)
        twice = 2.0 * ((n - p) * xp.log(sigma) + done.log_det)
        twice = twice + own_det + log_var.sum() + pivot / sigma**2
        return model.constant - 0.5 * twice + coordinates.log_prior(x, xp)
