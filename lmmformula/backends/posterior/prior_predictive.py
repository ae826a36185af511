"""Responses that the priors alone imply, to be looked at before any fit (Gabry et al. 2019, sec. 3), for every family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.backends.posterior.effects import Coefficients, Effects
from lmmformula.backends.posterior.model.coordinates import TermPlaces, term_coordinates, term_values
from lmmformula.backends.posterior.model.predictor import aux_blocks
from lmmformula.backends.posterior.record import Posterior
from lmmformula.criteria.marginal import has_formula, is_normal
from lmmformula.errors import FitError, PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.family import Family
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.prior_shrinkage import Shrinkage, drawn_together
from lmmformula.ir.priors import AuxPriors, Prior, Priors, SimplexPrior, TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["PriorPredictive", "prior_posterior", "prior_predictive"]

_FARTHEST = 690.0
"""Largest size of a predictor on a log or logit scale whose exponential is still a number."""
_MOST_ROUNDS = 10_000
"""Rounds of draws in which values that must increase are looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class PriorPredictive:
    """Draws from the prior, and a response for each.

    Attributes
    ----------
    names : tuple of str
        Of the variances, then of the family's further parameters, or the coefficients and variances of their predictors.
    variances : (draw, len(names)) array
    beta_names : tuple of str
    beta : (draw, p) array
    y : (draw, n) array
        In units of the response (not its logarithm): inf where it is beyond all numbers; NaN where a draw lies outside the
        domain of the link, or where the parameters of its distribution are.
    priors : Priors
        All priors, defaults included; printing shows a table.
    """

    names: tuple[str, ...]
    variances: Array = field(repr=False)
    beta_names: tuple[str, ...]
    beta: Array = field(repr=False)
    y: Array = field(repr=False)
    priors: Priors = field(repr=False)

    def __getitem__(self, name: str) -> Array:
        """Draws of a fixed effect or a variance parameter by name."""
        if name in self.names:
            return self.variances[:, self.names.index(name)]
        if name in self.beta_names:
            return self.beta[:, self.beta_names.index(name)]
        raise KeyError(f"{name!r} is none of {', '.join((*self.beta_names, *self.names))}")


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A linear predictor: its coefficients, the variances of its terms by name, the predictor, (draw, n), and b of terms."""

    beta: Array
    names: tuple[str, ...]
    variances: Array
    eta: Array
    effects: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Auxiliary(_Drawn):
    """The same of an auxiliary parameter, whose coefficients are named with it, and stand before its variances."""

    coefficients: tuple[str, ...] = ()
    value: Array | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """Of :attr:`numbers`."""
        return (*self.coefficients, *self.names)

    @property
    def numbers(self) -> Array:
        """The value where it is one number, else coefficients and variances, (draw, names)."""
        return np.hstack([self.beta, self.variances]) if self.value is None else self.value


def prior_predictive(problem: Problem, priors: Priors, draws: int, seed: int) -> PriorPredictive:
    """Draw variances, coefficients, random effects and responses. O(draws n)."""
    rng = np.random.default_rng(seed)
    mean, further = _all_drawn(problem, priors, draws, rng)
    eta = mean.eta if problem.offset is None else mean.eta + problem.offset
    names = [*mean.names, *(name for own in further for name in own.all_names)]
    values = [mean.variances, *(own.numbers for own in further)]
    aux = [own.eta for own in further]
    y = np.empty((draws, problem.n))
    for i in range(draws):
        rows = [np.broadcast_to(a[i], problem.n) for a in aux]
        y[i] = _responses(problem.family, rng, eta[i], rows, problem.weights)
    return PriorPredictive(
        tuple(names), np.concatenate(values, axis=1), problem.X.names, mean.beta, y, priors
    )


def prior_posterior(problem: Problem, priors: Priors, chains: int, draws: int, seed: int) -> Posterior:
    """Draws of the parameters from the priors alone, in the place of draws from the posterior. O(chains draws n)."""
    mean, further = _all_drawn(problem, priors, chains * draws, np.random.default_rng(seed))

    def shaped(values: Array) -> Array:
        return values.reshape(chains, draws, *values.shape[1:])

    def effects(own: _Drawn) -> Effects:
        every = tuple(map(shaped, own.effects))
        return Effects(every, *(tuple(f(b, axis=(0, 1)) for b in every) for f in (np.mean, np.std)))

    beta, own = Coefficients.of(shaped(mean.beta)), effects(mean)
    one_sigma = is_normal(problem) and not has_formula(problem) and bool(problem.terms)
    return Posterior(
        names=(*mean.names, *(name for aux in further for name in aux.all_names)),
        variances=shaped(np.hstack([mean.variances, *(aux.numbers for aux in further)])),
        beta_names=problem.X.names,
        beta=beta.draws,
        beta_mean=beta.mean,
        beta_cov=beta.cov,
        effects=own.draws,
        effect_means=own.means,
        effect_sds=own.sds,
        x=np.zeros((chains, draws, 0)),
        statistics={},
        sampler="prior",
        seed=seed,
        priors=priors,
        scale=Scale(np.zeros(0), np.zeros((0, 0)), 0.0, 0, True),
        marginalized="all",
        aux=() if one_sigma else tuple(shaped(aux.beta) for aux in further),
        aux_effects=() if one_sigma else tuple(map(effects, further)),
    )


def _all_drawn(
    problem: Problem, priors: Priors, draws: int, rng: np.random.Generator
) -> tuple[_Drawn, list[_Auxiliary]]:
    """The mean's predictor, and that of each auxiliary parameter."""
    own = (problem.X, priors.coefficients, priors.contrast, problem.terms, priors.terms)
    if priors.shrunk:  # slopes depend on sigma
        further = _auxiliaries(problem, priors, draws, rng)
        return _drawn(*own, draws, rng, priors.simplexes, _sigma(priors, further)), further
    return _drawn(*own, draws, rng, priors.simplexes), _auxiliaries(problem, priors, draws, rng)


