r"""The mixed-model form of a penalised smooth (Verbyla et al. 1999; Wood 2017, sec. 5.8 and 6.6.1; Wood, Scheipl & Faraway
2013).

For columns X = b(x) and penalty S, ``beta ~ N(0, sigma_s^2 S^-)`` is an improper prior whose density is flat in the null
space of S.

1. *Scale.* S is multiplied by ``|X|_inf^2 / |S|_1``, so that the variance below has a size that does not depend on the units
of x. 2. *Centring.* A model with an intercept cannot tell it from the level of f: ``sum_r f(x_r) = 0`` over the rows of the
fit. With
   ``X'1 = c`` and the Householder factor ``c = Q (|c|, 0)'`` the coefficients are ``beta = Q_2 beta'``: X Q_2 and Q_2'S Q_2.
3. *Null space and the rest.* With ``Q_2'S Q_2 = U diag(lambda, 0) U'``, lambda of length r:

       X_f = X Q_2 U_0                        fixed effects, one column for each dimension of the null space
       Z   = X Q_2 U_+ diag(lambda)^(-1/2),   b ~ N(0, sigma_s^2 I_r)                                             (1)

   which is mgcv's ``smooth2random``; sigma_s is gamm4's and brms' ``sds``, and mgcv's smoothing parameter is ``(sigma /
   sigma_s)^2``.

A tensor product ``t2`` has a part as (1) for each pair (penalised or not) of its margins, with a variance of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.typing import Array

__all__ = ["MixedForm", "centred", "mixed_form", "natural_form", "penalty_scale", "unpenalised_form"]


@dataclass(frozen=True, eq=False)
class MixedForm:
    """Maps from a basis to columns of a model.

    Attributes
    ----------
    fixed : (K, f) array
    random : tuple of (K, r_j) arrays
        One for each variance.
    lead : (f + sum r,) array
        Coefficients of the first function in these columns: the side on which eigenvectors of tests are counted
        positive.
    level : array or 0
        Means of the columns over the rows of the fit, which are subtracted.
    """

    fixed: Array
    random: tuple[Array, ...]
    lead: Array
    level: float | Array = 0.0

    @property
    def maps(self) -> Array:
        """All columns, (K, f + sum r)."""
        return np.hstack([self.fixed, *self.random])


def penalty_scale(x: Array, s: Array) -> float:
    """What S is multiplied by: ``|X|_inf^2 / |S|_1``."""
    return float(np.abs(x).sum(axis=1).max() ** 2 / np.abs(s).sum(axis=0).max())


def centred(x: Array) -> Array:
    """Q_2, (K, K - 1), orthonormal with ``(1'X) Q_2 = 0``."""
    return np.linalg.qr(x.mean(axis=0)[:, None], mode="complete")[0][:, 1:]


def mixed_form(x: Array, s: Array, null_dim: int, *, centre: bool) -> MixedForm:
    """The form (1) of columns X on the rows of a fit.

    Parameters
    ----------
    x : (n, K) array
    s : (K, K) array
    null_dim : int
        Dimension of the null space of S.
    centre : bool
    """
    q = centred(x) if centre else np.eye(x.shape[1])
    own = q.T @ (penalty_scale(x, s) * s) @ q
    rank = min(x.shape[1] - null_dim, q.shape[1])
    values, u = np.linalg.eigh(0.5 * (own + own.T))
    values, u = values[::-1], u[:, ::-1]
    roots = np.sqrt(values[:rank])
    lead = np.concatenate([u[0, rank:], u[0, :rank] * roots])
    return MixedForm(q @ u[:, rank:], (q @ (u[:, :rank] / roots),), lead)


def unpenalised_form(x: Array, *, centre: bool) -> MixedForm:
    """All functions as fixed effects, ``fx = TRUE``."""
    q = centred(x) if centre else np.eye(x.shape[1])
    return MixedForm(q, (), np.eye(q.shape[1])[0])


def natural_form(x: Array, s: Array, null_dim: int) -> MixedForm:
    """Columns that are orthogonal over the rows and have a diagonal penalty, with a variance for each direction of the null
    space.

    With X = QR and ``R^-T S R^-1 = V diag(lambda, 0) V'`` the columns are Q V (Wood 2017, sec. 5.4.2), divided by sqrt(lambda)
    where they are penalised. Unpenalised and penalised columns each have mean square one before that. Within the null space any
    rotation is as good for S, but not for variances of its directions: the constant goes first, then what is orthogonal to
    it by falling spread.
    """
    q, r = np.linalg.qr(x)
    inverse = np.linalg.inv(r)
    own = inverse.T @ s @ inverse
    values, v = np.linalg.eigh(0.5 * (own + own.T))
    values, v = values[::-1], v[:, ::-1]
    rank = x.shape[1] - null_dim
    wide, null = v[:, :rank], v[:, rank:]
    size = float(np.sqrt(np.mean((q @ wide) ** 2)))
    roots = np.sqrt(values[:rank]) / size
    parts = [inverse @ wide / size / roots]
    if null_dim:
        null = _level_first(q @ null, null)
        null = null / np.sqrt(np.mean((q @ null) ** 2))
        parts += [inverse @ null[:, [j]] for j in range(null_dim)]
    maps = np.hstack(parts)
    return MixedForm(np.zeros((x.shape[1], 0)), tuple(parts), np.eye(maps.shape[1])[0])


def _level_first(columns: Array, maps: Array) -> Array:
    """The maps rotated so that the direction nearest to a constant is first, then the others by the spread of their columns."""
    level = columns.sum(axis=0)
    rotation = np.linalg.qr(level[:, None], mode="complete")[0]
    rest = columns @ rotation[:, 1:]
    _, _, order = np.linalg.svd(rest - rest.mean(axis=0), full_matrices=False)
    return maps @ np.hstack([rotation[:, :1], rotation[:, 1:] @ order.T])
