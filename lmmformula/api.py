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
from lmmformula.arguments.kinds import one_formula, whole
from lmmformula.checkpoints import keeping
from lmmformula.errors import DataError, PlanError, warn
from lmmformula.families import Family, resolve, zero_inflated
from lmmformula.formula import ModelSpec, model_spec
from lmmformula.frame import Table, Wanted, in_memory_entrance, keep_argument, open_data, stream
from lmmformula.frame import build as build_problem
from lmmformula.frame.own_families import Families, family_of
from lmmformula.frame.sampling import open_rows
from lmmformula.interrupts import interrupts_keep
from lmmformula.ir.estimate import Status
from lmmformula.ir.problem import Problem
from lmmformula.methods import BUILDING, OPTIONS, method_named
from lmmformula.methods.planning import make_plan
from lmmformula.planner import Plan, Planned
from lmmformula.progress import Report, expected, reporting, shifted, stage
from lmmformula.reporting.convergence import findings
from lmmformula.result import Fit, Recall
from lmmformula.typing import Argument, Arguments, Context, Data

if TYPE_CHECKING:
    from lmmformula.backends.posterior.prior_predictive import PriorPredictive
    from lmmformula.keeping.checkpoint import Checkpoint

__all__ = [
    "FITTING",
    "announce",
    "build",
    "fit",
    "kept",
    "lasting",
    "plan",
    "prior_predictive",
    "solve",
    "split",
]

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
    return _built(one_formula(formula), data, Wanted(entrance), **arguments)


def _built(
    formula: str,
    data: Data,
    wanted: Wanted,
    *,
    family: Families,
    weights: Data,
    offset: Data,
    contrasts: Mapping[str, str] | None,
    ziformula: str | None,
    dispformula: str | None,
    missing: Literal["drop", "raise"],
    rescor: bool | None = None,
    context: Context | None,
    data2: Context | None = None,
    memory_limit: float | str | None,
) -> Problem:
    """The problem of arguments that have been checked, its rows by the entrance that is wanted."""
    opened = open_data(data)
    spec = model_spec(formula, columns=opened.names) if _has_dot(formula) else model_spec(formula)
    given = {"weights": weights, "offset": offset, "contrasts": contrasts, "missing": missing}
    limit = None if memory_limit is None else float(memory_limit)
    if spec.responses:
        beside = {"context": _beside(context, data2), "memory_limit": limit, "rescor": rescor}
        from lmmformula.frame.responses import of_responses

        return of_responses(spec, opened, wanted, family, (ziformula, dispformula), **given, **beside)
    if rescor is not None:
        raise PlanError(
            "rescor= says whether residuals of several responses are correlated, and this formula has one response: leave it "
            "out, or write one formula for each response."
        )
    record = resolve(family_of(spec, family))
    if ziformula is not None and record.zeros_at is None:
        record = zero_inflated(record)
    arguments: dict[str, Argument] = {
        "family": record,
        "auxiliary": _auxiliary(record, ziformula, dispformula),
        "levels_below_rows": record.has_residual,
        **given,
        "context": _beside(context, data2),
        "memory_limit": limit,
    }
    if isinstance(opened, Table):
        in_memory_entrance(wanted.entrance)
        return build_problem(spec, opened, **arguments)
    return stream(spec, opened, wanted, **arguments)


def _auxiliary(family: Family, ziformula: str | None, dispformula: str | None) -> list[ModelSpec | None]:
    """Formulas of the family's auxiliary predictors, in its order; none where the criterion profiles them out."""
    if family.is_linear and dispformula is None:
        return []
    given: list[ModelSpec | None] = [None] * len(family.auxiliaries)
    if ziformula is not None and family.zeros_at is not None:
        given[family.zeros_at] = model_spec(ziformula)
    if dispformula is not None:
        if family.scale_at is None:
            raise PlanError(
                f"dispformula={dispformula!r}: family {family.name!r} has no dispersion parameter; leave it out."
            )
        given[family.scale_at] = model_spec(dispformula)
    return given


def _beside(context: Context | None, data2: Context | None) -> Context | None:
    """Everything that the formula may name besides columns."""
    if data2 is None:
        return context
    given = context or {}
    if twice := [name for name in data2 if name in given and given[name] is not data2[name]]:
        raise DataError(f"`{twice[0]}` is given twice: in data2= and in context=; keep one of them.")
    return {**given, **data2}


def _has_dot(formula: str) -> bool:
    """Whether the formula may mean "every other column"; only then are the table's columns looked at first."""
    return isinstance(formula, str) and "." in formula


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
    problem = asked.arranged(_built(formula, opened, wanted, **(_PLAIN | building)))
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


