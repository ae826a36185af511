r"""Permutation tests of fixed effects in Gaussian models: residuals of the model without the term, by Freedman & Lane (1983).

With the columns Z of X that are tested and the others X_0, beta_0 the estimate without Z::

    e = y - X_0 beta_0,      y* = X_0 beta_0 + (e permuted),      F = beta_Z' Var(beta_Z)^-1 beta_Z / rank of Z,

F in the full model for y*, and ``p = (1 + #{F* >= F}) / (1 + n)`` (Phipson & Smyth 2010). What may be permuted is what is
exchangeable under the null hypothesis (Winkler et al. 2014): rows **within** each cluster, where Z varies within clusters and
the cluster's effects are an intercept; whole clusters **between** each other, where Z is constant within clusters, among
clusters of one size, the rows of one in their order in the place of those of the other. Random slopes make rows within a
cluster only approximately exchangeable.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, LmmformulaWarning, PlanError, warn
from lmmformula.inference.many.designs import on_design
from lmmformula.inference.many.draws import AT_ONCE
from lmmformula.inference.many.estimates import estimates
from lmmformula.inference.many.extending import without_columns
from lmmformula.inference.many.placing import Estimates
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["HOW", "Permutations", "permutations"]

HOW = ("auto", "within", "between", "rows")
FEW = 100
"""Arrangements below which p-values are coarse."""


@dataclass(frozen=True, slots=True, eq=False)
class Permutations:
    """A permutation test.

    Attributes
    ----------
    term : str
    names : tuple of str
        Its coefficients.
    how : str
        "within", "between" or "rows" (freely).
    cluster : str
        Empty for rows.
    statistic : float
        F of the data.
    drawn : (n,) array
        F of the permutations; nan where one could not be fitted.
    p_value : float
    """

    term: str
    names: tuple[str, ...]
    how: str
    cluster: str
    statistic: float
    drawn: Array
    p_value: float


def permutations(
    fit: Fitted,
    term: str,
    n: int,
    how: str,
    cluster: str | None,
    seed: int | np.random.Generator | None,
) -> Permutations:
    """See :meth:`lmmformula.Fit.permutation_test`."""
    fit.problem.refuse_responses("a permutation test", "Use bootstrap().")
    if how not in HOW:
        raise DataError(f"how={how!r} is unknown; use one of {', '.join(map(repr, HOW))}.")
    fit.inference.check("many fits")
    if not fit.inference.is_gaussian:
        raise PlanError(
            "a permutation test of residuals needs a Gaussian model with one residual variance: residuals of other families "
            "are not exchangeable. Use anova() of two fits, or bootstrap()."
        )
    problem = fit.problem
    problem.refuse_elsewhere("a permutation test")
    names = _columns(fit, term)
    base = on_design(fit, problem, problem.y)
    small = on_design(fit, without_columns(problem, names), problem.y)
    mean = small.problem.X.matrix @ small.estimate.beta
    if problem.offset is not None:
        mean = mean + problem.offset
    left = problem.y - mean
    columns = problem.X.matrix[:, [problem.X.names.index(name) for name in names]]
    group, codes = _cluster(fit, cluster, how)
    how = _decided(how, columns, codes)
    if how == "rows":
        group = ""
    _count(how, codes, problem.n)
    rng = np.random.default_rng(seed)
    weights = np.ones(problem.n) if problem.weights is None else np.sqrt(problem.weights)
    drawn, size = [], max(1, AT_ONCE // problem.n)
    for start in range(0, n, size):
        orders = np.stack([_order(how, codes, problem.n, rng) for _ in range(min(size, n - start))], axis=1)
        y = mean[:, None] + (weights * left)[orders] / weights[:, None]
        drawn.append(_statistics(estimates(base, y), names))
    values = np.concatenate(drawn)
    own = float(_statistics(estimates(base, problem.y[:, None]), names)[0])
    done = values[np.isfinite(values)]
    as_large = int((done >= own * (1.0 - 1e-9)).sum())
    return Permutations(term, names, how, group, own, values, (1 + as_large) / (1 + len(done)))


def _columns(fit: Fitted, term: str) -> tuple[str, ...]:
    """Coefficients of a term, or the one coefficient of that name."""
    x = fit.problem.X
    if term in x.term_labels:
        own = x.term_labels.index(term) + 1
        return tuple(name for name, a in zip(x.names, x.assign, strict=True) if a == own)
    if term in x.names:
        return (term,)
    known = ", ".join(dict.fromkeys((*x.term_labels, *x.names)))
    raise DataError(f"term={term!r} is no term and no coefficient of the model: those are {known}.")


def _cluster(fit: Fitted, cluster: str | None, how: str) -> tuple[str, Index]:
    """Name and codes of the clusters that rows or themselves are exchanged in."""
    own = {t.group: t for t in fit.problem.terms}
    if how == "rows" or (not own and cluster is None):
        return "", np.zeros(fit.problem.n, dtype=np.intp)
    if cluster is None:
        if len(own) > 1:
            raise DataError(
                f"the model has the grouping factors {', '.join(own)}: say by cluster= which of them rows or groups are "
                "permuted within or between."
            )
        (cluster,) = own
    if cluster not in own:
        raise DataError(
            f"cluster={cluster!r} is no grouping factor of the model: {', '.join(own) or 'it has none'}."
        )
    if own[cluster].shares is not None:
        raise PlanError(
            f"rows belong to several levels of {cluster}, which a permutation cannot keep. Use bootstrap()."
        )
    return cluster, own[cluster].codes.astype(np.intp)


def _decided(how: str, columns: Array, codes: Index) -> str:
    """Between clusters for columns that are constant in each, else within."""
    if how != "auto":
        return how
    if not codes.any():
        return "rows"
    order = np.argsort(codes, kind="stable")
    same = np.diff(codes[order]) == 0
    moves = np.abs(np.diff(columns[order], axis=0))[same]
    return "within" if moves.size and (moves > 1e-12 * np.abs(columns).max(axis=0)).any() else "between"


def _order(how: str, codes: Index, n: int, rng: np.random.Generator) -> Index:
    """Which row's residual each row gets."""
    if how == "rows":
        return rng.permutation(n)
    by_cluster = np.argsort(codes, kind="stable")
    out = np.empty(n, dtype=np.intp)
    if how == "within":
        out[by_cluster] = np.lexsort((rng.random(n), codes))
        return out
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    for size in np.unique(counts):
        own = np.flatnonzero(counts == size)
        at = starts[own][:, None] + np.arange(size)
        other = starts[rng.permutation(own)][:, None] + np.arange(size)
        out[by_cluster[at]] = by_cluster[other]
    return out


