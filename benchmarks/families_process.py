"""A family's model in a fresh process: ``python -m benchmarks.families_process NAME ROWS.csv REPEATS``.

Follows families.R: seconds from the table in memory to estimates with standard errors; prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import warnings
from time import perf_counter, process_time

import pandas as pd

import lmmformula
from benchmarks.families_data import CASES

__all__ = ["main"]


def main(name: str, path: str, repeats: int) -> None:
    """Fit `repeats` + 1 times and tell the median of all but the first, which loads and compiles kernels."""
    table = pd.read_csv(path)
    cpu, wall, errors = [], [], []
    fit = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(repeats + 1):
            began, seen = process_time(), perf_counter()
            fit = lmmformula.fit(CASES[name].formula, table, family=name)
            errors = fit.bse.to_numpy().tolist()
            cpu.append(process_time() - began)
            wall.append(perf_counter() - seen)
    assert fit is not None
    out = {
        "cpu": statistics.median(cpu[1:]),
        "wall": statistics.median(wall[1:]),
        "first_cpu": cpu[0],
        "loglik": float(fit.llf),
        "beta": fit.params.to_numpy().tolist(),
        "se": errors,
        "version": lmmformula.__version__,
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
