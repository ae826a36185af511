"""Where the seconds of crossed models by iterations go, by kind of work: ``python -m benchmarks.speed_shares``.

Each of the four lines of the page is fitted twice in a process of its own, once by one thread, for processor seconds, and once
by two, for seconds on the clock. Those of 10,000,000 rows are looked at with a quarter of the rows and of the levels. What the
compiled loops move is counted from their arguments; beside it stand the rates of the machine with as many levels. The file
`results/speed/shares.json` holds it, and ``python -m benchmarks.page`` makes the table of it. Some 3 minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.exchange import write_frame
from benchmarks.krylov_data import Setting, frame
from benchmarks.pql_records import machine, write_record
from benchmarks.problems import PROBLEMS
from benchmarks.processes import environment
from benchmarks.speed_machine import rates
from benchmarks.speed_process import MARK
from benchmarks.speed_runs import SMALL, SPEED

__all__ = ["LINES", "RECORD", "SharedLine", "main"]

RECORD = SPEED / "shares.json"
_PROCESS = Path(__file__).with_name("share_process.py")
FEW = 250_000
"""Rows of the fits that are not counted: they fill the cache of compiled code."""


@dataclass(frozen=True, slots=True)
class SharedLine:
    """A line of the page, and the data by which it is looked at.

    Attributes
    ----------
    work : str
        Of :data:`benchmarks.speed_cases.WORK`.
    family : str
    rows, levels : int
        Levels of each of two factors.
    """

    work: str
    family: str
    rows: int
    levels: int


LINES = (
    SharedLine("gaussian1e6", "gaussian", 1_000_000, 50_000),
    SharedLine("bernoulli1e6", "binomial", 1_000_000, 50_000),
    SharedLine("gaussian1e7", "gaussian", 2_500_000, 125_000),
    SharedLine("bernoulli1e7", "binomial", 2_500_000, 125_000),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_shares", description=__doc__)
    parser.add_argument("--results", type=Path, default=RECORD, help="file of the record")
    parser.add_argument("--only", nargs="*", default=[line.work for line in LINES], help="lines to look at")
    options = parser.parse_args(arguments)
    lines = [line for line in LINES if line.work in options.only]
    with tempfile.TemporaryDirectory(prefix="lmmformula-shares-") as temporary:
        folder = Path(temporary)
        (folder / SMALL).mkdir()
        write_frame(PROBLEMS[SMALL].data(), folder / SMALL)
        found = [_measured(line, folder) for line in lines]
    levels = sorted({line.levels for line in lines})
    record = {
        "machine": machine() | {"rates": {str(m): rates(levels=m) for m in levels}},
        "when": datetime.date.today().strftime("%Y-%m"),
        "lines": found,
    }
    write_record(options.results, record, digits=12)
    return 0


def _measured(line: SharedLine, folder: Path) -> dict[str, Any]:
    """Processor seconds and seconds on the clock by kind of work."""
    for name, rows in (("few", FEW), ("data", line.rows)):
        place = folder / name
        place.mkdir(exist_ok=True)
        setting = Setting(line.family, rows, (line.levels, line.levels))
        write_frame(frame(setting.arrays()), place, text=False, parquet=True)
    _answer(line, folder, "few", 2)
    processor, clock = (_answer(line, folder, "data", threads) for threads in (1, 2))
    print(f"{line.work}: {processor['seconds']:.2f} processor s, {clock['seconds']:.2f} s", file=sys.stderr)
    return {
        "work": line.work,
        "rows": line.rows,
        "levels": line.levels,
        "loglik": processor["loglik"],
        "processor": processor["kinds"],
        "clock": {kind: own["seconds"] for kind, own in clock["kinds"].items()},
    }


def _answer(line: SharedLine, folder: Path, data: str, threads: int) -> dict[str, Any]:
    """What a process of its own finds."""
    request = {
        "work": line.work,
        "folder": str(folder / data),
        "threads": threads,
        "small_formula": PROBLEMS[SMALL].formula,
        "small_folder": str(folder / SMALL),
    }
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-P", str(_PROCESS), json.dumps(request)],
        cwd=tempfile.gettempdir(),
        env=environment(threads, PYTHONPATH=root),
        capture_output=True,
        text=True,
        check=False,
    )
    for text in reversed(done.stdout.splitlines()):
        if text.startswith(MARK):
            return json.loads(text.removeprefix(MARK))
    raise SystemExit(done.stderr[-2_000:])


if __name__ == "__main__":
    sys.exit(main())
