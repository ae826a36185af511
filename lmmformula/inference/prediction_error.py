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

Auxiliary predictors with random effects, ``a_j = A_j alpha_j + Z_j b``: all effects have one M, of the rows' copies
(:mod:`lmmformula.criteria.several`), and one movement with psi, S. With z_k the columns of row and predictor k (0 the mean's)
the errors of the K predictors of a row have the covariance matrix::

    z_k'Lambda M^-1 Lambda'z_l + g_k'V g_l,      g_j = dalpha_j of a_j + z_j'Lambda S                                     (2)

and an unseen level adds ``z_k'Sigma z_l``, Sigma of the columns of all predictors, so that effects which are correlated across
predictors keep that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.sensitivity import mode_sensitivity
from lmmformula.engines.base import Stacked
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.inference.prediction_rows import unseen_parts
from lmmformula.inference.structure.rows import cluster_errors
from lmmformula.inference.working_rows import WorkingRows
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Rows

__all__ = ["ParameterSpread", "RowErrors", "parameter_spread", "row_errors"]


@dataclass(frozen=True, slots=True, eq=False)
class RowErrors:
    """Errors of the predictors of n rows: ``eta + w_0 + along e`` and ``a_j + w_j + aux_along[j] e``, e of r numbers.

    Attributes
    ----------
    own : (n, K, K) array
        Covariances of w, the row's random parts given all parameters. K is 1 where auxiliary predictors have no random effects.
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

    def of(self, rows: slice, aux: Sequence[int]) -> RowErrors:
        """Some of the rows, with some of the auxiliary predictors."""
        own = self.own[rows]
        if own.shape[1] > 1:
            places = [0, *(1 + j for j in aux)]
            own = own[:, places][:, :, places]
        return RowErrors(
            own,
            self.along[rows],
            tuple(self.aux_along[j][rows] for j in aux if j < len(self.aux_along)),
            self.undetermined[rows],
            tuple(self.aux_undetermined[j][rows] for j in aux if j < len(self.aux_undetermined)),
        )

    def drawn(self, at: NDArray[np.intp], size: int, rng: np.random.Generator) -> Array:
        """`size` draws of w of the rows `at`, (S, rows, K)."""
        values, vectors = np.linalg.eigh(self.own[at])
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        z = rng.standard_normal((size, *root.shape[:2]))
        return np.einsum("nkl,snl->snk", root, z)

    def variance(self, d_eta: Array | float, d_aux: tuple[Array, ...] = ()) -> Array:
        """Variance of a function of eta and the a_j with these derivatives, (n,); infinite where it is not determined."""
        slope = np.broadcast_to(d_eta, len(self.own))
        moved, lost = slope[:, None] * self.along, self.undetermined & (slope != 0.0)
        for d, along, loose in zip(d_aux, self.aux_along, self.aux_undetermined, strict=False):
            moved = moved + d[:, None] * along
            lost = lost | (loose & (d != 0.0))
        slopes = np.stack([slope, *d_aux][: self.own.shape[1]], axis=1)
        own = self.own[:, : slopes.shape[1], : slopes.shape[1]]
        out = np.einsum("nk,nkl,nl->n", slopes, own, slopes) + np.einsum("nr,nr->n", moved, moved)
        return np.where(lost & ~np.isnan(out), np.inf, out)


def row_errors(fit: Fitted, rows: Rows, *, drawn: bool) -> RowErrors:
    """Errors of the rows to predict.

    Parameters
    ----------
    fit : Fit
        Not a posterior.
    rows : rows to predict, with ``X, parts, aux_columns, n``
    drawn : bool
        Whether unseen levels have drawn effects, which then add no variance.
    """
    working, standard = WorkingRows.of(fit, rows), fit.standard
    sigma = standard.sigma_in(fit.estimate)
    units = np.array([standard.slope, *(1.0 for _ in working.beside)])  # auxiliary predictors have none
    if fit.problem.residual is not None:
        loose = np.zeros(fit.problem.p, dtype=bool)
        spread = ParameterSpread(np.zeros((0, 0)), (), np.zeros((0, 0)), (), loose, ())
        variances, moves = cluster_errors(fit.optimum, working)
        own, along = variances[:, None, None], moves[:, None] * sigma
    else:
        spread = parameter_spread(fit)
        own, along = working.joint_errors(fit.optimum, spread.fixed, spread.effects)
    own = sigma**2 * np.outer(units, units) * own
    along = units[:, None] * along
    if not drawn:
        own += _unseen_covariances(fit, rows)
    columns = rows.aux_columns
    aux_along = [c @ root for c, root in zip(columns, spread.aux, strict=False)]
    for j in range(len(working.beside)):
        aux_along[j] = aux_along[j] + along[:, 1 + j]
    lost = tuple(
        (c[:, loose] != 0.0).any(axis=1) for c, loose in zip(columns, spread.aux_loose, strict=False)
    )
    return RowErrors(own, along[:, 0], tuple(aux_along), (rows.X[:, spread.loose] != 0.0).any(axis=1), lost)


def _unseen_covariances(fit: Fitted, rows: Rows) -> Array:
    """z_k'Sigma z_l of the levels that the fit has not seen, (n, K, K)."""
    k, covariances = 1 + len(rows.aux_parts), covariance_matrices(fit)
    out = np.zeros((rows.n, k, k))
    for unseen in unseen_parts(fit, rows):
        out[unseen.rows] += np.einsum(
            "nka,ab,nlb->nkl", unseen.basis, covariances[unseen.term], unseen.basis, optimize=True
        )
    return out


# -- the parameters -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ParameterSpread:
    """Errors of the parameters: ``beta + fixed e``, ``Lambda^-1 b + effects e``, ``theta + theta e``, ``alpha_j + aux[j] e``.

    Attributes
    ----------
    fixed : (p, r) array
        Of the twin at which `fit.optimum` was evaluated (:mod:`lmmformula.ir.standard`).
    effects : tuple of (m, k, r) arrays, one for each group
        Likewise.
    theta : (n_theta, r) array
        Likewise; zero where theta is taken as known.
    aux : tuple of (p_j, r) arrays
        In the user's units.
    loose, aux_loose : masks of columns that the data do not determine
    """

    fixed: Array
    effects: Stacked
    theta: Array
    aux: tuple[Array, ...]
    loose: NDArray[np.bool_]
    aux_loose: tuple[NDArray[np.bool_], ...]


def parameter_spread(fit: Fitted) -> ParameterSpread:
    """Errors of the parameters of a fit that is no posterior."""
    point, standard, joint = fit.optimum, fit.standard, fit.twin_vcov
    if joint is None:
        sigma = standard.sigma_in(fit.estimate)
        loose = ~np.isfinite(np.diagonal(fit.estimate.vcov))
        fixed, effects = sigma * point.half, tuple(-sigma * h for h in point.h)
        return ParameterSpread(fixed, effects, np.zeros((len(point.theta), fixed.shape[1])), (), loose, ())
    layout = point.model.layout
    loose, root = np.isinf(np.diagonal(joint)), _root(joint)
    smooth = point.model(point.psi, u=point.u, beta=point.beta)
    effects = tuple(s @ root for s in mode_sensitivity(smooth))
    aux = tuple(
        root[s] if columns is None else columns @ root[s]
        for s, (columns, _) in zip(layout.aux, standard.aux, strict=True)
    )
    lost = tuple(loose[s] for s in layout.aux)
    return ParameterSpread(root[layout.beta], effects, root[layout.theta], aux, loose[layout.beta], lost)


def _root(covariance: Array) -> Array:
    """T with T T' = V; zero rows for what is held or has an infinite variance."""
    variances = np.diagonal(covariance)
    kept = np.isfinite(variances) & (variances > 0.0)
    sd = np.sqrt(variances[kept])
    values, vectors = np.linalg.eigh(covariance[np.ix_(kept, kept)] / np.outer(sd, sd))
    out = np.zeros((len(covariance), len(sd)))
    out[kept] = sd[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    return out
