r"""Robust covariance matrix of the fixed effects with tests for few clusters.

``C = half (sum_i s_i s_i') half'`` by :mod:`lmmformula.inference.robust.sums`, and the distribution of its quadratic forms
under the model, from ``P_ij(l, m) = delta_ij l'U_i m - l'T_i T_j'm``:

- one combination: t on Bell & McCaffrey's degrees of freedom ``(sum_i P_ii)^2 / sum_ij P_ij^2``;
- q of them: with ``Omega = E[L C L']`` and combinations w_1, ..., w_q, the rows of ``Omega^{-1/2} L``, the approximate
  Hotelling test AHT (HTZ of clubSandwich; Pustejovsky & Tipton 2018, sec. 3.2) ::

      eta = q (q + 1) / sum_st sum_ij [P_ij(w_s, w_s) P_ij(w_t, w_t) + P_ij(w_s, w_t) P_ij(w_t, w_s)]
      (eta - q + 1) / eta  F  ~  F(q, eta - q + 1),      F = (L beta)'(L C L')^-1 (L beta) / q

No J x J matrix is formed: with ``a_i = w_s'U_i w_t`` and ``t_i^s = T_i'w_s``, ``N^st = sum_i t_i^s t_i^t'`` ::

    sum_ij P_ij(s, s) P_ij(t, t) = sum_i [a_i^ss a_i^tt - a_i^ss |t_i^t|^2 - a_i^tt |t_i^s|^2] + <N^st, N^st>
    sum_ij P_ij(s, t) P_ij(t, s) = sum_i [a_i^st a_i^st - 2 a_i^st t_i^s't_i^t] + <N^st, N^ts>

References
----------
Bell & McCaffrey (2002), Survey Methodology 28, 169-181.
Pustejovsky & Tipton (2018), J. Business & Economic Statistics 36, 672-683.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError
from lmmformula.inference.robust.clusters import ByClusters, clusters_of
from lmmformula.inference.robust.scores import DEFAULT_BY_SCORES, ByScores, refuse_without_scores
from lmmformula.inference.robust.sums import KINDS, ClusterSums, cluster_sums
from lmmformula.inference.uncertainty import JointTest, Uncertainty, Whitened, refuse_unknown, whitened
from lmmformula.ir.frozen import computed_once
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["DEFAULT", "Robust", "robust_uncertainty"]

DEFAULT = "CR2"
"""The kind where only clusters are named."""


@dataclass(frozen=True, eq=False)
class Robust(ByClusters):
    """t and F of a linear mixed model with errors that clusters give.

    Attributes
    ----------
    small : bool
        Whether tests are t and F for few clusters; else z and chi-square.
    """

    small: bool = True

    @cached_property
    def _sums(self) -> ClusterSums:
        return cluster_sums(self.fit, self.clusters, self.estimator)

    @cached_property
    def _half(self) -> Array:
        """beta = _half b for b in the coordinates of the sums, (p, p)."""
        return self.fit.standard.coefficients @ self.fit.optimum.half

    @computed_once
    def covariance(self) -> Array:
        by_cluster = self._sums.scores @ self._half.T
        return by_cluster.T @ by_cluster

    def df(self, rows: Array) -> Array:
        if not self.small:
            return np.full(len(rows), np.inf)
        own = rows @ self._half
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([self._df(row / np.linalg.norm(row)) for row in own])

    def _df(self, row: Array) -> float:
        a, t = self._sums.u @ row @ row, row @ self._sums.t
        squares = np.einsum("ip,ip->i", t, t)
        spread = float(a @ a - 2.0 * a @ squares + np.sum((t.T @ t) ** 2))
        return float(np.sum(a - squares)) ** 2 / spread

    def joint(self, rows: Array, offsets: Array | None = None) -> JointTest:
        found = whitened(rows, self.fit.estimate.vcov, self.fit.estimate.beta, offsets)
        root = np.linalg.eigh(found.rows @ self.covariance @ found.rows.T / self._size(found))
        if root.eigenvalues[0] <= 1e-12 * root.eigenvalues[-1]:  # as many combinations as clusters
            return JointTest(np.nan, found.q, np.nan)
        effects = root.eigenvectors.T @ (found.effects / np.sqrt(found.variances))
        f = float(np.sum(effects**2 / root.eigenvalues)) / found.q
        if not self.small:
            return JointTest(f, found.q, np.inf)
        eta = self._hotelling(found.rows)
        df = eta - found.q + 1.0
        return JointTest(f, found.q, df, df / eta) if df > 0.0 else JointTest(f, found.q, np.nan, np.nan)

    @staticmethod
    def _size(found: Whitened) -> Array:
        return np.sqrt(np.outer(found.variances, found.variances))

    def _hotelling(self, rows: Array) -> float:
        """eta of the rows (q, p), which are independent."""
        own = rows @ self._half
        t = np.einsum("sp,ipk->sik", own, self._sums.t)
        a = np.einsum("sp,ipk,tk->sti", own, self._sums.u, own, optimize=True)
        omega = a.sum(axis=2) - np.einsum("sik,tik->st", t, t)
        values, vectors = np.linalg.eigh(omega)
        turn = (vectors / np.sqrt(values)) @ vectors.T
        t = np.einsum("su,uik->sik", turn, t)
        a = np.einsum("su,uvi,vt->sti", turn, a, turn, optimize=True)
        inner = np.einsum("sik,tik->sti", t, t)
        n = np.einsum("sik,til->stkl", t, t)
        own_a, own_t = np.einsum("ssi->si", a), np.einsum("ssi->si", inner)
        total = np.sum(own_a.sum(axis=0) ** 2) - 2.0 * np.sum(own_a.sum(axis=0) * own_t.sum(axis=0))
        total += np.sum(n * n) + np.sum(a * a) - 2.0 * np.sum(a * inner) + np.einsum("stkl,tskl->", n, n)
        return len(rows) * (len(rows) + 1) / float(total)


def robust_uncertainty(fit: Fitted, ddf: str, vcov: str | None, cluster: Cluster) -> Uncertainty:
    """What is known of the fixed effects by clusters of rows.

    Parameters
    ----------
    fit : Fit
    ddf : {"satterthwaite", "normal"}
        t and F tests for few clusters, or z and chi-square; generalised models have the latter only.
    vcov : {"CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3"} or None
        None stands for :data:`DEFAULT`, or "CR1" of generalised models, which have "CR0" and "CR1".
    cluster : str, sequence of labels, or None
        See :func:`lmmformula.inference.robust.clusters.clusters_of`.

    Raises
    ------
    ArgumentError, DataError, PlanError
    """
    fit.inference.check("robust errors")
    refuse_unknown(ddf)
    linear = fit.inference.is_gaussian
    kind = (DEFAULT if linear else DEFAULT_BY_SCORES) if vcov is None else vcov
    if kind not in KINDS:
        raise ArgumentError(f"vcov={kind!r} is unknown; use one of {', '.join(map(repr, KINDS))}, or None.")
    if ddf == "kenward-roger":
        raise ArgumentError(
            f"ddf='kenward-roger' adjusts the covariance matrix of the model, and vcov={kind!r} takes its place: leave ddf out "
            "for Bell & McCaffrey's degrees of freedom, or use vcov=None."
        )
    if not linear:
        refuse_without_scores(fit, kind)
    small = linear and ddf != "normal"
    if cluster is None or isinstance(cluster, str):
        return _by_name(fit, kind, cluster, small)
    return _made(fit, kind, cluster, small)


@lru_cache(maxsize=4)
def _by_name(fit: Fitted, kind: str, cluster: str | None, small: bool) -> Uncertainty:
    """Kept for the few last asked about: a summary and a table of tests ask for the same."""
    return _made(fit, kind, cluster, small)


def _made(fit: Fitted, kind: str, cluster: Cluster, small: bool) -> Uncertainty:
    clusters = clusters_of(fit, cluster)
    return Robust(fit, kind, clusters, small) if fit.inference.is_gaussian else ByScores(fit, kind, clusters)
