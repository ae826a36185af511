r"""Rows with several linear predictors as more rows with one each.

Row r has predictors ``eta_k = X_k beta_k + Z_k b`` (+ an offset of the mean), k = 1..K, and a symmetric matrix W of its log
density's curvature in them. For any columns c_k (of X, or of Z)

    sum_kl c_k' W_kl c_l  =  sum_k (W_kk - sum_{l /= k} W_kl) c_k'c_k  +  sum_{k<l} W_kl (c_k + c_l)'(c_k + c_l)          (1)

so that the Gram of K designs with a matrix of weights for each row is that of one design with a weight for each row: a copy of
row r for each predictor, which has c_k, and one for each pair, which has c_k + c_l. Weights may be negative. Everything that is
known of rows with one predictor (Grams, products, leverages, and with them every engine and every structure of levels) then
holds for rows with several: terms on one grouping factor become one group with the columns of all predictors.

The copies of a predictor stand in the order of the rows, then those of the pairs (k, l), k < l, in lexicographic order. Rows of
several responses have the linear predictors of their own response: each response is a *part* with copies of its own, one part
after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.families.family import Family
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.problem import Problem
from lmmformula.ir.shared import joined, together
from lmmformula.typing import Array

__all__ = ["Part", "Stacked", "has_several", "in_one", "refuse_several"]


def has_several(problem: Problem) -> bool:
    """Whether other linear predictors than one mean's have random effects among the terms."""
    several = bool(problem.responses) and not problem.is_linear
    return several or any(any(term.predictors) for term in problem.terms)


def refuse_several(problem: Problem, what: str, instead: str) -> None:
    """Refuse random effects outside of the mean's predictor, for `what` takes the mean's alone.

    Raises
    ------
    PlanError
    """
    if problem.responses and not problem.is_linear:
        problem.refuse_responses(what, instead)
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
            smooth = term.smooth and f"{name}: {term.smooth}"
            own = (j + 1,) * term.k
            more.append(replace(term, columns=columns, label=label, smooth=smooth, predictors=own))
    every = (*problem.terms, *more)
    places = together(every)
    terms = tuple(joined([every[at] for at in own]) for own in places)
    recipe = problem.recipe
    if recipe is not None:
        recipe = recipe.in_one(places)
    return replace(problem, terms=terms, aux_terms=(), recipe=recipe)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows with the same linear predictors, and their copies.

    Attributes
    ----------
    rows : slice
        Of the problem.
    family : Family
    predictors : tuple of int
        The linear predictors that its rows have: 0 for the mean's, j for the j-th auxiliary one of the problem.
    first : int
        Where its copies begin.
    """

    rows: slice
    family: Family
    predictors: tuple[int, ...]
    first: int

    @property
    def n(self) -> int:
        """Rows."""
        return self.rows.stop - self.rows.start

    @property
    def k(self) -> int:
        """Linear predictors of a row, K."""
        return len(self.predictors)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(k, l) of the copies of pairs, places among the predictors."""
        return tuple(combinations(range(self.k), 2))

    @cached_property
    def copies(self) -> tuple[tuple[int, ...], ...]:
        """Places of the predictors of each copy."""
        return (*((k,) for k in range(self.k)), *self.pairs)

    @property
    def at(self) -> slice:
        """Its copies among all."""
        return slice(self.first, self.first + len(self.copies) * self.n)

    # -- numbers on rows and on copies --------------------------------------------------------------------------------

    def of_predictors(self, values: Array) -> Array:
        """(K, n) of a vector over all copies."""
        return values[self.at][: self.k * self.n].reshape(self.k, self.n)

    def over_copies(self, values: Array) -> Array:
        """A vector over its copies from (K, n), zero on those of pairs."""
        return np.concatenate([values.reshape(-1), np.zeros(len(self.pairs) * self.n)])

    def weights(self, w: Array) -> Array:
        """Weights of its copies by (1), from W (K, K, n)."""
        own = [w[k, k] - sum(w[k, j] for j in range(self.k) if j != k) for k in range(self.k)]
        return np.concatenate([*own, *(w[k, j] for k, j in self.pairs)])

    def weights_of(self, k: int, weights: Array) -> Array:
        """W_kk, the sum of the weights of the copies that have predictor k."""
        by_copy = weights[self.at].reshape(len(self.copies), self.n)
        return by_copy[[k in copy for copy in self.copies]].sum(axis=0)

    def blocks(self, h: Array) -> Array:
        """L (K, K, n) such that ``sum_kl L_kl W_kl`` is the sum of `h`, a vector over all copies, times the weights of W."""
        by_copy = h[self.at].reshape(len(self.copies), self.n)
        out = np.zeros((self.k, self.k, self.n))
        for k in range(self.k):
            out[k, k] = by_copy[k]
        for at, (k, j) in enumerate(self.pairs, self.k):
            out[k, j] = out[j, k] = 0.5 * (by_copy[at] - by_copy[k] - by_copy[j])
        return out