def _auxiliaries(problem: Problem, priors: Priors, draws: int, rng: np.random.Generator) -> list[_Auxiliary]:
    out = []
    for j, (aux, block) in enumerate(zip(priors.aux, aux_blocks(problem), strict=True)):
        terms = problem.aux_terms[j] if problem.aux_terms else ()
        out.append(_auxiliary(problem.family.auxiliaries[j], aux, block, terms, draws, rng))
    places = range(*problem.family.distribution.ordered().indices(len(out)))
    stated = [own for j in places if (own := priors.aux[j].value) is not None]
    if len(places) == len(stated) > 1:  # those with a formula differ from row to row
        found = _increasing(stated, draws, rng)
        for j, values in zip(places, found.T[..., None], strict=True):
            out[j] = replace(out[j], beta=values, eta=values, value=values)
    return out


def _increasing(priors: Sequence[Prior], draws: int, rng: np.random.Generator) -> Array:
    """Draws (draw, parameter) from the product of the priors where they increase.

    Of one prior that is the sorted draw; of several, those draws that increase are kept, of each place where they stand.
    """
    alike = len({prior.distribution for prior in priors}) == 1
    left, out = np.arange(draws), np.empty((draws, len(priors)))
    for _ in range(_MOST_ROUNDS):
        drawn = np.column_stack([prior.distribution.sample(rng, len(left)) for prior in priors])
        if alike:
            drawn.sort(axis=1)
        fine = (np.diff(drawn, axis=1) > 0).all(axis=1)
        out[left[fine]] = drawn[fine]
        left = left[~fine]
        if not len(left):
            return out
    names = ", ".join(prior.name for prior in priors)
    raise PlanError(
        f"{len(left):,} of {draws:,} draws from the priors of {names} never increased in {_MOST_ROUNDS:,} rounds, as "
        "thresholds must. Give them one prior, or priors whose locations increase."
    )


def _sigma(priors: Priors, further: Sequence[_Auxiliary]) -> Array:
    """The residual standard deviation of each draw, to which slopes that are shrunk together are relative."""
    for aux, own in zip(priors.aux, further, strict=True):
        if aux.name == "sigma" and own.value is not None:
            return own.value[:, 0]
    prior = priors.coefficients[priors.shrunk[0]].distribution
    raise PlanError(
        f"priors: {prior} is relative to one sigma, which this model has not. Use normal or student_t priors."
    )


def _drawn(
    block: FixedBlock,
    coefficients: Sequence[Prior],
    contrast: Array,
    terms: Sequence[GroupBlock],
    priors: Sequence[TermPriors],
    draws: int,
    rng: np.random.Generator,
    simplexes: Sequence[SimplexPrior] = (),
    sigma: Array | None = None,
) -> _Drawn:
    """A linear predictor with random effects; `sigma` (draw,) where slopes are shrunk together."""
    coordinates, places = term_coordinates(priors, [np.ones(t.k) for t in terms])
    values = [c.value(c.sample(rng, draws)) for c in coordinates]
    own = _coefficients(coefficients, draws, rng, sigma)
    for effect in simplexes:
        average = own[:, [effect.columns[0]]]
        own[:, list(effect.columns)] = average * effect.size * effect.prior.distribution.sample(rng, draws)
    beta = np.linalg.solve(contrast, own.T).T if own.shape[1] else own
    eta, every = beta @ block.matrix.T, []
    for term, t in zip(terms, places, strict=True):
        effects = _spherical(term, t, values, draws, rng) @ np.swapaxes(t.factor(values), -1, -2)
        every.append(effects)
        for row, b in zip(eta, effects, strict=True):
            row += term.apply(b)
    names = (t.priors.parameters for t in places)
    parts = term_values(places, values)
    return _Drawn(
        beta,
        tuple(name for t in names for name in t.names),
        np.stack(parts, axis=-1) if parts else np.zeros((draws, 0)),
        eta,
        tuple(every),
    )


