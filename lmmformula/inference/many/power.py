r"""Power of a test of fixed effects by simulation: responses drawn from a fit with the effect asked about, and refitted.

Power is the share of n draws whose p-value lies below alpha; its interval is exact (Clopper & Pearson 1934): with x of n

    lower = B(tail; x, n - x + 1),     upper = B(1 - tail; x + 1, n - x),      B the quantile of a beta distribution

Variances are those of the fit. What a curve varies, and the rows of its points: :mod:`lmmformula.inference.many.points`. Each
point has a stream of random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import DataError, FitError
from lmmformula.inference.many.designs import on_design, truth
from lmmformula.inference.many.draws import drawn_responses
from lmmformula.inference.many.estimates import estimates
from lmmformula.inference.many.extending import without_columns
from lmmformula.inference.many.placing import Estimates
from lmmformula.inference.many.points import Point, curve
from lmmformula.inference.student import two_sided
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["TESTS", "Powers", "clopper_pearson", "powers"]

TESTS = ("t", "z", "lr")
"""Satterthwaite's t, Wald's z, likelihood ratio."""


@dataclass(frozen=True, slots=True, eq=False)
class Powers:
    """Points of a power curve.

    Attributes
    ----------
    varied : str
        What changes from point to point; empty if nothing does.
    tested : tuple of str
    test : str
    alpha, level : float
    effect : dict
    frame : DataFrame
        ``[varied,] rows, power, lower, upper, n, failed``.
    pvalues : tuple of (n,) arrays
        Of each point.
    words : str
        What changes, for readers.
    """

    varied: str
    tested: tuple[str, ...]
    test: str
    alpha: float
    level: float
    effect: dict[str, float]
    frame: pd.DataFrame
    pvalues: tuple[Array, ...]
    words: str = ""


def powers(
    fit: Fitted,
    effect: Mapping[str, float],
    vary: Mapping[str, Sequence[Data]] | None = None,
    n: int = 1_000,
    alpha: float = 0.05,
    test: str = "t",
    seed: int | np.random.Generator | None = None,
    level: float = 0.95,
    *,
    within: str | Sequence[str] | None = None,
    design: Data = None,
) -> Powers:
    """See :meth:`lmmformula.Fit.power`."""
    import pandas as pd

    fit.inference.check("many fits")
    values = _effects(fit, effect)
    if test not in TESTS:
        raise DataError(f"test={test!r} is unknown; use 't' (Satterthwaite), 'z' or 'lr' (likelihood ratio).")
    if test == "t" and not fit.inference.is_gaussian:
        test = "z"  # tests of other families have no degrees of freedom
    tested = tuple(values)
    if len(tested) > 1 and test != "lr":
        raise DataError(
            f"effect= names {len(tested)} coefficients, which are tested together by the likelihood ratio: write test='lr', or "
            "name one of them."
        )
    asked = curve(fit, values, vary, within, design)
    streams = np.random.default_rng(seed).spawn(len(asked.points))
    found, rows = [], []
    for point, rng in zip(asked.points, streams, strict=True):
        p = _pvalues(fit, point, n, test, tested, rng)
        found.append(p)
        done = np.isfinite(p)
        hits = int((p[done] < alpha).sum())
        low, high = clopper_pearson(hits, int(done.sum()), level)
        share = hits / max(1, int(done.sum()))
        first = {asked.varied: point.label} if asked.varied else {}
        numbers = {"rows": point.problem.n, "power": share, "lower": low, "upper": high, "n": int(done.sum())}
        rows.append({**first, **numbers, "failed": int((~done).sum())})
    frame = pd.DataFrame(rows)
    return Powers(asked.varied, tested, test, alpha, level, values, frame, tuple(found), asked.words)


def clopper_pearson(hits: int, n: int, level: float) -> tuple[float, float]:
    """Exact interval of a share of `hits` in `n`."""
    from scipy.special import betaincinv

    tail = 0.5 - level / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1.0 - tail))
    return low, high


def _effects(fit: Fitted, effect: Mapping[str, float]) -> dict[str, float]:
    names = fit.problem.X.names
    if not effect:
        raise DataError("effect= is empty: name a coefficient and its value, such as effect={'x': 0.5}.")
    out = {}
    for name, value in effect.items():
        if name not in names:
            raise DataError(f"effect= names {name!r}, and the coefficients are {', '.join(names)}.")
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.number)
            or not np.isfinite(value)
        ):
            raise DataError(f"effect={{{name!r}: {value!r}}}: the value must be a finite number.")
        out[name] = float(value)
    return out


def _pvalues(
    fit: Fitted, point: Point, n: int, test: str, tested: tuple[str, ...], rng: np.random.Generator
) -> Array:
    """p-values of n draws, (n,); nan where a draw could not be fitted."""
    problem, beta = point.problem, fit.estimate.beta.copy()
    for name, value in point.effect.items():
        beta[fit.problem.X.names.index(name)] = value
    source = truth(fit, problem, beta)
    base = reduced = None
    parts = []
    for y in drawn_responses(source, n, rng):
        if base is None:
            base, reduced = _bases(fit, problem, y, test, tested)
        found = estimates(base, y, start=True)
        less = None if reduced is None else estimates(reduced, y, start=True)
        parts.append(_tested(found, less, test, tested))
    return np.concatenate(parts)


def _bases(fit: Fitted, problem: Problem, y: Array, test: str, tested: tuple[str, ...]) -> tuple[Any, Any]:
    """A fit on the design, and for likelihood ratios one without the tested columns, both by ML."""
    by_ml = {"reml": False} if test == "lr" and fit.estimate.restricted else {}
    for response in y.T:
        try:
            base = on_design(fit, problem, response, **by_ml)
            smaller = without_columns(problem, tested)
            return base, on_design(fit, smaller, response, **by_ml) if test == "lr" else None
        except FitError:
            continue
    raise FitError(
        f"none of {y.shape[1]} draws could be fitted. The likely cause is a design with too few rows for the model: vary "
        "larger numbers, or simplify the model."
    )


def _tested(found: Estimates, less: Estimates | None, test: str, tested: tuple[str, ...]) -> Array:
    if less is not None:
        from scipy.special import chdtrc

        return chdtrc(len(tested), np.maximum(2.0 * (found.llf - less.llf), 0.0))
    j = found.names.index(tested[0])
    df = found.degrees[:, j] if test == "t" else np.full(found.n, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        return two_sided(found.beta[:, j] / found.errors[:, j], df)
