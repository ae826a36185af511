"""The same fits by two checkouts of lmmformula in turns: ``python -m benchmarks.alternate BEFORE AFTER``.

Every measurement is a fresh process with one thread, whose lmmformula is that of the checkout. The two take turns, and swap
who is first from round to round, so that a machine that slows down slows both. A round before the first fills the caches of
compiled code and is not counted. A process answers with its fastest fit; over processes the table shows the fastest, and the
ratios AFTER / BEFORE of the fastest and of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.alternate_cases import CASES, Case
from benchmarks.alternate_process import MARK
from benchmarks.processes import environment

__all__ = ["main"]

_PROCESS = Path(__file__).with_name("alternate_process.py")
_MOST = 1.05
"""Ratio above which a row is marked."""


@dataclass(frozen=True, slots=True)
class Runs:
    """What the processes of one case and one checkout answered: the fastest fit of each, and the last log-likelihood."""

    seconds: list[float]
    loglik: float | None

    @property
    def fastest(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    chosen = options.only or [name for name, case in CASES.items() if options.large or not case.large]
    checkouts = (options.before.resolve(), options.after.resolve())
    found: dict[str, tuple[Runs, Runs]] = {}
    for name in chosen:
        found[name] = _alternate(CASES[name], checkouts, options)
        before, after = found[name]
        print(f"{name}: {before.fastest:.4g} s, {after.fastest:.4g} s", file=sys.stderr)
    print(_table(found))
    if options.json:
        rows = {
            name: [{"seconds": r.seconds, "loglik": r.loglik} for r in pair] for name, pair in found.items()
        }
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def _alternate(case: Case, checkouts: tuple[Path, Path], options: argparse.Namespace) -> tuple[Runs, Runs]:
    """Answers of both checkouts to one case, in turns."""
    small = _kept(CASES["sleepstudy"], True, options.cache)
    request: dict[str, Any] = {
        "formula": case.formula,
        "options": dict(case.options),
        "warm": case.warm,
        "small": str(small),
        "data": str(_kept(case, options.small, options.cache)),
        "repeats": min(case.repeats, 2) if options.small else case.repeats,
    }
    first = request | {"data": str(_kept(case, True, options.cache)), "repeats": 1}
    for checkout in checkouts:
        _answer(checkout, first, options.timeout)
    seconds: tuple[list[float], list[float]] = ([], [])
    logliks: list[float | None] = [None, None]
    for number in range(options.rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            answer = _answer(checkouts[side], request, options.timeout)
            seconds[side].append(min(answer["seconds"]))
            logliks[side] = answer["loglik"]
    return Runs(seconds[0], logliks[0]), Runs(seconds[1], logliks[1])


def _answer(checkout: Path, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    """What a process of its own finds."""
    command = [sys.executable, "-P", str(_PROCESS), str(checkout), json.dumps(request)]
    done = subprocess.run(
        command,
        cwd=tempfile.gettempdir(),
        env=environment(1, PYTHONPATH=str(checkout)),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    raise SystemExit(f"{checkout}: exit status {done.returncode}\n{done.stderr[-2_000:]}")


def _kept(case: Case, small: bool, cache: Path) -> Path:
    """Where the data of a case lie, made when they are first asked for."""
    path = cache / f"{case.name}{'-small' if small else ''}.parquet"
    if not path.exists():
        part = path.with_suffix(".part")
        case.data(small).to_parquet(part)
        part.rename(path)
    return path


def _table(found: dict[str, tuple[Runs, Runs]]) -> str:
    """case | before | after | ratio of the fastest | ratio of the medians."""
    rows = [["case", "before", "after", "min ratio", "median ratio", ""]]
    for name, (before, after) in found.items():
        ratios = after.fastest / before.fastest, after.median / before.median
        notes = ["slower"] if min(ratios) > _MOST else []
        if before.loglik is not None and after.loglik is not None:
            off = abs(after.loglik - before.loglik)
            notes += [f"log-likelihood off by {off:.2g}"] if off > 1e-8 * abs(before.loglik) else []
        times = [f"{runs.fastest:.4g} s" for runs in (before, after)]
        rows.append([name, *times, *(f"{r:.3f}" for r in ratios), ", ".join(notes)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-+-".join("-" * w for w in widths), *lines[1:]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alternate", description=__doc__)
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another")
    parser.add_argument("--only", type=_names, help=f"of {', '.join(CASES)}; default: all but the large ones")
    parser.add_argument("--large", action="store_true", help="the large ones too")
    parser.add_argument("--rounds", type=int, default=5, help="processes per case and checkout")
    parser.add_argument("--small", action="store_true", help="few rows and fits, to see that all works")
    cache = Path(tempfile.gettempdir()) / "lmmformula-alternate"
    parser.add_argument("--cache", type=Path, default=cache, help=f"folder of the data; default: {cache}")
    parser.add_argument("--timeout", type=float, default=1_800.0, help="seconds a process may take")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement")
    return parser


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in CASES]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(CASES)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
