r"""Is the variance needed: likelihood-ratio tests of the pieces of the random part, one at a time.

REML fits are compared by their restricted likelihoods, whose fixed parts are the same. The table is that of lmerTest's
``ranova``; its chi-square is too large a yardstick for a variance, which cannot be negative, so beside it stands the p-value
by the distribution that suits the piece (:mod:`lmmformula.inference.selection.null_distribution`): exact draws for one
variance of a Gaussian model, a mixture of two chi-squares for one further column with its covariances, and a parametric
bootstrap, on request, for anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.fitted import FittedT
from lmmformula.inference.selection.cones import Cone, cone_of
from lmmformula.inference.selection.null_distribution import Null, Spectrum, chi_bar, p_of_draws
from lmmformula.inference.selection.reductions import Reduction, random_reductions
from lmmformula.inference.selection.refits import refitted
from lmmformula.inference.selection.simulated_ratio import ratio, simulated_ratios

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.design import GroupBlock

__all__ = ["METHODS", "Removal", "by_distribution", "random_table", "ranova", "removals"]

METHODS = ("chisq", "mixture", "rlrt", "bootstrap")
DRAWS = 10_000
"""Of an exact distribution."""
DIRECTIONS = 2_000
"""Of a cone, each of which counts with a whole chi-square."""
REPLICATES = 500
"""Of a bootstrap, which fits both models to each."""
MOST_LEVELS = 3_000
"""Of a factor whose eigenvalues are computed, O(m^3); beyond it levels are many enough for the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Removal(Generic[FittedT]):
    """A piece of the random part, and the fit without it.

    Attributes
    ----------
    piece : Reduction
    large, small : Fit
    """

    piece: Reduction
    large: FittedT
    small: FittedT

    @property
    def statistic(self) -> float:
        """2 log of the likelihood ratio."""
        return ratio(self.large, self.small)

    @property
    def df(self) -> int:
        """Parameters fewer."""
        return self.large.df_model - self.small.df_model

    @property
    def chisq(self) -> float:
        """P(chi^2_df >= statistic); nan if the model without the piece is not smaller."""
        from scipy.special import chdtrc

        return float(chdtrc(self.df, self.statistic)) if self.df > 0 else np.nan

    @property
    def covariances(self) -> int | None:
        """How many covariances go with the one variance of the piece; None where it is more than one column.

        A structure across levels, or a correlation that columns share, has parameters of which nothing is left when the
        variance is zero; the theory says nothing of them.
        """
        if self.piece.place is None or self.df < 1:
            return None
        term = self.large.problem.terms[self.piece.place]
        if term.covariance.across is not None or term.covariance.within.directions is None:
            return None
        gone = sum(t.k for t in self.large.problem.terms) - sum(t.k for t in self.small.problem.terms)
        if self.df == 1 and term.covariance.within.one_variance and gone == term.k:
            return 0
        return self.df - 1 if gone == 1 else None

    @property
    def cone(self) -> Cone | None:
        """What several columns move in together, of a Gaussian fit; None where they are not told apart."""
        if (
            self.piece.place is None
            or not self.large.inference.is_gaussian
            or self.large.problem.family.repeated
        ):
            return None
        term = self.large.problem.terms[self.piece.place]
        lost = sum(t.k for t in self.large.problem.terms) - sum(t.k for t in self.small.problem.terms)
        left = {c for t in self.small.problem.terms if t.group == term.group for c in t.columns}
        gone = [j for j, column in enumerate(term.columns) if lost == term.k or column not in left]
        return cone_of(self.large, self.piece.place, gone) if len(gone) == lost else None

    @property
    def variance_alone(self) -> GroupBlock | None:
        """The column whose variance is the piece, if levels are independent and rows have one each."""
        if self.covariances != 0 or self.piece.place is None:
            return None
        term = self.large.problem.terms[self.piece.place]
        left = {c for t in self.small.problem.terms if t.group == term.group for c in t.columns}
        gone = [j for j, column in enumerate(term.columns) if term.k == 1 or column not in left]
        if len(gone) != 1 or not term.is_blockwise:
            return None
        basis = None if term.basis is None else term.basis[:, gone]
        return replace(term, columns=(term.columns[gone[0]],), basis=basis)


