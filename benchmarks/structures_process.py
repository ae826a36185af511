"""One model of random-effect structures in a fresh process: ``python -m benchmarks.structures_process MODEL FOLDER REPEATS``.

Follows structures.R: seconds from the table in memory to estimates, standard errors of the fixed effects and of the
parameters of the covariance; prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import lmmformula

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmmformula import Fit

__all__ = ["FORMULAS", "main"]

FORMULAS = {
    "gam": "y ~ s(x) + s(z) + s(w) + (1 | g)",
    "animal": "y ~ x + sex + (1 | gr(animal, cov = A))",
    "mmrm": "y ~ arm * visit + unstr(visit, gr = subject)",
    "exp": "y ~ x + exp(0 + pos(cx, cy) | one)",
    "mat": "y ~ x + mat(0 + pos(cx, cy) | one)",
}
LONG = 20.0
"""A first fit of more seconds is itself the measurement: compiling and warming up are a small part of it."""


def fitter(model: str, folder: Path) -> Callable[[], Fit]:
    """The call that is measured."""
    table = pd.read_csv(folder / "data.csv")
    method = "ml" if model in ("exp", "mat") else "reml"
    if model != "animal":
        return lambda: lmmformula.fit(FORMULAS[model], table, method=method)
    pedigree = pd.read_csv(folder / "pedigree.csv")
    # a copy: what was made of a table may be kept with it
    return lambda: lmmformula.fit(FORMULAS[model], table, method=method, data2={"A": pedigree.copy()})


@dataclass(frozen=True, slots=True)
class Timed:
    """A fit with its standard errors, and what it took."""

    cpu: float
    wall: float
    fit: Fit
    errors: list[float]
    spreads: list[float]


def timed(call: Callable[[], Fit]) -> Timed:
    """One fit, timed."""
    cpu, wall = time.process_time(), time.perf_counter()
    m = call()
    errors, spreads = m.bse.to_numpy().tolist(), m.tidy(effects="ran_pars")["estimate"].to_numpy().tolist()
    return Timed(time.process_time() - cpu, time.perf_counter() - wall, m, errors, spreads)


def main(model: str, folder: str, repeats: int) -> None:
    call = fitter(model, Path(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [timed(call)]
        while found[0].cpu <= LONG and len(found) <= repeats:
            found.append(timed(call))
    first, last, kept = found[0], found[-1], found[1:] or found
    out = {
        "cpu": statistics.median(f.cpu for f in kept),
        "wall": statistics.median(f.wall for f in kept),
        "first_cpu": first.cpu,
        "first_wall": first.wall,
        "fits": len(kept),
        "loglik": float(last.fit.llf),
        "beta": last.fit.params.to_numpy().tolist(),
        "se": last.errors,
        "spread": last.spreads,
        "version": lmmformula.__version__,
    }
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
