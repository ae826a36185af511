"""What one process of the planner's study measures: ``python -m benchmarks.plan_process {seconds,memory} CASE WAY``.

Seconds are those of a second fit, so that imports and compiling are left out, table to standard errors. Memory is the
resident memory of a fresh process at its peak during one fit, less the bytes of the table: interpreter, libraries, model and
fit. Both print a line of JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lmmformula
from benchmarks.plan_cases import Case, Shipped, find, ways

__all__ = ["main"]

POSTERIOR = ("nuts", "importance")


def main(what: str, name: str, way: str) -> None:
    case = find(name)
    measured = seconds if what == "seconds" else memory
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(json.dumps(measured(case, way, ways(case)[way])))


def seconds(case: Case | Shipped, way: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Wall time of a fit in a warm process; of posteriors, whose compiling cannot be had before, in a cold one."""
    data, small = case.data(), case.small()
    if way not in POSTERIOR:
        lmmformula.fit(small.formula, small.data(), family=case.family, **arguments)
    else:
        import jax  # noqa: F401
        import numpyro  # noqa: F401
    start = time.perf_counter()
    fitted = lmmformula.fit(case.formula, data, family=case.family, **arguments)
    _ = fitted.bse
    took = time.perf_counter() - start
    extra = evaluations(fitted) if way in POSTERIOR else {}
    return {"seconds": took, "converged": bool(fitted.converged), **extra}


def evaluations(fitted: Any) -> dict[str, Any]:
    """What a posterior took: densities and their gradients."""
    posterior = fitted.posterior
    steps = float(posterior.statistics["n_steps"].mean()) if posterior.statistics else 0.0
    return {"steps": steps, "warmup": posterior.warmup, "sampler": posterior.sampler}


def memory(case: Case | Shipped, way: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Bytes at the peak of a fresh process beside the table."""
    data = case.data()
    size = (
        sum(v.nbytes for v in data.values()) if isinstance(data, dict) else data.memory_usage(deep=True).sum()
    )
    gc.collect()
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # the peak of making the data is forgotten
    fitted = lmmformula.fit(case.formula, data, family=case.family, **arguments)
    _ = fitted.bse
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return {"memory": int(status.split("VmHWM:")[1].split()[0]) * 1024 - int(size)}


if __name__ == "__main__":
    main(*sys.argv[1:])
