"""The parametric bootstrap: fits of the same rows with responses drawn from a fit.

Gaussian models are refitted all together (:mod:`lmmformula.backends.batched`) where their designs suit; other ones, and
those of which a statistic of the user's own is asked, one after the other or in several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.bootstrap_intervals import acceleration, ends
from lmmformula.inference.interval_types import TYPES
from lmmformula.inference.refitting import parameters, refit_drawn
from lmmformula.inference.replicates import Replicate, as_numbers, replicated
from lmmformula.inference.simulate import draw, warn_of_dispersion
from lmmformula.inference.student import interval_names
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["bootstrap", "bootstrap_interval"]

T = TypeVar("T")


def bootstrap(
    fit: Fitted,
    n: int = 500,
    seed: int | np.random.Generator | None = None,
    progress: bool = False,
    *,
    statistic: Callable[[Fitted], object] | None = None,
    workers: int = 1,
    type: str | None = None,  # noqa: A002 - R's word
    level: float = 0.95,
) -> pd.DataFrame:
    """Parametric bootstrap.

    Parameters
    ----------
    n : int
        Replicates.
    seed : int or Generator, optional
    progress : bool
        Show a progress bar on a terminal.
    statistic : callable, optional
        From a fit to what is to be repeated: a mapping, a Series, or numbers; by default
        :func:`lmmformula.inference.refitting.parameters`.
    workers : int
        Processes that share the replicates; the numbers do not depend on it. Each takes a second or two to start. A script
        must call it below ``if __name__ == "__main__":``.
    type : {"percentile", "basic", "normal", "bca"}, optional
        Give intervals of this type and not the replicates; "bca" fits the model without each group too. See
        :mod:`lmmformula.inference.bootstrap_intervals`.
    level : float
        Of the intervals.

    Returns
    -------
    DataFrame
        One row a replicate, one column a statistic; or, with `type`, one row a statistic and its lower and upper end.
        ``attrs["failed"]`` counts replicates that could not be fitted; their rows are nan. ``attrs["estimate"]`` has the
        statistics of the fit, where replicates are given.

    Raises
    ------
    DataError
        For arguments that are none of these, and for a `statistic` that cannot be sent to other processes.
    """
    import pandas as pd

    _refuse(fit, n, workers, type, level)
    warn_of_dispersion(fit)
    wanted = parameters if statistic is None else statistic
    estimate = as_numbers(wanted(fit))
    rng = np.random.default_rng(seed)
    names = list(estimate)
    together = _together(fit, n, rng) if statistic is None else None
    if together is None:
        responses = (draw(fit, rng) for _ in range(n))
        found = list(_bar(replicated(fit, responses, refit_drawn, wanted, workers), n, progress))
        out, failed = _by_name(found, names), sum(one is None for one in found)
    else:
        out = pd.DataFrame(together, columns=names)
        failed = int(np.isnan(together[names[0]]).sum())
    if type is not None:
        bend = acceleration(fit, wanted) if type == "bca" else None
        limits = ends(out, estimate, level, type, bend)
        out = pd.DataFrame(limits, index=names, columns=list(interval_names(level)))
    else:
        out.attrs["estimate"] = estimate
    out.attrs["failed"] = failed
    return out


def _together(fit: Fitted, n: int, rng: np.random.Generator) -> dict[str, Array] | None:
    """:func:`parameters` of all replicates, fitted together; None where that cannot be."""
    if fit.problem.monotonic is not None or fit.backend.batch(fit.optimum) is None:
        return None
    from lmmformula.inference.many.draws import drawn_responses
    from lmmformula.inference.many.estimates import estimates

    drawn = drawn_responses(fit, n, rng)
    parts = [estimates(fit, y, start=True, tests=False).parameters for y in drawn]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _by_name(found: list[Replicate], names: list[str]) -> pd.DataFrame:
    import pandas as pd

    rows = [dict.fromkeys(names, np.nan) if one is None else one for one in found]
    return pd.DataFrame(rows, columns=names)


def _refuse(fit: Fitted, n: int, workers: int, kind: str | None, level: float) -> None:
    if n < 1:
        raise DataError(f"n={n} replicates were asked for; ask for one or more.")
    if not isinstance(workers, int | np.integer) or workers < 1:
        raise DataError(f"workers={workers!r} must be a whole number from 1 on.")
    if kind is not None and kind not in TYPES:
        raise DataError(f"type={kind!r} is unknown; use one of {', '.join(map(repr, TYPES))}.")
    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")
    fit.inference.check("bootstrap")
    fit.problem.refuse_elsewhere("a bootstrap")
    if fit.problem.family.hides:
        raise DataError(
            "a parametric bootstrap draws responses as they are before censoring, and which of them would have been censored "
            "the rows that were seen do not say: refits would know more than the data. Use conf_int(method='profile'), or "
            "draw with simulate(), censor the draws as the study does, and fit those."
        )
    if fit.problem.family.repeated:
        raise DataError(
            "a parametric bootstrap draws one response for each row, and y | weights(w) says that a row stands for w "
            "observations: one draw cannot stand for w. Write the rows out w times, or use conf_int(method='profile')."
        )


def _bar(items: Iterable[T], n: int, progress: bool) -> Iterable[T]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, total=n, disable=None, desc="bootstrap")


def bootstrap_interval(
    fit: Fitted,
    level: float = 0.95,
    n: int = 500,
    seed: int | np.random.Generator | None = None,
    parameters: str | Iterable[str] = "all",
    type: str = "percentile",  # noqa: A002
    statistic: Callable[[Fitted], object] | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """Intervals of the parametric bootstrap: of every parameter, of the fixed effects, or of those named.

    `type`, `statistic` and `workers` as in :func:`bootstrap`.
    """
    table = bootstrap(fit, n, seed, statistic=statistic, workers=workers, type=type, level=level)
    if isinstance(parameters, str) and parameters == "all":
        return table
    fixed = isinstance(parameters, str) and parameters == "fixed"
    names = (
        list(fit.problem.X.names)
        if fixed
        else [parameters]
        if isinstance(parameters, str)
        else list(parameters)
    )
    if unknown := [name for name in names if name not in table.index]:
        known = ", ".join(map(str, table.index))
        raise DataError(f"there is no parameter {unknown[0]!r}; use 'fixed', 'all', or some of {known}.")
    out = table.loc[names]
    out.attrs = dict(table.attrs)
    return out
