"""Posteriors: averages, standard deviations and quantiles of draws; nothing was maximised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.checking.replicates import of_posterior
from lmmformula.inference.coefficients import z_table
from lmmformula.inference.conditional import varcorr_places
from lmmformula.inference.draw_simplexes import simplexes_of_draws
from lmmformula.inference.draw_tables import (
    fixed_table,
    posterior_diagnostics,
    posterior_notes,
    posterior_parts,
    worst,
)
from lmmformula.inference.draw_tidy import glance_posterior, mode_limits, tidy_fixed, tidy_spreads
from lmmformula.inference.fitted import Fitted, Inference
from lmmformula.inference.intervals import around, of_draws, spread_draws, spread_names
from lmmformula.inference.posterior import (
    auxiliary_draws,
    effect_draws,
    flat,
    mean_response,
    responses,
    term_spreads,
    unsatisfactory,
)
from lmmformula.inference.posterior_predict import predict_from_draws
from lmmformula.inference.predict_errors import predict_from_errors
from lmmformula.inference.prediction_rows import at_means, unseen_effects
from lmmformula.inference.records import Cluster, Intervals, PosteriorPart, Rows, Wanted
from lmmformula.inference.residuals import auxiliary, linear_predictor
from lmmformula.inference.student import critical
from lmmformula.inference.words import counted
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array, Index, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.ir.priors import Priors

__all__ = ["Draws"]

_NO_MAXIMUM = "and this fit is a posterior, whose estimates are averages of draws and maximise nothing."


@dataclass(frozen=True, slots=True)
class Draws(Inference):
    """Inference by the draws of a posterior.

    Attributes
    ----------
    posterior : Posterior
    """

    fit: Fitted
    posterior: Posterior

    @property
    def refused(self) -> Mapping[str, str]:
        instead = "Use conf_int(method='quantile')."
        return {
            "anova": f"anova() tests with estimates that maximise a likelihood, {_NO_MAXIMUM} Look at conf_int(), compare "
            "models by loo_compare(a.loo(), b.loo()), or fit with method='reml' for F tests.",
            "likelihood ratio": f"a likelihood-ratio test needs maxima of the likelihood, {_NO_MAXIMUM} Compare posteriors by "
            "loo_compare(a.loo(), b.loo()), or fit with method='ml'.",
            "cross-validation": "cross_validate() fits again by a method that maximises something; a posterior "
            "has kfold(group=...) and loo(): use these.",
            "bootstrap": f"a bootstrap repeats the search for a maximum, {_NO_MAXIMUM} Its draws are in m.posterior, their "
            "intervals in conf_int(), and simulate() draws responses.",
            "pooling": "Rubin's rules pool estimates with standard errors; draws of several posteriors are put together "
            "instead. Fit with method='reml' or 'laplace', or concatenate m.to_datatree() of the imputations.",
            "many fits": f"refits of other responses repeat the search for a maximum, {_NO_MAXIMUM} Fit with method='reml' or "
            "'laplace', or fit each response by itself.",
            "profile": f"a profile needs a maximum of the likelihood, {_NO_MAXIMUM} conf_int(parameters='all') has the "
            "intervals of its draws.",
            "influence": f"influence() moves a maximum of the likelihood, {_NO_MAXIMUM} Look at the Pareto k of "
            "m.loo().pointwise, which says how far a posterior hangs on each row.",
            "denominator df": f"ddf='kenward-roger' is about tests, {_NO_MAXIMUM} Look at conf_int().",
            "tests of coefficients": f"t, F and chi-square tests are about estimates, {_NO_MAXIMUM} Use hypothesis(), which "
            "has the probability that an inequality holds.",
            "robust errors": f"a cluster-robust covariance matrix (vcov=) is that of an estimate, {_NO_MAXIMUM} Look at "
            "conf_int(), or fit with method='reml'.",
            **{
                f"{method} intervals": f"method={method!r} needs a maximum of the likelihood, {_NO_MAXIMUM} {instead}"
                for method in ("wald", "profile", "bootstrap")
            },
        }

    def draws(self, what: str = "this") -> Posterior:
        return self.posterior

    @property
    def ratio_methods(self) -> tuple[str, ...]:
        return ("draws",)

    @property
    def shown_theta(self) -> None:
        return None

    # -- estimates ------------------------------------------------------------------------------------------------

    @property
    def is_gaussian(self) -> bool:
        return False

    @property
    def n_parameters(self) -> int:
        return self.fit.problem.p + len(self.posterior.names)

    @property
    def priors(self) -> Priors:
        return self.posterior.priors

    def standardised(self) -> Standard:
        return Standard.of_columns(self.fit.problem)

    def criterion(self, penalty: float) -> float:
        return np.nan

    def statistics(self) -> Array:
        return np.full(self.fit.problem.p, np.nan)

    def df(self, contrasts: Array) -> Array:
        return np.full(len(contrasts), np.nan)

    def combination_draws(self, rows: Array) -> Array:
        draws = [flat(self.posterior[name]) for name in self.fit.problem.X.names]
        return np.stack(draws, axis=-1) @ rows.T if draws else np.zeros((1, len(rows)))

    def monotonic(self) -> pd.DataFrame:
        return simplexes_of_draws(self.fit)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*self.posterior.beta_names, *self.posterior.names)

    def parameter_draws(self, name: str) -> Array:
        return flat(self.posterior[name])

    @property
    def has_edf(self) -> bool:
        return False

    def coefficient_draws(self, fixed: Sequence[int], terms: Sequence[int], level: int) -> Array:
        beta = flat(self.draws().beta)[:, list(fixed)]
        return np.hstack([beta, *(np.asarray(effect_draws(self.fit, i))[:, level] for i in terms)])

    def covariance_draws(self) -> tuple[Array, ...]:
        return tuple(term_spreads(self.fit, i).covariance for i in range(len(self.fit.problem.terms)))

    def coefficients(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> tuple[pd.DataFrame, str]:
        self._refuse_other_errors(ddf, vcov, cluster)
        table = z_table(self.fit.params.to_numpy(), self.fit.bse.to_numpy(), self.fit.problem.X.names)
        return table * [1.0, 1.0, np.nan, np.nan], ""

    def fixed_table(
        self, ddf: str = "satterthwaite", vcov: str | None = None, cluster: Cluster = None
    ) -> tuple[pd.DataFrame, str]:
        self._refuse_other_errors(ddf, vcov, cluster)
        return fixed_table(self.fit), ""

    def _refuse_other_errors(self, ddf: str, vcov: str | None, cluster: Cluster) -> None:
        if ddf != "satterthwaite":
            self.check("denominator df")
        if vcov is not None or cluster is not None:
            self.robust(ddf, vcov, cluster)

    def auxiliary_errors(self, j: int) -> Array:
        aux = self.posterior.aux
        own = flat(aux[j]) if j < len(aux) else auxiliary_draws(self.fit)[j]
        return own.std(axis=0, ddof=1)

    @property
    def interval(self) -> str:
        return "quantile"

    # -- random effects -------------------------------------------------------------------------------------------

    def spread(self, term: int) -> tuple[Array, Array, Array]:
        drawn = term_spreads(self.fit, term)
        return drawn.covariance.mean(axis=0), drawn.sd.mean(axis=0), drawn.cor.mean(axis=0)

    def residual_variance(self) -> float:
        return float(np.mean(self.posterior["sigma"] ** 2))

    def theta_covariance(self) -> tuple[Array | None, str]:
        return None, "the variances of a posterior have draws: conf_int(parameters='all') has their intervals"

    def varcorr_errors(self) -> tuple[list[float], list[str]]:
        drawn = [term_spreads(self.fit, i) for i in range(len(self.fit.problem.terms))]
        found = [
            self.posterior["sigma"]
            if i is None
            else drawn[i].sd[:, a]
            if b is None
            else drawn[i].cor[:, b, a]
            for i, a, b in varcorr_places(self.fit)
        ]
        return [float(np.std(draws, ddof=1)) for draws in found], []

    def effect_covariances(self) -> tuple[Array, ...]:
        """Variances without sampling error, correlations those of the draws: nan where these were not kept."""
        out = []
        for i, sds in enumerate(self.posterior.effect_sds):
            k = sds.shape[1]
            cor = np.full((len(sds), k, k), np.nan)
            if self.posterior.effects is not None:
                b = flat(self.posterior.effects[i])
                centred = b - b.mean(axis=0)
                cov = np.einsum("smi,smj->mij", centred, centred)
                spread = np.sqrt(np.einsum("mii->mi", cov))
                cor = cov / np.maximum(spread[:, :, None] * spread[:, None, :], 1e-300)
            np.einsum("mii->mi", cor)[:] = 1.0
            out.append(cor * sds[:, :, None] * sds[:, None, :])
        return tuple(out)

    @property
    def has_effect_errors(self) -> bool:
        return True

    def effect_errors(self) -> tuple[Array, ...]:
        return self.posterior.effect_sds

    # -- rows -----------------------------------------------------------------------------------------------------

    def mean_response(self) -> Array:
        if self.fit.problem.family.is_linear:  # the mean of the draws without their error
            return self.fit.problem.family.mean(linear_predictor(self.fit), auxiliary(self.fit))
        return mean_response(self.fit)

    def responses(self, n: int, rng: np.random.Generator) -> Iterable[Array]:
        return responses(self.fit, n, rng)

    def replicates(
        self, n: int, rng: np.random.Generator, *, conditional: bool, rows: Index | None = None
    ) -> Iterator[Array]:
        return of_posterior(self.fit, n, rng, conditional=conditional, rows=rows)

    def predict(
        self, rows: Rows, wanted: Wanted, weights: Array | None, rng: np.random.Generator
    ) -> pd.Series | pd.DataFrame:
        sampled = wanted.new_levels == "sample"
        effects = unseen_effects(self.fit, rows, "population" if sampled else wanted.new_levels, rng)[0]
        centre = at_means(self.fit, rows) + effects
        linear = self.fit.problem.family.is_linear and wanted.kind in ("response", "link", "conditional")
        if linear and not sampled and wanted.interval is None and not wanted.se:  # posterior means suffice
            return predict_from_errors(self.fit, rows, centre, effects, wanted, weights, rng)
        return predict_from_draws(self.fit, rows, centre, wanted, weights, rng)

    # -- intervals ------------------------------------------------------------------------------------------------

    def fixed_intervals(self, level: float | None = 0.95) -> Intervals:
        names = self.fit.problem.X.names
        draws = np.stack([self.posterior[n] for n in names], axis=-1) if names else np.empty((1, 1, 0))
        return of_draws(names, draws, level, point=self.fit.params.to_numpy())

    def spread_intervals(self, level: float | None = 0.95) -> Intervals:
        names, point = spread_names(self.fit)
        if not names:
            return Intervals(names, point, point, point, point)
        return of_draws(names, spread_draws(self.fit, self.posterior), level, point=point)

    def mode_intervals(
        self, term: int, column: int, level: float = 0.95, *, spread: bool = True
    ) -> Intervals:
        names = tuple(map(str, self.fit.problem.terms[term].levels))
        point, sd = (v[term][:, column] for v in (self.posterior.effect_means, self.posterior.effect_sds))
        return around(names, point, sd, critical(level, np.inf) * sd, bayesian=True)

    def tidy_fixed(
        self, level: float | None, vcov: str | None = None, cluster: Cluster = None
    ) -> list[pd.DataFrame]:
        self._refuse_other_errors("satterthwaite", vcov, cluster)
        return [tidy_fixed(self.fit, level)]

    def tidy_spreads(self, level: float | None) -> pd.DataFrame:
        return tidy_spreads(self.fit, level)

    def mode_limits(self, modes: pd.DataFrame, level: float) -> tuple[Array, Array]:
        return mode_limits(self.fit, level)

    # -- in words -------------------------------------------------------------------------------------------------

    @property
    def how(self) -> str:
        if self.posterior.of_priors:
            return ", draws from the priors"
        return f", posterior by {'NUTS' if self.posterior.statistics else 'importance sampling'}"

    @property
    def sampler(self) -> str:
        return self.posterior.sampler

    @property
    def seed(self) -> str:
        return f"{self.posterior.seed} (draws of the posterior)"

    @property
    def caution(self) -> str:
        return "The log-likelihood of a posterior is that at its means."

    @property
    def counts(self) -> str:
        return f"{counted(self.posterior.chains, 'chain')} of {self.posterior.draws:,} draws"

    def unfinished(self) -> str:
        return unsatisfactory(self.posterior)

    def notes(self) -> list[str]:
        return posterior_notes(self.fit)

    @property
    def advice(self) -> tuple[str, ...]:
        return self.posterior.diagnostics.advice

    def criteria(self) -> dict[str, float]:
        return worst(self.posterior)

    def glance(self) -> Record:
        return glance_posterior(self.fit)

    def ended(self, p_value: Callable[[float], str]) -> list[tuple[str, str]]:
        form = {"max Rhat": ".3f", "Pareto k": ".2f"}
        return [(name, format(v, form.get(name, ",.0f"))) for name, v in worst(self.posterior).items()]

    def diagnostics(self) -> Record:
        return posterior_diagnostics(self.posterior)

    def parts(self, level: float = 0.95) -> tuple[PosteriorPart, ...]:
        return posterior_parts(self.fit, level)

    def chains(self) -> Mapping[str, Array]:
        names = (*self.posterior.names, *self.posterior.beta_names) if self.posterior.statistics else ()
        return {name: self.posterior[name] for name in names}
