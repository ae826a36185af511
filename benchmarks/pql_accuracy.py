r"""Simulated accuracy of ``method="pql"``: mean squared errors against the number of rows, and coverage of intervals.

Replicate r of a study with seed s draws its data with seed ``s + r``, design and effects included, so a replicate is the
same whichever process makes it and whatever ran before.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.crossed_logit import FLAT, SLOPED, retail, sparse_cells
from benchmarks.pql_records import read_record, write_record

__all__ = ["METHODS", "SETTINGS", "CoverageStudy", "ErrorStudy", "logistic"]

SETTINGS = {"flat": FLAT, "sloped": SLOPED}
"""The paper's two settings of the coefficients."""

METHODS: dict[str, dict[str, Any]] = {
    "pql": {"method": "pql", "traces": "diagonal"},
    "pql-fixed": {"method": "pql", "traces": "diagonal", "dispersion": "fixed"},
    "pql-exact": {"method": "pql", "traces": "exact"},
    "pql-corrected": {"method": "pql", "traces": "diagonal", "correction": "laplace"},
    "laplace": {"method": "laplace"},
}
"""Arguments of ``fit`` by the name on the command line."""

_NORMAL_975 = 1.959963984540054
_STEPS = 30


@dataclass(frozen=True, slots=True)
class ErrorStudy:
    """Squared errors of coefficients in the design of the paper.

    Attributes
    ----------
    sizes : sequence of int
        S of :func:`benchmarks.crossed_logit.sparse_cells`.
    settings : sequence of str
        Of `SETTINGS`.
    replicates, seed, jobs : int
        `jobs` processes share the replicates.
    """

    sizes: Sequence[int]
    settings: Sequence[str]
    replicates: int
    seed: int = 1
    jobs: int = 1

    def run(self, record: Path) -> None:
        """Simulate what `record` does not hold with as many replicates, and add it."""
        cells = read_record(record).get("cells", [])
        for size in self.sizes:
            for setting in self.settings:
                key = {"setting": setting, "size": size, "replicates": self.replicates, "seed": self.seed}
                if any(key.items() <= cell.items() for cell in cells):
                    continue
                start = time.perf_counter()
                tasks = [(setting, size, self.seed + r) for r in range(self.replicates)]
                found = list(_spread(_errors, tasks, self.jobs))
                same = (setting, size)
                cells = [c for c in cells if (c["setting"], c["size"]) != same] + [
                    key | _cell(found, setting)
                ]
                write_record(record, {"cells": sorted(cells, key=lambda c: (c["setting"], c["size"]))})
                print(f"{setting} {size}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


def _errors(task: tuple[str, int, int]) -> dict[str, Any]:
    """One replicate: estimates of both methods."""
    import lmmformula

    setting, size, seed = task
    data = sparse_cells(size, seed, SETTINGS[setting])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = lmmformula.fit(data.formula, data.frame, family="binomial", **METHODS["pql"])
    names = list(data.beta.index[1:])
    x = np.column_stack([np.ones(len(data.frame)), data.frame[names].to_numpy()])
    return {
        "rows": len(data.frame),
        "pql": fit.params.to_numpy(),
        "logistic": logistic(x, data.frame["y"].to_numpy(dtype=float)),
        "sd": fit.varcorr()["sdcor"].to_numpy()[:2],
        "outer": fit.estimate.convergence.evaluations,
        "converged": bool(fit.converged),
    }


def logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Maximum likelihood of a logistic regression without random effects, by Newton's method.

    Parameters
    ----------
    x : (n, p) array
    y : (n,) array of 0 and 1

    Returns
    -------
    (p,) array
    """
    beta, step = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf)
    for _ in range(_STEPS):
        mean = 1.0 / (1.0 + np.exp(-(x @ beta)))
        step = np.linalg.solve((x * (mean * (1.0 - mean))[:, None]).T @ x, x.T @ (y - mean))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            return beta
    raise RuntimeError(
        f"the logistic regression has not converged in {_STEPS} steps, the last of {np.abs(step).max():.1e}. "
        "The likely cause is separation in a small sample: ask for a larger size or another seed."
    )


def _cell(found: Sequence[dict[str, Any]], setting: str) -> dict[str, Any]:
    """Means over replicates; ``_se`` are standard errors of the mean squared errors."""
    truth, root = np.array(SETTINGS[setting]), len(found) ** 0.5
    out: dict[str, Any] = {"rows": float(np.mean([f["rows"] for f in found]))}
    for method in ("pql", "logistic"):
        error = np.array([f[method] for f in found]) - truth
        for part, columns in (("intercept", slice(0, 1)), ("slopes", slice(1, None))):
            squares = (error[:, columns] ** 2).mean(axis=1)
            out[f"{method}_{part}"] = float(squares.mean())
            out[f"{method}_{part}_se"] = float(squares.std(ddof=1) / root) if len(found) > 1 else 0.0
        out[f"{method}_bias"] = error.mean(axis=0).tolist()
    out["sd"] = np.mean([f["sd"] for f in found], axis=0).tolist()
    out["outer"] = float(np.mean([f["outer"] for f in found]))
    out["converged"] = sum(f["converged"] for f in found)
    return out


@dataclass(frozen=True, slots=True)
class CoverageStudy:
    """Coverage of 95% Wald intervals in the retail design.

    Attributes
    ----------
    rows, replicates : int
    method : str
        Of `METHODS`.
    seed, jobs : int
    """

    rows: int
    replicates: int
    method: str = "pql"
    seed: int = 1
    jobs: int = 1

    def run(self, record: Path) -> None:
        """Simulate, and put the result in the place of an earlier one of the same method and size."""
        tasks = [(self.method, self.rows, self.seed + r) for r in range(self.replicates)]
        found = list(_spread(_interval, tasks, self.jobs))
        entry = {"method": self.method, "rows": self.rows, "replicates": self.replicates, "seed": self.seed}
        entry |= _coverage(found)
        kept = [
            e
            for e in read_record(record).get("studies", [])
            if (e["method"], e["rows"]) != (self.method, self.rows)
        ]
        write_record(record, {"studies": [*kept, entry]})


def _interval(task: tuple[str, int, int]) -> dict[str, Any]:
    """One replicate: estimates, standard errors and truth in one order."""
    import lmmformula

    method, rows, seed = task
    data = retail(rows, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        fit = lmmformula.fit(data.formula, data.frame, family="binomial", **METHODS[method])
        se = fit.bse
        seconds = time.perf_counter() - start
    names = list(data.beta.index)
    return {
        "names": names,
        "truth": data.beta.to_numpy(),
        "estimate": np.asarray(fit.params[names]),
        "se": np.asarray(se[names]),
        "variances": fit.varcorr()["vcov"].to_numpy()[:2],
        "true_variances": np.square(data.sd),
        "dispersion": float(fit.sigma) ** 2,
        "seconds": seconds,
    }


def _coverage(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coverage overall and by coefficient, and the size of bias and standard errors.

    ``binomial_se`` takes the intervals of a replicate as independent, ``replicate_se`` does not.
    """
    estimate, se = np.array([f["estimate"] for f in found]), np.array([f["se"] for f in found])
    truth, variances = found[0]["truth"], np.array([f["variances"] for f in found])
    inside = np.abs(estimate - truth) <= _NORMAL_975 * se
    share, n = float(inside.mean()), len(found)
    spread = estimate.std(axis=0, ddof=1) if n > 1 else np.zeros(len(truth))
    by_name = {
        name: {
            "kind": kind(name),
            "truth": float(truth[j]),
            "bias": float(estimate[:, j].mean() - truth[j]),
            "sd": float(spread[j]),
            "mean_se": float(se[:, j].mean()),
            "coverage": float(inside[:, j].mean()),
        }
        for j, name in enumerate(found[0]["names"])
    }
    return {
        "coverage": share,
        "binomial_se": (share * (1.0 - share) / inside.size) ** 0.5,
        "replicate_se": float(inside.mean(axis=1).std(ddof=1) / n**0.5) if n > 1 else 0.0,
        "variances": variances.mean(axis=0).tolist(),
        "variances_sd": variances.std(axis=0, ddof=1).tolist() if n > 1 else [0.0, 0.0],
        "true_variances": found[0]["true_variances"].tolist(),
        "dispersion": float(np.mean([f["dispersion"] for f in found])),
        "seconds": float(np.median([f["seconds"] for f in found])),
        "coefficients": by_name,
    }


def kind(name: str) -> str:
    """What a predictor of the retail design belongs to."""
    if name == "(Intercept)":
        return "intercept"
    if ":" in name:
        return "client x item"
    if name.startswith(("client_", "age", "chest")):
        return "client"
    return "row" if name.startswith(("match", "season")) else "item"


def _spread(work: Callable[[Any], Any], tasks: Sequence[Any], jobs: int) -> Iterator[Any]:
    """Results in the order of the tasks, from `jobs` fresh processes if there is more than one."""
    if jobs == 1:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, tasks)
