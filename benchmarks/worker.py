"""One measurement in a fresh interpreter: ``python -m benchmarks.worker PEER PROBLEM FOLDER REPEATS BUDGET``.

The last line of the output is the measurement as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from pathlib import Path

from benchmarks.adapters import Adapter, adapter
from benchmarks.measure import Measurement
from benchmarks.problems import PROBLEMS, Problem

MARK = "measurement: "


def main(arguments: list[str]) -> None:
    peer, problem, folder, repeats, budget = arguments
    result = run(adapter(peer), PROBLEMS[problem], Path(folder), int(repeats), float(budget))
    print(MARK + json.dumps(dataclasses.asdict(result)), flush=True)


def run(peer: Adapter, problem: Problem, folder: Path, repeats: int, budget: float) -> Measurement:
    """Measure, or say why not."""
    if why := peer.absent():
        return Measurement("absent", why)
    if why := peer.cannot(problem):
        return Measurement("cannot", why)
    try:
        return peer.measure(problem, folder, repeats, budget)
    except Exception as error:
        traceback.print_exc()
        return Measurement("failed", f"{type(error).__name__}: {error}"[:200])


if __name__ == "__main__":
    main(sys.argv[1:])
