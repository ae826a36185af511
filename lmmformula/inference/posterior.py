"""What follows from draws of a posterior: spreads, linear predictors, responses and log-likelihoods, draw by draw.

Draws stand in rows: arrays (S, ...) with S = chains x draws, chain by chain. Rows of data are taken in slices, so that no more
than `CELLS` numbers of an (S, n) table exist at a time unless the caller asked for the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import ConvergenceWarning, DataError, PlanError, warn
from lmmformula.families.observed import Observed
from lmmformula.ir.estimate import Status
from lmmformula.ir.variance_parameters import TermParameters, named_terms, term_parameters
from lmmformula.progress import CHAINS, Report, reporting
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    from lmmformula.backends.posterior.hmc import HMC
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.families.family import Family
    from lmmformula.inference.fitted import Fitted, FittedT

Chosen: TypeAlias = slice | Index
"""Some of the draws."""

__all__ = [
    "Effects",
    "TermSpreads",
    "auxiliary_draws",
    "auxiliary_effect_draws",
    "auxiliary_spreads",
    "drawn_levels",
    "effect_draws",
    "extend",
    "flat",
    "linear_predictors",
    "log_likelihood",
    "mean_response",
    "own_auxiliaries",
    "own_effects",
    "quantiles",
    "responses",
    "row_densities",
    "row_slices",
    "term_spreads",
    "unsatisfactory",
]

CELLS = 4_000_000
"""Numbers of a table of draws by rows that are held at a time."""


def flat(draws: Array) -> Array:
    """(chain, draw, ...) as (S, ...)."""
    return draws.reshape(-1, *draws.shape[2:])


def quantiles(draws: Array, level: float) -> tuple[Array, Array]:
    """Ends of the interval with equal tails, over the first axis."""
    tail = 0.5 - level / 2
    low, high = np.quantile(draws, [tail, 1.0 - tail], axis=0)
    return low, high


# -- how sampling ended -----------------------------------------------------------------------------------------------


def unsatisfactory(posterior: Posterior) -> str:
    """What is wrong with the draws and what to do; empty if nothing is."""
    advice = " ".join(posterior.diagnostics.advice)
    if posterior.status is Status.INTERRUPTED:
        begun = (
            f"sampling was stopped after {posterior.draws:,} draws of each chain; where m is this fit, m.extend(draws=1000) "
            "goes on from there."
        )
        return f"{begun} {advice}".rstrip()
    return advice and f"the draws do not describe the posterior well enough. {advice}"


def extend(fit: FittedT, draws: int = 1_000, progress: bool | Report | None = None) -> FittedT:
    """Go on from the last state of each chain.

    Parameters
    ----------
    draws : int
        Further draws of each chain; those there are kept.
    progress : bool or callable, optional
        As in :func:`lmmformula.fit`.

    Returns
    -------
    Fit
    """
    posterior = fit.inference.draws("extend()")
    backend = replace(cast("HMC", fit.backend), draws=draws)
    with reporting(progress, CHAINS) as report:
        solution = backend.extend(fit.standard.problem, posterior, report)
    result = replace(
        fit,
        estimate=fit.standard.outward(solution.estimate),
        point=solution.point,
        posterior=solution.posterior,
    )
    if not solution.posterior.status.good:
        warn(unsatisfactory(solution.posterior), ConvergenceWarning)
    return result


# -- variances --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class TermSpreads:
    """Draws of the standard deviations and correlations of one term.

    Attributes
    ----------
    sd : (S, k) array
    cor : (S, k, k) array
    """

    sd: Array
    cor: Array

    @property
    def covariance(self) -> Array:
        """(S, k, k)."""
        return self.cor * self.sd[:, :, None] * self.sd[:, None, :]

    @property
    def roots(self) -> Array:
        """R with RR' = Sigma of each draw, (S, k, k), also where Sigma is singular."""
        values, vectors = np.linalg.eigh(self.covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]

    def at(self, chosen: Chosen) -> TermSpreads:
        """Those of some of the draws."""
        return TermSpreads(self.sd[chosen], self.cor[chosen])


def term_spreads(fit: Fitted, term: int) -> TermSpreads:
    """Spreads of every column of one term, however few parameters they share."""
    return _spreads(fit.inference.draws(), term_parameters(fit.problem)[term])


def auxiliary_spreads(fit: Fitted, j: int, term: int) -> TermSpreads:
    """The same for a term of the j-th auxiliary predictor."""
    name = fit.problem.family.auxiliaries[j].name
    return _spreads(fit.inference.draws(), named_terms(fit.problem.aux_terms[j], f"{name}:")[term])


