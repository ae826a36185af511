r"""Responses drawn from a fitted model on some of its rows, with the random effects of the fit or with others.

Given the estimates, a response is drawn by ``eta = X beta + offset + Z b`` and then from the family. *Conditional*
replicates keep b: the modes of a fit by likelihood, the effects of the same draw of a posterior. *Unconditional* ones draw b
anew, from ``N(0, sigma^2 Q^-1 (x) Sigma)`` at the estimates or at a draw. Parameters of a likelihood fit stay at their
estimates (a parametric bootstrap without refitting); of a posterior each replicate has a draw of its own, so that replicates
are posterior predictive.

Cost of n replicates of N rows: O(n N (sum k + the family's draw)); one response exists at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import (
    auxiliary_draws,
    auxiliary_effect_draws,
    auxiliary_spreads,
    effect_draws,
    flat,
    term_spreads,
)
from lmmformula.inference.residuals import auxiliary
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.structured import spherical_draws
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["at_rows", "of_estimates", "of_posterior", "sampled"]


def at_rows(values: Array | None, rows: Index | None) -> Array | None:
    """Entries of the chosen rows; all for None."""
    return values if values is None or rows is None else values[rows]


def sampled(problem: Problem, rows: Index | None) -> Problem:
    """The same model of the chosen rows; the problem itself for None.

    Raises
    ------
    PlanError
        For rows that are not in memory.
    """
    problem.refuse_elsewhere("what is asked of single rows")
    return problem if rows is None else problem.at(rows)


def _fixed(some: Problem, beta: Array) -> Array:
    eta = some.X.matrix @ beta
    return eta if some.offset is None else eta + some.offset


def of_estimates(
    fit: Fitted, n: int, rng: np.random.Generator, *, conditional: bool, rows: Index | None = None
) -> Iterator[Array]:
    """Replicates at the estimates, one by one, each (rows,)."""
    problem, estimate = sampled(fit.problem, rows), fit.estimate
    fixed = _fixed(problem, estimate.beta)
    weights, terms = problem.weights, problem.terms
    none = [np.zeros((term.m, term.k)) for term in terms]
    aux = tuple(a if rows is None else a[rows] for a in auxiliary(fit, None if conditional else none))
    if conditional:
        for term, b in zip(terms, estimate.modes, strict=True):
            fixed = fixed + term.share(0, b)
        for _ in range(n):
            yield problem.family.simulate(rng, fixed, aux, weights)
        return
    thetas = [estimate.theta[s] for s in problem.theta_slices()]
    roots = [estimate.sigma * t.covariance.cholesky(own) for t, own in zip(terms, thetas, strict=True)]
    for _ in range(n):
        eta = fixed.copy()
        beside = list(aux)
        for term, own, root in zip(terms, thetas, roots, strict=True):
            effects = spherical_draws(term, own, rng) @ root.T
            eta += term.share(0, effects)
            for j in {k for k in term.predictors if k}:
                beside[j - 1] = beside[j - 1] + term.share(j, effects)
        yield problem.family.simulate(rng, eta, tuple(beside), weights)


def of_posterior(
    fit: Fitted, n: int, rng: np.random.Generator, *, conditional: bool, rows: Index | None = None
) -> Iterator[Array]:
    """Posterior predictive replicates, one by one, each (rows,): draws without replacement while there are enough."""
    problem = sampled(fit.problem, rows)
    beta = flat(fit.inference.draws().beta)
    chosen = rng.choice(len(beta), n, replace=n > len(beta))
    columns = [block.matrix for block in problem.aux]
    parts = [_Part.of_mean(fit, problem, i, chosen, conditional) for i in range(len(problem.terms))]
    beside = [
        [_Part.of_auxiliary(fit, problem, j, i, chosen, conditional) for i in range(len(terms))]
        for j, terms in enumerate(problem.aux_terms)
    ]
    for s, draw in enumerate(chosen):
        eta = _fixed(problem, beta[draw])
        for part in parts:
            eta = eta + part.drawn(s, rng)
        aux = [a[0] for a in auxiliary_draws(fit, columns, slice(None), np.array([draw]))]
        for j, own in enumerate(beside):
            for part in own:
                aux[j] = aux[j] + part.drawn(s, rng)
        predictors = tuple(np.broadcast_to(a, eta.shape) for a in aux)
        yield problem.family.simulate(rng, eta, predictors, problem.weights)


class _Part:
    """Z b of one term for the chosen draws: of the draw's own effects, or of effects that its variances give."""

    # theta has a row for each draw where effects are drawn: their structure across levels may have its own phi

    __slots__ = ("effects", "roots", "term", "theta")

    def __init__(self, term: GroupBlock, theta: Array, effects: Array | None, roots: Array | None) -> None:
        self.term, self.theta, self.effects, self.roots = term, theta, effects, roots

    @classmethod
    def of_mean(cls, fit: Fitted, some: Problem, i: int, chosen: Index, conditional: bool) -> _Part:
        from lmmformula.backends.posterior.structures import phi_draws

        term, theta = some.terms[i], fit.estimate.theta[some.theta_slices()[i]]
        if conditional:
            return cls(term, theta, effect_draws(fit, i)[chosen], None)
        phi, thetas = phi_draws(fit.inference.draws())[i][chosen], np.tile(theta, (len(chosen), 1))
        thetas[:, thetas.shape[1] - phi.shape[1] :] = phi
        return cls(term, thetas, None, term_spreads(fit, i).at(chosen).roots)

    @classmethod
    def of_auxiliary(
        cls, fit: Fitted, some: Problem, j: int, i: int, chosen: Index, conditional: bool
    ) -> _Part:
        term = some.aux_terms[j][i]
        if conditional:
            return cls(term, np.zeros(0), auxiliary_effect_draws(fit, j, i)[chosen], None)
        thetas = np.tile(term.covariance.start(), (len(chosen), 1))
        return cls(term, thetas, None, auxiliary_spreads(fit, j, i).at(chosen).roots)

    def drawn(self, s: int, rng: np.random.Generator) -> Array:
        if self.effects is not None:
            return self.term.apply(self.effects[s])
        assert self.roots is not None
        return self.term.apply(spherical_draws(self.term, self.theta[s], rng) @ self.roots[s].T)
