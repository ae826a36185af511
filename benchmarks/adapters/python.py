"""What the adapters of Python packages share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.exchange import read_frame
from benchmarks.measure import Measurement, measure
from benchmarks.problems import Problem

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PythonPeer"]


def _anything(problem: Problem) -> None:
    return None


@dataclass(frozen=True, slots=True)
class PythonPeer:
    """An adapter that imports its peer.

    Attributes
    ----------
    distribution : str
        Name of the package for ``pip``.
    module : str
        Name to import.
    prepare : callable
        Turns a problem and its data into a fit without arguments that returns the log-likelihood. What a
        user does once per data set (conversion to the peer's own frame) belongs here and is not timed.
    refuse : callable
        See `Adapter.cannot`.
    """

    distribution: str
    module: str
    prepare: Callable[[Problem, pd.DataFrame], Callable[[], float]]
    refuse: Callable[[Problem], str | None] = _anything

    def absent(self) -> str | None:
        if find_spec(self.module) is None:
            return f"pip install {self.distribution}"
        return None

    def cannot(self, problem: Problem) -> str | None:
        return self.refuse(problem)

    def measure(self, problem: Problem, folder: Path, repeats: int, budget: float) -> Measurement:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = self.prepare(problem, read_frame(folder))
            return measure(fit, repeats, budget, self._version())

    def _version(self) -> str:
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return "checkout"
