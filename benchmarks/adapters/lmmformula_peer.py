"""lmmformula itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.adapters.python import PythonPeer
from benchmarks.problems import Problem

if TYPE_CHECKING:
    import pandas as pd


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], float]:
    import lmmformula

    return lambda: lmmformula.fit(problem.formula, frame, family=problem.family, method=problem.method).llf


ADAPTER = PythonPeer("lmmformula", "lmmformula", prepare)
