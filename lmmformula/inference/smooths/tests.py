r"""Effective degrees of freedom and tests of smooths.

With the coefficients of the whole model in one vector, G = [X Z]'W[X Z] and S its penalty (zero for fixed effects, the
inverse of the prior variance for others), ``C = (G + S)^-1`` and ``F = C G = I - C S`` (Wood 2017, sec. 5.4.2, 6.1.2)

    edf_s = sum over its coefficients of F_jj,          ref_s = sum of (2F - FF)_jj.                                         (1)

For spherical effects S is the identity: ``edf_s = f_s + sum_j (1 - C_jj)``, ``ref_s = f_s + sum_j (1 - |C_j|^2)``, f_s the
number of its unpenalised columns, C_j a column of C over all effects.

**A smooth with unpenalised columns** (Wood 2013a, Biometrika 100, 221-228). With R'R the cross-product of its columns, ``f =
R g`` its coefficients seen on the rows and V = R Var(g) R', the statistic is ``T = f' V^(r-) f`` with the pseudo-inverse of
fractional rank r = ref_s: eigenvectors 1..k-1, k = floor(r), count fully, and 2 x 2 blocks of the next two hold ``[[1, b],
[b, nu]]``, nu = r - k, ``b^2 = nu (1 - nu) / 2``. Under the hypothesis f = 0, T is ``chi^2_(k-1) + v_1 chi^2_1 + v_2
chi^2_1`` with ``v_1 = (nu + 1 + sqrt(1 - nu^2)) / 2``, ``v_2 = nu + 1 - v_1``. The sign between the two eigenvectors is
arbitrary: the p-value is the mean of both. Where a dispersion is estimated T / r is compared with a ratio, that sum over
``chi^2_d / d``, d the residual degrees of freedom ``n - sum edf``.

**A smooth without** (Wood 2013b, Biometrika 100, 1005-1010): ``T = u' C_ss^-1 u / s^2``, which is for u = 0 a sum of
chi-squares weighted by the eigenvalues of ``C_ss^-1 V_e``, ``V_e = C_ss - sum_j C_sj C_js`` over the effects j of smooths
(those of other terms vary).

Both take the smoothing parameters as known, so that p-values near a threshold are somewhat too small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.smooths.coefficients import coefficients, spherical_columns
from lmmformula.inference.smooths.equations import equations_of
from lmmformula.inference.smooths.places import Places, all_places
from lmmformula.numerics.quadratic_form import tail
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["MOST_COEFFICIENTS", "SmoothTest", "smooth_table", "smooth_tests", "total_edf"]

MOST_COEFFICIENTS = 2_000
"""Penalised coefficients of a smooth up to which its tests are made."""
_NOTHING = np.finfo(float).eps ** 0.9


@dataclass(frozen=True, slots=True)
class SmoothTest:
    """The test that a smooth is zero.

    Attributes
    ----------
    edf : float
        Effective degrees of freedom.
    ref_df : float
        Those that the statistic T has.
    statistic : float
    p : float
    df : float or None
        Degrees of freedom of a dispersion that is estimated: T / ref_df is then compared with an F.
    """

    edf: float
    ref_df: float
    statistic: float
    p: float
    df: float | None = None


def smooth_table(fit: Fitted) -> pd.DataFrame:
    """A row for each smooth: standard deviations, ``edf, ref.df``, statistic and p-value; of a posterior the first alone."""
    import pandas as pd

    places = all_places(fit)
    index = pd.Index([p.record.label for p in places], name="smooth")
    sds = [[float(fit.inference.spread(i)[1][0]) for i in p.terms] for p in places]
    most = max((len(s) for s in sds), default=0)
    names = ["sd"] if most <= 1 else [f"sd{j + 1}" for j in range(most)]
    spread = {name: [s[j] if j < len(s) else np.nan for s in sds] for j, name in enumerate(names)}
    if not fit.inference.has_edf:
        return pd.DataFrame(spread, index=index)
    found = list(smooth_tests(fit).values())
    ratio = any(t.df is not None for t in found)
    statistic = [t.statistic / t.ref_df if ratio and t.ref_df else t.statistic for t in found]
    return pd.DataFrame(
        {
            **spread,
            "edf": [t.edf for t in found],
            "ref.df": [t.ref_df for t in found],
            "F value" if ratio else "Chisq": statistic,
            "Pr(>F)" if ratio else "Pr(>Chisq)": [t.p for t in found],
        },
        index=index,
    )


def smooth_tests(fit: Fitted) -> dict[str, SmoothTest]:
    """The test of each smooth of a fit that is no posterior, by its label."""
    residual = _residual(fit)
    df = None if residual is None else residual.df
    return {p.record.label: replace(_tested(fit, p, residual), df=df) for p in all_places(fit)}


@dataclass(frozen=True, slots=True)
class Residual:
    """A dispersion that is estimated: degrees of freedom, and the one that the fit has over that of these."""

    df: float
    ratio: float = 1.0


def _residual(fit: Fitted) -> Residual | None:
    """Of a Gaussian model the squared residuals over ``n - tr F``, which REML's variance is and ML's is not."""
    linear = fit.problem.is_linear
    if not linear and not fit.estimate.quasi_dispersion:
        return None
    df = float(fit.problem.n_observed) - total_edf(fit)
    if not linear:
        return Residual(df)
    squares = _squares(fit)
    return Residual(df, fit.estimate.sigma**2 * df / squares)


def _squares(fit: Fitted) -> float:
    """``e'R^-1 e`` for the residuals of the mean with its effects, in squared units of the response."""
    if fit.problem.residual is None:
        return float((fit.residuals("pearson").to_numpy() ** 2).sum())
    return fit.estimate.sigma**2 * float((fit.residuals("normalized").to_numpy() ** 2).sum())