def _count(how: str, codes: Index, n: int) -> None:
    """Refuse where nothing can be exchanged, warn where little can."""
    if how == "rows":
        log = lgamma(n + 1)
    else:
        counts = np.bincount(codes)
        sizes = counts if how == "within" else np.bincount(counts)
        log = float(sum(lgamma(int(size) + 1) for size in sizes))
    if log == 0.0:
        raise DataError(
            f"nothing can be permuted {how} clusters: "
            + (
                "each has one row."
                if how == "within"
                else "their sizes all differ, and whole clusters are exchanged with those of the same size."
            )
            + " Use bootstrap(), or another cluster=."
        )
    if log < np.log(FEW):
        warn(
            f"there are only {np.exp(log):.0f} arrangements {how} clusters, so that p-values are coarse and cannot be small.",
            LmmformulaWarning,
        )


def _statistics(found: Estimates, names: tuple[str, ...]) -> Array:
    """F of the coefficients, (B,)."""
    own = [found.names.index(name) for name in names]
    beta, vcov = found.beta[:, own], found.vcov[:, own][:, :, own]
    out = np.full(found.n, np.nan)
    good = np.isfinite(vcov).all(axis=(1, 2))
    solved = np.linalg.solve(vcov[good], beta[good][..., None])[..., 0]
    out[good] = np.einsum("bi,bi->b", beta[good], solved) / len(names)
    return out
