r"""Tensor products ``t2(x, z)`` whose penalties do not overlap (Wood, Scheipl & Faraway 2013, Statistics and Computing 23).

Each margin is reparametrised to ``[Z_i, N_i]``: Z_i with penalty ``|b|^2``, N_i unpenalised. The product of all margins
splits into the products of one part from each. The product of the N_i is the null space, fixed effects; every other product
has the penalty ``|b|^2`` and a variance of its own. With d margins these are 2^d - 1 variances.

Z_i and N_i each have mean square one. A margin that leaves several directions unpenalised has them from :func:`directions`,
each of equal size, and then their principal ones, the constant first: the penalties of Z_i x N_j depend on these axes, which
are mgcv's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import numpy as np

from lmmformula.frame.smooths.base import RawBasis
from lmmformula.frame.smooths.mixed import MixedForm, centred
from lmmformula.typing import Array

__all__ = ["Tensor", "margin", "tensor_form", "tensor_parts"]


@dataclass(frozen=True, eq=False)
class Margin:
    """One margin: the variables it takes, its basis, and the maps to Z and N."""

    basis: RawBasis
    wide: Array
    null: Array

    def columns(self, x: Array) -> tuple[Array, Array]:
        """Z and N at points (n, 1)."""
        raw = self.basis.design(x)
        return raw @ self.wide, raw @ self.null


@dataclass(frozen=True, eq=False)
class Tensor:
    """The products of the parts of all margins, the null space last."""

    margins: tuple[Margin, ...]

    def design(self, x: Array) -> Array:
        """All products at points (n, d)."""
        return np.hstack(tensor_parts(self, x))


def margin(basis: RawBasis, x: Array) -> Margin:
    """The parts of a margin on the rows of a fit."""
    raw = basis.design(x)
    values, u = np.linalg.eigh(basis.penalty)
    values, u = values[::-1], u[:, ::-1]
    rank = raw.shape[1] - basis.null_dim
    wide = u[:, :rank] / np.sqrt(values[:rank])
    wide = wide / np.sqrt(np.mean((raw @ wide) ** 2))
    null = directions(u[:, rank:])
    if null.shape[1]:
        null = null / np.sqrt(((raw @ null) ** 2).mean(axis=0))
    if null.shape[1] > 1:
        columns = raw @ null
        null = null @ np.linalg.eigh(np.cov(columns.T))[1]
        null = null / np.sqrt(np.mean((raw @ null) ** 2))
    return Margin(basis, wide, null)


def directions(null: Array) -> Array:
    """The null space by projections of the first function of the basis, the second, ..., each orthogonal to those before."""
    return null @ np.linalg.qr(null.T)[0]


def tensor_parts(tensor: Tensor, x: Array) -> list[Array]:
    """Columns of each product of parts, in the order penalised before not, the null space last."""
    parts: list[list[Array]] = [[]]
    for j, own in enumerate(tensor.margins):
        wide, null = own.columns(x[:, [j]])
        parts = [[*before, part] for part in (wide, null) for before in parts if part.shape[1]]
    return [reduce(_products, columns) for columns in parts]


def _products(a: Array, b: Array) -> Array:
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


def tensor_form(tensor: Tensor, x: Array, *, centre: bool) -> MixedForm:
    """The form (1) of :mod:`lmmformula.frame.smooths.mixed` for each product, without the constant if centred."""
    parts = tensor_parts(tensor, x)
    every = np.hstack(parts)
    scale = np.abs(every).sum(axis=1).max()
    ends = np.cumsum([0, *(part.shape[1] for part in parts)])
    eye = np.eye(every.shape[1])
    has_null = all(m.null.shape[1] for m in tensor.margins)
    places = [slice(a, b) for a, b in pairwise(ends)]
    penalised = places[:-1] if has_null else places
    random = tuple(eye[:, place] / scale for place in penalised)
    null = eye[:, places[-1]] if has_null else eye[:, :0]
    fixed = null @ centred(parts[-1]) if centre and has_null else null
    lead = np.zeros(fixed.shape[1] + sum(r.shape[1] for r in random))
    lead[fixed.shape[1]] = scale
    form = MixedForm(fixed, random, lead)
    return replace(form, level=(every @ form.maps).mean(axis=0)) if centre else form
