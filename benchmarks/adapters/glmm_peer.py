"""glmm, a Rust engine with a formula of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.adapters.python import PythonPeer
from benchmarks.problems import Problem

if TYPE_CHECKING:
    import pandas as pd


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], float]:
    import glmm  # pyright: ignore[reportMissingImports]

    # Without Satterthwaite's df and refits for likelihood-ratio tables (by default of Poisson models), which it
    # would compute in each fit and the others on demand.
    options = {"reml": problem.method == "reml", "satterthwaite": False, "anova_test": "Wald"}
    return lambda: glmm.fit(frame, problem.formula, problem.family, **options).loglik


ADAPTER = PythonPeer("glmm", "glmm", prepare)
