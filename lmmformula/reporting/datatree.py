"""A posterior as ArviZ' DataTree.

==================== ==============================================================================================
group                variables and dimensions after (chain, draw)
==================== ==============================================================================================
posterior            ``beta`` (coefficient); ``r_Subject`` (Subject, Subject_effect) the random effects; ``sd_Subject``
                     (Subject_effect), ``cor_Subject`` (Subject_pair); ``sigma`` and other parameters
prior                the same variables as posterior, drawn from the priors; absent where one is flat
prior_predictive     the response, (row), of these draws
sample_stats         ``diverging, n_steps, acceptance_rate, energy, step_size, tree_depth``; absent for importance sampling
posterior_predictive the response, (row)
log_likelihood       the response, (row), given the random effects
observed_data        the response, (row)
constant_data        ``X`` (row, coefficient), the level of each row for every grouping factor, ``offset``, ``weights``
==================== ==============================================================================================

`row` holds the labels of the rows in the data of the call, their positions if they have none; the other coordinates R's names
and the levels. A second term on one factor is
``r_Subject.1``, as lme4 counts them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.formula import model_spec
from lmmformula.inference.conditional import group_names
from lmmformula.inference.posterior import log_likelihood as pointwise
from lmmformula.inference.posterior import responses, term_spreads
from lmmformula.inference.rows import row_labels
from lmmformula.ir.variance_parameters import term_parameters
from lmmformula.typing import Array, Entries, Record

if TYPE_CHECKING:
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["to_datatree"]

RESERVED = ("chain", "draw", "row", "coefficient")


def to_datatree(
    fit: Fitted,
    *,
    predictive: bool = True,
    log_likelihood: bool = True,
    seed: int | np.random.Generator | None = None,
) -> Any:
    """The posterior of a fit for ArviZ: ``arviz_stats.loo(fit.to_datatree())``, ``arviz_plots.plot_trace_dist(...)``.

    Parameters
    ----------
    fit : Fit
        By ``method="hmc"``.
    predictive, log_likelihood : bool
        Whether to have these groups, which hold a number for every draw and row. They, and the data, are left out where rows
        are not in memory.
    seed : int or Generator, optional
        Of the predictive draws; the fit's own by default.

    Returns
    -------
    xarray.DataTree
        See the head of the module.

    Raises
    ------
    PlanError
        For a fit without draws, or if arviz-base is not installed.
    """
    posterior = fit.inference.draws("to_datatree()")
    try:
        from arviz_base import from_dict
    except ImportError as error:
        raise PlanError(
            "to_datatree() needs arviz-base, which is not installed: pip install 'lmmformula[arviz]'. The draws are in "
            "m.posterior without it."
        ) from error
    here = fit.problem.data.at_hand
    rows, draws = (posterior.chains, posterior.draws, fit.problem.n), _posterior(fit)
    name = _response(fit)
    groups: dict[str, Record] = {"posterior": {n: v for n, (v, _) in draws.items()}}
    if posterior.statistics:
        groups["sample_stats"] = _statistics(posterior)
    rng = np.random.default_rng(posterior.seed if seed is None else seed)
    if predictive and here:
        groups["posterior_predictive"] = {name: responses(fit, None, rng).reshape(rows)}
    if log_likelihood and here:
        groups["log_likelihood"] = {name: pointwise(fit)}
    if predictive and here and posterior.priors.proper:
        prior = _from_priors(fit)
        groups["prior"] = {n: v for n, (v, _) in _posterior(prior).items()}
        with np.errstate(over="ignore"):
            groups["prior_predictive"] = {name: responses(prior, None, rng).reshape(rows)}
    constant = _constant(fit) if here else {}
    if here:
        groups["observed_data"] = {name: fit.problem.data.y}
        groups["constant_data"] = {n: v for n, (v, _) in constant.items()}
    dims = {n: list(d) for n, (_, d) in (draws | constant).items()} | {name: ["row"]}
    return from_dict(groups, coords=_coordinates(fit), dims=dims, attrs={"/": _attributes(fit)})


def _from_priors(fit: Fitted) -> Fitted:
    """The fit with draws from its priors in the place of its own."""
    from lmmformula.backends.posterior.prior_predictive import prior_posterior
    from lmmformula.backends.posterior.units import to_user

    own, problem = fit.inference.draws(), fit.standard.problem
    drawn = prior_posterior(problem, own.priors, own.chains, own.draws, own.seed)
    return replace(fit, posterior=to_user(drawn, problem))


def _response(fit: Fitted) -> str:
    """The response as written, without weights or trials."""
    columns = [record.name for record in fit.problem.recipe.columns]
    response = model_spec(fit.formula, columns=columns).response
    return "y" if response is None else response.label


def _level_dim(group: str) -> str:
    return f"{group}_" if group in RESERVED else group


def _posterior(fit: Fitted) -> dict[str, tuple[Array, tuple[str, ...]]]:
    """Variable -> draws and dimensions."""
    posterior = fit.inference.draws()
    shape, known = (posterior.chains, posterior.draws), set()
    out: dict[str, tuple[Array, tuple[str, ...]]] = {}
    if posterior.beta_names:
        out["beta"] = (posterior.beta, ("coefficient",))
    parameters = term_parameters(fit.problem)
    for i, (name, term) in enumerate(zip(group_names(fit), fit.problem.terms, strict=True)):
        spreads, k = term_spreads(fit, i), term.k
        known.update(parameters[i].sds, parameters[i].cors)  # elements of phi stand by their own names
        if posterior.effects is not None:
            out[f"r_{name}"] = (posterior.effects[i], (_level_dim(term.group), f"{name}_effect"))
        out[f"sd_{name}"] = (spreads.sd.reshape(*shape, k), (f"{name}_effect",))
        if parameters[i].kind.correlated:
            pairs = np.stack([spreads.cor[:, a, b] for a, b in combinations(range(k), 2)], axis=-1)
            out[f"cor_{name}"] = (pairs.reshape(*shape, -1), (f"{name}_pair",))
    return out | {n: (posterior[n], ()) for n in posterior.names if n not in known}


def _statistics(posterior: Posterior) -> dict[str, Array]:
    steps = posterior.statistics["n_steps"]
    return {**posterior.statistics, "tree_depth": np.ceil(np.log2(steps + 1)).astype(int)}


def _constant(fit: Fitted) -> dict[str, tuple[Array, tuple[str, ...]]]:
    problem = fit.problem
    out: dict[str, tuple[Array, tuple[str, ...]]] = {}
    if problem.p:
        out["X"] = (problem.X.matrix, ("row", "coefficient"))
    for term in problem.terms:
        levels = np.array([str(level) for level in term.levels])
        out[f"level_{term.group}"] = (levels[term.codes], ("row",))
    for name, values in (("offset", problem.offset), ("weights", problem.weights)):
        if values is not None:
            out[name] = (values, ("row",))
    return out


def _coordinates(fit: Fitted) -> Record:
    problem = fit.problem
    out: Record = {"coefficient": list(problem.X.names), "row": _rows(problem)}
    for name, term in zip(group_names(fit), problem.terms, strict=True):
        out[_level_dim(term.group)] = [str(level) for level in term.levels]
        out[f"{name}_effect"] = list(term.columns)
        out[f"{name}_pair"] = [f"{a}, {b}" for a, b in combinations(term.columns, 2)]
    return out


def _rows(problem: Problem) -> Entries:
    """Labels of the rows; positions where a label has several parts, which a coordinate cannot hold."""
    labels = row_labels(problem)
    return problem.rows if labels.nlevels > 1 else labels.to_numpy()


def _attributes(fit: Fitted) -> Record:
    from lmmformula.version import __version__

    posterior = fit.inference.draws()
    return {
        "formula": fit.formula,
        "family": fit.family,
        "sampler": posterior.sampler,
        "seed": posterior.seed,
        "warmup": posterior.warmup,
        "inference_library": "lmmformula",
        "inference_library_version": __version__,
    }
