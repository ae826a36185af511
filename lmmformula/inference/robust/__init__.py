"""Cluster-robust covariance matrices of the fixed effects."""

from __future__ import annotations

from lmmformula.inference.robust.clusters import Clusters, clusters_of
from lmmformula.inference.robust.sums import KINDS
from lmmformula.inference.robust.uncertainty import Robust, robust_uncertainty

__all__ = ["KINDS", "Clusters", "Robust", "clusters_of", "robust_uncertainty"]
