"""One fit in a fresh interpreter: ``python -P speed_process.py REQUEST``, the request as JSON.

The protocol of the page: a small model is fitted first, then the fit that counts, once, from a table in memory. Run as a
file, so that another checkout of lmmformula can be measured by this one's protocol: its folder comes first on the path once
everything of `benchmarks` is imported. The last line of the output is the measurement.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parent.parent)
MARK = "measurement: "


def main(text: str) -> None:
    sys.path.insert(0, _ROOT)
    import dataclasses

    import benchmarks.adapters
    import benchmarks.measure
    import benchmarks.speed_cases
    import benchmarks.worker

    request = json.loads(text)
    if request["checkout"]:
        sys.path.remove(_ROOT)
        sys.path.insert(0, request["checkout"])
    warnings.simplefilter("ignore")
    if request["peer"] == "lmmformula":
        found = _ours(request, benchmarks.speed_cases.WORK[request["work"]])
    else:
        adapter = benchmarks.adapters.adapter(request["peer"])
        problem = benchmarks.speed_cases.WORK[request["work"]].problem
        small = benchmarks.speed_cases.PROBLEMS[request["small"]]
        benchmarks.worker.run(adapter, small, Path(request["small_folder"]), 1, 0.0)
        before = os.getloadavg()[0]
        measured = benchmarks.worker.run(adapter, problem, Path(request["folder"]), 1, 0.0)
        found = dataclasses.asdict(measured) | {"load": [before, os.getloadavg()[0]]}
    print(MARK + json.dumps(found), flush=True)


def _ours(request: dict[str, Any], work: Any) -> dict[str, Any]:
    from benchmarks.exchange import read_frame
    from benchmarks.measure import peak_memory_mb

    frame = read_frame(Path(request["folder"]))
    small = read_frame(Path(request["small_folder"]))
    import lmmformula

    home = Path(lmmformula.__file__ or "").resolve()
    if request["checkout"] and not home.is_relative_to(Path(request["checkout"]).resolve()):
        raise SystemExit(f"lmmformula was imported from {home}, not from {request['checkout']}")
    problem = work.problem
    lmmformula.fit(request["small_formula"], small, method="ml")
    options = {"family": problem.family, "method": problem.method, **work.options}
    before, memory = os.getloadavg()[0], peak_memory_mb()
    start, cpu = time.perf_counter(), time.process_time()
    model = lmmformula.fit(problem.formula, frame, **options)
    seconds, spent = time.perf_counter() - start, time.process_time() - cpu
    peak, after = peak_memory_mb(), os.getloadavg()[0]
    start = time.perf_counter()
    errors = model.bse
    late = time.perf_counter() - start
    return {
        "status": "ok",
        "note": "",
        "seconds": seconds,
        "cpu": spent,
        "errors": late if len(errors) else None,
        "memory": peak,
        "before": memory,
        "loglik": _finite(model.llf),
        "version": lmmformula.__version__,
        "planned": _finite(model.plan.seconds),
        "load": [before, after],
    }


def _finite(value: float) -> float | None:
    """The number, None where there is none: a quasi-likelihood has no likelihood, some plans no time."""
    return float(value) if math.isfinite(value) else None


if __name__ == "__main__":
    main(sys.argv[1])
