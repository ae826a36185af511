r"""How well a posterior predicts what it has not seen: leave-one-out by importance sampling.

With draws theta_s of the posterior given all of y, the density of unit i given the others is (Gelfand, Dey & Chang 1992)::

    p(y_i | y_-i) = 1 / E[1 / p(y_i | theta)]  ~  sum_s w_si p(y_i | theta_s),     w_si ~ 1 / p(y_i | theta_s)

with the weights smoothed by a Pareto tail whose shape k_i says whether they can be trusted (Vehtari, Gelman & Gabry 2017;
:mod:`lmmformula.numerics.pareto`). ``elpd = sum_i log p(y_i | y_-i)`` has standard error ``sqrt(n Var_i)``, and the effective
number of parameters is ``p = sum_i [log mean_s p(y_i | theta_s)] - elpd``.

A unit is a row: p(y_i | theta) is then the density given the random effects, and the question is about another row of the same
groups. Or it is all the rows of a level of a grouping factor: the question is about another level, and the level's own effects
are integrated out of p(y_g | theta) (Merkle, Furr & Rabe-Hesketh 2019; with the effects kept no weight could be trusted). For a
normal response, given the draw's beta, variances and the effects of the other terms, with r = y - offset - X beta - Z_o b_o::

    log p(y_g | theta) = -1/2 [ n_g log 2 pi sigma^2 - sum log w + log|I + T G_g / sigma^2|
                                + (r'Wr - h' (sigma^2 T^-1 + G_g)^-1 h) / sigma^2 ],     G_g = Z'WZ,  h = Z'Wr,  T = Sigma

References
----------
Gelfand, Dey & Chang (1992), Bayesian Statistics 4. Vehtari, Gelman & Gabry (2017), Stat. Comput. 27, 1413-1432.
Merkle, Furr & Rabe-Hesketh (2019), Psychometrika 84, 802-829.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.posterior import log_likelihood, own_effects, row_slices, term_spreads
from lmmformula.inference.rows import row_labels
from lmmformula.numerics.pareto import log_sum, pareto_smooth
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Smoothed", "log_mean", "smoothed", "trusted_k", "unit_log_likelihood"]


@dataclass(frozen=True, slots=True, eq=False)
class Smoothed:
    """Leave-one-out of every unit.

    Attributes
    ----------
    elpd : (n,) array
        log p(y_i | y_-i).
    lpd : (n,) array
        log mean_s p(y_i | theta_s), of the same units seen.
    k : (n,) array
        Pareto's shape.
    """

    elpd: Array
    lpd: Array
    k: Array


def trusted_k(draws: int) -> float:
    """The k up to which `draws` suffice (Vehtari et al. 2024, sec. 3.2.4): .7, or less for fewer than 2,200 draws."""
    return min(1.0 - 1.0 / np.log10(max(draws, 11)), 0.7)


def smoothed(log_lik: Array) -> Smoothed:
    """Leave-one-out from log densities (S, n) of units given draws. O(S n)."""
    elpd, k = np.empty(log_lik.shape[1]), np.empty(log_lik.shape[1])
    for i, own in enumerate(log_lik.T):
        weights, k[i] = pareto_smooth(-own)
        elpd[i] = log_sum(weights + own)
    return Smoothed(elpd, log_mean(log_lik), k)


def log_mean(log_lik: Array) -> Array:
    """log of the mean density over draws, (n,), from log densities (S, n)."""
    top = log_lik.max(axis=0)
    return top + np.log(np.exp(log_lik - top).mean(axis=0))


def unit_log_likelihood(fit: Fitted, group: str | None) -> tuple[Array, pd.Index]:
    """Log densities (S, units) of the rows given everything, or of the levels of `group` with their effects integrated out.

    Raises
    ------
    DataError
        If `group` is no grouping factor of the fit.
    PlanError
        Where a level's density has no closed form: its response is not normal, or its rows share other effects' levels.
    """
    import pandas as pd

    if group is None:
        found = log_likelihood(fit)
        return found.reshape(-1, found.shape[-1]), row_labels(fit.problem)
    known = list(dict.fromkeys(t.group for t in fit.problem.terms))
    if group not in known:
        raise DataError(f"group={group!r} is no grouping factor of the fit; it has {', '.join(known)}.")
    levels = next(t.levels for t in fit.problem.terms if t.group == group)
    return _marginal(fit, group), pd.Index(levels, name=group)


def _marginal(fit: Fitted, group: str) -> Array:
    """log p(y_g | theta) of the module's head, (S, levels)."""
    problem, posterior = fit.problem, fit.inference.draws("loo()")
    normal = problem.family.normal
    if normal is None or problem.aux or "sigma" not in posterior.names:
        raise PlanError(
            f"loo(group={group!r}) integrates the effects of a level out, which has a closed form for a normal response with "
            f"one residual variance, not for {problem.family}: use kfold(group={group!r}), which fits again without each fold."
        )
    if problem.family.repeated:
        raise PlanError(
            f"loo(group={group!r}) of rows that stand for several observations each: use kfold(group={group!r})."
        )
    problem.refuse_coupled(f"loo(group={group!r})", f"Use kfold(group={group!r}).")
    problem.refuse_elsewhere(f"loo(group={group!r})")
    own = [i for i, t in enumerate(problem.terms) if t.group == group]
    codes = problem.terms[own[0]].codes
    sums = _sums(fit, own, codes)
    sigma2 = posterior["sigma"].reshape(-1) ** 2
    root = _block_diagonal([term_spreads(fit, i).roots for i in own])
    k = root.shape[-1]
    inner = (
        sigma2[:, None, None, None] * np.eye(k)
        + np.swapaxes(root, -1, -2)[:, None] @ sums.gram @ root[:, None]
    )
    factor = np.linalg.cholesky(inner)
    turned = np.einsum("sab,sma->smb", root, sums.cross)
    half = np.linalg.solve(factor, turned[..., None])[..., 0]
    logdet = 2.0 * np.log(np.einsum("smii->smi", factor)).sum(axis=-1) - k * np.log(sigma2)[:, None]
    quadratic = (sums.squares - (half**2).sum(axis=-1)) / sigma2[:, None]
    return sums.constant - 0.5 * (sums.count * np.log(2.0 * np.pi * sigma2)[:, None] + logdet + quadratic)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over the rows of each level: G (m, k, k), h (S, m, k), r'Wr (S, m), n_g, and what no draw moves."""

    gram: Array
    cross: Array
    squares: Array
    count: Array
    constant: Array


