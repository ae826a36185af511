r"""Errors of predicted linear predictors to first order in what is estimated.

For a row with fixed part x and random part z the prediction is ``eta = x'beta + z'b`` with b the modes given everything else.
Given the parameters psi, ``Var(b | y) = sigma^2 Lambda M^-1 Lambda'``; an error d of psi moves eta by ``g'd``. So the error
against the row's own x'beta + z'b has variance (Henderson 1975; Robinson 1991, sec. 5; Kass & Steffey 1989; Kristensen et al.
2016, sec. 2.3)::

    sigma^2 z'Lambda M^-1 Lambda'z + g'V g,      g = d eta / d psi                                                       (1)

Gaussian models: psi is beta, theta taken as known, ``V = sigma^2 R^-1 R^-T`` and ``g = x - X'WZ Lambda M^-1 Lambda'z``: the
variance of the best linear unbiased predictor. The same for quasi-likelihoods, and for nAGQ = 0, whose beta goes with the
modes. Models by Laplace's approximation or quadrature: psi is (beta, theta, alpha), V the inverse information of all of them,
whose block for beta `bse` shows, and b moves by :mod:`lmmformula.criteria.sensitivity`.

A level that the fit has not seen has mode 0 and adds ``z'Sigma z``. Where the mean of the response depends on auxiliary
predictors ``a = A alpha`` too (zero inflation), its gradient has a part for each. V is used through a root, ``V = T T'``, so
that a row's error is an affine function of r independent standard normal numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.sensitivity import mode_sensitivity
from lmmformula.engines.base import Stacked
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.ir.blocks import Group
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.result import Fit

__all__ = ["RowErrors", "row_errors"]


@dataclass(frozen=True, slots=True, eq=False)
class RowErrors:
    """Errors of the predictors of n rows: ``eta + sqrt(own) e_0 + along e`` and ``a_j + aux_along[j] e``, e of r numbers.

    Attributes
    ----------
    own : (n,) array
        Variance of the row's random part given all parameters.
    along : (n, r) array
        How eta moves with the errors of the parameters.
    aux_along : tuple of (n, r) arrays
        The same for each auxiliary predictor.
    undetermined : (n,) bool array
        Rows whose eta depends on coefficients on which the data hold no information.
    aux_undetermined : tuple of (n,) bool arrays
        The same for each auxiliary predictor.
    """

    own: Array
    along: Array
    aux_along: tuple[Array, ...]
    undetermined: NDArray[np.bool_]
    aux_undetermined: tuple[NDArray[np.bool_], ...]

    def variance(self, d_eta: Array | float, d_aux: tuple[Array, ...] = ()) -> Array:
        """Variance of a function of eta and the a_j with these derivatives, (n,); infinite where it is not determined."""
        slope = np.broadcast_to(d_eta, self.own.shape)
        moved, lost = slope[:, None] * self.along, self.undetermined & (slope != 0.0)
        for d, along, loose in zip(d_aux, self.aux_along, self.aux_undetermined, strict=False):
            moved = moved + d[:, None] * along
            lost = lost | (loose & (d != 0.0))
        out = slope**2 * self.own + np.einsum("nr,nr->n", moved, moved)
        return np.where(lost & ~np.isnan(out), np.inf, out)


def row_errors(fit: Fit, rows: Any, *, drawn: bool) -> RowErrors:
    """Errors of the rows to predict.

    Parameters
    ----------
    fit : Fit
        Not a posterior.
    rows : rows to predict, with ``X, parts, aux_columns, n``
    drawn : bool
        Whether unseen levels have drawn effects, which then add no variance.
    """
    spread, (X, bases) = _spread(fit), _working_columns(fit, rows)
    own, along = np.zeros(rows.n), X @ spread.fixed
    if rows.parts:
        for batch, levels in _touched(fit, rows, bases):
            solved = fit.optimum.factor.solve(_dense(fit, levels, batch))
            for a, columns, seen, codes, z in levels:
                own[batch][seen] += np.einsum("nk,nk->n", z, solved[a][codes, columns, seen])
                along[batch][seen] += np.einsum("nk,nkr->nr", z, spread.effects[a][codes][:, columns])
    own *= (fit.standard.slope * fit.standard.sigma_in(fit.estimate)) ** 2
    along *= fit.standard.slope
    if not drawn:
        own += _unseen_variance(fit, rows)
    columns = rows.aux_columns
    aux_along = tuple(c @ root for c, root in zip(columns, spread.aux, strict=False))
    lost = tuple(
        (c[:, loose] != 0.0).any(axis=1) for c, loose in zip(columns, spread.aux_loose, strict=False)
    )
    return RowErrors(own, along, aux_along, (rows.X[:, spread.loose] != 0.0).any(axis=1), lost)


def _unseen_variance(fit: Fit, rows: Any) -> Array:
    """z'Sigma z of the levels that the fit has not seen, (n,)."""
    out, covariances = np.zeros(rows.n), covariance_matrices(fit)
    for part in rows.parts:
        unseen = part.new_codes >= 0
        z = part.basis[unseen]
        out[unseen] += np.einsum("nk,kl,nl->n", z, covariances[part.term], z)
    return out


