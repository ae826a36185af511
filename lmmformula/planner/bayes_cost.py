"""What a posterior costs: compiling, densities, and drawing back what was integrated out.

======================  ==================================================================================================
route                   one density (and its gradient, for chains)
======================  ==================================================================================================
exact, small            a compiled one of the cross-products: the largest group's blocks against the q_D effects of the rest,
                        q_a (q_D + 1)^2 multiplications, and q_D^3 / 3 to factorise; whole batches at once when sampling by
                        importance
exact, large            an evaluation of the exact engine, and its inverse; by importance some hundred, which others are
                        interpolated between
partial, none           a compiled one of the rows, n (p + sum k), and q^2 where all effects have one dense scale
laplace                 an evaluation of the exact engine with its search for the modes; by importance some hundred; passes over
                        the rows for each draw that is weighted to the exact posterior
======================  ==================================================================================================

How many densities a posterior takes varies from model to model: the counts are typical ones of chains that mix well, and
of importance weights that are about equal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import comb

from lmmformula.backends.posterior.density.interpolated import MOST, SPARE, WITH_SLOPES
from lmmformula.backends.posterior.density.variances import TINY
from lmmformula.backends.posterior.effects import kept
from lmmformula.backends.posterior.routes.base import Route
from lmmformula.backends.posterior.sampling import chains as few
from lmmformula.backends.posterior.sampling import joint
from lmmformula.criteria.marginal import is_normal
from lmmformula.engines.cost import EVALUATIONS, Cost
from lmmformula.engines.rates import BYTES, JAX, SAMPLING
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.numerics.forks import jax_runs

__all__ = ["Sampling", "first_chains", "sampling_cost", "sampling_memory", "weighing"]

PILOT, PILOT_LARGE = 1_500, 900
"""Densities of the first rounds of importance sampling."""
OVERSAMPLED = 1.6
"""Weighted draws for each draw of equal weight."""
DENSE_EFFECTS = 1_000
"""Random effects up to which chains that sample them have one dense scale."""
GRADIENT = 2.0
"""A density with its gradient, in densities."""
PASSES, ROW = 16, 6e-8
"""Passes over the rows in which a draw is weighted with its random effects, and seconds of a row in one."""
FIRST_CHAINS = 2.8
"""Seconds to load JAX and NumPyro and to trace programs, which the first chains of a process take more than later ones."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Counts of what a posterior takes time for.

    Attributes
    ----------
    start : float
        1: the mode, and what is loaded.
    compiled, joint : float
        Programs to compile: of variances alone, and of parameters with random effects.
    steps : float
        Compiled gradients.
    work : float
        Their multiplications, thousands.
    batch : float
        Multiplications of densities in batches, thousands.
    evaluated : float
        Seconds in the exact engine, as :mod:`lmmformula.engines.cost` has them.
    recovered : float
        Draws of single random effects, thousands.
    """

    start: float = 1.0
    compiled: float = 0.0
    joint: float = 0.0
    steps: float = 0.0
    work: float = 0.0
    batch: float = 0.0
    evaluated: float = 0.0
    recovered: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(SAMPLING[f.name] * getattr(self, f.name) for f in fields(self))


def sampling_cost(
    problem: Problem,
    blocks: Levels,
    cost: Cost,
    route: Route,
    sampler: str,
    chains: int,
    draws: int,
    warmup: int | None,
) -> Sampling:
    """Counts of a posterior by `route`; `cost` is that of a maximum likelihood fit by the exact engine."""
    total = float(chains * draws)
    recovered = total * problem.q / 1e3
    q_largest = max((g.q for g in blocks.groups), default=0)
    side = problem.q - q_largest
    if not route.is_few:
        steps = chains * (draws + (warmup or joint.WARMUP)) * route.leapfrogs
        dense = float(problem.q) ** 2 if problem.q <= DENSE_EFFECTS else 0.0
        size = problem.n * (problem.p + sum(t.k for t in problem.terms)) + 2.0 * dense
        return Sampling(joint=1.0, steps=steps, work=steps * size / 1e3, recovered=recovered)
    small = route.suits_batches(blocks.groups, problem.p)
    density = q_largest * (side + 1.0) ** 2 + side**3 / 3.0
    steps = chains * (draws + (warmup or few.WARMUP)) * route.leapfrogs
    if small:
        if sampler == "importance":
            return Sampling(batch=(PILOT + (OVERSAMPLED + 1.0) * total) * density / 1e3, recovered=recovered)
        batch = (PILOT + total) * density / 1e3
        return Sampling(
            compiled=float(_is_traced(problem, blocks, route, sampler)),
            steps=steps,
            work=GRADIENT * steps * density / 1e3,
            batch=batch,
            recovered=recovered,
        )
    count, followed = _computed(problem)
    evaluated = min(count, PILOT_LARGE + OVERSAMPLED * total) if sampler == "importance" else GRADIENT * steps
    return Sampling(
        compiled=float(sampler == "nuts"),
        evaluated=_evaluation(problem, cost) * (evaluated + min(followed, total)),
        recovered=recovered,
    )


def _computed(problem: Problem) -> tuple[float, float]:
    """Densities that are computed, the others being interpolated by a quartic, and draws whose effects are solved for.

    Effects of the others follow by a quadratic.
    """
    d = problem.n_theta + sum(len(b.names) for b in problem.aux)
    d += 1 if is_normal(problem) else problem.p
    values = SPARE * min(comb(d + 4, 4), MOST)
    return (GRADIENT * values / (1 + d) if d >= WITH_SLOPES else values), SPARE * comb(d + 2, 2)


def first_chains(sampler: str, problem: Problem, blocks: Levels, route: Route) -> float:
    """Seconds that are added because no chains have run in this process yet."""
    return FIRST_CHAINS if _is_traced(problem, blocks, route, sampler) and not jax_runs() else 0.0


def weighing(problem: Problem, route: Route, chains: int, draws: int) -> float:
    """Seconds that are added where draws are weighted to the exact posterior."""
    return PASSES * ROW * problem.n * chains * draws if route.weighs else 0.0


def sampling_memory(
    problem: Problem, blocks: Levels, route: Route, sampler: str, chains: int, draws: int
) -> float:
    """Bytes beside those of the exact engine: what is loaded, and the draws of random effects where they are kept.

    Chains load JAX, unless they run in compiled loops, which recovery of what was integrated out exactly loads too where a draw
    takes many multiplications.
    """
    effects = 8.0 * chains * draws * problem.q
    looped = route.recovers_compiled and (sampler == "nuts" or _multiplications(problem, blocks) > TINY)
    recovering = BYTES["compiled"] if looped else 0.0
    traced = _is_traced(problem, blocks, route, sampler)
    loaded = JAX["chains"] if traced else JAX["importance"] + recovering
    return loaded + (2.0 * effects if kept(chains * draws, problem.q) else 0.0)


def _is_traced(problem: Problem, blocks: Levels, route: Route, sampler: str) -> bool:
    """Whether it is chains of a density that JAX compiles."""
    return sampler == "nuts" and not route.runs_in_loops(problem, blocks.groups)


def _multiplications(problem: Problem, blocks: Levels) -> float:
    """As :attr:`lmmformula.backends.posterior.density.bordered.Bordered.multiplications` counts them, no levels being alike."""
    lead = max(blocks.groups, key=lambda g: g.q, default=None)
    if lead is None:
        return 0.0
    c = problem.q - lead.q + problem.p + 1.0
    return lead.q * c**2 + c**3 + 2.0 * lead.q * (lead.k + c)


def _evaluation(problem: Problem, cost: Cost) -> float:
    """Seconds of one evaluation of the exact engine."""
    evaluations = EVALUATIONS["linear" if is_normal(problem) else "generalised"]
    return cost.seconds / evaluations
