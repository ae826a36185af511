"""The user calls: each is the sequence of stages and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lmmformula.arguments import checked
from lmmformula.arguments.kinds import one_formula, optional, text, whole
from lmmformula.building import beside, built, kept, lasting, split
from lmmformula.errors import ArgumentError
from lmmformula.frame import Table, Wanted, keep_argument
from lmmformula.frame.own_families import Families
from lmmformula.frame.sampling import open_rows
from lmmformula.ir.problem import Problem
from lmmformula.methods import BUILDING, OPTIONS, method_named
from lmmformula.methods.planning import make_plan
from lmmformula.planner import Plan, Planned
from lmmformula.progress import Report, reporting, stage
from lmmformula.result import Fit, Recall
from lmmformula.solving import announce, solve
from lmmformula.typing import Argument, Context, Data

if TYPE_CHECKING:
    from lmmformula.backends.posterior.prior_predictive import PriorPredictive

__all__ = ["FITTING", "build", "fit", "plan", "prior", "prior_predictive"]

FITTING = (*BUILDING, OPTIONS, "seed", "priors", "progress", "sample")
"""Arguments of :func:`fit` besides formula, data and method."""


@checked
def build(
    formula: str | Sequence[str],
    data: Data,
    *,
    family: Families = "gaussian",
    weights: Data = None,
    offset: Data = None,
    contrasts: Mapping[str, str] | None = None,
    ziformula: str | None = None,
    dispformula: str | None = None,
    missing: Literal["drop", "raise"] = "drop",
    rescor: bool | None = None,
    context: Context | None = None,
    data2: Context | None = None,
    entrance: Literal["auto", "cells", "rows"] = "auto",
    memory_limit: float | str | None = None,
) -> Problem:
    """Turn a formula and a table into the canonical form.

    Parameters are those of :func:`fit`; columns that would take more than ``memory_limit`` are refused before they are made.

    Returns
    -------
    Problem
        ``problem.X.names``, ``problem.X.matrix`` (n, p); ``problem.terms``, each with ``group, columns, levels, codes,
        basis, covariance``; ``problem.y, weights, offset, family``.

    Examples
    --------
    >>> from lmmformula import build, load_dataset
    >>> problem = build("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    >>> problem.X.names, problem.terms[0].columns, problem.terms[0].m
    (('(Intercept)', 'Days'), ('(Intercept)', 'Days'), 18)
    """
    arguments: dict[str, Argument] = {
        "family": family,
        "weights": weights,
        "offset": offset,
        "contrasts": contrasts,
        "ziformula": ziformula,
        "dispformula": dispformula,
        "missing": missing,
        "rescor": rescor,
        "context": context,
        "data2": data2,
        "memory_limit": memory_limit,
    }
    return built(one_formula(formula), data, Wanted(entrance), **arguments)


@checked(rest=(*FITTING, "checkpoint"))
def plan(formula: str | Sequence[str], data: Data, *, method: str = "auto", **arguments: Argument) -> Plan:
    """What :func:`fit` would do with the same arguments: sizes, memory, engine, and why. Fits nothing.

    Every argument of :func:`fit` is taken, also those that change nothing of the plan, such as ``progress``.

    Examples
    --------
    >>> from lmmformula import load_dataset, plan
    >>> print(plan("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).engine)
    blocked
    """
    method_named(method)
    formula = one_formula(formula)
    building, options = split(arguments)
    seed, priors = options.pop("seed", None), options.pop("priors", None)
    for silent in ("progress", "checkpoint"):
        options.pop(silent, None)
    opened = open_rows(formula, data, building, options.pop("sample", None), seed)
    asked = method_named(method)
    wanted = Wanted(building.pop("entrance", "auto"), asked.against_cells)
    problem = asked.with_priors(asked.arranged(built(formula, opened, wanted, **(_PLAIN | building))), priors)
    return _said(make_plan(problem, method, options, seed, priors), opened).plan


_PLAIN: dict[str, Argument] = {
    name: parameter.default
    for name, parameter in signature(build).parameters.items()
    if parameter.default is not parameter.empty and name != "entrance"
}
"""What :func:`build` takes unless told otherwise."""


def _said(planned: Planned, opened: object) -> Planned:
    """The plan, which says so where rows are a sample."""
    origin = getattr(opened, "origin", "") if isinstance(opened, Table) else ""
    if not origin:
        return planned
    return replace(planned, plan=replace(planned.plan, reasons=(f"rows: {origin}", *planned.plan.reasons)))


@checked(rest=(OPTIONS,))
def fit(
    formula: str | Sequence[str],
    data: Data,
    *,
    family: Families = "gaussian",
    method: str = "auto",
    weights: Data = None,
    offset: Data = None,
    contrasts: Mapping[str, str] | None = None,
    ziformula: str | None = None,
    dispformula: str | None = None,
    nagq: int = 1,
    priors: Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
    missing: Literal["drop", "raise"] = "drop",
    rescor: bool | None = None,
    seed: int | np.random.Generator | None = None,
    progress: bool | Report | None = None,
    checkpoint: str | Path | None = None,
    sample: float | None = None,
    context: Context | None = None,
    data2: Context | None = None,
    entrance: Literal["auto", "cells", "rows"] = "auto",
    **options: Argument,
) -> Fit:
    """Fit a mixed model.

    Parameters
    ----------
    formula : str, or list of str
        lme4's language, for example ``"y ~ x + (1 + x | subject) + (1 | item)"``; see the language reference. Without random
        effects it is a linear or generalised linear model, as by R's ``lm`` and ``glm``. A list has a formula for each of
        several responses, as ``bf(y1 ~ x) + bf(y2 ~ x)`` has; see the page on several responses.
    data : table, dict of columns, or path
        pandas, polars, pyarrow or anything else narwhals reads; a dict, in which single values are repeated; a CSV, Parquet
        or JSON file; the name of a shipped data set. The fit keeps the columns it uses as they are now. Results for rows carry
        the index of a pandas frame. A folder, glob or list of Parquet files, a ``pyarrow.dataset.Dataset``, a DuckDB relation,
        a polars LazyFrame, a Dask or a PySpark DataFrame is read a batch at a time and need not fit in memory.
    family : str or Family, or mapping
        Distribution of the response: "gaussian", "binomial", "poisson", "gamma", "inverse_gaussian", "nbinom1", "nbinom2",
        "beta", "lognormal", "student", with another link as ``"binomial(link='probit')"``; a mapping from several responses to
        these.
    method : {"auto", "reml", "ml", "laplace", "pql", "krylov", "hmc"}
        "auto" is REML for a Gaussian response with identity link, and Laplace's approximation otherwise. "pql" is penalised
        quasi-likelihood by backfitting, O(rows), for crossed factors of any size; it has no likelihood. "hmc" is the
        posterior: of a Gaussian or lognormal model all effects are integrated out and drawn back, and NUTS or importance
        sampling moves in the variances alone.
    weights : str or array, optional
        Column name or one number a row (a pandas Series is read by its index).
        lme4's meaning: precisions, Var(e_r) = sigma^2 / weights[r]; trials of a binomial
        proportion; repeats of rows of other discrete families. ``y | weights(w)`` in the formula has brms' meaning, repeats of
        the row for every family.
    offset : str or array, optional
        Known part of the linear predictor, besides any ``offset()`` in the formula.
    contrasts : mapping, optional
        Coding of factors in the fixed part, for example ``{"f": "contr.sum"}``.
    ziformula : str, optional
        ``"~ x"``: zero-inflation of a count family, logit link.
    dispformula : str, optional
        ``"~ x"``: predictors of the log dispersion, of families that have one.
    nagq : int
        Nodes of adaptive Gauss-Hermite quadrature for one grouping factor; 1 is Laplace, 0 lme4's fast mode, in which the
        fixed effects are found together with the modes.
    priors : mapping, optional
        Parameter or class of parameters -> text, as in brms: ``{"b": "normal(0, 5)", "sd:Subject": "half_normal(10)", "cor":
        "lkj(2)", "sigma": "exponential(1)"}``, or a list of :func:`prior`. For "hmc" others are weak and scaled to the data;
        for "ml" and "laplace" the likelihood is penalised by those that are given alone. ``m.priors`` prints what was used.
    missing : {"drop", "raise"}
        Rows with a missing value in any variable used are dropped with a warning that counts them, or refused.
    rescor : bool, optional
        Of several Gaussian responses, whether the residuals of a row are correlated (brms' ``set_rescor``); by default where
        they can be.
    seed : int or Generator, optional
        For methods that draw: "hmc", the probes of "krylov", and `sample`.
    progress : bool or callable, optional
        By default a line on the terminal shows where a fit stands that takes longer than a second, its stage and time, and
        nothing where standard error is no terminal. True shows it from the first step, and prints each stage and step where
        there is no terminal; False shows nothing; a callable is called with (evaluations, deviance, what is still to gain), by
        "pql" with (outer iterations, dispersion, relative change of the fits), by each chain of "hmc" with (its iterations,
        minus the log density, acceptance rate).
    checkpoint : path, optional
        A file in which the search leaves where it stands, at least once a minute: after a crash the same call goes on from
        there, and gives the finished fit at once later on. Other data, another model, method, option or seed is refused.
        See the page on results, Checkpoints.
    sample : float, optional
        For a first look, a simple random sample of the rows, read in one pass and held in memory: their number, or below 1
        their share. The same seed gives the same rows; plan and summary say that it is a sample.
    context : mapping, optional
        Functions and constants that the formula may use besides the documented ones.
    data2 : mapping, optional
        What terms such as ``gr(animal, cov = A)`` name, as in brms: a covariance matrix (array, sparse matrix, or DataFrame
        with labels), a pedigree, or a tree. See the page on relationships.
    entrance : {"auto", "cells", "rows"}
        For data that are read a batch at a time: "cells" counts rows that are equal in all that the model needs of them once,
        where they lie, by a GROUP BY; "rows" reads them as they are. Both give the same fit; "auto" takes what it expects to
        be faster, which the plan says.
    **options
        ``engine`` ("auto", "blocked", "dense", "krylov", "sparse", or one that is registered), ``tolerance`` (Newton
        decrement of the deviance, 1e-9; 1e-6 on the Krylov engine), ``max_evaluations``, ``start`` (theta, or an earlier
        fit's ``estimate``), ``memory_limit`` (bytes, or "2 GB"), ``information`` ("observed", the Laplace approximation
        proper, or "expected", lme4's for links that are not canonical).
        For the Krylov engine: ``accuracy`` (standard error of the log-likelihood in units of sqrt(rows)), ``probes``,
        ``max_steps``, ``preconditioner``, ``device`` ("cpu", "gpu"). For "pql": ``traces`` ("exact" or "diagonal", by default
        what the size allows), ``correction`` ("none" or "laplace"), ``dispersion`` ("free" or "fixed"), ``max_outer``,
        ``max_inner``; from ``start=m.estimate`` it goes on. An interrupt from the keyboard during the search of "pql" gives
        the fit as it then stands, with a warning. For "hmc": ``sampler`` ("auto", "nuts" or
        "importance"), ``chains`` (4), ``draws`` of each chain (1000), ``warmup``, ``target_accept``
        (0.8), ``max_depth`` (10),
        ``marginalize`` ("auto": what is integrated out); an interrupt gives the draws there are, and
        ``m.extend(draws=1000)`` goes on from them.

    Returns
    -------
    Fit

    Raises
    ------
    FormulaError, DataError, PlanError, FitError
        Each says what happened and what to do.

    Warns
    -----
    DataDroppedWarning, RankDeficientWarning, SingularFitWarning, ConvergenceWarning

    References
    ----------
    Bates, Maechler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, J. Stat. Software 67(1).

    Examples
    --------
    >>> from lmmformula import fit, load_dataset
    >>> m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    >>> m.params.round(4).to_dict()
    {'(Intercept)': 251.4051, 'Days': 10.4673}
    >>> round(m.llf, 4)
    -871.8141
    """
    begun, formula = time.time(), one_formula(formula)
    assert priors is None or isinstance(priors, Mapping)  # a list has been read as one
    asked = method_named(method)
    if nagq != 1:
        options = {"nagq": nagq, **options}
    building = {
        "family": family,
        "weights": weights,
        "offset": offset,
        "contrasts": contrasts,
        "ziformula": ziformula,
        "dispformula": dispformula,
        "missing": missing,
        "rescor": rescor,
        "context": beside(context, data2),
    }
    own = {} if priors is None else {"priors": keep_argument(priors)}
    silence = {"progress": False} if progress is False else {}
    with reporting(progress, begun=begun):
        stage("reading the data")
        opened = open_rows(formula, data, building, sample, seed)
        wanted = Wanted(entrance, asked.against_cells)
        limit = options.get("memory_limit")
        problem = asked.with_priors(
            asked.arranged(built(formula, opened, wanted, **building, memory_limit=limit)), priors
        )
        arguments = {
            "method": method,
            **kept(building),
            **_chosen(entrance),
            **own,
            **silence,
            **lasting(options),
        }
        table, source = (opened.kept(), None) if isinstance(opened, Table) else (None, data)
        recall = Recall(fit, formula, table, arguments, source)
        stage("planning")
        planned = _said(make_plan(problem, method, options, seed, priors), opened)
        result = solve(problem, planned, recall, progress, begun, checkpoint)
    announce(result)
    return result


@checked(rest=BUILDING, draws=whole(1, 10_000_000))
def prior_predictive(
    formula: str,
    data: Data,
    priors: Mapping[str, str] | Sequence[Mapping[str, str]] | None = None,
    *,
    draws: int = 1_000,
    seed: int | np.random.Generator | None = None,
    **arguments: Argument,
) -> PriorPredictive:
    """Responses that the priors alone imply, to be looked at before ``fit(method="hmc")``.

    Parameters
    ----------
    formula, data, priors, seed
        As in :func:`fit`. Of the response only the scale matters, for default priors.
    draws : int
    **arguments
        ``family`` and other arguments of :func:`build`.

    Returns
    -------
    PriorPredictive
        ``.y`` (draw, row), ``["sd:Subject"]`` and the like (draw,), ``.priors``.

    Examples
    --------
    >>> from lmmformula import load_dataset, prior_predictive
    >>> seen = prior_predictive("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), {"sigma": "exponential(0.02)"}, seed=1)
    >>> print(seen.priors)
    parameter           prior                       source
    Intercept           normal(1530, 155)           default
    sd:Batch:Intercept  half_student_t(3, 0, 85.2)  default
    sigma               exponential(0.02)           user
    """
    from lmmformula.backends.posterior.prior_predictive import prior_predictive as drawn
    from lmmformula.ir.prior_defaults import resolve_priors

    assert priors is None or isinstance(priors, Mapping)  # a list has been read as one
    problem = build(formula, data, **arguments)
    number = int(np.random.default_rng(seed).integers(2**31))
    return drawn(problem, resolve_priors(problem, priors), draws, number)


_ONE = optional(text("a name"))


@checked(
    text=text("a distribution, for example 'normal(0, 1)'"),
    class_=text("the class of a parameter, such as 'b' or 'sd'"),
    **dict.fromkeys(("coef", "group", "dpar"), _ONE),
)
def prior(
    text: str, class_: str = "b", coef: str | None = None, group: str | None = None, dpar: str | None = None
) -> dict[str, str]:
    """A prior by class, coefficient and group, as brms' ``set_prior`` has them; ``priors=`` takes a list of these.

    Parameters
    ----------
    text : str
        A distribution, for example ``"normal(0, 1)"``.
    class_ : str
        "b", "Intercept", "sd", "cor", "sigma", or another parameter of the family.
    coef : str, optional
        A coefficient, of the fixed effects or of a group's.
    group : str, optional
        A grouping factor.
    dpar : str, optional
        The parameter whose formula is meant; that of the mean by default.

    Returns
    -------
    dict
        With one entry, key -> text, as ``priors=`` takes it too.

    Raises
    ------
    ArgumentError
        For a coefficient of a standard deviation without its group.

    Examples
    --------
    >>> from lmmformula import prior
    >>> prior("normal(0, 1)", class_="b", coef="Days")
    {'b:Days': 'normal(0, 1)'}
    >>> prior("exponential(1)", class_="sd", group="Subject", dpar="sigma")
    {'sigma:sd:Subject': 'exponential(1)'}
    """
    if coef and class_ in ("sd", "cor") and not group:
        raise ArgumentError(
            f"prior(class_={class_!r}, coef={coef!r}): a coefficient has a {class_} in each grouping factor, so name one: "
            "group='Subject'."
        )
    parts = (dpar, "cor" if class_ == "L" else class_, group, coef)
    return {":".join(part for part in parts if part): text}


def _chosen(entrance: str) -> dict[str, Argument]:
    """The entrance for later calls, where it is not left to the plan."""
    return {} if entrance == "auto" else {"entrance": entrance}
