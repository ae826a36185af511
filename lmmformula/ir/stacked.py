r"""Rows with several linear predictors as more rows with one each.

Row r has predictors ``eta_k = X_k beta_k + Z_k b`` (+ an offset of the mean), k = 1..K, and a symmetric matrix W of its log
density's curvature in them. For any columns c_k (of X, or of Z)

    sum_kl c_k' W_kl c_l  =  sum_k (W_kk - sum_{l /= k} W_kl) c_k'c_k  +  sum_{k<l} W_kl (c_k + c_l)'(c_k + c_l)          (1)

so that the Gram of K designs with a matrix of weights for each row is that of one design with a weight for each row: a copy of
row r for each predictor, which has c_k, and one for each pair, which has c_k + c_l. Weights may be negative. Everything that is
known of rows with one predictor (Grams, products, leverages, and with them every engine and every structure of levels) then
holds for rows with several: terms on one grouping factor become one group with the columns of all predictors.

The copies of a predictor stand in the order of the rows, then those of the pairs (k, l), k < l, in lexicographic order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import MemoryRows
from lmmformula.typing import Array

__all__ = ["Stacked", "has_several", "in_one", "refuse_several"]


def has_several(problem: Problem) -> bool:
    """Whether other linear predictors than the mean's have random effects among the terms."""
    return any(any(term.predictors) for term in problem.terms)


def refuse_several(problem: Problem, what: str, instead: str) -> None:
    """Refuse random effects outside of the mean's predictor, for `what` takes the mean's alone.

    Raises
    ------
    PlanError
    """
    for term in problem.terms:
        if any(term.predictors):
            named = problem.family.auxiliaries[max(term.predictors) - 1].name
            raise PlanError(
                f"{named} has random effects ({term.label}), and {what} takes those of the mean alone. {instead}"
            )


def in_one(problem: Problem) -> Problem:
    """The same model with the random effects of all predictors among its terms, those of the mean first.

    Columns of an auxiliary predictor are named after it, as ``sigma:(Intercept)``.
    """
    if not any(problem.aux_terms):
        return problem
    problem.refuse_elsewhere("random effects in several linear predictors")
    more = []
    for j, terms in enumerate(problem.aux_terms):
        name = problem.family.auxiliaries[j].name
        for term in terms:
            columns = tuple(f"{name}:{c}" for c in term.columns)
            label = f"{name}: {term.label or term.group}"
            more.append(replace(term, columns=columns, label=label, predictors=(j + 1,) * term.k))
    recipe = problem.recipe
    if recipe is not None:
        beside = tuple(one for own in recipe.aux_terms for one in own)
        recipe = replace(recipe, terms=(*recipe.terms, *beside), aux_terms=())
    return replace(problem, terms=(*problem.terms, *more), aux_terms=(), recipe=recipe)


@dataclass(frozen=True, eq=False)
class Stacked:
    """The copies of a problem's rows.

    Attributes
    ----------
    problem : Problem
        With all random effects among its terms, see :func:`in_one`.
    """

    problem: Problem

    @property
    def n(self) -> int:
        """Rows of the problem."""
        return self.problem.n

    @property
    def y(self) -> Array:
        """Responses of the rows, (n,)."""
        return self.problem.y

    @property
    def prior(self) -> Array | None:
        """Prior weights of the rows, (n,)."""
        return self.problem.weights

    @property
    def k(self) -> int:
        """Linear predictors of a row, K."""
        return 1 + len(self.problem.aux)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(k, l) of the copies of pairs."""
        return tuple(combinations(range(self.k), 2))

    @cached_property
    def copies(self) -> tuple[tuple[int, ...], ...]:
        """Predictors of each copy."""
        return (*((k,) for k in range(self.k)), *self.pairs)

    @property
    def ends(self) -> tuple[int, ...]:
        """Where the coefficients of each predictor end among all, after a 0."""
        sizes = [self.problem.p, *(len(block.names) for block in self.problem.aux)]
        return tuple(np.cumsum([0, *sizes]).tolist())

    @cached_property
    def rows(self) -> MemoryRows:
        """The copies: X has the columns of all predictors side by side, y is repeated, weights are none."""
        problem, ends = self.problem, self.ends
        columns = [problem.X.matrix, *(block.matrix for block in problem.aux)]
        x = np.zeros((len(self.copies), self.n, ends[-1]))
        for at, copy in enumerate(self.copies):
            for k in copy:
                x[at, :, ends[k] : ends[k + 1]] = columns[k]
        offset = None
        if problem.offset is not None:
            offset = np.concatenate([problem.offset * (0 in copy) for copy in self.copies])
        y = np.tile(problem.y, len(self.copies))
        terms = tuple(map(self._term, problem.terms))
        return MemoryRows(y, None, offset, x.reshape(-1, ends[-1]), (), terms)

    def _term(self, term: GroupBlock) -> GroupBlock:
        """A term on the copies: its columns stand in those of their predictor."""
        basis = np.ones((self.n, 1)) if term.basis is None else term.basis
        masks = [sum(term.columns_in(k) for k in copy) for copy in self.copies]
        copied = np.concatenate([basis * mask for mask in masks])
        shares = None if term.shares is None else np.concatenate([term.shares] * len(masks))
        codes = np.concatenate([term.codes] * len(masks))
        return replace(term, codes=codes, basis=copied, shares=shares)

    # -- numbers on rows and on copies --------------------------------------------------------------------------------

    def of_predictors(self, values: Array) -> Array:
        """(K, n) of a vector over the copies."""
        return values[: self.k * self.n].reshape(self.k, self.n)

    def over_copies(self, values: Array) -> Array:
        """A vector over the copies from (K, n), zero on those of pairs."""
        return np.concatenate([values.reshape(-1), np.zeros(len(self.pairs) * self.n)])

    def weights(self, w: Array) -> Array:
        """Weights of the copies by (1), from W (K, K, n)."""
        own = [w[k, k] - sum(w[k, j] for j in range(self.k) if j != k) for k in range(self.k)]
        return np.concatenate([*own, *(w[k, j] for k, j in self.pairs)])

    def blocks(self, h: Array) -> Array:
        """L (K, K, n) such that ``sum_kl L_kl W_kl`` is the sum of `h`, a vector over the copies, times the weights of W."""
        by_copy = h.reshape(len(self.copies), self.n)
        out = np.zeros((self.k, self.k, self.n))
        for k in range(self.k):
            out[k, k] = by_copy[k]
        for at, (k, j) in enumerate(self.pairs, self.k):
            out[k, j] = out[j, k] = 0.5 * (by_copy[at] - by_copy[k] - by_copy[j])
        return out
