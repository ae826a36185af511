r"""Spherical random effects, centred and scaled by what the data say of them at the current variances.

Non-centred effects u (b = L u) do not depend on the variances a priori; where a level has many rows they do a posteriori, since
then b is known and u = b / sd is not. Neither parametrisation serves all levels (Papaspiliopoulos, Roberts & Skold 2007).
So u is written in terms of v, standard normal in the normal approximation of the posterior at *any* variances and
coefficients (Christensen, Roberts & Skold 2006)::

    u = M^-1 L'Z'r + F^-T v,     M = L'Z'WZL + I = F F',     r = W (Z b^ - X (beta - beta^)) + s^ + sum_j c_j (a_j - a_j^)

with the weights W, scores s^ and fits of one point, the mode, and c_j = d2l / (deta da_j), by which the family's other
predictors a_j move the modes: thresholds of ordered categories as much as an intercept would. Without information (W = 0) that
is u = v: non-centred; with much it is centred. The density of v gains ``log|du/dv| = -log|F|``; the posterior is the same
whatever W, s^, c_j and the point.

M is block diagonal after elimination for a chain of nested groups (:mod:`lmmformula.engines.elimination`), finest first, so F
costs O(q k^2). Groups that are crossed with a chain make chains of their own, each written as if the others stood at the
mode; what that leaves out is constant to first order, and the linear map of
:mod:`lmmformula.backends.posterior.sampling.scale` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.model.predictor import Predictor
from lmmformula.engines.chain import Chain
from lmmformula.engines.elimination import choose_chain
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.groups import joined
from lmmformula.numerics import stacks_jax
from lmmformula.typing import Array, Numbers

__all__ = ["Whitening"]


@dataclass(frozen=True, eq=False)
class _Whitened:
    """Nested groups with what the rows say of their effects.

    Attributes
    ----------
    chain : Chain
    sums : tuple of (m, k) arrays
        Z'r at beta^.
    slopes : tuple of (m, k, p) arrays
        -dZ'r / dbeta: Z'WX, and for coefficients of other predictors -Z'diag(c_j) X_j.
    """

    chain: Chain
    sums: tuple[Array, ...]
    slopes: tuple[Array, ...]

    def solve(
        self, lowers: Sequence[Numbers], move: Numbers, v: Sequence[Numbers]
    ) -> tuple[list[Numbers], Numbers]:
        """u of each group, (m, k), and log|F|; `move` is beta - beta^."""
        parts = zip(self.sums, self.slopes, lowers, strict=True)
        rhs = [((own - slope @ move) @ low)[..., None] for own, slope, low in parts]
        done = self.chain.eliminated(lowers, rhs, stacks_jax)
        right = [own + noise[..., None] for own, noise in zip(done.sides, v, strict=True)]
        return [u[..., 0] for u in done.back(right, stacks_jax)], done.log_det


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map from v to u for one predictor.

    Attributes
    ----------
    predictor : Predictor
    blocks : Blocks
    chains : tuple
    beta : (p,) array
        beta^, and the coefficients of the other predictors.
    beside : tuple of Predictor
        Those.
    """

    predictor: Predictor
    blocks: Blocks
    chains: tuple[_Whitened, ...]
    beta: Array
    beside: tuple[Predictor, ...] = ()

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        weights: Array,
        score: Array,
        x: Array,
        beside: Sequence[tuple[Predictor, Array]] = (),
    ) -> Whitening:
        """From precisions and scores of the rows at x, where the predictor's u are modes; `beside` are a_j with c_j."""
        terms = predictor.terms
        blocks = Blocks(terms, len(score))
        w = np.maximum(weights, 0.0)
        gram = blocks.gram(w, predictor.block.matrix) if terms else Gram((), {}, (), np.zeros((0, 0)))
        others = tuple(own for own, _ in beside)
        moved = [-c[:, None] * own.block.matrix for own, c in beside]
        slopes = gram.rhs
        if moved and terms:
            further = blocks.adjoint(np.hstack(moved))
            slopes = [np.concatenate(both, axis=-1) for both in zip(gram.rhs, further, strict=True)]
        effects, left, chains = predictor.effects(x), set(range(len(blocks.groups))), []
        while left:
            groups = choose_chain(blocks, left)
            left -= set(groups)
            fitted = np.zeros(len(score))
            for a in groups:
                for i, _ in blocks.groups[a].members:
                    fitted += terms[i].apply(effects[i])
            sums = blocks.adjoint(w * fitted + score)
            own = (tuple(values[a] for a in groups) for values in (sums, slopes))
            chains.append(_Whitened(Chain.of(blocks, gram, groups), *own))
        known = np.concatenate([own.beta(x) for own in (predictor, *others)])
        return cls(predictor, blocks, tuple(chains), known, others)

    def __call__(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """u in the order of x's inner coordinates, (q,), and log|F|, for x with v in their place."""
        own = self.predictor
        if not own.terms:
            return x[own.inner], jnp.zeros(())
        lowers, v = joined(self.blocks.groups, own.factors(x, jnp), jnp), self._by_group(x[own.inner])
        coefficients = jnp.concatenate([one.beta(x, jnp) for one in (own, *self.beside)])
        move, log_det = coefficients - self.beta, jnp.zeros(())
        u: list[Numbers] = [None] * len(self.blocks.groups)
        for own_chain in self.chains:
            groups = own_chain.chain.groups
            solved, one = own_chain.solve([lowers[a] for a in groups], move, [v[a] for a in groups])
            log_det = log_det + one
            for a, values in zip(groups, solved, strict=True):
                u[a] = values
        parts: list[Numbers] = [None] * len(own.terms)
        for group, values in zip(self.blocks.groups, u, strict=True):
            for i, columns in group.members:
                parts[i] = values[:, columns].reshape(-1)
        return jnp.concatenate(parts), log_det

    def _by_group(self, v: Numbers) -> list[Numbers]:
        """Inner coordinates as (m, k) of each group."""
        ends = np.cumsum([0, *(t.q for t in self.predictor.terms)])
        out = []
        for group in self.blocks.groups:
            parts = [v[int(ends[i]) : int(ends[i + 1])].reshape(group.m, -1) for i, _ in group.members]
            out.append(parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1))
        return out
