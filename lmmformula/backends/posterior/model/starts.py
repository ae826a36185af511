r"""Where chains with some effects integrated out start: restricted maximum likelihood, then a model of its residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmmformula.backends.exact import Exact
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.posterior.model.predictor import aux_blocks, detectable
from lmmformula.criteria.marginal import gaussian_twin
from lmmformula.engines.base import Engine
from lmmformula.errors import FitError
from lmmformula.families import resolve
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.numerics.least_squares import least_squares
from lmmformula.numerics.tall import Tall
from lmmformula.typing import Array, Index

__all__ = ["Start", "padded_rows", "start_of"]

WASTE = 2.0
"""Rows with those that fill up levels, over rows, up to which levels are filled up."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A first fit.

    Attributes
    ----------
    covariances, modes : per term of the mean
    detectable : per term, (k,) arrays
    beta : (p,) array
    weights : (n,) array
        w exp(-2a).
    score : (n,) array
        Of the mean's predictor at the fit.
    sigma_block : FixedBlock
    sigma_terms : tuple of GroupBlock
    alpha : array
        Coefficients of log sigma.
    sigma_covariances, sigma_modes : per term of log sigma
    sigma_score : (n,) array
        Of log sigma at the fit.
    """

    covariances: list[Array]
    modes: tuple[Array, ...]
    detectable: list[Array]
    beta: Array
    weights: Array
    score: Array
    sigma_block: FixedBlock
    sigma_terms: tuple[GroupBlock, ...]
    alpha: Array
    sigma_covariances: list[Array]
    sigma_modes: list[Array]
    sigma_score: Array


def start_of(problem: Problem, engine: Engine) -> Start:
    """Fit the mean with one sigma, log sigma to its residuals, and the mean again."""
    block = aux_blocks(problem)[0]
    terms = problem.aux_terms[0] if problem.aux_terms else ()
    twin, _ = gaussian_twin(replace(problem, aux=(), aux_terms=()))
    prior = np.ones(twin.n) if twin.weights is None else twin.weights
    estimate = Exact(reml=True, engine=engine).fit(twin).estimate
    residual = _residual(twin, estimate)
    if block.is_constant and not terms:
        alpha, covariances, modes = np.array([np.log(estimate.sigma)]), [], []
        log_sigma = np.full(twin.n, np.log(estimate.sigma))
    else:
        alpha, covariances, modes = _of_residuals(twin, block, terms, np.sqrt(prior) * residual, engine)
        log_sigma = block.matrix @ alpha
        for term, b in zip(terms, modes, strict=True):
            log_sigma = log_sigma + term.apply(b)
        weighted = replace(twin, weights=prior * np.exp(-2.0 * log_sigma))
        estimate = Exact(reml=True, engine=engine).fit(weighted).estimate
        residual = _residual(twin, estimate)
    weights = prior * np.exp(-2.0 * log_sigma)
    own = []
    for term, s in zip(twin.terms, twin.theta_slices(), strict=True):
        lower = estimate.sigma * term.covariance.cholesky(estimate.theta[s])
        own.append(lower @ lower.T)
    return Start(
        own,
        estimate.modes,
        [detectable(t, weights) for t in twin.terms],
        estimate.beta,
        weights,
        weights * residual,
        block,
        terms,
        alpha,
        covariances,
        modes,
        weights * residual**2 - 1.0,
    )


def _residual(twin: Problem, estimate: Estimate) -> Array:
    """y less everything fitted."""
    out = twin.y - twin.X.matrix @ estimate.beta
    if twin.offset is not None:
        out = out - twin.offset
    for term, b in zip(twin.terms, estimate.modes, strict=True):
        out = out - term.apply(b)
    return out


def _of_residuals(
    twin: Problem, block: FixedBlock, terms: Sequence[GroupBlock], residual: Array, engine: Engine
) -> tuple[Array, list[Array], list[Array]]:
    """alpha, covariances and modes of log sigma: half those of a gamma model of squared residuals."""
    y = np.maximum(residual**2, 1e-6 * float(np.mean(residual**2)))
    constant = FixedBlock.constant(twin.n)
    model = Problem(
        y,
        block,
        tuple(terms),
        None,
        None,
        resolve("gamma"),
        "",
        twin.rows,
        (constant,),
        twin.n_rows_data,
    )
    if not terms:
        alpha = least_squares(
            Tall(block.matrix), 0.5 * (np.log(y) + 1.27)
        ).coefficients  # E log chi2_1 = -1.27
        return alpha, [], []
    try:
        fitted = LaplaceBackend(engine=engine, tolerance=1e-4).fit(model).estimate
    except FitError:
        alpha = least_squares(Tall(block.matrix), 0.5 * (np.log(y) + 1.27)).coefficients
        return alpha, [0.01 * np.eye(t.k) for t in terms], [np.zeros((t.m, t.k)) for t in terms]
    covariances = []
    for term, s in zip(model.terms, model.theta_slices(), strict=True):
        lower = 0.5 * term.covariance.cholesky(fitted.theta[s])
        covariances.append(lower @ lower.T)
    return 0.5 * fitted.beta, covariances, [0.5 * b for b in fitted.modes]


def padded_rows(codes: Index, m: int) -> tuple[Index, Array]:
    """Rows level by level, each level filled up with its first row, and a mask of those that count.

    Where filling up would cost more than `WASTE`, the rows as they stand.
    """
    counts = np.bincount(codes, minlength=m)
    most = int(counts.max())
    if m * most > WASTE * len(codes):
        return np.arange(len(codes)), np.ones(len(codes))
    order = np.argsort(codes, kind="stable")
    first = np.cumsum(counts) - counts
    places = np.arange(most)
    inside = places < counts[:, None]
    rows = order[(first[:, None] + np.where(inside, places, 0)).ravel()]
    return rows, inside.ravel().astype(float)
