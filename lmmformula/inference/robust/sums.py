r"""What clusters add to a robust covariance matrix of a linear mixed model, and to the distribution of its tests.

Model and notation of :mod:`lmmformula.criteria.profiled`: ``Var(y) = sigma^2 V`` with V block diagonal over J clusters. Write
X_i, V_i and ``e_i = y_i - X_i beta`` for the rows of cluster i, and X in coordinates where ``X'V^-1X = I`` (its columns times
the half of the profiled criterion). The estimators of Var(beta) by linearisation (Pustejovsky & Tipton 2018, sec. 2) are ::

    V^R = sum_i s_i s_i',      s_i = E_i'e_i,      E_i = A_i'V_i^-1 X_i                                              (1)

with the adjustment matrices ::

    CR0   A_i = I                                 CR1   sqrt(J / (J - 1))
    CR1p  sqrt(J / (J - p))                       CR1S  sqrt(J (N - 1) / ((J - 1)(N - p)))
    CR2   A_i = C_i B_i^{-1/2} C_i',   V_i = C_i C_i',   B_i = C_i'(V_i - X_i X_i') C_i                               (2)
    CR3   A_i = (I - X_i X_i'V_i^-1)^-1

since under the model ``Var(e_i) = sigma^2 (V_i - X_i X_i')``: A_i of (2) makes ``A_i Var(e_i) A_i' = sigma^2 V_i``, so that
V^R is unbiased if the model holds. B^{-1/2} is that of the Moore-Penrose inverse: a direction of a cluster that the fixed
effects reproduce has no residual. ``(I - V_i^-1 X_i X_i')^-1 V_i^-1 X_i = V_i^-1 X_i (I - G_i)^-1`` with
``G_i = X_i'V_i^-1X_i`` gives CR3 from p x p matrices.

The distribution of V^R under the model needs of each cluster two p x p matrices besides. For combinations l and m of beta,
``l'V^R m`` is a quadratic form in normal residuals with ``Cov(e_i, e_j) = sigma^2 (delta_ij V_i - X_i X_j')``, hence (their
sec. 3) of ::

    P_ij(l, m) = delta_ij l'U_i m - l'T_i T_j'm,     U_i = E_i'V_i E_i,   T_i = E_i'X_i                               (3)

Never is a matrix of all rows formed, nor one of a cluster's rows where it has more of these than effects. With unit weights
``V_i = I + Z_i Sigma Z_i'`` is the identity on what is orthogonal to the columns of [Z_i X_i], and so are C_i, B_i and A_i;
there X_i and Z_i vanish. With an orthonormal basis Q of these columns everything above may be computed from Q'X_i, Q'Z_i,
Q'e_i, of at most q_i + p rows. CR0, CR1 and CR3 do not change with W^{1/2}-scaled rows, which have unit weights; a row that
stands for w copies is one row times sqrt(w). CR2 depends on the coordinates (A_i is the geometric mean of V_i and
Var(e_i)^-1, which congruences move otherwise), so that with unequal precision weights it takes the n_i x n_i matrices.

Clusters of about one size are computed side by side, filled up with rows of zeros, which add nothing.

Cost: O(sum_i n_i (q_i + p)^2 + (q_i + p)^3).

References
----------
Bell & McCaffrey (2002), Survey Methodology 28, 169-181.
Pustejovsky & Tipton (2018), J. Business & Economic Statistics 36, 672-683.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.inference.robust.clusters import Clusters
from lmmformula.ir.groups import GroupRows, merge_terms
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.criteria.clusters import ClusterPoint
    from lmmformula.inference.fitted import Fitted

__all__ = ["KINDS", "ClusterSums", "cluster_sums"]

KINDS = ("CR0", "CR1", "CR1p", "CR1S", "CR2", "CR3")

NUMBERS = 4_000_000
"""Numbers of an array over clusters that are held at a time."""
LARGEST = 5_000
"""Side of a cluster's matrices beyond which they would take minutes and gigabytes."""
UNWEIGHTED = "'CR1' or 'CR3', which take no matrix of a cluster's rows where weights differ, "
ROUNDING = 1e-10
"""What is left of a direction's variance after the fixed effects, as a share, below which nothing is left."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterSums:
    """The parts of equations (1) and (3), in coordinates where X'V^-1X = I.

    Attributes
    ----------
    scores : (J, p) array
        s_i.
    u : (J, p, p) array
        U_i.
    t : (J, p, p) array
        T_i.
    """

    scores: Array
    u: Array
    t: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Rows of some clusters side by side: x (b, r, p), z L (b, r, q), e (b, r), and 1 / w (b, r) or None; or V whole."""

    x: Array
    z: Array
    e: Array
    inverse_weights: Array | None
    whole: Array | None = None

    @property
    def variance(self) -> Array:
        """V relative to sigma^2, (b, r, r)."""
        if self.whole is not None:
            return self.whole
        r = self.x.shape[1]
        v = self.z @ self.z.transpose(0, 2, 1)
        v[:, np.arange(r), np.arange(r)] += 1.0 if self.inverse_weights is None else self.inverse_weights
        return v