def _spreads(posterior: Posterior, own: TermParameters) -> TermSpreads:
    sd = np.stack([posterior[name].reshape(-1) for name in own.sds], axis=-1)
    if sd.shape[1] < own.k:
        sd = np.repeat(sd, own.k, axis=1)
    cors = [posterior[name].reshape(-1) for name in own.cors]
    drawn = own.kind.filled(np.stack(cors, axis=-1) if cors else np.empty((len(sd), 0)))
    cor = np.broadcast_to(drawn, (len(sd), own.k, own.k))
    return TermSpreads(sd, cor)


def drawn_levels(spreads: TermSpreads, count: int, rng: np.random.Generator) -> Array:
    """Effects of `count` levels from N(0, Sigma) with the Sigma of each draw, (S, count, k)."""
    root = spreads.roots
    z = rng.standard_normal((len(root), count, root.shape[-1]))
    return z @ np.swapaxes(root, -1, -2)


# -- linear predictors ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """Draws of the effects of one term, and the rows that have them.

    Attributes
    ----------
    draws : (S, m, k) array
    codes : (n,) or (n, r) array
        Level of each row, or its levels; -1 for none.
    basis : (n, k) array, or None for ones
        Of several levels (n, r, k), shares included.
    """

    draws: Array
    codes: NDArray[np.int32]
    basis: Array | None

    def add_to(self, eta: Array, rows: slice) -> None:
        """Add z'b of `rows` to eta (S, rows)."""
        if self.codes.ndim == 2:
            assert self.basis is not None
            for j in range(self.codes.shape[1]):
                Effects(self.draws, self.codes[:, j], self.basis[:, j]).add_to(eta, rows)
            return
        codes = self.codes[rows]
        there = np.flatnonzero(codes >= 0)
        own = self.draws[:, codes[there]]
        z = None if self.basis is None else self.basis[rows][there]
        eta[:, there] += own[..., 0] if z is None else np.einsum("nk,snk->sn", z, own)


def effect_draws(fit: Fitted, term: int) -> Array:
    """Draws of the effects of one term, (S, m, k)."""
    posterior = fit.inference.draws()
    effects = posterior.effects
    if effects is None:
        size = 8e-9 * posterior.chains * posterior.draws * fit.problem.q
        raise PlanError(
            f"the draws of the {fit.problem.q:,} random effects were not kept, as they would take {size:.2g} GB. Their means "
            "and standard deviations are in ranef(condsd=True); fit with fewer draws, or predict without them (re_form=None)."
        )
    return flat(effects[term])


def own_effects(fit: Fitted, chosen: Chosen = slice(None)) -> list[Effects]:
    """Effects of the rows of the fit, for the `chosen` of the draws."""
    out = []
    for i, term in enumerate(fit.problem.terms):
        basis = term.basis
        if term.shares is not None:
            basis = np.stack([z for _, z in term.parts()], axis=1)
        out.append(Effects(effect_draws(fit, i)[chosen], term.codes, basis))
    return out


def row_slices(n: int, draws: int, width: int = 1) -> Iterator[slice]:
    """Slices of n rows whose tables have about `CELLS` numbers."""
    step = max(1, CELLS // max(1, draws * width))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def linear_predictors(
    beta: Array, x: Array, offset: Array | None, effects: Sequence[Effects], rows: slice
) -> Array:
    """X beta + offset + Z b of `rows` for every draw, (S, rows); beta (S, p)."""
    eta = beta @ x[rows].T
    if offset is not None:
        eta += offset[rows]
    for own in effects:
        own.add_to(eta, rows)
    return eta


def auxiliary_draws(
    fit: Fitted, columns: Sequence[Array] = (), rows: slice = slice(None), chosen: Chosen = slice(None)
) -> tuple[Array, ...]:
    """The family's auxiliary linear predictors for the `chosen` of the draws: (S, rows), or (S, 1) where they are constant.

    Parameters
    ----------
    columns : sequence of (n, p_j) arrays
        Columns of each predictor that has a formula of its own.
    """
    posterior, found = fit.inference.draws(), []
    for j, parameter in enumerate(fit.problem.family.auxiliaries):
        if parameter.name in posterior.names:
            values = posterior[parameter.name].reshape(-1, 1)[chosen]
            found.append(parameter.predictor(values))
        elif j < len(columns) and j < len(posterior.aux):
            found.append(flat(posterior.aux[j])[chosen] @ columns[j][rows].T)
        else:
            raise PlanError(f"the posterior has no draws of {parameter.name!r} of {fit.problem.family}.")
    return tuple(found)


