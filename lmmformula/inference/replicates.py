"""The replicates of a bootstrap, one after the other or in several processes, with the same numbers.

Responses are drawn in the calling process, in order, from one generator; only their fits are sent away. So the number of
workers changes nothing but the time. Workers are started afresh ("spawn"), since a fork of a process with threads may hang.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lmmformula.errors import DataError, FitError
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Replicate", "Statistic", "as_numbers", "replicated"]

Replicate = dict[str, float] | None
"""The statistics of one replicate; None if it could not be fitted."""
Refit: TypeAlias = Callable[["Fitted", Array], "Fitted"]
Statistic: TypeAlias = Callable[["Fitted"], object]


def replicated(
    fit: Fitted, responses: Iterator[Array], refit: Refit, statistic: Statistic, workers: int
) -> Iterator[Replicate]:
    """`statistic` of the fits of `responses`, in order."""
    if workers == 1:
        for y in responses:
            yield _one(fit, y, refit, statistic)
        return
    bare = replace(fit, point=None, recall=replace(fit.recall, data=None))
    try:
        sent = pickle.dumps((bare, refit, statistic))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"workers={workers} sends the fit and statistic= to other processes, and this does not go through: {error}. Define "
            "the function at the top of a module, not as a lambda or inside another function, or use workers=1."
        ) from None
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (sent,)) as pool:
            yield from pool.map(_there, responses, chunksize=4)
    except BrokenProcessPool:
        raise FitError(
            f"the {workers} worker processes ended before they had answered. In a script the likely cause is a call at its top "
            "level: write it below `if __name__ == '__main__':`, since every worker imports the script; or use workers=1."
        ) from None


def as_numbers(value: Data) -> dict[str, float]:
    """What a statistic gave, by name: a mapping or Series keeps its own, numbers are t1, t2, ..."""
    if isinstance(value, Mapping):
        return {str(k): float(v) for k, v in value.items()}
    if hasattr(value, "to_dict"):
        return {str(k): float(v) for k, v in value.to_dict().items()}
    return {f"t{j}": float(v) for j, v in enumerate(np.atleast_1d(np.asarray(value, dtype=float)).ravel(), 1)}


def _one(fit: Fitted, y: Array, refit: Refit, statistic: Statistic) -> Replicate:
    try:
        return as_numbers(statistic(refit(fit, y)))
    except FitError:
        return None


_held: list[Any] = []
"""What a worker process was given when it began."""


def _begin(sent: bytes) -> None:
    _held[:] = pickle.loads(sent)


def _there(y: Array) -> Replicate:
    fit, refit, statistic = _held
    return _one(fit, y, refit, statistic)