def cluster_sums(fit: Fitted, clusters: Clusters, kind: str) -> ClusterSums:
    """The sums of each cluster of a Gaussian fit.

    Raises
    ------
    DataError
        Where there are too few clusters for the kind.
    PlanError
        Where the matrices of one cluster are too large.
    """
    problem, point, p = fit.standard.problem, fit.optimum, fit.problem.p
    factor = _small_sample(kind, clusters.count, float(problem.n_observed), p)
    x, residual = problem.X.matrix, problem.y - problem.X.matrix @ point.beta
    if problem.offset is not None:
        residual = residual - problem.offset
    x, inverse, root = x @ point.half, None, None
    if problem.residual is not None:
        return _gathered(structured_sides(point, clusters, x, residual), clusters, p, kind, factor)
    if (w := problem.weights) is not None:
        if kind == "CR2" and not problem.family.repeated and np.ptp(w) > 0.0:
            inverse = 1.0 / w
        else:
            root = np.sqrt(w)
            x, residual = x * root[:, None], residual * root
    z = []
    for own, lower in zip(merge_terms(problem.terms), point.factors, strict=True):
        columns = np.broadcast_to(lower[0], (problem.n, 1)) if own.basis is None else own.basis @ lower
        z.append(columns if root is None else columns * root[:, None])
    rows = _Rows(clusters, x, residual, inverse, z, merge_terms(problem.terms))
    return _gathered(rows.batches(), clusters, p, kind, factor)


def _gathered(
    sides: Iterator[tuple[NDArray[np.intp], _Side]], clusters: Clusters, p: int, kind: str, factor: float
) -> ClusterSums:
    scores, u, t = (np.zeros((clusters.count, p, *more)) for more in ((), (p,), (p,)))
    for members, side in sides:
        scores[members], u[members], t[members] = _sums(side, kind)
    return ClusterSums(factor * scores, factor**2 * u, factor * t)


def _small_sample(kind: str, count: int, n: float, p: int) -> float:
    """The number by which CR1 and its relatives multiply residuals."""
    if kind == "CR1p" and count <= p:
        raise DataError(
            f"vcov='CR1p' divides by the number of clusters less that of coefficients, and there are {count:,} clusters and "
            f"{p} coefficients: use 'CR2'."
        )
    ratio = {
        "CR1": lambda: count / (count - 1),
        "CR1p": lambda: count / (count - p),
        "CR1S": lambda: count * (n - 1) / ((count - 1) * (n - p)),
    }.get(kind, lambda: 1.0)()
    return float(np.sqrt(ratio))


# -- structured residuals --------------------------------------------------------------------------------------------------


