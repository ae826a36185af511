"""Posteriors whose random effects are sampled, or integrated out by Laplace's approximation: from problem to record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from lmmformula.backends.posterior.density.laplace import LaplaceTarget
from lmmformula.backends.posterior.density.variances import find_mode
from lmmformula.backends.posterior.estimate import estimated
from lmmformula.backends.posterior.model.predictor import Predictor
from lmmformula.backends.posterior.reading import Effects, read_outer, sampled_effects
from lmmformula.backends.posterior.record import Posterior
from lmmformula.backends.posterior.routes.choice import Route
from lmmformula.backends.posterior.sampling.chains import ChainOptions, Progress, draw_chains, draw_importance
from lmmformula.backends.posterior.sampling.scale import JointDrawn, JointScale, draw_joint
from lmmformula.engines.base import Engine, Prepared
from lmmformula.errors import PlanError
from lmmformula.interrupts import undisturbed
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.priors import Priors, resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.x64 import x64
from lmmformula.progress import stage
from lmmformula.typing import Array

__all__ = ["Request", "Solved", "by_laplace", "in_slices", "nothing_integrated", "posterior_of", "solved"]

Solved = tuple[Estimate, Any, Posterior]
SLICE = 250
"""Draws that are turned into random effects at a time."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to do.

    Attributes
    ----------
    engine : Engine
    priors : mapping or None
    options : ChainOptions
    sampler : {"nuts", "importance"}
    seed : int
    progress : callable or None
    before : Posterior or None
        A posterior to go on from: its chains' last states are the starts, and its seed and scales stay.
    """

    engine: Engine
    priors: Mapping[str, str] | None
    options: ChainOptions
    sampler: Literal["nuts", "importance"]
    seed: int
    progress: Progress | None = None
    before: Posterior | None = None

    def resolved(self, problem: Problem) -> Priors:
        """Those of the posterior to go on from, or the user's and defaults."""
        return resolve_priors(problem, self.priors) if self.before is None else self.before.priors

    @property
    def states(self) -> tuple[tuple[Any, ...], ...] | None:
        """Last states of the chains to go on with."""
        return None if self.before is None else self.before.states

    def joint(self, model: Any, first: Callable[[], JointScale]) -> tuple[JointScale, JointDrawn, Array]:
        """Chains of a model that samples effects: their scales (`first` unless they go on), the draws, and the draws placed."""
        import jax.numpy as jnp

        scale: Any = first() if self.before is None else self.before.laplace
        drawn = draw_joint(
            model.density(), scale, self.options, self.seed, states=self.states, progress=self.progress
        )
        return scale, drawn, in_slices(lambda z: model.spherical(scale.place(z, jnp))[0], drawn.z)


def solved(route: Route, problem: Problem, prepared: Prepared | None, request: Request) -> Solved:
    """The posterior by a route, and what follows from its means."""
    if request.sampler == "importance" and not problem.terms:
        raise PlanError(
            "sampler='importance' needs random effects to integrate out, and this model has no random effects: use "
            "sampler='nuts'."
        )
    if request.sampler == "importance" and route.kind != "laplace":
        raise PlanError(
            "sampler='importance' needs a posterior of few dimensions, but random effects are sampled here "
            f"(marginalize={route.label!r}). Use sampler='nuts', or integrate the random effects out: marginalize='all' for "
            "a normal response with one sigma, 'laplace' for other families."
        )
    if route.kind == "laplace":
        posterior = by_laplace(problem, prepared, request)
    elif route.kind == "none":
        posterior = nothing_integrated(problem, prepared, request)
    else:
        from lmmformula.backends.posterior.routes.partial import some_integrated

        posterior = some_integrated(route, problem, request)
    return (*estimated(problem, posterior, request.engine), posterior)


