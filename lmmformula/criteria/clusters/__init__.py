"""The Gaussian criterion by clusters of rows: V is block diagonal, and rows of one pattern have one block."""

from __future__ import annotations

from lmmformula.criteria.clusters.criterion import ByCluster, ClusterPoint
from lmmformula.criteria.clusters.layout import MOST_ROWS, Layout, largest_cluster

__all__ = ["MOST_ROWS", "ByCluster", "ClusterPoint", "Layout", "largest_cluster"]
