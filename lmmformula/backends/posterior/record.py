"""What a Bayesian fit returns: draws by name, statistics of the sampler, and whether to trust them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lmmformula.backends.posterior.effects import Coefficients, Effects
from lmmformula.backends.posterior.sampling.request import Drawn, Request
from lmmformula.ir.estimate import Status
from lmmformula.ir.priors import Priors
from lmmformula.numerics.mcmc import bfmi, ess_bulk, ess_tail, rhat
from lmmformula.numerics.pareto import TRUSTED_K
from lmmformula.typing import Array

__all__ = ["Diagnostics", "Posterior", "Recovered", "posterior_of"]

RHAT = 1.01
ESS = 400.0
"""Bulk and tail effective draws below which quantiles are unsteady (Vehtari et al. 2021)."""
BFMI = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Diagnostics:
    """Numbers about the draws of the fixed effects and variances.

    Attributes
    ----------
    names : tuple of str
    rhat, ess_bulk, ess_tail : arrays, one number for each name
    bfmi : (chain,) array, empty for importance sampling
    divergences, warmup_divergences, depth_limited : int
        Draws whose trajectory diverged, those before the draws kept, and those that ended at the depth limit.
    pareto_k : float
        Shape of the importance weights, nan for chains.
    efficiency : float
        For importance sampling, effective over equal-weight draws before resampling; nan for chains.
    correction_k : float
        Shape of the weights by which Laplace's approximation was corrected, nan where it was not.
    """

    names: tuple[str, ...]
    rhat: Array
    ess_bulk: Array
    ess_tail: Array
    bfmi: Array
    divergences: int = 0
    warmup_divergences: int = 0
    depth_limited: int = 0
    pareto_k: float = float("nan")
    efficiency: float = float("nan")
    correction_k: float = float("nan")

    @property
    def advice(self) -> tuple[str, ...]:
        """What is wrong, with numbers and names, and what to do; empty if nothing is."""
        out = []
        if self.divergences:
            out.append(
                f"{self.divergences} draws diverged: the sampler could not follow the posterior there, so that region is "
                "underrepresented. Raise target_accept (0.95, then 0.99), give a narrower prior to the standard deviations, or "
                "integrate random effects out, where they are sampled: marginalize='all' for a normal response, 'laplace' for "
                "others."
            )
        worst = int(np.nanargmax(self.rhat)) if np.isfinite(self.rhat).any() else 0
        if self.rhat[worst] > RHAT:
            out.append(
                f"R-hat of {self.names[worst]} is {self.rhat[worst]:.3f} (should be below {RHAT}): the chains disagree. "
                "Continue them, or raise warmup."
            )
        for what, values in (("bulk", self.ess_bulk), ("tail", self.ess_tail)):
            least = int(np.nanargmin(values)) if np.isfinite(values).any() else 0
            if values[least] < ESS:
                out.append(
                    f"{what} effective sample size of {self.names[least]} is {values[least]:.0f} (should be above {ESS:.0f}): "
                    "take more draws."
                )
        if self.bfmi.size and self.bfmi.min() < BFMI:
            out.append(
                f"BFMI of chain {int(self.bfmi.argmin()) + 1} is {self.bfmi.min():.2f} (should be above {BFMI}): the "
                "posterior has heavy tails. Give narrower priors to the standard deviations, or take more draws."
            )
        if self.depth_limited:
            out.append(
                f"{self.depth_limited} trajectories ended at the depth limit: raise max_depth, or warmup."
            )
        if self.pareto_k > TRUSTED_K:
            out.append(
                f"Pareto k of the importance weights is {self.pareto_k:.2f} (should be below {TRUSTED_K}): use sampler='nuts'."
            )
        if self.correction_k > TRUSTED_K:
            out.append(
                f"Pareto k of the weights that correct Laplace's approximation is {self.correction_k:.2f} (should be below "
                f"{TRUSTED_K}): a few draws stand for all, since the random effects of one draw together are far from normal. "
                "Use marginalize='none', which samples them."
            )
        return tuple(out)

    @property
    def good(self) -> bool:
        """Whether there is nothing to advise."""
        return not self.advice


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws from the posterior of one problem.

    Attributes
    ----------
    names : tuple of str
        Of the variances: ``sd:Subject:Days``, ``cor:Subject:Intercept:Days``, ..., ``sigma``.
    variances : (chain, draw, len(names)) array
        Standard deviations, correlations and sigma, in units of the response (of its logarithm for a lognormal one).
    beta_names : tuple of str
    beta : (chain, draw, p) array
    beta_mean, beta_cov : (p,), (p, p) arrays
        Rao-Blackwellised mean and covariance.
    effects : tuple of (chain, draw, m, k) arrays, or None
        Random effects of each term; None where they would not fit in memory.
    effect_means, effect_sds : tuple of (m, k) arrays
        Rao-Blackwellised.
    x : (chain, draw, d) array
        The draws in the sampler's coordinates.
    statistics : mapping of str -> (chain, draw) array
        ``diverging, n_steps, acceptance_rate, energy, step_size`` for chains; empty for importance sampling.
    sampler : {"nuts", "importance", "prior"}
        "prior" where the draws are from the priors alone.
    seed : int
    priors : Priors
    scale : Scale or JointScale
        Location and scales of the density of x that chains moved by.
    states : tuple
        Last states of the chains, to go on from; empty for importance sampling.
    warmup : int
    warmup_divergences : int
    complete : bool
        False if the user stopped the chains early.
    max_depth : int
    pareto_k, efficiency, log_evidence : float
        Of importance sampling; nan if it was not used. Where it was tried and gave way to chains, `pareto_k` says why.
    marginalized : str
        What was integrated out: "all", "none", "laplace", or groups.
    correction_k, correction_efficiency : float
        Of the weights by which draws of Laplace's approximation became those of the exact posterior; nan where they did not.
    interpolation_error : float
        Root mean square error of log densities that importance sampling interpolated; nan where all were computed.
    aux : tuple of (chain, draw, p_j) arrays
        Coefficients of the auxiliary linear predictors, on their scale; empty where variances alone were sampled.
    aux_effects : tuple of Effects
        Random effects in each of them: ``draws`` (chain, draw, m, k) by term or None, ``means``, ``sds``; likewise.
    """

    names: tuple[str, ...]
    variances: Array = field(repr=False)
    beta_names: tuple[str, ...]
    beta: Array = field(repr=False)
    beta_mean: Array = field(repr=False)
    beta_cov: Array = field(repr=False)
    effects: tuple[Array, ...] | None = field(repr=False)
    effect_means: tuple[Array, ...] = field(repr=False)
    effect_sds: tuple[Array, ...] = field(repr=False)
    x: Array = field(repr=False)
    statistics: Mapping[str, Array] = field(repr=False)
    sampler: Literal["nuts", "importance", "prior"]
    seed: int
    priors: Priors = field(repr=False)
    scale: Any = field(repr=False)
    states: tuple[tuple[Array, ...], ...] = field(repr=False, default=())
    warmup: int = 0
    warmup_divergences: int = 0
    complete: bool = True
    max_depth: int = 10
    pareto_k: float = float("nan")
    efficiency: float = float("nan")
    log_evidence: float = float("nan")
    marginalized: str = "all"
    interpolation_error: float = float("nan")
    correction_k: float = float("nan")
    correction_efficiency: float = float("nan")
    aux: tuple[Array, ...] = field(repr=False, default=())
    aux_effects: tuple[Effects, ...] = field(repr=False, default=())

    @property
    def of_priors(self) -> bool:
        """Whether the draws are from the priors alone."""
        return self.sampler == "prior"

    @property
    def chains(self) -> int:
        return self.x.shape[0]

    @property
    def draws(self) -> int:
        """Draws of each chain."""
        return self.x.shape[1]

    def __getitem__(self, name: str) -> Array:
        """Draws (chain, draw) of a fixed effect or a variance parameter by name."""
        if name in self.names:
            return self.variances[..., self.names.index(name)]
        if name in self.beta_names:
            return self.beta[..., self.beta_names.index(name)]
        raise KeyError(f"{name!r} is none of {', '.join((*self.beta_names, *self.names))}")

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """R-hat, effective sample sizes and the sampler's warnings, for fixed effects and variances."""
        draws = np.concatenate([self.beta, self.variances], axis=-1)
        stats = self.statistics
        nuts = self.sampler == "nuts"
        if self.of_priors:  # independent by construction
            draws = np.zeros_like(draws)
        return Diagnostics(
            (*self.beta_names, *self.names),
            rhat(draws),
            ess_bulk(draws),
            ess_tail(draws),
            bfmi(stats["energy"]) if nuts else np.zeros(0),
            int(stats["diverging"].sum()) if nuts else 0,
            self.warmup_divergences,
            int((stats["n_steps"] >= 2**self.max_depth - 1).sum()) if nuts else 0,
            float("nan") if nuts else self.pareto_k,
            float("nan") if nuts else self.efficiency,
            self.correction_k,
        )

    @property
    def status(self) -> Status:
        """How sampling ended: stopped by the user, well, or with something to advise."""
        if not self.complete:
            return Status.INTERRUPTED
        return Status.CONVERGED if self.diagnostics.good else Status.NOT_MIXED

    def followed_by(self, later: Posterior) -> Posterior:
        """Chains end to end; moments pooled by their numbers of draws."""
        share = self.draws / (self.draws + later.draws)

        def both(x: Array, y: Array) -> Array:
            return np.concatenate([x, y], axis=1)

        beta = self._beta.followed_by(later._beta, share)
        effects = self._effects.followed_by(later._effects, share)
        pairs = zip(self.aux_effects, later.aux_effects, strict=True)
        return replace(
            later,
            variances=both(self.variances, later.variances),
            beta=beta.draws,
            beta_mean=beta.mean,
            beta_cov=beta.cov,
            effects=effects.draws,
            effect_means=effects.means,
            effect_sds=effects.sds,
            x=both(self.x, later.x),
            statistics={name: both(v, later.statistics[name]) for name, v in self.statistics.items()},
            warmup_divergences=self.warmup_divergences,
            pareto_k=max(self.pareto_k, later.pareto_k) if self.sampler == "importance" else self.pareto_k,
            efficiency=share * self.efficiency + (1.0 - share) * later.efficiency,
            interpolation_error=float(np.fmax(self.interpolation_error, later.interpolation_error)),
            correction_k=max(self.correction_k, later.correction_k),
            correction_efficiency=share * self.correction_efficiency
            + (1.0 - share) * later.correction_efficiency,
            log_evidence=share * self.log_evidence + (1.0 - share) * later.log_evidence,
            aux=tuple(map(both, self.aux, later.aux)),
            aux_effects=tuple(x.followed_by(y, share) for x, y in pairs),
        )

    @property
    def _beta(self) -> Coefficients:
        return Coefficients(self.beta, self.beta_mean, self.beta_cov)

    @property
    def _effects(self) -> Effects:
        return Effects(self.effects, self.effect_means, self.effect_sds)


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """What draws of the sampled coordinates mean, and what was drawn back given them.

    Attributes
    ----------
    x : (chain, draw, d) array
        The coordinates themselves, without random effects.
    names : tuple of str
    variances : (chain, draw, names) array
        As of :class:`Posterior`; likewise the rest.
    beta : Coefficients
    effects : Effects
    aux : tuple of (chain, draw, p_j) arrays
    aux_effects : tuple of Effects
    correction : Correction or None
        What is known of weights by which draws were taken again.
    """

    x: Array
    names: tuple[str, ...]
    variances: Array
    beta: Coefficients
    effects: Effects
    aux: tuple[Array, ...] = ()
    aux_effects: tuple[Effects, ...] = ()
    correction: Correction | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """What weights say by which draws of an approximation became those of the exact posterior.

    Attributes
    ----------
    pareto_k : float
    efficiency : float
        How many draws of equal weight they are worth, of each.
    log_mean : float
        Logarithm of their mean: the evidence over the approximation's.
    """

    pareto_k: float
    efficiency: float
    log_mean: float