def _sums(fit: Fitted, own: list[int], codes: NDArray[np.int32]) -> _Sums:
    problem, posterior = fit.problem, fit.inference.draws()
    beta = posterior.beta.reshape(-1, problem.p)
    others = [e for i, e in enumerate(own_effects(fit)) if i not in own]
    ones = np.ones((problem.n, 1))
    basis = np.hstack([ones if (z := problem.terms[i].basis) is None else z for i in own])
    weights = np.ones(problem.n) if problem.weights is None else problem.weights
    normal = problem.family.normal
    assert normal is not None
    y = normal.of(problem.y) - (0.0 if problem.offset is None else problem.offset)
    m, k, draws = len(problem.terms[own[0]].levels), basis.shape[1], len(beta)
    gram, count = np.zeros((m, k, k)), np.zeros(m)
    there = codes >= 0
    np.add.at(gram, codes[there], weights[there, None, None] * basis[there, :, None] * basis[there, None, :])
    np.add.at(count, codes[there], 1.0)
    constant = np.zeros(m)
    jacobian = 0.5 * np.log(weights) + normal.log_slope(problem.y)
    np.add.at(constant, codes[there], jacobian[there])
    cross, squares = np.zeros((draws, m, k)), np.zeros((draws, m))
    for rows in row_slices(problem.n, draws, 2 + k):
        fitted = beta @ problem.X.matrix[rows].T
        for effects in others:
            effects.add_to(fitted, rows)
        keep = there[rows]
        r, w, z, at = (y[rows] - fitted)[:, keep], weights[rows][keep], basis[rows][keep], codes[rows][keep]
        order = np.argsort(at, kind="stable")
        starts = np.flatnonzero(np.diff(at[order], prepend=-1))
        here = at[order][starts]
        wr = (w * r)[:, order]
        squares[:, here] += np.add.reduceat(wr * r[:, order], starts, axis=1)
        for j in range(k):
            cross[:, here, j] += np.add.reduceat(wr * z[order, j], starts, axis=1)
    return _Sums(gram, cross, squares, count, constant)


def _block_diagonal(parts: list[Array]) -> Array:
    """(S, k, k) of parts (S, k_i, k_i)."""
    k = sum(part.shape[-1] for part in parts)
    out, at = np.zeros((len(parts[0]), k, k)), 0
    for part in parts:
        size = part.shape[-1]
        out[:, at : at + size, at : at + size] = part
        at += size
    return out
