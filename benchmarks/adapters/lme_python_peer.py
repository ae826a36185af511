"""lme-python, bindings of the Rust crate lme-rs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.adapters.python import PythonPeer
from benchmarks.problems import Problem

if TYPE_CHECKING:
    import pandas as pd


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], float]:
    import lme_python  # pyright: ignore[reportMissingImports]
    import polars as pl

    # Its own frame, made once: factors go in as strings, whose levels it sorts.
    columns = {name: frame[name] for name in frame.columns}
    table = pl.DataFrame(
        {
            name: c.astype(str).tolist() if c.dtype == "category" else c.to_numpy()
            for name, c in columns.items()
        }
    )
    if problem.family != "gaussian":
        return lambda: lme_python.glmer(problem.formula, table, problem.family).log_likelihood
    reml = problem.method == "reml"
    return lambda: lme_python.lmer(problem.formula, table, reml=reml).log_likelihood


ADAPTER = PythonPeer("lme-python", "lme_python", prepare)