@dataclass(frozen=True, eq=False)
class Stacked:
    """The copies of a problem's rows.

    Attributes
    ----------
    problem : Problem
        With all random effects among its terms, see :func:`in_one`.
    """

    problem: Problem

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """One, or one for each response."""
        problem = self.problem
        if not problem.responses:
            every = tuple(range(1 + len(problem.aux)))
            return (Part(slice(0, problem.n), problem.family, every, 0),)
        out, first = [], 0
        for segment in problem.responses:
            out.append(Part(segment.rows, segment.family, (0, *(1 + j for j in segment.aux)), first))
            first = out[-1].at.stop
        return tuple(out)

    def y(self, part: Part) -> Array:
        """Responses of the rows of a part, (n,)."""
        return part.family.own(self.problem.y[part.rows])

    def prior(self, part: Part) -> Array | None:
        """Prior weights of the rows of a part, (n,)."""
        return None if self.problem.weights is None else self.problem.weights[part.rows]

    def means(self, values: Array) -> Array:
        """The numbers of the copies with the mean's predictor alone, in the order of the problem's rows."""
        return np.concatenate([part.of_predictors(values)[0] for part in self.parts])

    def means_weights(self, weights: Array) -> Array:
        """Weights of the mean's predictor, ``-d2l/deta0^2`` of the problem's rows, from those of the copies."""
        return np.concatenate([part.weights_of(0, weights) for part in self.parts])

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
        x = np.zeros((self.parts[-1].at.stop, ends[-1]))
        offset = None if problem.offset is None else np.zeros(len(x))
        y = np.empty(len(x))
        for part in self.parts:
            for c, copy in enumerate(part.copies):
                here = slice(part.first + c * part.n, part.first + (c + 1) * part.n)
                y[here] = problem.y[part.rows]
                for k in copy:
                    own = part.predictors[k]
                    x[here, ends[own] : ends[own + 1]] = columns[own][part.rows]
                if problem.offset is not None and offset is not None and 0 in copy:
                    offset[here] = problem.offset[part.rows]
        terms = tuple(map(self._term, problem.terms))
        return MemoryRows(y, None, offset, x, (), terms)

    def _term(self, term: GroupBlock) -> GroupBlock:
        """A term on the copies: its columns stand in those of their predictor."""
        basis = np.ones((self.problem.n, 1)) if term.basis is None else term.basis
        copied, taken = [], []
        for part in self.parts:
            for copy in part.copies:
                copied.append(basis[part.rows] * sum(term.columns_in(part.predictors[k]) for k in copy))
                taken.append(part.rows)
        shares = None if term.shares is None else np.concatenate([term.shares[r] for r in taken])
        codes = np.concatenate([term.codes[r] for r in taken])
        return replace(term, codes=codes, basis=np.concatenate(copied), shares=shares)