def _coefficients(
    priors: Sequence[Prior], draws: int, rng: np.random.Generator, sigma: Array | None
) -> Array:
    """Draws of T beta, (draw, p)."""
    if sigma is None:
        return np.column_stack([np.zeros((draws, 0)), *(c.distribution.sample(rng, draws) for c in priors)])
    together = [j for j, c in enumerate(priors) if isinstance(c.distribution, Shrinkage)]
    out = np.empty((draws, len(priors)))
    for j, c in enumerate(priors):
        if j not in together:
            out[:, j] = c.distribution.sample(rng, draws)
    units = np.array([priors[j].distribution.sd for j in together])
    out[:, together] = units * drawn_together(priors[together[0]].distribution, len(together), sigma, rng)
    return out


def _spherical(
    term: GroupBlock, places: TermPlaces, values: Sequence[Array], draws: int, rng: np.random.Generator
) -> Array:
    """u of a term, (draw, m, k), with the precision of its levels at the phi of each draw."""
    z, across = rng.standard_normal((draws, term.m, term.k)), term.covariance.across
    if across is None:
        return z
    if not places.phis:
        q = across.precision(np.zeros(0))
        return np.stack([q.drawn(own) for own in z])
    for s in range(draws):
        z[s] = across.precision(places.phi([np.asarray(v)[s] for v in values])).drawn(z[s])
    return z


def _auxiliary(
    parameter: Auxiliary,
    priors: AuxPriors,
    block: FixedBlock,
    terms: Sequence[GroupBlock],
    draws: int,
    rng: np.random.Generator,
) -> _Auxiliary:
    """Draws of an auxiliary parameter; its predictor is (draw, n) or (draw, 1)."""
    if priors.value is not None:
        values = _inside(priors.value, parameter, draws, rng)[:, None]
        if parameter.range == "unit":  # the prior is of the place between the ends
            low, high = parameter.ends
            values = low + (high - low) * values
        with np.errstate(divide="ignore"):
            predictor = np.clip(parameter.predictor(values), -_FARTHEST, _FARTHEST)
        return _Auxiliary(predictor, (), np.zeros((draws, 0)), predictor, (), (priors.name,), values)
    own = _drawn(block, priors.coefficients, priors.contrast, terms, priors.terms, draws, rng)
    eta = np.clip(own.eta, -_FARTHEST, _FARTHEST)
    names = tuple(f"{priors.name}:{c}" for c in block.names)
    return _Auxiliary(own.beta, own.names, own.variances, eta, own.effects, names)


def _inside(prior: Prior, parameter: Auxiliary, draws: int, rng: np.random.Generator) -> Array:
    """Draws of a prior cut off at the range of the parameter."""
    values = prior.distribution.sample(rng, draws)
    least = {"above one": 1.0, "real": -np.inf}.get(parameter.range, 0.0)
    for _ in range(1_000):
        below = np.flatnonzero(values < least)
        if not len(below):
            return values
        values[below] = prior.distribution.sample(rng, len(below))
    raise PlanError(
        f"the prior {prior.distribution} of {prior.name} has next to no probability above {least:g}, where {prior.name} lies. "
        "Move it up."
    )


def _responses(
    family: Family, rng: np.random.Generator, eta: Array, aux: Sequence[Array], weights: Array | None
) -> Array:
    """One response for each row; numpy refuses whole arrays for one impossible rate, so halves are tried."""
    try:
        with np.errstate(all="ignore"):
            return family.simulate(rng, eta, tuple(aux), weights)
    except (ValueError, FitError):
        if len(eta) == 1:
            large = family.distribution.mean_range == "positive" and family.location(eta)[0] > 1e15
            return np.array([np.inf if large else np.nan])
    half = len(eta) // 2
    parts = []
    for part in (slice(half), slice(half, None)):
        w = None if weights is None else weights[part]
        parts.append(_responses(family, rng, eta[part], [a[part] for a in aux], w))
    return np.concatenate(parts)
