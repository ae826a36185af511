r"""The Gaussian criterion with one grouping factor of k columns: value, gradient and exact Hessian in one pass over its levels.

It is the criterion of :mod:`lmmformula.criteria.profiled` for a search: where one response with one factor is fitted, what an
evaluation costs are its calls of NumPy, not its arithmetic. V is block diagonal over the levels l. With G_l = Z_l'WZ_l,
c_l = Z_l'W[X y] (k x (p + 1)) and Sigma = LL', nothing of which is inverted::

    E_l = (I + Sigma G_l)^-1,     A_l = E_l Sigma,     N_l = G_l E_l,     log|M| = sum_l log|I + Sigma G_l|
    S = [X y]'V^-1[X y] = [X y]'W[X y] - sum_l c_l'A_l c_l                                                          (1)
    dA_l = E_l dSigma E_l',       dlog|I + Sigma G_l| = <N_l, dSigma>,       dN_l = -N_l dSigma N_l                   (2)

(the determinant and inversion lemmas; Harville 1977). Let S = RR' with R lower triangular. Its last pivot squared is r2 = y'Py,
the others make |X'V^-1X|; so with omega = (1, ..., 1, n_eff), for ML (0, ..., 0, n_eff)::

    d(theta) = sum_l log|I + Sigma G_l| + 2 sum_a omega_a log R_aa + what does not depend on theta                      (3)

In the basis that R makes of [X y], t_l = E_l'c_l R^-T, derivatives of S are Y_i = R^-1 dS_i R^-T = -sum_l t_l'dSigma_i t_l, the
row of y has unit P-norm, and all that projects out X or y is an element of Y. Let t_la be column a of t_l,
B_l = sum_a omega_a t_la t_la', and Omega_ab = 1 for a, b <= p (ML: 0), else n_eff::

    d_i  = <D, dSigma_i>,        D = sum_l (N_l - B_l)                                                              (4)
    d_ij = sum_l tr(dSigma_i N_l dSigma_j (2 B_l - N_l)) - sum_ab Omega_ab (Y_i)_ab (Y_j)_ab + 2 <D, dL_i dL_j'>        (5)

for kinds of covariance with L linear in theta (Lindstrom & Bates 1988). All of it is even in each column of L and divides by
none, so an estimate on the boundary is an interior minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from lmmformula.criteria.factors import Factors
from lmmformula.criteria.profiled import NOTHING, Profiled
from lmmformula.errors import FitError
from lmmformula.ir.frozen import computed_once
from lmmformula.numerics.batched import flat, matmul, stacked_inverse, transpose
from lmmformula.typing import Array

__all__ = ["OneFactor", "OneFactorPoint"]


@dataclass(frozen=True, eq=False)
class OneFactor:
    """What does not depend on theta.

    Attributes
    ----------
    model : Profiled
        The criterion.
    units : (d, k, k) array
        dL/dtheta_j.
    gram : (m, k, k) array
        G_l.
    products : (m, k, p + 1) array
        c_l.
    pairs : (p + 1, p + 1) array
        Omega, with omega on its diagonal.
    constant : float
        What (3) leaves out.
    """

    model: Profiled
    units: Array
    gram: Array
    products: Array
    pairs: Array
    constant: float

    @staticmethod
    def suits(model: Profiled) -> bool:
        """Whether there is one factor of independent levels, one a row, and L is linear in theta."""
        groups = model.prepared.blocks.groups
        return (
            not model.problem.family.known
            and len(groups) == 1
            and groups[0].is_blockwise
            and all(term.covariance.linear for term in model.problem.terms)
        )

    @classmethod
    def of(cls, model: Profiled) -> OneFactor:
        """Of a criterion that it :meth:`suits`."""
        p, n = model.problem.p, float(model.n_eff)
        pairs = np.full((p + 1, p + 1), float(model.reml))
        pairs[p, :] = pairs[:, p] = n
        constant = n * (1.0 + np.log(2.0 * np.pi / n)) - model.log_weights
        if model.reml:
            constant += 2.0 * model.log_det_r
        (units,) = Factors.of(model.problem.terms, model.prepared.blocks.groups).units
        return cls(model, units, model.gram.diag[0], model.gram.rhs[0], pairs, float(constant))

    @computed_once
    def flat_units(self) -> Array:
        """dL/dtheta_j, (d, k k)."""
        return self.units.reshape(len(self.units), -1)

    @computed_once
    def unit(self) -> Array:
        """I, (k, k)."""
        return np.eye(self.units.shape[1])

    @computed_once
    def omega(self) -> Array:
        """(p + 1,)."""
        return self.pairs.diagonal()

    def __call__(self, theta: Array) -> OneFactorPoint:
        """Evaluate at theta.

        Raises
        ------
        FitError
            Where X'V^-1X is singular or nothing is left of y, as the criterion itself says.
        """
        lower = (theta @ self.flat_units).reshape(self.units.shape[1:])
        sigma = lower @ lower.T
        left, logs = stacked_inverse(self.unit + matmul(sigma, self.gram))
        moved = matmul(matmul(left, sigma), self.products)
        whole = self.model.gram.vv
        try:
            root = np.linalg.cholesky(whole - flat(self.products).T @ flat(moved))
        except np.linalg.LinAlgError:
            self._refuse(theta)
        pivots = root.diagonal()
        if not pivots[-1] ** 2 > NOTHING * whole[-1, -1]:
            self._refuse(theta)
        value = float(logs.sum() + 2.0 * (self.omega @ np.log(pivots))) + self.constant
        return OneFactorPoint(self, theta, lower, left, root, value)

    def _refuse(self, theta: Array) -> NoReturn:
        """Say why there is no value at theta, as the criterion itself does."""
        value = self.model(theta).deviance
        raise FitError(
            f"[X y]'V^-1[X y] is singular in floating point where the deviance is {value:.6g}: the random effects explain "
            "all but rounding of a fixed-effects column or of the response. Leave out one of the two."
        )


@dataclass(frozen=True, eq=False)
class OneFactorPoint:
    """The criterion at one theta; derivatives are computed when read.

    Attributes
    ----------
    criterion : OneFactor
    theta : (d,) array
    lower : (k, k) array
        L.
    left : (m, k, k) array
        E_l.
    root : (p + 1, p + 1) array
        R.
    value : float
        The deviance.
    """

    criterion: OneFactor
    theta: Array
    lower: Array
    left: Array
    root: Array
    value: float

    error = 0.0

    @computed_once
    def seen(self) -> Array:
        """t_l, (m, k, p + 1)."""
        return matmul(transpose(self.left), self.criterion.products) @ np.linalg.inv(self.root).T

    @computed_once
    def precisions(self) -> Array:
        """N_l, (m, k, k)."""
        return matmul(self.criterion.gram, self.left)

    @computed_once
    def spread(self) -> Array:
        """B_l, (m, k, k)."""
        return matmul(self.seen * self.criterion.omega, transpose(self.seen))

    @property
    def schall(self) -> tuple[Array, Array]:
        """``m I - T`` and ``kappa <u, u>`` of Schall's equations, (k, k): ``sum_l L'N_l L`` and ``kappa sum_l L'v_l v_l'L``."""
        y = self.seen[..., -1] @ self.lower
        return self.lower.T @ self.precisions.sum(axis=0) @ self.lower, self.criterion.omega[-1] * (y.T @ y)

    @computed_once
    def slope(self) -> Array:
        """D, (k, k)."""
        return (self.precisions - self.spread).sum(axis=0)

    @computed_once
    def changes(self) -> Array:
        """dSigma_j, (d, k k)."""
        half = self.criterion.units @ self.lower.T
        return (half + transpose(half)).reshape(len(half), -1)

    @computed_once
    def gradient(self) -> Array:
        """(4)."""
        return self.changes @ self.slope.ravel()

    @computed_once
    def hessian(self) -> Array:
        """(5)."""
        m, k, c = self.seen.shape
        changes, units = self.changes, self.criterion.units
        along = self.seen.reshape(m, -1)
        products = (along.T @ along).reshape(k, c, k, c).transpose(0, 2, 1, 3).reshape(k * k, c * c)
        moved = changes @ products
        both = self.precisions.reshape(m, -1).T @ (2.0 * self.spread - self.precisions).reshape(m, -1)
        twice = both.reshape(k, k, k, k).transpose(3, 0, 1, 2).reshape(k * k, k * k)
        out = changes @ twice @ changes.T - (moved * self.criterion.pairs.ravel()) @ moved.T
        bent = (self.slope @ units).reshape(len(units), -1) @ self.criterion.flat_units.T
        return out + 2.0 * bent
