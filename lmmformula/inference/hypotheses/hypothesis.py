r"""Tests of hypotheses about parameters, linear or not, several at once.

A hypothesis says that ``g(b) = left - right`` is zero, or has a sign. By the delta method, with the exact gradient h of g at
the estimates and their covariance matrix C ::

    Var(g) = h'C h,      t = g / sqrt(h'C h)

on the degrees of freedom of the combination h'beta where g is linear in the fixed effects (Satterthwaite, Kenward & Roger, or
Bell & McCaffrey for errors by clusters), else normal. C is that of the fixed effects and of (theta, log sigma), which a
Gaussian likelihood keeps apart, or of all parameters of a generalised model. A test of "a > 5" has the p-value of the opposite:
small where the data speak for the hypothesis.

Hypotheses tested together: F or Wald's chi-square of ``g(b) = 0`` for all of them, with the Jacobian in the place of L.

Of a posterior, g is evaluated at each draw. "a > 5" gets the share of draws for which it holds and its odds, the evidence ratio
(brms); the interval of a directed hypothesis has `level` at each of its ends, in all kinds of fit, so that it leaves out zero
where the one-sided p-value is below 1 - level.

References
----------
Buerkner (2017), J. Stat. Software 80(1) (brms::hypothesis); Oehlert (1992), American Statistician 46, 27-29 (delta method).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError, DataError, PlanError
from lmmformula.inference.hypotheses.dual import Dual, constant_of
from lmmformula.inference.hypotheses.language import Hypothesis, read, value_of
from lmmformula.inference.parameters import Parameter, parameters_of
from lmmformula.inference.spreads import spreads
from lmmformula.inference.student import critical, two_sided
from lmmformula.inference.uncertainty import JointTest, Uncertainty
from lmmformula.inference.words import notes
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["hypothesis", "read_for"]


def hypothesis(
    fit: Fitted,
    hypotheses: str | Sequence[str],
    level: float = 0.95,
    ddf: str = "satterthwaite",
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.DataFrame:
    """A row for each hypothesis; see :meth:`lmmformula.Fit.hypothesis`."""
    import pandas as pd

    stated = read_for(fit, hypotheses)
    with np.errstate(all="ignore"):
        drawn = _of_draws(fit, stated, level)
        if drawn is None:
            drawn = _of_estimates(fit, stated, level, fit.inference.uncertainty(ddf, vcov, cluster))
        elif ddf != "satterthwaite" or vcov is not None or cluster is not None:
            fit.inference.check("tests of coefficients")
    table = pd.DataFrame(drawn.columns, index=[h.text for h in stated])
    table.attrs["heading"] = drawn.heading
    if drawn.note:
        table.attrs["note"] = drawn.note
    return table


def read_for(fit: Fitted, hypotheses: str | Sequence[str]) -> list[Hypothesis]:
    """The hypotheses in texts about the parameters of a fit."""
    texts = [hypotheses] if isinstance(hypotheses, str) else list(hypotheses)
    known, coefficients = fit.inference.parameter_names, fit.problem.X.names
    return [one for text in texts for one in read(text, known, coefficients)]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Columns of the table and what stands around it."""

    columns: Mapping[str, Array]
    heading: str
    note: str


def _levels(stated: Sequence[Hypothesis], level: float) -> Array:
    """Level of the interval of each: both tails of a directed one have 1 - level."""
    return np.array([level if h.sign == "=" else max(0.0, 2.0 * level - 1.0) for h in stated])


# -- estimates -----------------------------------------------------------------------------------------------------------


def _of_estimates(fit: Fitted, stated: Sequence[Hypothesis], level: float, known: Uncertainty) -> _Found:
    names = tuple(dict.fromkeys(name for h in stated for name in h.names))
    point, covariance = _parameters(fit, names, known)
    found = [value_of(h.difference, point, constant_of(len(covariance))) for h in stated]
    for h, g in zip(stated, found, strict=True):
        if not (np.isfinite(g.value) and np.isfinite(g.slope).all()):
            raise DataError(
                f"`{h.text}` has no value or no derivative at the estimates: "
                f"{', '.join(f'{n} = {point[n].value:.4g}' for n in h.names)}. A logarithm, root or quotient leaves its range."
            )
    slopes, value = np.array([g.slope for g in found]), np.array([g.value for g in found])
    error = np.sqrt(np.einsum("ri,ij,rj->r", slopes, covariance, slopes))
    p, beta = fit.problem.p, set(fit.problem.X.names)
    linear = np.array(
        [g.degree == 1 and beta.issuperset(h.names) for h, g in zip(stated, found, strict=True)]
    )
    df = np.full(len(stated), np.inf)
    if linear.any():
        df[linear] = known.df(slopes[linear, :p])
    t = value / error
    reach = np.array([float(critical(c, d)) for c, d in zip(_levels(stated, level), df, strict=True)]) * error
    columns = {
        "estimate": value,
        "std_error": error,
        "statistic": t,
        "df": df,
        "p_value": np.array([_p_value(h.sign, x, d) for h, x, d in zip(stated, t, df, strict=True)]),
        "conf_low": value - reach,
        "conf_high": value + reach,
    }
    kind = "" if known.kind == "model-based" else f", {known.label}"
    together = _together(fit, stated, known, slopes, value, covariance, bool(linear.all()))
    letter = "t" if np.isfinite(df).any() else "z"
    return _Found(columns, f"Tests of hypotheses ({letter} tests{kind})", notes([together]))


