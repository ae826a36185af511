"""Fits by penalised quasi-likelihood: estimates with standard errors given the variances, and no likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from lmmformula.inference.conditional import group_names
from lmmformula.inference.kinds.asymptotic import ONE_STEP, Asymptotic
from lmmformula.inference.rows import row_labels
from lmmformula.inference.words import counted
from lmmformula.ir import estimate
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    from lmmformula.backends.pql import PQL


__all__ = ["Quasi"]

NEAR_ZERO = 0.1
"""A relative standard deviation below this is named as the cause of a slow search."""
COLLINEAR = 1e10
"""Condition of X'X, its columns scaled, from which rounding keeps the fits from settling."""
ODD_DISPERSION = 20.0
"""A dispersion this far from one, either way, of a family that has none, is not extra variation any more."""


@dataclass(frozen=True)
class Quasi(Asymptotic):
    """Inference without a likelihood: z tests of the fixed effects, and the bootstrap for everything else.

    Attributes
    ----------
    record : lmmformula.ir.estimate.Quasi
        What the estimate is made of.
    """

    record: estimate.Quasi

    @property
    def refused(self) -> dict[str, str]:
        by_reml, by_ml = "; or fit with method='reml'", ", or fit with method='ml'"
        if not self.fit.problem.is_linear:
            by_reml = by_ml = ""
        return super().refused | {
            "denominator df": "ddf='kenward-roger': penalised quasi-likelihood has no denominator degrees of freedom. Leave "
            f"ddf out: anova() gives Wald chi-square tests{by_reml}.",
            "robust errors": "cluster-robust covariance matrices (vcov=) need a likelihood's estimates of the variances, and "
            f"penalised quasi-likelihood has none: use conf_int(method='bootstrap'){by_ml}.",
            "influence refit": ONE_STEP,
            "profile": "a profile needs a likelihood, and penalised quasi-likelihood has none: use conf_int() for Wald "
            "intervals of the fixed effects, conf_int(method='bootstrap') for all parameters"
            f"{by_ml}.",
            "likelihood ratio": f"{self.fit.formula} was fitted by penalised quasi-likelihood, which has no likelihood to "
            "compare: llf, AIC and BIC are nan. Fit both models with method='laplace' (Gaussian: 'ml'), or test terms of one "
            "fit with .anova().",
        }

    @property
    def is_gaussian(self) -> bool:
        return False

    @property
    def dispersion_is(self) -> str:
        if self.record.free:
            return "estimated"
        return "the family's" if self.fit.problem.family.auxiliaries else "held at 1"

    def curvature(self) -> tuple[tuple[str, ...], Array] | None:
        return None

    def theta_covariance(self) -> tuple[Array | None, str]:
        return None, (
            "penalised quasi-likelihood does not say how well variances are known. Use conf_int(method='bootstrap'), or fit by "
            "likelihood"
        )

    # -- in words -------------------------------------------------------------------------------------------------

    @property
    def how(self) -> str:
        if not self.fit.problem.terms:
            return " fitted by quasi-likelihood"
        more = ", corrected to Laplace's approximation" if self.fit.backend.corrected else ""
        return f" fitted by penalised quasi-likelihood{more}"

    @property
    def seed(self) -> str:
        return ""

    @property
    def caution(self) -> str:
        return "A quasi-likelihood has no log-likelihood to compare."

    @property
    def counts(self) -> str:
        ended = self.fit.estimate.convergence
        return f"{counted(ended.evaluations, 'outer iteration')}, {counted(ended.iterations, 'sweep')}"

    def unfinished(self) -> str:
        ended = self.fit.estimate.convergence
        where = (
            f"penalised quasi-likelihood {ended.status.value} ({self.counts}); the last outer iteration changed the linear "
            f"predictors by {ended.decrement:.2g} of their size (tolerance {ended.tolerance:.2g})."
        )
        if ended.status is estimate.Status.INTERRUPTED:
            return (
                f"{where} The numbers are those of that iteration. To go on from there, where m is this fit: "
                "m.update(start=m.estimate)."
            )
        return (
            f"{where} {self._likely_cause()} To go on from there, where m is this fit: "
            f"m.update(start=m.estimate, max_outer={max(100, 2 * cast('PQL', self.fit.backend).max_outer)})."
        )

    def _likely_cause(self) -> str:
        """Why outer iterations settle slowly."""
        found, problem = self.fit.estimate, self.fit.problem
        if (condition := _condition(problem.data.fixed.gram())) > COLLINEAR:
            return (
                f"The likely cause is that the fixed-effects columns are all but collinear (condition {condition:.1g}): centre "
                "the numeric predictors."
            )
        if found.singular:
            which = " and ".join(f"({label})" for label in found.singular)
            return f"The likely cause is that the covariance matrix of {which} became singular on the way: simplify that term."
        slow = []
        for term, s in zip(problem.terms, problem.theta_slices(), strict=True):
            diagonal = np.abs(np.diagonal(term.covariance.cholesky(found.theta[s])))
            if diagonal.min(initial=1.0) < NEAR_ZERO:
                slow.append(f"({term.label or term.group})")
        if slow:
            return f"The likely cause is a variance near zero, of {' and '.join(slow)}: leave that term out if it stays so."
        return "The likely cause is that max_outer is low for this model."

    def oddities(self) -> tuple[str, ...]:
        """A dispersion that no extra variation explains."""
        phi = self.fit.estimate.sigma**2
        if not self.record.free or 1.0 / ODD_DISPERSION < phi < ODD_DISPERSION:
            return ()
        data, rows = self.fit.problem.data, self.fit.optimum.state.rows
        score, weight = data.whole(rows.score), data.whole(rows.weight)
        squares = score**2 / np.maximum(weight, 1e-300)
        row = int(np.argmax(squares))
        share = squares[row] / max(float(squares.sum()), 1e-300)
        cause = (
            f"Row {row_labels(self.fit.problem)[row]} of the data alone makes up {share:.0%} of Pearson's chi-square: look at "
            "its response, predictors and offset"
            if phi > 1.0
            else "The model predicts nearly every row: look for a predictor that separates the outcomes"
        )
        return (
            f"the dispersion is estimated at {phi:.3g}, which multiplies every variance and squared standard error. {cause}, "
            'or use dispersion="fixed".',
        )

    def notes(self) -> list[str]:
        return [*super().notes(), *([self._traces()] if self.fit.problem.terms else [])]

    def _still_moving(self) -> str:
        ended = self.fit.estimate.convergence
        return (
            f"the last outer iteration changed the linear predictors by {ended.decrement:.2g} of their size (tolerance "
            f"{ended.tolerance:.2g})"
        )

    def _traces(self) -> str:
        """How the degrees of freedom behind the variances were found, and what that is worth."""
        if self.record.traces == "diagonal":
            return (
                "Variances: effective degrees of freedom of each grouping factor from the factor alone (diagonal "
                "approximation); traces='exact' has no such error."
            )
        exact = "Variances: exact effective degrees of freedom"
        gaps = np.zeros(0) if self.record.gaps is None else self.record.gaps[np.isfinite(self.record.gaps)]
        if not gaps.size:
            return f"{exact}."
        low, high = 100.0 * float(gaps.min()), 100.0 * float(gaps.max())
        if max(-low, high) < 0.01:
            apart = "within 0.01% of these"
        else:
            apart = f"{low:+.2g}% off these" if gaps.size == 1 else f"{low:+.2g}% to {high:+.2g}% off these"
        return f"{exact}; the diagonal approximation puts the standard deviations {apart}."

    def criteria(self) -> dict[str, float]:
        return {"df.resid": self.fit.df_resid}

    def _search(self) -> list[tuple[str, str]]:
        ended = self.fit.estimate.convergence
        return [
            ("Outer iterations", f"{ended.evaluations:,}"),
            ("Change of the linear predictors", f"{ended.decrement:.2g} (tolerance {ended.tolerance:.2g})"),
        ]

    def diagnostics(self) -> Record:
        fit, ended, gaps = self.fit, self.fit.estimate.convergence, self.record.gaps
        named = zip(group_names(fit), fit.problem.terms, strict=True)
        names = [f"{name}.{column}" for name, term in named for column in term.columns]
        return {
            "outer_iterations": ended.evaluations,
            "sweeps": ended.iterations,
            "relative_change": ended.decrement,
            "traces": self.record.traces,
            "dispersion": fit.estimate.sigma**2,
            "dispersion_is": self.dispersion_is,
            "variance_gap": None if gaps is None else dict(zip(names, map(float, gaps), strict=True)),
        }


def _condition(gram: Array) -> float:
    """Condition number of X'X with columns of unit length."""
    if not len(gram):
        return 1.0
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    values = np.linalg.eigvalsh(gram * np.outer(scale, scale))
    return float(values[-1] / max(values[0], 1e-300))