def total_edf(fit: Fitted) -> float:
    """Effective degrees of freedom of the whole mean, ``tr F``."""
    point, total = equations_of(fit), float(fit.problem.p)
    weighted = point.times(point.h)
    for g, t, h, qh in zip(point.groups, point.factor.trace_blocks(), point.h, weighted, strict=True):
        total += g.q - float(np.trace(t)) - float((h * qh).sum())
    return total


def _tested(fit: Fitted, places: Places, residual: Residual | None) -> SmoothTest:
    fixed = len(places.fixed)
    count = sum(fit.problem.terms[i].q for i in places.terms)
    if not count:
        return _wald(fit, places, float(fixed), float(fixed), residual)
    if count > MOST_COEFFICIENTS:
        return SmoothTest(np.nan, np.nan, np.nan, np.nan)
    columns, units = spherical_columns(fit, places.terms)
    own = np.zeros((count, count))
    for e, c in zip(units, columns, strict=True):
        own += np.einsum("mkc,mkd->cd", e, c)
    weighted = equations_of(fit).times(tuple(columns))
    squares = sum(np.einsum("mkc,mkc->c", c, qc) for c, qc in zip(columns, weighted, strict=True))
    edf = fixed + count - float(np.trace(own))
    ref = fixed + count - float(np.sum(squares))
    if fixed:
        return _wald(fit, places, edf, ref, residual)
    return _variance_test(fit, places, edf, own, columns, residual)


def _wald(fit: Fitted, places: Places, edf: float, ref: float, residual: Residual | None) -> SmoothTest:
    found = coefficients(fit, places)
    r: Array = np.asarray(np.linalg.qr(_seen(fit, places), mode="r"))
    seen = found.covariance / (1.0 if residual is None else residual.ratio)
    statistic, rank, p = fractional_test(
        r @ found.values, r @ seen @ r.T, r @ places.lead, ref, None if residual is None else residual.df
    )
    return SmoothTest(edf, rank, statistic, p)