def ranova(
    fit: Fitted,
    reduce: bool = True,
    method: str | None = None,
    n: int | None = None,
    seed: int | np.random.Generator | None = 0,
) -> tuple[pd.DataFrame, dict[str, tuple[float, Null]]]:
    """Tests of the pieces of the random part, and of each its statistic and distribution; see :meth:`lmmformula.Fit.ranova`."""
    fit.problem.refuse_responses(
        "ranova()", "Ask it of a fit of one response, or compare fits by anova(m1, m2), aic and bic."
    )
    if method is not None and method not in METHODS:
        raise PlanError(f"method={method!r} is unknown; use one of {', '.join(map(repr, METHODS))}, or None.")
    fit.inference.check("likelihood ratio")
    if not fit.problem.terms:
        raise PlanError(
            f"{fit.formula!r} has no random effects to test; fit a model with some, and test them there."
        )
    found = removals(fit, reduce=reduce)
    tested = by_distribution(found, method, n, np.random.default_rng(seed))
    if method is not None and all(np.isnan(one.p_value) for one in tested):
        raise PlanError(
            f"method={method!r} suits none of the terms: {tested[0].words}. Use method='bootstrap'."
        )
    out = random_table(fit, found)
    out["p_value"] = [np.nan, *(one.p_value for one in tested)]
    out["reference"] = ["", *(one.words for one in tested)]
    out.attrs["heading"] = f"ANOVA-like table for random effects: single term deletions. Model: {fit.formula}"
    out.attrs["formulas"] = {one.piece.label: one.small.formula for one in found}
    out.attrs["note"] = _note(fit)
    return out, {r.piece.label: (r.statistic, one) for r, one in zip(found, tested, strict=True)}


def removals(fit: FittedT, *, reduce: bool = True) -> list[Removal[FittedT]]:
    """The fits without each of the pieces."""
    pieces = random_reductions(fit, reduce=reduce)
    return [Removal(piece, fit, refitted(fit, piece.spec)) for piece in pieces]


def random_table(fit: Fitted, found: Sequence[Removal[Any]]) -> pd.DataFrame:
    """lmerTest's columns, the model itself first."""
    import pandas as pd

    fits = [fit, *(one.small for one in found)]
    return pd.DataFrame(
        {
            "npar": [f.df_model for f in fits],
            "logLik": [f.llf for f in fits],
            "AIC": [f.aic for f in fits],
            "LRT": [np.nan, *(one.statistic for one in found)],
            "Df": [np.nan, *(float(one.df) for one in found)],
            "Pr(>Chisq)": [np.nan, *(one.chisq for one in found)],
        },
        index=pd.Index(["<none>", *(one.piece.label for one in found)]),
    )


def by_distribution(
    found: Sequence[Removal[Any]], method: str | None, n: int | None, rng: np.random.Generator
) -> list[Null]:
    """The p-value of each piece by one distribution, or by the one that suits it best."""
    return [_tested(one, method, n, rng) for one in found]


def _tested(one: Removal[Any], method: str | None, n: int | None, rng: np.random.Generator) -> Null:
    if method == "chisq":
        return Null(one.chisq, f"chi2({one.df})", chi_squares=(one.df,))
    if method == "bootstrap":
        count = REPLICATES if n is None else n
        drawn = simulated_ratios(one.large, one.small, count, rng)
        return Null(p_of_draws(drawn, one.statistic), f"bootstrap, {len(drawn):,} replicates", drawn)
    lacking = _no_spectrum(one)
    if method == "rlrt" or (method is None and not lacking):
        return Null(np.nan, lacking) if lacking else _exact(one, DRAWS if n is None else n, rng)
    if (k := one.covariances) is not None:
        return Null(chi_bar(one.statistic, k), _mixture_words(k), chi_squares=(k, k + 1))
    if (cone := one.cone) is not None:
        p, drawn = cone.null(one.statistic, DIRECTIONS if n is None else n, rng)
        return Null(p, f"chi-bar2({cone.df}), {len(drawn):,} directions", drawn)
    if method == "mixture":
        return Null(np.nan, "several columns whose covariance is not free, or which are too many")
    return Null(one.chisq, f"chi2({one.df}), too cautious", chi_squares=(one.df,))


def _mixture_words(covariances: int) -> str:
    low = f"chi2({covariances})" if covariances else "0"
    return f"{low} and chi2({covariances + 1}), half and half"


def _no_spectrum(one: Removal[Any]) -> str:
    """Why there is no exact distribution; empty if there is one."""
    if not one.large.inference.is_gaussian:
        return "exact for Gaussian responses only"
    term = one.variance_alone
    if term is None:
        return "exact for one variance of independent levels"
    if one.large.problem.family.repeated:
        return "exact for rows that are one observation each"
    if term.m > MOST_LEVELS:
        return f"exact for {MOST_LEVELS:,} levels at most"
    return ""


def _exact(one: Removal[Any], n: int, rng: np.random.Generator) -> Null:
    term = one.variance_alone
    assert term is not None
    restricted = one.large.estimate.restricted
    drawn = Spectrum.of(one.large.problem, term).draws(n, rng, restricted=restricted)
    words = f"{'RLRT' if restricted else 'LRT'}, {n:,} draws"
    if one.small.problem.terms:
        words += ", other variances known"
    return Null(p_of_draws(drawn, one.statistic), words, drawn)


def _note(fit: Fitted) -> str:
    likelihood = "restricted likelihoods (REML)" if fit.estimate.restricted else "likelihoods"
    note = (
        f"LRT compares {likelihood}. Pr(>Chisq) takes a variance for a parameter that could be negative, and is "
        "too large; p_value is by the distribution named beside it."
    )
    if fit.llf_stderr:
        note += f" The likelihoods are estimates: each has a standard error of about {fit.llf_stderr:.2g}."
    return note
