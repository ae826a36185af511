"""Measure the lines of the page of benchmarks: ``python -m benchmarks.speed_runs NAME ...``.

    python -m benchmarks.speed_runs gaussian1e6 --before ../before --python peers=peers/bin/python
    python -m benchmarks.speed_runs verbagg insteval --rounds 3
    python -m benchmarks.speed_runs pql5e6 --again lmmformula            # keep what was found of the others
    python -m benchmarks.speed_runs pql5e6 --plans                       # what plans say now, beside what was measured

Every measurement is a process of its own, by the protocol of :mod:`benchmarks.speed_process`. Programs take turns, forwards
and backwards, so that a machine that slows down slows all of them; a round before the first fills the caches of compiled
code, on few rows. A file of `results/speed` for each line holds every measurement with the load of the machine before and
after it. ``python -m benchmarks.page`` makes the page from these files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.adapters import PEERS
from benchmarks.exchange import write_frame
from benchmarks.pql_records import RESULTS, machine, read_record, write_record
from benchmarks.problems import PROBLEMS
from benchmarks.processes import environment
from benchmarks.speed_cases import WORK, Work
from benchmarks.speed_machine import rates
from benchmarks.speed_process import MARK

__all__ = ["SPEED", "main"]

SPEED = RESULTS / "speed"
"""Where a file for each line is kept."""
SMALL = "penicillin"
"""What every program fits first."""
FEW = 250_000
"""Rows of the round that is not counted: as many as it takes to meet every compiled loop of large fits."""
_PROCESS = Path(__file__).with_name("speed_process.py")
_TEXT = ("lme4", "glmmtmb")
"""Peers that read text."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    for name in options.names:
        work = WORK[name]
        path = options.results / f"{name}.json"
        record = read_record(path)
        if options.plans:
            _plan_again(work, record)
            write_record(path, record, digits=12)
            continue
        kept = [r for r in record.get("runs", []) if options.again and r["who"] not in options.again]
        runs = _measured(work, options)
        write_record(
            path,
            {
                "work": name,
                "machine": machine() | {"rates": rates()},
                "when": datetime.date.today().strftime("%Y-%m"),
                "runs": kept + runs,
            },
            digits=12,
        )
        for run in runs:
            print(f"{name} {run['who']}: {run.get('seconds')} s, cpu {run.get('cpu')}", file=sys.stderr)
    return 0


def _plan_again(work: Work, record: dict[str, Any]) -> None:
    """Put what the plan of this checkout says into the record, after a change of the planner or its rates."""
    import lmmformula

    problem = work.problem
    options = {"family": problem.family, "method": problem.method, **work.options}
    seconds = lmmformula.plan(problem.formula, problem.data(), **options).seconds
    print(f"{work.name}: planned {seconds:.3g} s", file=sys.stderr)
    for run in record.get("runs", []):
        if run["who"] == "lmmformula" and math.isfinite(seconds):
            run["planned"] = seconds


def _measured(work: Work, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds of all programs."""
    programs = _programs(work, options)
    with tempfile.TemporaryDirectory(prefix="lmmformula-speed-", dir=options.cache) as temporary:
        places = {name: Path(temporary) / name for name in ("small", "few", "data")}
        text = any(p.startswith(_TEXT) for p, _ in programs.values())
        for place in places.values():
            place.mkdir()
        write_frame(PROBLEMS[SMALL].data(), places["small"])
        frame = work.problem.data()
        write_frame(frame, places["data"], text=text, parquet=True)
        write_frame(frame.head(FEW), places["few"], text=False, parquet=True)
        del frame
        for peer, checkout in programs.values():
            if peer == "lmmformula":
                _answer(work, peer, checkout, places | {"data": places["few"]}, options)
        out: list[dict[str, Any]] = []
        failed: set[str] = set()
        for number in range(options.rounds):
            for who in [*programs] if number % 2 == 0 else [*programs][::-1]:
                if who in failed:
                    continue
                found = _answer(work, *programs[who], places, options)
                if found["status"] != "ok":
                    failed.add(who)
                out.append({"who": who, "round": number + 1} | found)
    return out


def _programs(work: Work, options: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """Who is measured: a peer's name, and the checkout of ours."""
    found = {"lmmformula": ("lmmformula", str(Path(__file__).resolve().parent.parent))}
    if options.before:
        found["before"] = ("lmmformula", str(options.before.resolve()))
    found |= {peer: (peer, "") for peer in work.peers if peer in (options.peers or work.peers)}
    return {who: p for who, p in found.items() if not options.again or who in options.again}


def _answer(
    work: Work, peer: str, checkout: str, places: dict[str, Path], options: argparse.Namespace
) -> dict[str, Any]:
    """What a process of its own finds."""
    request = {
        "work": work.name,
        "peer": peer,
        "checkout": checkout,
        "folder": str(places["data"]),
        "small": SMALL,
        "small_formula": PROBLEMS[SMALL].formula,
        "small_folder": str(places["small"]),
    }
    chosen = dict(pair.split("=", 1) for pair in options.python)
    ours = peer == "lmmformula" or peer.startswith(_TEXT)
    interpreter = chosen.get(peer, sys.executable if ours else chosen.get("peers", sys.executable))
    try:
        done = subprocess.run(
            [interpreter, "-P", str(_PROCESS), json.dumps(request)],
            cwd=tempfile.gettempdir(),
            env=environment(options.threads, PYTHONPATH=checkout),
            capture_output=True,
            text=True,
            timeout=options.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"status": "timeout", "note": f"more than {options.timeout:g} s"}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            return {k: v for k, v in json.loads(line.removeprefix(MARK)).items() if v is not None}
    print(done.stderr[-2_000:], file=sys.stderr)
    return {"status": "failed", "note": (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed_runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", choices=WORK, metavar="NAME", help=f"of {', '.join(WORK)}")
    parser.add_argument("--rounds", type=int, default=1, help="processes of each program")
    parser.add_argument("--before", type=Path, help="a checkout of lmmformula to measure beside this one")
    parser.add_argument("--plans", action="store_true", help="measure nothing: only plan anew")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="of the line's own; default: all of them")
    parser.add_argument(
        "--again", nargs="*", default=[], help="programs to measure anew; others keep what the file says"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of every numerical library; 0: as they choose"
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="interpreter; all peers: peers=PATH",
    )
    parser.add_argument("--timeout", type=float, default=3_600.0, help="seconds a process may take")
    parser.add_argument("--cache", type=Path, help="folder for the data while they are measured")
    parser.add_argument("--results", type=Path, default=SPEED, help="folder of the records")
    return parser


if __name__ == "__main__":
    sys.exit(main())
