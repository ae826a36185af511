r"""A normal response of which some random effects, or a linear predictor of log sigma, are sampled and the rest integrated out.

    y_r = x_r'beta + sum over I of z_r'b + sum over S of z_r'b + e_r,     e_r ~ N(0, exp(2 a_r) / w_r),     a = log sigma

Given the effects of the groups S and a, the remainder ``r = y - sum over S`` is normal with known precisions
``W = w exp(-2a)``, so the effects of the groups I and beta integrate out as in :mod:`lmmformula.criteria.marginal` with
sigma = 1, the Gram formed anew at each evaluation, O(cells (p + sum k)^2)::

    log p(y | S, a, variances) = constant - sum n_c a_c - (log|M| + log|A| + log|V_0| + last pivot of F) / 2

in the notation of :mod:`lmmformula.backends.posterior.density.bordered`. beta is always integrated out: its prior is normal,
or a scale mixture of normals whose variance is sampled. One class in I goes through the lemmas of
:mod:`lmmformula.backends.posterior.density.one_class`; several through a block elimination of the largest.

Rows that agree in all columns are one, with sufficient statistics (:mod:`lmmformula.backends.posterior.model.cells`): r is
then their mean, w and n sums, and ``sum over cells of S_c exp(-2 a_c)`` is added to the last element of F. They stand level
by level of the largest group in I.

Start. A fit with one sigma; if sigma has a formula, squared residuals e^2 are gamma with mean sigma^2 and shape 1/2, so that a
gamma model with log link gives its coefficients and random effects (Smyth 1989), and a second fit with those weights the rest.
From there the mode is climbed to. Sampled effects are written as v of :mod:`lmmformula.backends.posterior.model.whitening`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from lmmformula.backends.posterior.density.base import Traced
from lmmformula.backends.posterior.density.bordered import Bordered, Reduced, arranged
from lmmformula.backends.posterior.density.joint import Whitened
from lmmformula.backends.posterior.density.one_class import OneClass, ScaledIdentity, basis_of, level_sums
from lmmformula.backends.posterior.density.scale import JointScale, climbed_scale
from lmmformula.backends.posterior.density.traced import jax_kernels
from lmmformula.backends.posterior.model.cells import Cells, columns_of
from lmmformula.backends.posterior.model.coordinates import (
    TermPlaces,
    covariance_coordinates,
    term_coordinates,
)
from lmmformula.backends.posterior.model.predictor import Constant, Predictor, laid_out, predictor_of
from lmmformula.backends.posterior.model.scalars import Coordinate, Mixing
from lmmformula.backends.posterior.model.starts import Start, start_of
from lmmformula.backends.posterior.model.whitening import Whitening
from lmmformula.criteria.marginal import Marginal
from lmmformula.engines.base import Engine
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.groups import GroupRows, joined
from lmmformula.ir.prior_distributions import StudentT
from lmmformula.ir.priors import Priors, TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Index, Numbers

__all__ = ["PartialDensity", "begun", "sampled_predictors", "whitened"]


@dataclass(frozen=True, eq=False)
class PartialDensity(Whitened):
    """The density of x = (variances of I and mixing variances, outer of S and of sigma, their v).

    Attributes
    ----------
    problem : Problem
        As given.
    inside, rest : tuple of int
        Terms of I and of S.
    bordered : Bordered
        Cross-products of the groups in I at one sigma: their arrangement is used, their values are not.
    sizes : (c,) array
        n_c of the cells, which are the rows of everything below.
    own, places
        Coordinates of the variances of I, then mixing variances.
    mixing : tuple of (int, int)
        Coefficient and place of its mixing variance.
    terms : tuple of GroupBlock
        One for each group in I.
    target, basis : arrays
        y_0 and Q.
    weights, within : (c,) arrays
        W_c and S_c.
    predictors : tuple of Predictor
        S (without coefficients) and log sigma.
    """

    problem: Problem
    inside: tuple[int, ...]
    rest: tuple[int, ...]
    bordered: Bordered
    sizes: Array
    own: tuple[Coordinate, ...]
    places: tuple[TermPlaces, ...]
    mixing: tuple[tuple[int, int], ...]
    terms: tuple[GroupBlock, ...]
    target: Array
    basis: Array
    weights: Array
    within: Array
    predictors: tuple[Predictor, ...]
    whitenings: tuple[Whitening, ...]
    begin: Array
    n_outer: int

    @classmethod
    def of(cls, problem: Problem, groups: Sequence[str], priors: Priors, engine: Engine) -> PartialDensity:
        """Split the model, fit it, and take scales from that."""
        inside = tuple(i for i, t in enumerate(problem.terms) if t.group in groups)
        rest = tuple(i for i in range(len(problem.terms)) if i not in inside)
        start = start_of(problem, engine)
        part = replace(problem, terms=tuple(problem.terms[i] for i in inside), aux=(), aux_terms=())
        model = Marginal.of(part, engine, priors)
        bordered = Bordered.of(model)
        blocks = cast("Blocks", model.base.prepared.blocks)
        eliminated = blocks.own[bordered.eliminated]
        every = (*problem.terms, *start.sigma_terms)
        cells = Cells.of(
            columns_of((problem.X.matrix, start.sigma_block.matrix), every),
            eliminated.codes,
            eliminated.group.m,
        )
        own, places, mixing = _variances([priors.terms[i] for i in inside], start, inside, priors)
        predictors = sampled_predictors(problem, rest, priors, start, cells)
        placed, outer, d = laid_out(predictors, len(own))
        begin = np.zeros(d)
        begin[: len(own)] = covariance_coordinates(own, places, [start.covariances[i] for i in inside], 1e-3)
        at = begun(begin, placed, start, rest, np.zeros(0))
        twin, ols = model.problem, model.base.ols
        prior = np.ones(twin.n) if twin.weights is None else twin.weights
        q = (
            np.linalg.solve(ols.r.T, twin.X.matrix[cells.rows].T).T
            if twin.p
            else np.zeros((len(cells.rows), 0))
        )
        weights, target, within = cells.responses(ols.residual, prior)
        return cls(
            problem,
            inside,
            rest,
            bordered,
            cells.sizes,
            tuple(own),
            places,
            tuple(mixing),
            tuple(_as_term(own, part.terms[own.group.members[0][0]], cells.rows) for own in blocks.own),
            target,
            q,
            weights,
            within,
            placed,
            whitened(placed, start, cells, at),
            begin,
            outer,
        )

    # -- the density ---------------------------------------------------------------------------------------------------

    @cached_property
    def _patterns(self) -> Blocks:
        return Blocks(self.terms, len(self.sizes))

    @cached_property
    def _fast(self) -> ScaledIdentity | None:
        """The class of one variance under one sigma, if that is what is integrated out."""
        if len(self.terms) != 1 or len(self.inside) != 1 or self.predictors[1].constant is None:
            return None
        single = self.problem.terms[self.inside[0]].covariance.within.one_variance
        return ScaledIdentity.of(self.terms[0], self.weights) if single else None

    @cached_property
    def _lemmas(self) -> OneClass:
        """The one class, with r among the known columns where nothing else of the mean is sampled."""
        columns = self.basis if self.rest else np.column_stack([self.basis, self.target])
        return OneClass.of(self.terms[0], columns)

    def factors(self, x: Numbers) -> list[Numbers]:
        """L of each group in I."""
        values = [c.value(x[j], jnp) for j, c in enumerate(self.own)]
        own = [t.factor(values, jnp) for t in self.places]
        return list(joined(self.bordered.model.groups, own, jnp))

    def log_var(self, x: Numbers) -> Numbers:
        """Log prior variances of the coefficients."""
        out = jnp.asarray(self.bordered.model.log_var0)
        for j, place in self.mixing:
            out = out.at[j].add(x[place])
        return out

    def remainder(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """[Q r] and the rows' log sigma, for x with u."""
        r = self.target - self.predictors[0].eta(x, jnp)
        return jnp.column_stack([self.basis, r]), self.predictors[1].eta(x, jnp)

    def _spread(self, a: Numbers) -> Numbers:
        """Sum over cells of S_c exp(-2 a_c)."""
        return self.within @ jnp.exp(-2.0 * a)

    def reduced(self, x: Numbers) -> tuple[Reduced, Bordered]:
        """F with what was eliminated for it, and the cross-products, for x with u."""
        columns, a = self.remainder(x)
        w = self.weights * jnp.exp(-2.0 * a)
        arranged = _rearranged(self.bordered, self._patterns, self.terms, w, columns)
        values = [c.value(x[j], jnp) for j, c in enumerate(self.own)]
        own = [t.factor(values, jnp) for t in self.places]
        arranged = replace(arranged, g=arranged.g.at[-1, -1].add(self._spread(a)))  # type: ignore[attr-defined]
        return arranged.reduce(own, jnp.ones(()), self.log_var(x), jnp, jax_kernels()), arranged

    def traced(self) -> Traced:
        """x (d,) with v as inner coordinates -> log density. Call and trace it within 64 bits."""
        kernels, constant = jax_kernels(), self.bordered.model.constant

        def value(x: Numbers) -> Numbers:
            x, log_f = self.spherical(x)
            log_det, f = self._bordered_form(x)
            own_det, pivot = kernels.pivots(f)
            twice = log_det + own_det + self.log_var(x).sum() + pivot
            a = self.predictors[1].eta(x, jnp)
            u = x[self.n_outer :]
            prior = sum(c.log_density(x[j], jnp) for j, c in enumerate(self.own))
            prior = prior + sum(p.log_prior(x, jnp) for p in self.predictors)
            return constant - 0.5 * twice - self.sizes @ a + prior - 0.5 * (u @ u) - log_f

        return value

    def _bordered_form(self, x: Numbers) -> tuple[Numbers, Numbers]:
        """Log determinants of the eliminated class, and F."""
        if len(self.terms) > 1:
            reduced, _ = self.reduced(x)
            return reduced.log_det, reduced.bordered
        (lower,) = self.factors(x)
        a = self.predictors[1].eta(x, jnp)
        if self._fast is not None:
            columns, _ = self.remainder(x)
            log_det, products = self._fast(lower[0, 0], jnp.exp(-2.0 * a[0]), columns)
        else:
            last = self.target - self.predictors[0].eta(x, jnp) if self.rest else None
            w = self.weights * jnp.exp(-2.0 * a)
            log_det, products = self._lemmas(lower, w, last)
        j, shift = self.bordered.model.shape, self.bordered.model.shift
        border = np.column_stack([j, -shift])
        products = products.at[-1, -1].add(self._spread(a))
        return log_det, products + border.T @ (jnp.exp(-self.log_var(x))[:, None] * border)

    def scale(self) -> JointScale:
        """Mode and curvature of the whole density."""
        return climbed_scale(self, dense=True)