def _p_value(sign: str, t: float, df: float) -> float:
    both = float(two_sided(np.asarray(t), df))
    if sign == "=":
        return both
    holds = t > 0.0 if sign == ">" else t < 0.0
    return 0.5 * both if holds else 1.0 - 0.5 * both


def _parameters(fit: Fitted, names: Sequence[str], known: Uncertainty) -> tuple[dict[str, Dual], Array]:
    """Parameters as functions of those that have a covariance matrix, and that matrix.

    Raises
    ------
    PlanError
        Where a standard deviation or correlation has no standard error, with the reason.
    """
    by_name: dict[str, Parameter] = {q.name: q for q in parameters_of(fit.problem)}
    p, asked = fit.problem.p, [by_name[name] for name in names]
    beta = {
        q.name: Dual(float(fit.estimate.beta[q.term]), np.eye(p)[q.term], 1)
        for q in asked
        if q.kind == "beta"
    }
    if len(beta) == len(asked):
        return beta, known.covariance
    if known.kind != "model-based":
        raise ArgumentError(
            f"vcov={known.kind!r} is about the fixed effects, and the hypotheses are about "
            f"{', '.join(q.name for q in asked if q.kind != 'beta')} too: leave vcov and cluster out."
        )
    others = spreads(fit)
    covariance = _covariance(fit, known)
    out, theta = {}, fit.problem.n_theta
    for q in asked:
        row = np.zeros(len(covariance))
        if q.kind == "beta":
            row[q.term] = 1.0
            out[q.name] = Dual(float(fit.estimate.beta[q.term]), row, 1)
            continue
        spread = others.of(q)
        if spread.reason:
            raise PlanError(f"{q.name} has no standard error: {spread.reason}.")
        if q.kind == "aux":
            row[p + theta :] = others.slope(q)
        else:
            slope = others.slope(q)
            if fit.problem.is_linear:
                row[p:] = slope
            else:
                row[p : p + theta] = slope[:theta]
        out[q.name] = Dual(spread.value, row, 1)
    return out, covariance


def _covariance(fit: Fitted, known: Uncertainty) -> Array:
    """Of (beta, theta, psi, log sigma) of a Gaussian likelihood, or (beta, theta, alpha) of a generalised one."""
    p = fit.problem.p
    own, reason = fit.inference.theta_covariance()
    if own is None:
        raise PlanError(f"there is no covariance matrix of the variance parameters: {reason}.")
    if not fit.problem.is_linear:
        joint = fit.joint_vcov
        assert joint is not None
        return joint
    out = np.zeros((p + len(own), p + len(own)))
    out[:p, :p], out[p:, p:] = known.covariance, own
    return out


def _together(
    fit: Fitted,
    stated: Sequence[Hypothesis],
    known: Uncertainty,
    slopes: Array,
    value: Array,
    covariance: Array,
    linear: bool,
) -> str:
    """The joint test of equations, in words; empty where there is none."""
    if len(stated) < 2 or any(h.sign != "=" for h in stated):
        return ""
    if linear:
        rows = slopes[:, : fit.problem.p]
        test = known.joint(rows, rows @ fit.estimate.beta - value)
    else:
        test = _chi_square(slopes, value, covariance)
    if np.isinf(test.df):
        return f"all of them together: chi-square({test.q}) = {test.q * test.statistic:.4g}, p = {test.p_value:.3g}"
    return f"all of them together: F({test.q}, {test.df:.4g}) = {test.statistic:.4g}, p = {test.p_value:.3g}"


def _chi_square(slopes: Array, value: Array, covariance: Array) -> JointTest:
    own = slopes @ covariance @ slopes.T
    unit = 1.0 / np.sqrt(np.diagonal(own))
    values, vectors = np.linalg.eigh(own * np.outer(unit, unit))
    keep = values > 1e-9 * values[-1]
    effects = vectors[:, keep].T @ (unit * value)
    q = int(np.count_nonzero(keep))
    return JointTest(float(np.sum(effects**2 / values[keep])) / q, q, np.inf)


# -- draws ---------------------------------------------------------------------------------------------------------------


def _of_draws(fit: Fitted, stated: Sequence[Hypothesis], level: float) -> _Found | None:
    """Of a posterior; None elsewhere."""
    draws: dict[str, Array] = {}
    for name in dict.fromkeys(name for h in stated for name in h.names):
        own = fit.inference.parameter_draws(name)
        if own is None:
            return None
        draws[name] = own
    rows = []
    for h, own_level in zip(stated, _levels(stated, level), strict=True):
        g = value_of(h.difference, draws, np.asarray)
        if lost := int(np.sum(~np.isfinite(g))):
            raise DataError(
                f"`{h.text}` has no value in {lost:,} of {len(g):,} draws: a logarithm, root or quotient leaves its range."
            )
        low, high = np.quantile(g, [0.5 - own_level / 2, 0.5 + own_level / 2])
        holds = np.nan if h.sign == "=" else float(np.mean(g > 0.0 if h.sign == ">" else g < 0.0))
        odds = holds / (1.0 - holds) if holds < 1.0 else holds * np.inf
        rows.append((g.mean(), g.std(ddof=1), low, high, odds, holds))
    names = ("estimate", "std_error", "conf_low", "conf_high", "evidence_ratio", "probability")
    directed = any(h.sign != "=" for h in stated)
    note = (
        "probability: the share of draws in which an inequality holds; evidence_ratio: its odds"
        if directed
        else ""
    )
    return _Found(
        dict(zip(names, np.array(rows).T, strict=True)), "Hypotheses about the posterior", notes([note])
    )
