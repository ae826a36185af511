"""Covariance kinds: theta <-> relative Cholesky factor L <-> standard deviations and correlations.

A random-effects term with k columns has, per level, a k-vector of effects with covariance
``sigma^2 Sigma(theta)``, ``Sigma = L L'``, L lower triangular (Bates et al. 2015, eq. 4; kinds as
in glmmTMB). theta is relative to the residual standard deviation and has no unit.

==== ================================================ ========= ==================== ====================================
kind Sigma                                            n_theta   standard deviations  correlations
==== ================================================ ========= ==================== ====================================
iid  theta^2 I                                        1         one                  none
diag diag(theta^2)                                    k         one for each column  none
us   L L', theta = triangle of L, column by column    k(k+1)/2  one for each column  one for each pair
cs   D R D, R_ij = rho for i != j, D = diag(sd)       k + 1     one for each column  one, of all pairs, in (-1/(k-1), 1)
ar1  sd^2 rho^|i-j|                                   2         one                  one, of neighbours, in (-1, 1)
toep D R D, R_ij = rho_|i-j|                          2 k - 1   one for each column  one for each lag
rr   Lambda Lambda', Lambda (k, d) a trapezoid        k d - ..  one for each column  one for each pair
==== ================================================ ========= ==================== ====================================

homdiag, homcs and homtoep have one standard deviation where diag, cs and toep have one for each column, hetar1 has one for each
where ar1 has one.

For every kind the sign of a column of L does not change Sigma, so an optimiser may move through
zero: theta is unconstrained and :meth:`CovarianceKind.canonical` gives the representative with a
non-negative diagonal.
"""

from __future__ import annotations

from lmmformula.ir.covariance.base import CovarianceKind, Kind
from lmmformula.ir.covariance.correlated import AR1, CompoundSymmetry
from lmmformula.ir.covariance.independent import IID, Diagonal
from lmmformula.ir.covariance.matrices import sd_cor, semidefinite_cholesky
from lmmformula.ir.covariance.registry import KINDS, register_kind
from lmmformula.ir.covariance.unstructured import Unstructured
from lmmformula.ir.covariance_roles import Role, Transformations

__all__ = [
    "AR1",
    "IID",
    "KINDS",
    "CompoundSymmetry",
    "CovarianceKind",
    "Diagonal",
    "Kind",
    "Role",
    "Transformations",
    "Unstructured",
    "register_kind",
    "sd_cor",
    "semidefinite_cholesky",
]