def nothing_integrated(problem: Problem, prepared: Prepared | None, request: Request) -> Posterior:
    """All parameters and random effects by NUTS."""
    from lmmformula.backends.posterior.density.joint import General

    priors = request.resolved(problem)
    if any(problem.aux_terms):
        from lmmformula.backends.posterior.density.joint_aux import general_with_aux

        general, begin = general_with_aux(problem, request.engine, priors, prepared)
        first = partial(general.climbed_scale, begin)
    else:
        general = General.of(LaplaceTarget.of(problem, request.engine, priors, prepared))
        first = general.scale
    scale, drawn, x = request.joint(general, first)
    effects = [sampled_effects(p, x) for p in general.predictors]
    return posterior_of(
        problem, general.predictors, x[..., : general.n_outer], effects, drawn, scale, priors, request, "none"
    )


def by_laplace(problem: Problem, prepared: Prepared | None, request: Request) -> Posterior:
    """Coefficients, variances and dispersions by chains or importance sampling, the random effects by Laplace."""
    priors = request.resolved(problem)
    target: Any = LaplaceTarget.of(problem, request.engine, priors, prepared)
    laplace = find_mode(target) if request.before is None else request.before.laplace
    target, found = target.started(laplace.mode), None
    if request.sampler == "importance":
        found, drawn = draw_importance(target, laplace, request.options, request.seed)
    if found is None or not found.trusted:
        drawn = draw_chains(
            target,
            laplace,
            request.options,
            request.seed,
            states=request.states,
            progress=request.progress,
        )
    own = _drawn_back(target, drawn.x, request)
    empty = Effects((), (), ())
    effects = [own, *(empty for _ in target.predictors[1:])]
    return posterior_of(
        problem, target.predictors, drawn.x, effects, drawn, drawn.laplace, priors, request, "laplace", found
    )


def _drawn_back(target: LaplaceTarget, x: Array, request: Request) -> Effects:
    from lmmformula.backends.posterior.recovery.laplace import recover_modes

    stage("drawing back what was integrated out")
    done = 0 if request.before is None else request.before.draws
    return recover_modes(target, x, np.random.SeedSequence([request.seed, 2, done]))


def posterior_of(
    problem: Problem,
    predictors: Sequence[Predictor],
    outer: Array,
    effects: Sequence[Effects],
    drawn: Any,
    scale: Any,
    priors: Priors,
    request: Request,
    marginalized: str,
    importance: Any = None,
) -> Posterior:
    """The record of sampled outer coordinates and of each predictor's random effects."""
    own = read_outer(predictors, outer)
    flat = own.beta.reshape(int(np.prod(own.beta.shape[:2])), own.beta.shape[2])
    nuts = bool(drawn.statistics)
    return Posterior(
        names=own.names,
        variances=own.values,
        beta_names=problem.X.names,
        beta=own.beta,
        beta_mean=flat.mean(axis=0),
        beta_cov=np.atleast_2d(np.cov(flat.T)) if flat.shape[1] else np.zeros((0, 0)),
        effects=effects[0].draws,
        effect_means=effects[0].means,
        effect_sds=effects[0].sds,
        x=outer,
        statistics=drawn.statistics,
        sampler="nuts" if nuts else "importance",
        seed=request.seed,
        priors=priors,
        laplace=scale,
        states=drawn.states,
        warmup=drawn.warmup,
        warmup_divergences=drawn.warmup_divergences,
        complete=drawn.complete,
        max_depth=request.options.max_depth,
        pareto_k=float("nan") if importance is None else importance.pareto_k,
        efficiency=float("nan") if importance is None else importance.efficiency,
        log_evidence=importance.log_evidence if importance is not None and not nuts else float("nan"),
        marginalized=marginalized,
        aux=own.aux,
        aux_effects=tuple(effects[1:]),
    )


def in_slices(function: Callable[[Any], Any], z: Array) -> Array:
    """A traceable function of one z, for draws z (chain, draw, d); compiled once for slices of equal size."""
    import jax

    flat = z.reshape(-1, z.shape[-1])
    size = min(SLICE, len(flat))

    def mapped() -> Array:
        with x64():
            over = jax.jit(jax.vmap(function))
            parts = []
            for i in range(0, len(flat), size):
                first = min(i, len(flat) - size)
                parts.append(np.asarray(over(flat[first : first + size]))[i - first :])
            return np.concatenate(parts)

    return undisturbed(mapped).reshape(*z.shape[:2], -1)
