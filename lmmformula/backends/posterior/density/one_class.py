r"""One class of random effects integrated out of a normal density by the inversion and determinant lemmas.

The class has M levels with d effects each, b_l ~ N(0, L L'), and the rows ``r ~ N(0, W^-1 + Z (I (x) LL') Z')`` given all
else. With A_l = Z_l'WZ_l and B_l = Z_l'W C for any columns C of the rows::

    G_l = I + L'A_l L,      log|V| = -sum log w + sum_l log|G_l|,      C'V^-1C = C'WC - sum_l B_l' L G_l^-1 L' B_l

These are Algorithms 1 and 2 of Lai, Domke & Sheldon (2024, arXiv 2410.24079), with C = r for the density: no matrix larger
than d x d is formed, O(M d^2 + N L d + N d^2) for N rows with L sampled effects each. Their effects are drawn back from
N(L G_l^-1 L' B_l, L G_l^-1 L').

Scaled identity. If the class has one variance, L = tau I, and the rows' covariance is known up to a factor, W = W_0 / s^2, the
eigenvectors of A_l = U diag(lambda) U' (for W_0) do not depend on any parameter and are found once::

    log|G_l| = sum_j log(1 + tau^2 lambda_lj / s^2)
    B_l'L G_l^-1 L'B_l = (tau / s^2)^2 sum_j (U'Z_l'W_0 C)_j^2 / (1 + tau^2 lambda_lj / s^2)

so an evaluation costs no factorisation. That needs the covariance of everything that is not integrated out - here the
residual alone, since all else is sampled and stands in r - to be a multiple of a known matrix: one sigma, and one
variance for the class (a single column, or kind iid).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.model.predictor import aligned
from lmmformula.ir.design import GroupBlock
from lmmformula.numerics.stacks_jax import unit_lower
from lmmformula.typing import Array, Numbers

__all__ = ["OneClass", "ScaledIdentity", "basis_of", "level_sums"]


def level_sums(values: Numbers, term: GroupBlock) -> Numbers:
    """Sums over the rows of each level, (m, ...), of values (n, ...)."""
    if aligned(term):
        return values.reshape(term.m, -1, *values.shape[1:]).sum(axis=1)
    return jax.ops.segment_sum(values, term.codes, term.m)


def basis_of(term: GroupBlock) -> Array:
    """Columns of a term, (n, k)."""
    return np.ones((len(term.codes), 1)) if term.basis is None else term.basis


def _by_lemmas(lower: Numbers, a: Numbers, b: Numbers, products: Numbers) -> tuple[Numbers, Numbers]:
    """log|G| summed over levels, and C'WC less what the class explains."""
    g = jnp.einsum("ia,mij,jb->mab", lower, a, lower) + np.eye(a.shape[-1])
    inverse, log_det = unit_lower(g)
    half = jnp.einsum("mab,cb,mcj->maj", inverse, lower, b)
    return 2.0 * log_det, products - jnp.einsum("mai,maj->ij", half, half)


@dataclass(frozen=True, eq=False)
class OneClass:
    """log|V| + sum log w and C'V^-1C for columns C of which all but the last are known, or all; their products are formed once.

    Attributes
    ----------
    term : GroupBlock
    known : (d + c, n) array
        Z's columns, then the known ones.
    pairs : (f, n) array
        Products of each pair of them.
    """

    term: GroupBlock
    known: Array
    pairs: Array

    @classmethod
    def of(cls, term: GroupBlock, columns: Array) -> OneClass:
        """For known columns (n, c)."""
        known = np.ascontiguousarray(np.hstack([basis_of(term), columns]).T)
        i, j = np.tril_indices(len(known))
        return cls(term, known, known[i] * known[j])

    def __call__(self, lower: Numbers, w: Numbers, last: Numbers = None) -> tuple[Numbers, Numbers]:
        """The two numbers.

        Parameters
        ----------
        lower : (d, d) array
            L.
        w : (n,) array
            Precisions of the rows given everything.
        last : (n,) array, optional
            The column that is not known.
        """
        d, size = self.term.k, len(self.known)
        places = np.zeros((size, size), dtype=int)
        i, j = np.tril_indices(size)
        places[i, j] = places[j, i] = np.arange(len(i))
        all_pairs = self._summed(w * self.pairs)[places]
        a, b, products = all_pairs[:d, :d], all_pairs[:d, d:], all_pairs[d:, d:].sum(axis=-1)
        if last is not None:
            wl = w * last
            more = self._summed(wl * self.known)
            b = jnp.concatenate([b, more[:d, None]], axis=1)
            side = more[d:].sum(axis=-1)
            corner = jnp.append(side, wl @ last)
            products = jnp.concatenate(
                [jnp.concatenate([products, side[:, None]], axis=1), corner[None]], axis=0
            )
        return _by_lemmas(lower, jnp.moveaxis(a, -1, 0), jnp.moveaxis(b, -1, 0), products)

    def _summed(self, values: Numbers) -> Numbers:
        """Sums over the rows of each level, (f, m), of (f, n)."""
        if aligned(self.term):
            return values.reshape(len(values), self.term.m, -1).sum(axis=-1)
        return jax.ops.segment_sum(values.T, self.term.codes, self.term.m).T


@dataclass(frozen=True, eq=False)
class ScaledIdentity:
    """The class of one variance: its eigenvectors for W_0.

    Attributes
    ----------
    term : GroupBlock
    weights : (n,) array
        Diagonal of W_0.
    values : (m, d) array
    vectors : (m, d, d) array
    """

    term: GroupBlock
    weights: Array
    values: Array
    vectors: Array

    @classmethod
    def of(cls, term: GroupBlock, weights: Array) -> ScaledIdentity:
        """Cost O(N d^2 + M d^3), once."""
        z, m = basis_of(term), term.m
        a = np.zeros((m, term.k, term.k))
        np.add.at(a, term.codes, weights[:, None, None] * z[:, :, None] * z[:, None, :])
        values, vectors = np.linalg.eigh(a)
        return cls(term, weights, np.maximum(values, 0.0), vectors)

    def __call__(self, tau: Numbers, precision: Numbers, columns: Numbers) -> tuple[Numbers, Numbers]:
        """The same two as of :class:`OneClass`, for W = precision W_0."""
        z = basis_of(self.term)
        weighted = self.weights[:, None] * columns
        b = level_sums(z[:, :, None] * weighted[:, None, :], self.term)
        turned = jnp.einsum("mij,mic->mjc", self.vectors, b)
        grown = 1.0 + tau**2 * precision * self.values
        lost = jnp.einsum("mjc,mj,mjd->cd", turned, (tau * precision) ** 2 / grown, turned)
        return jnp.log(grown).sum(), precision * (columns.T @ weighted) - lost