def _rearranged(
    bordered: Bordered, blocks: Blocks, terms: Sequence[GroupBlock], w: Numbers, columns: Numbers
) -> Bordered:
    """The bordered form with cross-products of these weights and columns."""
    z, wc = [basis_of(t) for t in terms], w[:, None] * columns

    def crossed(pair: tuple[int, int]) -> Numbers:
        products = (w[:, None] * z[pair[0]])[:, :, None] * z[pair[1]][:, None, :]
        return jax.ops.segment_sum(products, blocks.slots(*pair), blocks.pattern(*pair).nnz)

    each = list(zip(z, terms, strict=True))
    diag = tuple(level_sums((w[:, None] * own)[:, :, None] * own[:, None, :], t) for own, t in each)
    rhs = tuple(level_sums(own[:, :, None] * wc[:, None, :], t) for own, t in each)
    cross = {pair: crossed(pair) for pair in combinations(range(len(terms)), 2)}
    gram = Gram(diag, cross, rhs, columns.T @ wc)
    e = bordered.eliminated
    b, g = arranged(blocks, gram, e, bordered.dense, bordered.offsets, jnp, lambda a, at, v: a.at[at].set(v))
    return replace(bordered, a=diag[e], b=b, g=g, counts=None, merged_a=diag[e])


