"""Time and memory of a fit against the number of rows, each fit in a process of its own.

Run as a program it is that process: ``python -m benchmarks.pql_timing FOLDER FORMULA REPEATS BUDGET`` fits the frame in
FOLDER and prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.crossed_logit import retail, sparse_cells
from benchmarks.exchange import write_frame
from benchmarks.measure import peak_memory_mb
from benchmarks.pql_records import machine, read_record, write_record
from benchmarks.processes import environment

__all__ = ["PROGRAMS", "TimeStudy"]

PROGRAMS = ("lmmformula", "glmer0", "glmer1", "paper")
"""method="pql" with diagonal traces; glmer with nAGQ = 0 and 1; the functions published with the paper."""

_FRAME = "frame.pkl"
_MARK = "measurement: "
_SCRIPT = Path(__file__).with_name("crossed_logit.R")
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class TimeStudy:
    """What is timed, and how.

    Attributes
    ----------
    sizes : sequence of int
        S of :func:`benchmarks.crossed_logit.sparse_cells`, or rows of the retail design.
    programs : sequence of str
        Of `PROGRAMS`.
    design : {"sparse", "retail"}
        The retail design is for lmmformula alone.
    timeout : float
        Seconds after which a process is given up; that program is not asked for larger sizes.
    repeats : int
        Timed fits after a first one that warms up. R's programs, which compile nothing, fit once if it takes a second.
    budget : float
        Seconds after which no further fit starts.
    paper_code : str
        The file of the paper's functions.
    seed : int
    """

    sizes: Sequence[int]
    programs: Sequence[str]
    design: str = "sparse"
    timeout: float = 600.0
    repeats: int = 3
    budget: float = 60.0
    paper_code: str = ""
    seed: int = 1

    def run(self, record: Path) -> None:
        """Measure, adding to the file `record` after each process; what it already holds is not measured again."""
        known = read_record(record).get("fits", [])
        lost = {f["program"] for f in known if f["design"] == self.design and "seconds" not in f}
        for size in self.sizes:
            done = {f["program"] for f in known if (f["design"], f["size"]) == (self.design, size)}
            todo = [p for p in self.programs if p not in done | lost]
            if not todo:
                continue
            for found in self._measured(size, todo):
                print(json.dumps({k: v for k, v in found.items() if k != "beta"}), file=sys.stderr)
                known.append(found)
                write_record(record, {"machine": machine(), "fits": known})
                if "seconds" not in found:
                    lost.add(found["program"])

    def _measured(self, size: int, programs: Sequence[str]) -> Iterator[dict[str, Any]]:
        """One measurement of each program on one data set."""
        with tempfile.TemporaryDirectory(prefix="lmmformula-pql-") as temporary:
            folder = Path(temporary)
            data = (sparse_cells if self.design == "sparse" else retail)(size, self.seed)
            rows, levels = len(data.frame), data.frame.iloc[:, -2:].nunique().tolist()
            if "lmmformula" in programs:
                data.frame.to_pickle(folder / _FRAME)
            if set(programs) - {"lmmformula"}:
                write_frame(data.frame, folder)
            formula = data.formula
            del data
            what = {"design": self.design, "size": size, "rows": rows, "levels": levels}
            for program in programs:
                yield what | {"program": program} | self._process(program, folder, formula)

    def _process(self, program: str, folder: Path, formula: str) -> dict[str, Any]:
        """A fit in a fresh process: its record, or why there is none."""
        ends = [str(self.repeats), str(self.budget)]
        if program == "lmmformula":
            command = [sys.executable, "-m", "benchmarks.pql_timing", str(folder), formula, *ends]
        else:
            script = ["Rscript", "--vanilla", str(_SCRIPT), program, str(folder)]
            command = [*script, formula, self.paper_code, *ends]
        try:
            done = subprocess.run(
                command,
                cwd=_ROOT,
                env=environment(1),
                capture_output=True,
                text=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failure": f"more than {self.timeout:g} s"}
        lines = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line[:1] in ("{", _MARK[0])]
        if done.returncode or not lines:
            return {"failure": " ".join(done.stderr.split())[-200:] or f"exit status {done.returncode}"}
        return json.loads(lines[-1])


def main(arguments: Sequence[str]) -> None:
    """Fit the pickled frame of a folder and print what that took."""
    folder, formula, repeats, budget = arguments
    import pandas as pd

    import lmmformula

    frame = pd.read_pickle(Path(folder) / _FRAME)
    before, times = peak_memory_mb(), []
    while True:
        start = time.perf_counter()
        fit = lmmformula.fit(formula, frame, family="binomial", method="pql", traces="diagonal")
        times.append(time.perf_counter() - start)
        if len(times) > int(repeats) or sum(times) > float(budget):
            break
    record = {
        "seconds": statistics.median(times[1:] or times),
        "first": times[0],
        "memory": peak_memory_mb(),
        "before": before,
        "outer": fit.estimate.convergence.evaluations,
        "sweeps": fit.estimate.convergence.iterations,
        "beta": fit.params.tolist(),
        "sd": fit.varcorr()["sdcor"].tolist()[:2],
        "version": "checkout",
    }
    print(_MARK + json.dumps(record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