def own_auxiliaries(fit: Fitted, rows: slice, chosen: Chosen = slice(None)) -> tuple[Array, ...]:
    """Auxiliary predictors of `rows` of the fit, with their random effects."""
    problem = fit.problem
    found = auxiliary_draws(fit, [b.matrix for b in problem.aux], rows, chosen)
    if not any(problem.aux_terms):
        return found
    for j, (aux, terms) in enumerate(zip(found, problem.aux_terms, strict=True)):
        for i, term in enumerate(terms):
            Effects(auxiliary_effect_draws(fit, j, i)[chosen], term.codes, term.basis).add_to(aux, rows)
    return found


def auxiliary_effect_draws(fit: Fitted, j: int, term: int) -> Array:
    """Draws of the effects of one term of the j-th auxiliary predictor, (S, m, k)."""
    own = fit.inference.draws().aux_effects[j]
    if own.draws is None:
        raise PlanError(
            "the draws of the random effects of an auxiliary parameter were not kept: fit with fewer draws."
        )
    return flat(own.draws[term])


def _own_predictors(fit: Fitted, chosen: Chosen = slice(None)) -> Iterator[tuple[slice, Array]]:
    """Slices of the rows of the fit with their linear predictors."""
    fit.problem.refuse_elsewhere("what draws say of every row")
    problem, beta, effects = fit.problem, flat(fit.inference.draws().beta)[chosen], own_effects(fit, chosen)
    width = 1 + max((t.k for t in problem.terms), default=0)
    for rows in row_slices(problem.n, len(beta), width):
        yield rows, linear_predictors(beta, problem.X.matrix, problem.offset, effects, rows)


# -- rows of the fit --------------------------------------------------------------------------------------------------


def mean_response(fit: Fitted) -> Array:
    """Posterior mean of the expected response of every row of the fit, (n,)."""
    family = fit.problem.family
    means = [family.mean(eta, own_auxiliaries(fit, rows)).mean(axis=0) for rows, eta in _own_predictors(fit)]
    return np.concatenate(means)


def responses(fit: Fitted, n: int | None, rng: np.random.Generator) -> Array:
    """Responses of the rows of the fit given the effects of a draw, (n, rows); all draws for None.

    n draws of the posterior are taken without replacement while there are enough.
    """
    problem, total = fit.problem, len(flat(fit.inference.draws().beta))
    chosen = np.arange(total) if n is None else rng.choice(total, n, replace=n > total)
    out = np.empty((len(chosen), problem.n))
    for rows, eta in _own_predictors(fit, chosen):
        weights = None if problem.weights is None else problem.weights[rows]
        out[:, rows] = problem.family.simulate(rng, eta, own_auxiliaries(fit, rows, chosen), weights)
    return out


def log_likelihood(fit: Fitted, rows: Data = None) -> Array:
    """Log density of each row's response given the effects, (chain, draw, row).

    Parameters
    ----------
    rows : slice, mask or array of int, optional
        Positions among the rows of the fit (not of the data); all by default.
    """
    posterior, problem = fit.inference.draws("log_likelihood()"), fit.problem
    wanted = _positions(problem.n, rows)
    out = np.empty((posterior.chains * posterior.draws, problem.n))
    for part, eta in _own_predictors(fit):
        w = None if problem.weights is None else problem.weights[part]
        out[:, part] = row_densities(problem.family, problem.y[part], eta, own_auxiliaries(fit, part), w)
    return out[:, wanted].reshape(posterior.chains, posterior.draws, -1)


def row_densities(family: Family, y: Array, eta: Array, aux: Sequence[Array], weights: Array | None) -> Array:
    """Log density of responses (n,) for every draw of eta (S, n) and the auxiliary predictors (S, n) or (S, 1), (S, n)."""

    def each(values: Array) -> Array:
        return np.broadcast_to(values, eta.shape).reshape(-1)

    w = None if weights is None else each(weights)
    every = y.repeated(len(eta)) if isinstance(y, Observed) else each(y)
    rows = family.rows(every, eta.reshape(-1), tuple(map(each, aux)), w, derivatives=False)
    return rows.loglik.reshape(eta.shape)


def _positions(n: int, rows: Data) -> NDArray[np.intp]:
    if rows is None:
        return np.arange(n)
    try:
        return np.atleast_1d(np.arange(n)[rows])
    except (IndexError, TypeError) as error:
        raise DataError(f"rows={rows!r} must be positions from 0 to {n - 1}, a slice or a mask.") from error