# -- the parameters -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """Errors of the parameters: ``beta + fixed e``, ``Lambda^-1 b + effects e``, ``alpha_j + aux[j] e``.

    Attributes
    ----------
    fixed : (p, r) array
        Of the twin at which `fit.optimum` was evaluated (:mod:`lmmformula.ir.standard`).
    effects : tuple of (m, k, r) arrays, one for each group
        Likewise.
    aux : tuple of (p_j, r) arrays
        In the user's units.
    loose, aux_loose : masks of columns that the data do not determine
    """

    fixed: Array
    effects: Stacked
    aux: tuple[Array, ...]
    loose: NDArray[np.bool_]
    aux_loose: tuple[NDArray[np.bool_], ...]


def _spread(fit: Fit) -> _Spread:
    point, standard, joint = fit.optimum, fit.standard, fit.twin_vcov
    if joint is None:
        sigma = standard.sigma_in(fit.estimate)
        loose = ~np.isfinite(np.diagonal(fit.estimate.vcov))
        return _Spread(sigma * point.half, tuple(-sigma * h for h in point.h), (), loose, ())
    layout = point.model.layout
    loose, root = np.isinf(np.diagonal(joint)), _root(joint)
    smooth = point.model(point.psi, u=point.u, beta=point.beta)
    effects = tuple(s @ root for s in mode_sensitivity(smooth))
    aux = tuple(
        root[s] if columns is None else columns @ root[s]
        for s, (columns, _) in zip(layout.aux, standard.aux, strict=True)
    )
    return _Spread(root[layout.beta], effects, aux, loose[layout.beta], tuple(loose[s] for s in layout.aux))


def _root(covariance: Array) -> Array:
    """T with T T' = V; zero rows for what is held or has an infinite variance."""
    variances = np.diagonal(covariance)
    kept = np.isfinite(variances) & (variances > 0.0)
    sd = np.sqrt(variances[kept])
    values, vectors = np.linalg.eigh(covariance[np.ix_(kept, kept)] / np.outer(sd, sd))
    out = np.zeros((len(covariance), len(sd)))
    out[kept] = sd[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    return out


# -- the rows -------------------------------------------------------------------------------------------------------------


_Touched = tuple[int, slice, NDArray[np.intp], NDArray[np.int32], Array]
"""Of one term on a batch of rows: group, columns in the group, rows with a known level, these levels, Lambda'z of the rows."""


def _working_columns(fit: Fit, rows: Any) -> tuple[Array, dict[int, Array]]:
    """X of the rows, and the basis of each term used, of the twin at which `fit.optimum` was evaluated."""
    standard = fit.standard
    bases = {part.term: standard.basis_in(part.term, part.basis) for part in rows.parts}
    return standard.fixed_in(rows.X), bases


def _touched(fit: Fit, rows: Any, bases: dict[int, Array]) -> Iterator[tuple[slice, list[_Touched]]]:
    """Batches of rows, with what each term used has on them."""
    point = fit.optimum
    groups: tuple[Group, ...] = point.model.prepared.blocks.groups
    known = {part.term: part.codes for part in rows.parts}
    step = max(1, min(256, int(20_000_000 // max(1, fit.problem.q))))
    for start in range(0, rows.n, step):
        batch, levels = slice(start, min(start + step, rows.n)), []
        for a, (group, factor) in enumerate(zip(groups, point.factors, strict=True)):
            for i, columns in group.members:
                if i in known:
                    codes = known[i][batch]
                    seen = np.flatnonzero(codes >= 0)
                    z = bases[i][batch][seen] @ factor[columns, columns]
                    levels.append((a, columns, seen, codes[seen], z))
        yield batch, levels


def _dense(fit: Fit, levels: list[_Touched], batch: slice) -> Stacked:
    """Lambda'z of a batch of rows over all levels, per group (m, k, rows)."""
    groups: tuple[Group, ...] = fit.optimum.model.prepared.blocks.groups
    out = tuple(np.zeros((g.m, g.k, batch.stop - batch.start)) for g in groups)
    for a, columns, seen, codes, z in levels:
        out[a][codes, columns, seen] = z
    return out