def posterior_of(
    own: Recovered,
    drawn: Drawn,
    request: Request,
    *,
    beta_names: tuple[str, ...],
    priors: Priors,
    marginalized: str,
) -> Posterior:
    """The record of draws with what was recovered from them."""
    chains, weights, correction = bool(drawn.statistics), drawn.importance, own.correction
    evidence = float("nan") if weights is None or chains else weights.log_evidence
    return Posterior(
        names=own.names,
        variances=own.variances,
        beta_names=beta_names,
        beta=own.beta.draws,
        beta_mean=own.beta.mean,
        beta_cov=own.beta.cov,
        effects=own.effects.draws,
        effect_means=own.effects.means,
        effect_sds=own.effects.sds,
        x=own.x,
        statistics=drawn.statistics,
        sampler="nuts" if chains else "importance",
        seed=request.seed,
        priors=priors,
        scale=drawn.scale,
        states=drawn.states,
        warmup=drawn.warmup,
        warmup_divergences=drawn.warmup_divergences,
        complete=drawn.complete,
        max_depth=request.options.max_depth,
        pareto_k=float("nan") if weights is None else weights.pareto_k,
        efficiency=float("nan") if weights is None else weights.efficiency,
        interpolation_error=float("nan") if weights is None or chains else weights.interpolation_error,
        correction_k=float("nan") if correction is None else correction.pareto_k,
        correction_efficiency=float("nan") if correction is None else correction.efficiency,
        log_evidence=evidence + (0.0 if correction is None else correction.log_mean),
        marginalized=marginalized,
        aux=own.aux,
        aux_effects=own.aux_effects,
    )