def structured_sides(
    point: ClusterPoint, clusters: Clusters, x: Array, e: Array
) -> Iterator[tuple[NDArray[np.intp], _Side]]:
    """Clusters of as many rows each with V from its blocks, which lie within clusters."""
    sizes = np.bincount(clusters.codes, minlength=clusters.count)
    order = np.argsort(clusters.codes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    if (largest := int(sizes.max())) > LARGEST:
        raise PlanError(
            f"a cluster needs dense {largest:,} x {largest:,} matrices for its rows (at most {LARGEST:,}): use smaller "
            "clusters, or conf_int(method='bootstrap')."
        )
    for n in np.unique(sizes):
        alike = np.flatnonzero(sizes == n)
        step = max(1, NUMBERS // int(n * (n + x.shape[1])))
        for start in range(0, len(alike), step):
            members = alike[start : start + step]
            at = np.full(clusters.count, -1)
            at[members] = np.arange(len(members))
            rows = order[starts[members][:, None] + np.arange(n)]
            v = np.zeros((len(members), n, n))
            for block, sums in zip(point.blocks, point.model.sums, strict=True):
                mine = at[clusters.codes[sums.patterns.rows[:, 0]]]
                some = np.flatnonzero(mine >= 0)
                own = place[sums.patterns.rows[some]]
                whole = (block.lower @ block.lower.swapaxes(1, 2))[sums.patterns.pattern[some]]
                v[mine[some][:, None, None], own[:, :, None], own[:, None, :]] = whole
            yield members, _Side(x[rows], np.zeros((0, 0, 0)), e[rows], None, v)


# -- rows of clusters side by side ---------------------------------------------------------------------------------------


class _Rows:
    """Rows in the order of their clusters."""

    def __init__(
        self,
        clusters: Clusters,
        x: Array,
        residual: Array,
        inverse: Array | None,
        z: Sequence[Array],
        groups: Sequence[GroupRows],
    ) -> None:
        order = np.argsort(clusters.codes, kind="stable")
        self.codes, self.count = clusters.codes[order], clusters.count
        self.sizes = np.bincount(self.codes, minlength=self.count)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.x, self.e, self.z = x[order], residual[order], [one[order] for one in z]
        self.inverse = None if inverse is None else inverse[order]
        self.places, self.counts = [], []
        for own in groups:
            place, count = _places_of_levels(own.codes[order], own.group.m, self.codes, self.count)
            self.places.append(place)
            self.counts.append(count)

    def batches(self) -> Iterator[tuple[NDArray[np.intp], _Side]]:
        """Clusters of about one size and number of levels, few enough at a time."""
        shape = np.column_stack([self.sizes, *self.counts])
        classes = np.unique(_classes(shape), axis=0, return_inverse=True)[1].ravel()
        for c in range(int(classes.max()) + 1):
            members = np.flatnonzero(classes == c)
            most = shape[members].max(axis=0)
            n, width = int(most[0]), self.x.shape[1] + self._width(most[1:])
            self._refuse_large(min(n, width) if self.inverse is None else n)
            step = max(1, NUMBERS // (n * width + min(n, width) ** 2))
            for start in range(0, len(members), step):
                part = members[start : start + step]
                yield part, self._side(part, n, most[1:])

    def _width(self, levels: NDArray[np.intp]) -> int:
        return sum(int(m) * z.shape[1] for m, z in zip(levels, self.z, strict=True))

    def _refuse_large(self, side: int) -> None:
        if side > LARGEST:
            raise PlanError(
                f"a cluster needs dense {side:,} x {side:,} matrices for its rows or random effects (at most {LARGEST:,}): use "
                f"{'' if self.inverse is None else UNWEIGHTED}smaller clusters, or conf_int(method='bootstrap')."
            )

    def _side(self, members: NDArray[np.intp], n: int, levels: NDArray[np.intp]) -> _Side:
        inside = np.arange(n) < self.sizes[members][:, None]
        rows = np.where(inside, self.starts[members][:, None] + np.arange(n), 0)
        at, where = np.nonzero(inside)
        picked = rows[at, where]
        x, e = np.zeros((len(members), n, self.x.shape[1])), np.zeros((len(members), n))
        x[at, where], e[at, where] = self.x[picked], self.e[picked]
        z, offset = np.zeros((len(members), n, self._width(levels))), 0
        for place, values, m in zip(self.places, self.z, levels, strict=True):
            k = values.shape[1]
            columns = offset + place[picked][:, None] * k + np.arange(k)
            z[at[:, None], where[:, None], columns] = values[picked]
            offset += int(m) * k
        if self.inverse is not None:
            inverse = np.ones(e.shape)
            inverse[at, where] = self.inverse[picked]
            return _Side(x, z, e, inverse)
        return _compressed(x, z, e)


def _classes(shape: NDArray[np.intp]) -> NDArray[np.intp]:
    """Sizes that differ by less than a fifth are one class."""
    return np.ceil(np.log(np.maximum(shape, 1)) / np.log(1.2) - 1e-9).astype(np.intp)


def _places_of_levels(
    codes: NDArray[np.int32], m: int, clusters: NDArray[np.intp], count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of each row's level its place among the levels of the cluster, (n,); and how many levels clusters have, (J,)."""
    cluster = np.zeros(m, dtype=np.intp)
    cluster[codes] = clusters
    counts = np.bincount(cluster, minlength=count)
    order = np.argsort(cluster, kind="stable")
    place = np.empty(m, dtype=np.intp)
    place[order] = np.arange(m) - np.repeat(np.cumsum(counts) - counts, counts)
    return place[codes], counts


def _compressed(x: Array, z: Array, e: Array) -> _Side:
    """Coordinates in an orthonormal basis of the columns of [Z X], where there are fewer of these than rows."""
    q, p = z.shape[2], x.shape[2]
    if x.shape[1] <= q + p:
        return _Side(x, z, e, None)
    basis, triangle = np.linalg.qr(np.concatenate([z, x], axis=2))
    return _Side(triangle[:, :, q:], triangle[:, :, :q], np.einsum("bnr,bn->br", basis, e), None)


# -- one kind of adjustment ------------------------------------------------------------------------------------------------


def _sums(side: _Side, kind: str) -> tuple[Array, Array, Array]:
    """s_i, U_i and T_i without the number of CR1."""
    x = side.x
    lower = np.linalg.cholesky(side.variance)
    half = np.linalg.solve(lower, x)  # C^-1 X
    if kind == "CR2":
        estimating = lower @ (_inverse_root(lower, half) @ half)
    else:
        if kind == "CR3":
            leverage = half.transpose(0, 2, 1) @ half
            half = half @ _pseudo_inverse(np.eye(x.shape[2]) - leverage)
        estimating = np.linalg.solve(lower.transpose(0, 2, 1), half)
    across = lower.transpose(0, 2, 1) @ estimating
    return (
        np.einsum("brp,br->bp", estimating, side.e),
        across.transpose(0, 2, 1) @ across,
        estimating.transpose(0, 2, 1) @ x,
    )


def _inverse_root(lower: Array, half: Array) -> Array:
    """B^{-1/2} of the Moore-Penrose inverse, from C and C^-1 X: B = C'C (I - (C^-1X)(C^-1X)') C'C.

    Its null space has as many directions as the cluster's residual has none: eigenvalues of one of G_i.
    """
    inner = lower.transpose(0, 2, 1) @ lower
    along = inner @ half
    values, vectors = np.linalg.eigh(inner @ inner - along @ along.transpose(0, 2, 1))
    left = 1.0 - np.linalg.eigvalsh(half.transpose(0, 2, 1) @ half)
    null = np.count_nonzero(left <= ROUNDING, axis=1)
    keep = (np.arange(values.shape[1]) >= null[:, None]) & (values > 0.0)
    power = np.where(keep, 1.0 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    return (vectors * power[:, None, :]) @ vectors.transpose(0, 2, 1)


def _pseudo_inverse(a: Array) -> Array:
    """Inverses of symmetric matrices with eigenvalues from 0 to 1, on what is not their null space."""
    values, vectors = np.linalg.eigh(a)
    keep = values > ROUNDING
    power = np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)
    return (vectors * power[:, None, :]) @ vectors.transpose(0, 2, 1)
