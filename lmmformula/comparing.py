"""Several methods on one model: each is planned, fitted and measured; what does not suit becomes a line that says why."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np

from lmmformula.api import FITTING, build, fit
from lmmformula.arguments import check, checked, shown
from lmmformula.building import kept, lasting, split
from lmmformula.errors import ArgumentError, FitError, LmmformulaWarning, PlanError
from lmmformula.frame import open_table
from lmmformula.ir.problem import Problem
from lmmformula.metering import Measured, metered
from lmmformula.methods import BUILDING, METHODS, OPTIONS, method_named, unknown_option
from lmmformula.methods.planning import make_plan
from lmmformula.planner import Planned
from lmmformula.progress import Report
from lmmformula.reporting.compared import MethodRun
from lmmformula.reporting.comparison import MethodComparison
from lmmformula.result import Fit, Recall
from lmmformula.solving import announce, solve
from lmmformula.typing import Argument, Arguments, Data

__all__ = ["compare_methods"]


@checked(rest=FITTING)
def compare_methods(
    formula: str,
    data: Data,
    methods: Sequence[str] | Mapping[str, Arguments] = ("laplace", "pql"),
    *,
    level: float = 0.95,
    repeats: int = 1,
    priors: Mapping[str, str] | None = None,
    seed: int | np.random.Generator | None = None,
    progress: bool | Report | None = None,
    **arguments: Argument,
) -> MethodComparison:
    """Fit one model by several methods and put them side by side.

    Parameters
    ----------
    formula, data, seed, progress
        As in :func:`fit`. The data are read once.
    methods : sequence of str, or mapping
        Methods of :func:`fit`; or a mapping from a name of your choice to arguments of :func:`fit`, which takes options that
        only one method has: ``{"laplace": {}, "quadrature": {"method": "laplace", "nagq": 11}}``. A name that is a method
        need not repeat it.
    level : float
        Of the intervals.
    repeats : int
        How often each method is run; the least time counts. The first fit of a process also pays for imports and for
        compiling, which this leaves out.
    priors : mapping, optional
        For posteriors; of other methods a likelihood is penalised by priors that stand among its own arguments.
    **arguments
        Further arguments of :func:`fit` for every method.

    Returns
    -------
    MethodComparison
        Prints as a table; ``.fits``, ``.table()``, ``.tidy()``, ``.differences()``, ``.flags``, ``.plot()``. A method that does
        not suit the model is a line that says why. A method that means the same fit as an earlier one (Laplace's
        approximation and maximum likelihood of a Gaussian response) is not fitted again.

    Raises
    ------
    PlanError
        If a name is given twice, a method is unknown, or none can fit the model.

    Examples
    --------
    >>> from lmmformula import compare_methods, load_dataset
    >>> both = compare_methods("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), ["reml", "ml"])
    >>> both.differences().query("part == 'random'")["ratio"].round(3).tolist()
    [0.887, 1.0]
    """
    wanted = _wanted(methods)
    building, common = split(arguments)
    table = open_table(data)
    problem = build(formula, table, **building)
    again = table.kept()
    runs: list[MethodRun] = []
    for name, own in wanted.items():
        options = {**common, **own}
        method = options.pop("method", name)
        asked = method_named(method)
        beliefs = options.pop("priors", priors if asked.has_priors else None)
        told = {"method": method, **({} if beliefs is None else {"priors": beliefs})}
        recall = Recall(fit, formula, again, {**told, **kept(building), **lasting(options)})
        own_problem = asked.with_priors(asked.arranged(problem), beliefs)
        planning = partial(make_plan, own_problem, method, options, seed, beliefs)
        attempt = partial(_attempt, own_problem, planning, progress, recall, repeats)
        runs.append(_run(name, attempt, runs))
    if all(run.fit is None for run in runs):
        reasons = " ".join(f"{run.name}: {run.refused}" for run in runs)
        raise PlanError(f"no method can fit this model. {reasons}")
    return MethodComparison(formula, tuple(runs), level)


def _wanted(methods: Sequence[str] | Mapping[str, Arguments]) -> dict[str, dict[str, Argument]]:
    """Name -> arguments of each method, checked."""
    if isinstance(methods, str):
        methods = [methods]
    known = ", ".join(METHODS)
    if not isinstance(methods, Mapping | Sequence) or isinstance(methods, bytes):
        raise ArgumentError(
            f"methods={shown(methods)} must be names of methods ({known}), or a mapping from names to arguments."
        )
    if not len(methods):
        raise ArgumentError(f"methods is empty: name some of {known}.")
    if odd := [name for name in methods if not isinstance(name, str) or not name.strip()]:
        raise ArgumentError(f"methods names {shown(odd[0])}, which is no method; known: {known}.")
    if isinstance(methods, Mapping):
        wanted = {name: _own(name, own) for name, own in methods.items()}
    else:
        if twice := [name for i, name in enumerate(methods) if name in methods[:i]]:
            raise ArgumentError(
                f"methods names {twice[0]!r} twice. To compare options of one method give a mapping, for example "
                f"{{{twice[0]!r}: {{}}, 'another': {{'method': {twice[0]!r}, 'tolerance': 1e-6}}}}."
            )
        wanted = {name: {} for name in methods}
    for name, own in wanted.items():
        method_named(own.get("method", name))
    return wanted


def _own(name: str, given: object) -> dict[str, Argument]:
    """Arguments that one method alone has: options of fit(), and its priors."""
    if not isinstance(given, Mapping):
        raise ArgumentError(
            f"methods[{name!r}]={shown(given)} must be a mapping from arguments of fit() to values."
        )
    for argument, value in given.items():
        if argument in BUILDING and argument not in OPTIONS:
            raise ArgumentError(
                f"methods[{name!r}] has {argument!r}, which makes the model, and methods are compared on one model: "
                f"compare_methods(..., {argument}=...)."
            )
        if argument == "method":
            continue
        if argument != "priors" and argument not in OPTIONS:
            raise ArgumentError(f"methods[{name!r}]: {unknown_option(argument, value)}")
        check(argument, value, OPTIONS.get(argument))
    return dict(given)


def _attempt(
    problem: Problem,
    planning: Callable[[], Planned],
    progress: bool | Report | None,
    recall: Recall,
    repeats: int,
    earlier: Sequence[MethodRun],
) -> tuple[Fit, Measured | None, str]:
    """A fit, what it cost, and the name of the earlier run that it is, if any."""
    planned = planning()
    for run in earlier:
        if run.fit is not None and _same(planned, run.fit):
            return run.fit, run.measured, run.same_as or run.name
    found, cost = _measured(problem, planned, recall, progress)
    for _ in range(repeats - 1):
        _, again = _measured(problem, planned, recall, progress)
        memory = None if cost.memory is None or again.memory is None else max(cost.memory, again.memory)
        cost = Measured(min(cost.seconds, again.seconds), memory)
    announce(found)
    return found, cost, ""


def _measured(
    problem: Problem, planned: Planned, recall: Recall, progress: bool | Report | None
) -> tuple[Fit, Measured]:
    return metered(lambda: _with_errors(solve(problem, planned, recall, progress, time.time())))


def _with_errors(found: Fit) -> Fit:
    """The fit with its standard errors, which some methods compute when first asked."""
    with suppress(FitError):
        _ = found.bse
    return found


def _same(planned: Planned, earlier: Fit) -> bool:
    """Whether a plan is that of an earlier fit but for its reasons."""
    mine, theirs = planned.plan, earlier.plan
    same = (mine.method, mine.engine, mine.terms) == (theirs.method, theirs.engine, theirs.terms)
    return same and repr(planned.backend) == repr(earlier.backend)


def _run(
    name: str,
    attempt: Callable[[Sequence[MethodRun]], tuple[Fit, Measured | None, str]],
    earlier: list[MethodRun],
) -> MethodRun:
    """A row of the comparison: a fit with what it warned of, or why there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found, measured, same_as = attempt(earlier)
            run = MethodRun(name, found, measured=measured, same_as=same_as)
        except (PlanError, FitError) as error:
            run = MethodRun(name, None, refused=str(error))
    told = []
    for item in caught:
        if issubclass(item.category, LmmformulaWarning):
            told.append(str(item.message))
        else:
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    return replace(run, warnings=tuple(dict.fromkeys(told)))
