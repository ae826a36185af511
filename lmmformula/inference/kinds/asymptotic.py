"""Fits by maximum likelihood (REML, ML, Laplace's approximation, quadrature): errors by the curvature at the optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FitError
from lmmformula.inference.checking.replicates import of_estimates
from lmmformula.inference.coefficients import auxiliary_tables, scale, tested
from lmmformula.inference.conditional import covariance_matrices, covariances_at_optimum, random_effects
from lmmformula.inference.fitted import Fitted, Inference
from lmmformula.inference.intervals import around, spread_names
from lmmformula.inference.monotonic import simplexes_by_delta
from lmmformula.inference.parameters import parameter_names
from lmmformula.inference.predict_errors import predict_from_errors
from lmmformula.inference.prediction_rows import at_means, unseen_effects
from lmmformula.inference.records import Cluster, Intervals, Rows, Wanted
from lmmformula.inference.residuals import auxiliary, linear_predictor
from lmmformula.inference.simulate import draw
from lmmformula.inference.spreads import structure_spreads, theta_covariance, varcorr_spreads
from lmmformula.inference.student import critical
from lmmformula.inference.uncertainty import Uncertainty, gaussian_uncertainty
from lmmformula.inference.wald import satterthwaite
from lmmformula.inference.wald_tidy import tidied_coefficients, tidied_spreads
from lmmformula.inference.words import counted
from lmmformula.ir.covariance import sd_cor
from lmmformula.ir.monotonic import Monotonic
from lmmformula.ir.stacked import has_several
from lmmformula.ir.standard import Standard
from lmmformula.ir.standard_responses import standard_of
from lmmformula.typing import Array, Index, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.ir.priors import Priors

__all__ = ["ONE_STEP", "Asymptotic"]

ONE_STEP = (
    "refit=True estimates variances again by the criterion of Gaussian responses with one residual variance. Leave refit out "
    "for one scoring step without each unit, or fit again to fewer rows: m.update(data=...)."
)
"""Why fits of other responses cannot do so."""
_ONE_PREDICTOR = (
    "influence of units, errors by clusters, the conditional AIC, R2 and ICC are of models with random effects in the mean's "
    "predictor alone, and another predictor has some here. Use conf_int(method='bootstrap'), aic or bic; varcorr() has the "
    "variances."
)


_OF_LIKELIHOODS = (
    "likelihood ratio",
    "profile",
    "profile intervals",
    "influence",
    "influence refit",
    "conditional AIC",
    "robust errors",
    "many fits",
)
"""What is made of a likelihood alone."""
_PENALISED = (
    "this fit maximises a likelihood times the density of priors, which is no maximum of a likelihood. Use summary(), "
    "conf_int() and hypothesis(), whose errors count the priors in, conf_int(method='bootstrap'), or fit without priors."
)


def _of_monotonic(own: Monotonic) -> dict[str, str]:
    """What takes coefficients whose signs are free, or the same ones in every fit."""
    names = ", ".join(effect.label for effect in own.effects)
    again = "fit again without the rows, m.update(data=...)."
    differ = f"which steps of {names} are zero differs"
    return {
        "profile": f"a profile moves coefficients to both sides of their estimates, and steps of {names} have one sign: use "
        "conf_int(method='bootstrap').",
        "anova": f"Wald tests of terms take estimates as normal, and steps of {names} that are near zero are not: use drop1(), "
        "by likelihood ratios, or drop1(test='bootstrap').",
        "many fits": f"fits of many responses have the same columns, and {differ}: use m.refit(y) of each.",
        "pooling": f"pooling averages coefficients that all fits have, and {differ}: pool fits with the ordered factor itself.",
        "influence": f"influence takes estimates as smooth in the rows, and {differ} without some of them: {again}",
        "influence refit": f"influence takes the same columns in every fit, and {differ} without some rows: {again}",
        "conditional AIC": f"the conditional AIC takes estimates as smooth in the response, and {differ}: use AIC.",
    }


_SPELLED = {"ML": "maximum likelihood", "Laplace": "Laplace approximation"}
"""The first word of a method as a sentence has it."""


@dataclass(frozen=True)
class Asymptotic(Inference):
    """Inference by the curvature of a log-likelihood at its maximum."""

    fit: Fitted

    @property
    def refused(self) -> dict[str, str]:
        problem = self.fit.problem
        known = {
            "chains": f"a fit by {self.fit.method} has no draws to trace or rank: those of method='hmc' have.",
        }
        if self.fit.estimate.log_prior is not None:
            known |= dict.fromkeys(_OF_LIKELIHOODS, _PENALISED)
        if has_several(problem):
            known |= dict.fromkeys(("influence", "robust errors", "conditional AIC", "R2"), _ONE_PREDICTOR)
        if problem.monotonic is not None:
            known |= _of_monotonic(problem.monotonic)
        if not problem.is_linear:
            known["influence refit"] = ONE_STEP
            known["denominator df"] = (
                "ddf='kenward-roger': degrees of freedom in the denominator are defined for Gaussian responses with one "
                f"residual variance. For {problem.family} leave ddf out: anova() gives Wald chi-square tests. In small samples "
                "compare the models with and without the term, anova(small, large), or use conf_int(method='bootstrap')."
            )
        return known

    # -- estimates ------------------------------------------------------------------------------------------------

    @property
    def is_gaussian(self) -> bool:
        return self.fit.problem.is_linear

    @property
    def n_parameters(self) -> int:
        problem, aux = self.fit.problem, self.fit.estimate.aux
        own = (
            sum(len(a) for a in aux)
            if aux
            else int(problem.family.estimates_sigma or self.fit.estimate.quasi_dispersion)
        )
        return problem.p + problem.n_theta + own

    def standardised(self) -> Standard:
        return standard_of(self.fit.problem)

    @property
    def priors(self) -> Priors | None:
        return self.fit.backend.penalised_by

    def criterion(self, penalty: float) -> float:
        if self.fit.estimate.log_prior is not None:  # priors leave parameters less than free
            return np.nan
        return self.fit.deviance + penalty

    def statistics(self) -> Array:
        return (self.fit.params / self.fit.bse).to_numpy()

    def df(self, contrasts: Array) -> Array:
        return satterthwaite(self.fit, contrasts) if self.is_gaussian else np.full(len(contrasts), np.inf)

    def triangle(self) -> Array:
        if self.fit.problem.data.weights is None and self.is_gaussian and self.fit.problem.residual is None:
            return self.fit.standard.triangle_out(self.fit.optimum.model.ols.r)
        return super().triangle()

    def modelled(self, ddf: str) -> Uncertainty:
        return gaussian_uncertainty(self.fit, ddf) if self.is_gaussian else super().modelled(ddf)

    def robust(self, ddf: str, vcov: str | None, cluster: Cluster) -> Uncertainty:
        from lmmformula.inference.robust import robust_uncertainty

        self.check("robust errors")

        return robust_uncertainty(self.fit, ddf, vcov, cluster)

    def monotonic(self) -> pd.DataFrame:
        return simplexes_by_delta(self.fit)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return parameter_names(self.fit)

    def coefficients(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> tuple[pd.DataFrame, str]:
        return tested(self.fit, ddf, vcov, cluster)

    def auxiliary_errors(self, j: int) -> Array:
        try:
            joint = self.fit.joint_vcov
        except FitError:
            joint = None
        if joint is None:
            return np.full(len(self.fit.estimate.aux[j]), np.nan)
        return np.sqrt(np.diagonal(joint)[self.fit.optimum.model.layout.aux[j]])

    def curvature(self) -> tuple[tuple[str, ...], Array] | None:
        fit = self.fit
        reduced = any(t.covariance.within.rank < t.k for t in fit.problem.terms)
        if fit.is_singular or reduced or fit.backend.probed is not None:
            return None  # no derivatives at a boundary, or sampled ones
        hessian = getattr(fit.optimum, "hessian", None)
        if hessian is None:
            return None
        names = [*fit.problem.theta_names()]
        if len(hessian) > len(names):  # beta and the auxiliary predictors are searched too
            beside = [
                f"{a.name}: {n}"
                for a, b in zip(fit.problem.family.auxiliaries, fit.problem.aux, strict=False)
                for n in b.names
            ]
            names = [*fit.problem.X.names, *names, *beside]
        if len(names) != len(hessian):
            names = [f"parameter {j + 1}" for j in range(len(hessian))]
        return tuple(names), hessian

    @property
    def interval(self) -> str:
        return "wald"

    # -- random effects -------------------------------------------------------------------------------------------

    def spread(self, term: int) -> tuple[Array, Array, Array]:
        cov = covariance_matrices(self.fit)[term]
        return cov, *sd_cor(cov)

    def residual_variance(self) -> float:
        return self.fit.estimate.sigma**2

    def theta_covariance(self) -> tuple[Array | None, str]:
        return theta_covariance(self.fit)

    def varcorr_errors(self) -> tuple[list[float], list[str]]:
        found = varcorr_spreads(self.fit)
        return [s.error for s in found], [s.reason for s in found]

    def effect_covariances(self) -> tuple[Array, ...]:
        return covariances_at_optimum(self.fit)

    # -- rows -----------------------------------------------------------------------------------------------------

    def mean_response(self) -> Array:
        return self.fit.problem.family.mean(linear_predictor(self.fit), auxiliary(self.fit))

    def responses(self, n: int, rng: np.random.Generator) -> Iterable[Array]:
        return (draw(self.fit, rng) for _ in range(n))

    def replicates(
        self, n: int, rng: np.random.Generator, *, conditional: bool, rows: Index | None = None
    ) -> Iterator[Array]:
        return of_estimates(self.fit, n, rng, conditional=conditional, rows=rows)

    def predict(
        self, rows: Rows, wanted: Wanted, weights: Array | None, rng: np.random.Generator
    ) -> pd.Series | pd.DataFrame:
        if wanted.full and not self.is_gaussian:
            self.fit.problem.refuse_responses("uncertainty='full'", "Leave it out, or use bootstrap().")
        effects, *beside = unseen_effects(self.fit, rows, wanted.new_levels, rng)
        if beside:
            rows = replace(rows, aux=tuple(a + own for a, own in zip(rows.aux, beside, strict=True)))
        return predict_from_errors(
            self.fit, rows, at_means(self.fit, rows) + effects, effects, wanted, weights, rng
        )

    # -- intervals ------------------------------------------------------------------------------------------------

    def fixed_intervals(self, level: float | None = 0.95) -> Intervals:
        fit, names = self.fit, self.fit.problem.X.names
        try:
            errors = fit.bse.to_numpy()
        except FitError:
            errors = np.full(len(names), np.nan)
        if level is None or np.isnan(errors).all():
            return around(names, fit.params.to_numpy(), errors, np.full(len(names), np.nan))
        return around(names, fit.params.to_numpy(), errors, critical(level, fit.df.to_numpy()) * errors)

    def spread_intervals(self, level: float | None = 0.95) -> Intervals:
        names, point = spread_names(self.fit)
        if not names or level is None:
            missing = np.full(len(names), np.nan)
            return Intervals(names, point, missing, missing, missing)
        known = varcorr_spreads(self.fit)[: len(names)]
        ends = np.array([s.interval(level) for s in known])
        return Intervals(names, point, np.array([s.error for s in known]), ends[:, 0], ends[:, 1])

    def mode_intervals(
        self, term: int, column: int, level: float = 0.95, *, spread: bool = True
    ) -> Intervals:
        names = tuple(map(str, self.fit.problem.terms[term].levels))
        point = self.fit.estimate.modes[term][:, column]
        errors = self.effect_errors()[term][:, column] if spread else np.full(len(names), np.nan)
        return around(names, point, errors, critical(level, np.inf) * errors)

    def tidy_fixed(
        self, level: float | None, vcov: str | None = None, cluster: Cluster = None
    ) -> list[pd.DataFrame]:
        own = self.coefficients(vcov=vcov, cluster=cluster)[0]
        tables = {"cond": own, **auxiliary_tables(self.fit)}
        return [tidied_coefficients(*item, level) for item in tables.items()]

    def tidy_spreads(self, level: float | None) -> pd.DataFrame:
        shown, known = random_effects(self.fit), varcorr_spreads(self.fit)
        return tidied_spreads(shown, known, level, structure_spreads(self.fit))

    def mode_limits(self, modes: pd.DataFrame, level: float) -> tuple[Array, Array]:
        point, errors = modes["condval"].to_numpy(), modes["condsd"].to_numpy()
        reach = float(critical(level, np.inf)) * errors
        return point - reach, point + reach

    # -- in words -------------------------------------------------------------------------------------------------

    @property
    def how(self) -> str:
        first, *rest = self.fit.method.split(" ", 1)
        return " ".join([" fitted by", _SPELLED.get(first, first), *rest])

    @property
    def seed(self) -> str:
        seed = self.fit.backend.probed
        return "" if seed is None else f"{seed} (probes of the Krylov engine)"

    @property
    def is_profiled(self) -> bool:
        return self.is_gaussian and self.fit.backend.probed is None

    @property
    def counts(self) -> str:
        return counted(self.fit.estimate.convergence.evaluations, "evaluation")

    def unfinished(self) -> str:
        ended = self.fit.estimate.convergence
        return (
            f"the search {ended.status.value} ({ended.evaluations} evaluations); a further step still "
            f"promises {ended.decrement:.2g} of deviance (tolerance {ended.tolerance:.2g}), the largest "
            f"gradient is {ended.max_gradient:.2g}. Rescale the predictors of the random effects, simplify the "
            "random part, or raise max_evaluations."
        )

    def notes(self) -> list[str]:
        fit, ended = self.fit, self.fit.estimate.convergence
        terms = fit.problem.terms
        how = f"Engine: {fit.method} on the {fit.estimate.engine} engine" if terms else "No random effects"
        notes = [f"{how}; {ended.status.value} ({self.counts})."]
        return notes if ended.status.good else [*notes, f"NOT CONVERGED: {self._still_moving()}."]

    def _still_moving(self) -> str:
        ended = self.fit.estimate.convergence
        return (
            f"another step promises {ended.decrement:.2g} of deviance (tolerance {ended.tolerance:.2g}); the largest "
            f"gradient is {ended.max_gradient:.2g}"
        )

    def criteria(self) -> dict[str, float]:
        fit = self.fit
        return {
            "logLik": fit.llf,
            **({"SE(logLik)": fit.llf_stderr} if fit.llf_stderr else {}),
            "REML criterion" if fit.estimate.restricted else "-2 log L": fit.deviance,
            "AIC": fit.aic,
            "BIC": fit.bic,
            "df.resid": fit.df_resid,
        }

    def glance(self) -> Record:
        fit = self.fit
        return {
            "nobs": fit.nobs,
            "npar": fit.df_model,
            "sigma": scale(fit),
            "logLik": fit.llf,
            **({"logLik_se": fit.llf_stderr} if fit.llf_stderr else {}),
            "AIC": fit.aic,
            "BIC": fit.bic,
            "REMLcrit" if fit.estimate.restricted else "deviance": fit.deviance,
            "df_residual": fit.df_resid,
            "method": fit.method,
            "converged": fit.converged,
            "singular": fit.is_singular,
        }

    def ended(self, p_value: Callable[[float], str]) -> list[tuple[str, str]]:
        fit = self.fit
        pairs = [
            *self._search(),
            ("Singular terms", ", ".join(f"({t})" for t in fit.estimate.singular) or "none"),
        ]
        if np.isfinite(fit.llf):
            error = f"{fit.llf_stderr:.2g}" if fit.llf_stderr else "none: computed exactly"
            pairs.append(("Standard error of the log-likelihood", error))
        if not fit.problem.family.has_residual:
            over = fit.overdispersion().to_dict()
            text = f"{over['ratio']:.3f} (p = {p_value(over['p_value'])})"
            pairs.append(("Pearson's chi-square over its df", text))
        return pairs

    def _search(self) -> list[tuple[str, str]]:
        ended = self.fit.estimate.convergence
        return [
            ("Evaluations", f"{ended.evaluations:,}"),
            ("Deviance still to gain", f"{ended.decrement:.2g} (tolerance {ended.tolerance:.2g})"),
            ("Largest gradient of the deviance", f"{ended.max_gradient:.2g}"),
        ]
