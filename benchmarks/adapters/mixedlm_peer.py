"""mixedlm, lme4's interface in Python over a Rust core."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.adapters.python import PythonPeer
from benchmarks.problems import Problem

if TYPE_CHECKING:
    import pandas as pd


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], float]:
    import mixedlm  # pyright: ignore[reportMissingImports]

    # Its core reads factors as text.
    table = frame.assign(**{t.group: frame[t.group].astype(str) for t in problem.terms})
    if problem.family == "gaussian":
        reml = problem.method == "reml"
        return lambda: mixedlm.lmer(problem.formula, table, REML=reml).logLik().value
    family = getattr(mixedlm.families, problem.family.capitalize())()
    return lambda: mixedlm.glmer(problem.formula, table, family=family).logLik().value


ADAPTER = PythonPeer("mixedlm", "mixedlm", prepare)