def split(arguments: Arguments) -> tuple[dict[str, Argument], dict[str, Argument]]:
    """Arguments that make the model, and the others; what limits memory is among both."""
    building = {name: value for name, value in arguments.items() if name in BUILDING}
    others = {name: value for name, value in arguments.items() if name not in BUILDING}
    if "memory_limit" in building:
        others["memory_limit"] = building["memory_limit"]
    return building, others


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
    priors: Mapping[str, str] | None = None,
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
        For "hmc": parameter or class of parameters -> text, as in brms: ``{"b": "normal(0, 5)", "sd:Subject":
        "half_normal(10)", "cor": "lkj(2)", "sigma": "exponential(1)"}``. Others are weak and scaled to the data; ``m.priors``
        prints what was used.
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
        the fit as it then stands, with a warning. For "hmc": ``sampler`` ("nuts" or "importance"), ``chains`` (4),
        ``draws`` of each chain (1000), ``warmup``, ``target_accept`` (0.8), ``max_depth`` (10), ``marginalize`` ("auto":
        what is integrated out); an interrupt gives the draws there are, and ``m.extend(draws=1000)`` goes on from them.

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
        "context": _beside(context, data2),
    }
    own = {} if priors is None else {"priors": keep_argument(priors)}
    silence = {"progress": False} if progress is False else {}
    with reporting(progress, begun=begun):
        stage("reading the data")
        opened = open_rows(formula, data, building, sample, seed)
        wanted = Wanted(entrance, asked.against_cells)
        built = _built(formula, opened, wanted, **building, memory_limit=options.get("memory_limit"))
        problem = asked.arranged(built)
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
    priors: Mapping[str, str] | None = None,
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
    from lmmformula.ir.priors import resolve_priors

    problem = build(formula, data, **arguments)
    number = int(np.random.default_rng(seed).integers(2**31))
    return drawn(problem, resolve_priors(problem, priors), draws, number)


def _chosen(entrance: str) -> dict[str, Argument]:
    """The entrance for later calls, where it is not left to the plan."""
    return {} if entrance == "auto" else {"entrance": entrance}


def kept(building: Arguments) -> dict[str, Argument]:
    """Arguments of a call for later use, as they are now: arrays, lists and mappings are copied."""
    return {name: keep_argument(value) for name, value in building.items()}


def lasting(options: Arguments) -> dict[str, Argument]:
    """Options that a later fit of the same call should have too."""
    return {name: value for name, value in options.items() if name != "start"}


def solve(
    problem: Problem,
    planned: Planned,
    recall: Recall,
    progress: bool | Report | None,
    begun: float,
    checkpoint: str | Path | None = None,
) -> Fit:
    """The fit that a plan promises; an interrupt keeps what has been found, where that is worth having.

    With a checkpoint it begins where an earlier run stood, or is the finished fit of that.
    """
    problem, planned = _on_face(problem, planned)
    if checkpoint is None:
        return _searched(problem, planned, recall, progress, begun)
    from lmmformula.keeping.checkpoint import open_checkpoint

    stage("looking at the checkpoint")
    kept = open_checkpoint(checkpoint, problem, planned)
    found = kept.kept
    if found.estimate is not None:
        own = planned.plan, planned.backend, recall
        return Fit(problem, found.estimate, *own, None, found.posterior, planned.standard)
    try:
        with keeping(kept):
            result = _searched(problem, planned, recall, progress, begun, kept)
    except BaseException:
        kept.flush()
        raise
    if result.estimate.convergence.status is Status.INTERRUPTED:
        kept.flush()
    else:
        kept.finish(result.estimate, result.posterior)
    return result


def _on_face(problem: Problem, planned: Planned) -> tuple[Problem, Planned]:
    """Without the steps of monotonic effects that are zero, where a likelihood says which these are."""
    if problem.monotonic is None:
        return problem, planned
    from lmmformula.backends.monotonic import face_of
    from lmmformula.ir.standard_responses import standard_of

    stage("steps of monotonic effects")
    face = face_of(problem, planned.backend, planned.prepared)
    return face, replace(planned, standard=standard_of(face))


def _searched(
    problem: Problem,
    planned: Planned,
    recall: Recall,
    progress: bool | Report | None,
    begun: float,
    kept: Checkpoint | None = None,
) -> Fit:
    backend, standard = planned.backend, planned.standard
    with reporting(progress, backend.labels, begun) as report, interrupts_keep():
        expected(planned.plan.seconds)
        if report is not None and backend.labels.is_deviance:
            report = shifted(report, standard.deviance_shift(restricted=backend.restricted))
        stage("search")
        found = backend.fit(standard.problem, planned.prepared, progress=report)
    estimate = standard.outward(found.estimate)
    if kept is not None:
        estimate = kept.counted(estimate)
    return Fit(problem, estimate, planned.plan, backend, recall, found.point, found.posterior, standard)


def announce(result: Fit) -> None:
    """Warn of what a careful reader of the numbers must know."""
    for category, text in findings(result):
        warn(text, category)