def _as_term(own: GroupRows, first: GroupBlock, rows: Index) -> GroupBlock:
    """A group, of which `first` is a term, as one term on the rows of the module's head."""
    basis = None if own.basis is None else own.basis[rows]
    columns = tuple(str(j) for j in range(own.group.k))
    return replace(first, columns=columns, codes=own.codes[rows], basis=basis)


def _variances(
    terms: Sequence[TermPriors], start: Start, inside: Sequence[int], priors: Priors
) -> tuple[list[Coordinate], tuple[TermPlaces, ...], list[tuple[int, int]]]:
    """Coordinates of the variances of I, then mixing variances, and which coefficient each of the latter is of."""
    own, places = term_coordinates(terms, [start.detectable[i] for i in inside])
    mixing = []
    for j, prior in enumerate(priors.coefficients):
        if isinstance(prior.distribution, StudentT):
            mixing.append((j, len(own)))
            own.append(Mixing(prior.distribution.df))
    return own, places, mixing


def sampled_predictors(
    problem: Problem,
    rest: Sequence[int],
    priors: Priors,
    start: Start,
    cells: Cells,
    *,
    fixed: bool = False,
) -> tuple[Predictor, Predictor]:
    """S, with the fixed effects if they are sampled, and log sigma."""
    rows, terms = cells.rows, tuple(cells.term(problem.terms[i]) for i in rest)
    own = replace(priors, terms=tuple(priors.terms[i] for i in rest))
    if fixed:
        block, beta, offset = problem.X, start.beta, problem.offset
        block = replace(block, matrix=block.matrix[rows])
        offset = None if offset is None else offset[rows]
    else:
        block, beta, offset = FixedBlock(np.zeros((len(rows), 0)), (), (), ()), np.zeros(0), None
        own = replace(own, coefficients=(), contrast=np.zeros((0, 0)))
    mean = predictor_of("", block, terms, own, beta, cells.sums(start.weights), None, offset)
    aux, block = priors.aux[0], start.sigma_block
    constant = None if aux.value is None else Constant("sigma", aux.value, "positive")
    sigma_terms = tuple(cells.term(t) for t in start.sigma_terms)
    on = replace(block, matrix=block.matrix[rows])
    return mean, predictor_of("sigma", on, sigma_terms, aux, start.alpha, 2.0 * cells.sizes, constant)


def whitened(placed: Sequence[Predictor], start: Start, cells: Cells, at: Array) -> tuple[Whitening, ...]:
    """The map from v to u of each predictor."""
    precisions = (cells.sums(start.weights), 2.0 * cells.sizes)
    scores = (cells.sums(start.score), cells.sums(start.sigma_score))
    return tuple(Whitening.of(p, w, s, at) for p, w, s in zip(placed, precisions, scores, strict=True))


def begun(begin: Array, placed: Sequence[Predictor], start: Start, rest: Sequence[int], beta: Array) -> Array:
    """The start put into `begin` in place, without random effects; with u of those of the terms `rest` and of sigma's."""
    begin[placed[0].outer] = placed[0].begin(beta, [start.covariances[i] for i in rest])
    begin[placed[1].outer] = placed[1].begin(start.alpha, start.sigma_covariances)
    at = begin.copy()
    for own, modes in zip(placed, ([start.modes[i] for i in rest], start.sigma_modes), strict=True):
        parts = [np.linalg.solve(low, b.T).T.ravel() for low, b in zip(own.factors(at), modes, strict=True)]
        at[own.inner] = np.concatenate([np.zeros(0), *parts])
    return at