def _seen(fit: Fitted, places: Places) -> Array:
    """Columns of a smooth on the rows of the fit, times the roots of their weights."""
    problem = fit.problem
    blocks = [
        np.hstack([chunk.fixed[:, list(places.fixed)], *(_basis(chunk.terms[i]) for i in places.terms)])
        for chunk in problem.data.chunks()
    ]
    columns = np.vstack(blocks)
    weights = problem.data.weights if problem.is_linear else fit.optimum.linearised.weights
    if weights is None:
        return columns
    return columns * np.sqrt(np.maximum(problem.data.whole(weights), 0.0))[:, None]


def _basis(term: object) -> Array:
    basis = getattr(term, "basis", None)
    assert isinstance(basis, np.ndarray)
    return basis


def fractional_test(
    f: Array, v: Array, lead: Array, rank: float, df: float | None
) -> tuple[float, float, float]:
    """T, the rank that it has, and its p-value; `lead` fixes the signs of eigenvectors."""
    values, vectors = np.linalg.eigh(0.5 * (v + v.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    sign = np.sign(lead @ vectors)
    scores = np.where(sign == 0.0, 1.0, sign) * (vectors.T @ f)
    rank = min(rank, float(len(values)))
    k = int(np.floor(rank))
    nu = rank - k
    available = int((values > values[0] * _NOTHING).sum())
    if available < k + (nu > 0.0):
        k, nu, rank = available, 0.0, float(available)
    if k == 0:
        k, nu, rank = 1, 0.0, 1.0
    plain = scores[:k] ** 2 / values[:k]
    if nu <= 0.0:
        statistic = float(plain.sum())
        return statistic, rank, _p(statistic, np.ones(k), df)
    before = float(plain[: k - 1].sum())
    b = np.sqrt(0.5 * nu * (1.0 - nu))
    scale = values[k - 1 : k + 1] ** -0.5
    block = scale[:, None] * np.array([[1.0, b], [b, nu]]) * scale
    both = []
    for flip in (1.0, -1.0):
        pair = scores[k - 1 : k + 1] * np.array([flip, 1.0])
        both.append(before + float(pair @ block @ pair))
    first = 0.5 * (nu + 1.0 + np.sqrt(1.0 - nu**2))
    weights = np.append(np.ones(k - 1), [first, nu + 1.0 - first])
    return both[0], rank, float(np.mean([_p(t, weights, df) for t in both]))


def _p(statistic: float, weights: Array, df: float | None) -> float:
    """Pr(sum of weighted chi-squares > statistic), or of their ratio to a dispersion estimated with `df`."""
    if df is None:
        return tail(statistic, weights)
    d = max(1.0, float(np.round(df)))
    return tail(0.0, np.append(weights, -statistic / d), np.append(np.ones(len(weights)), d))


def _variance_test(
    fit: Fitted, places: Places, edf: float, own: Array, columns: list[Array], residual: Residual | None
) -> SmoothTest:
    """Of a smooth that is wholly penalised."""
    groups, terms = equations_of(fit).groups, fit.problem.terms
    explained = np.zeros_like(own)
    for a, g in enumerate(groups):
        for i, s in g.members:
            if terms[i].smooth:
                c = columns[a][:, s]
                explained += np.einsum("mkc,mkd->cd", c, c)
    u = _spherical_modes(fit, places)
    inverse = np.linalg.inv(own)
    scale = fit.standard.sigma_in(fit.estimate) ** 2 / (1.0 if residual is None else residual.ratio)
    statistic = float(u @ inverse @ u) / scale
    weights = np.linalg.eigvals(inverse @ (own - explained)).real
    weights = np.where(weights > 0.0, weights, 0.0)
    rank = float((weights > weights.max(initial=0.0) * np.finfo(float).eps ** 0.8).sum())
    return SmoothTest(edf, rank, statistic, _p(statistic, weights, None if residual is None else residual.df))


def _spherical_modes(fit: Fitted, places: Places) -> Array:
    point, out = equations_of(fit), []
    for i in places.terms:
        a, own = next((a, s) for a, g in enumerate(point.groups) for j, s in g.members if j == i)
        out.append(point.u[a][:, own].ravel())
    return np.concatenate(out)
