"""Kinds that differ from others in how many variances they have: glmmTMB's homdiag, homcs and hetar1."""

from __future__ import annotations

from lmmformula.ir.covariance.correlated import AR1, CompoundSymmetry
from lmmformula.ir.covariance.independent import IID

__all__ = ["HeterogeneousAR1", "HomogeneousCS", "HomogeneousDiagonal"]


class HomogeneousDiagonal(IID):
    """Independent columns of one variance."""

    name = "homdiag"


class HomogeneousCS(CompoundSymmetry):
    """One variance of all columns and one correlation of all pairs."""

    name = "homcs"
    description = "compound symmetry with one variance"
    shared_sd = True


class HeterogeneousAR1(AR1):
    """Own variance for each column, correlation rho^|i-j| between columns i and j."""

    name = "hetar1"
    description = "first-order autoregression with a variance for each column"
    shared_sd = False
    serial = False
    apart = True
