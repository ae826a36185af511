"""Ten families beside glmmTMB and ordered categories beside ordinal's clmm, on the same rows, in one run and in processor time.

python -m benchmarks.families [--cases NAME ...] [--repeats 2] [--record]
python -m benchmarks.families table                    # into docs/families.md, from the record

Each number is a process with one thread that reads the same file and goes from the table in memory to estimates and standard
errors: ours fits once to load and compile and then `--repeats` times, the other program, which compiles nothing, once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.families_data import CASES, rows_of
from benchmarks.pages import insert
from benchmarks.pql_figures import head, line
from benchmarks.processes import environment

__all__ = ["main", "table"]

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
RESULTS = Path(__file__).with_name("results") / "families.json"
Record = dict[str, Any]
"""What a process tells, and of a case the two of them."""


def told(command: list[str]) -> Record:
    """The line of JSON that a process prints last."""
    here = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here, env=environment(1))
    if done.returncode:
        raise RuntimeError(f"{command[:3]}: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(name: str, repeats: int) -> Record:
    """Both programs on the rows of one case, with the largest difference of estimates and of errors in standard errors."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "rows.csv")
        rows_of(name).to_csv(path, index=False)
        ours = told([sys.executable, "-m", "benchmarks.families_process", name, path, str(repeats)])
        script = str(Path(__file__).with_suffix(".R"))
        theirs = told(
            [
                *("Rscript", "--vanilla", script, path),
                *(case.formula, case.theirs, case.zeros, case.peer),
            ]
        )
    apart = max(abs(a - b) / s for a, b, s in zip(ours["beta"], theirs["beta"], theirs["se"], strict=True))
    errors = max(abs(a / b - 1) for a, b in zip(ours["se"], theirs["se"], strict=True))
    return {
        "rows": case.rows,
        "formula": case.formula,
        "ours": ours,
        "theirs": theirs,
        "ratio": ours["cpu"] / theirs["cpu"],
        "logLik_difference": ours["loglik"] - theirs["loglik"],
        "estimates_apart": apart,
        "errors_apart": errors,
        "date": date.today().isoformat(),
    }


def table(kept: Record) -> str:
    """Markdown, a row for each case."""
    names = ("family", "rows", "random effects", "seconds", "theirs", "share", "estimates apart (SE)")
    lines = head([*names, "log-likelihood less theirs"])
    for name, record in kept.items():
        case = CASES[name]
        share = f"{record['ratio']:.2f}" + ("" if record["ratio"] <= case.bar else " *")
        cells = [
            f"`{name}`",
            f"{record['rows']:,}",
            "`(1 \\| g) + (1 \\| h)`" if case.items else "`(1 \\| g)`",
            f"{record['ours']['cpu']:.2f}",
            f"{record['theirs']['cpu']:.2f}" + ("" if case.peer == "glmmTMB" else f" ({case.theirs})"),
            share,
            f"{record['estimates_apart']:.0e}",
            f"{record['logLik_difference']:.1e}",
        ]
        lines.append(line(cells))
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Families beside glmmTMB and ordinal.")
    parser.add_argument("what", nargs="?", choices=["run", "table"], default="run")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--record", action="store_true", help="into benchmarks/results/families.json and the page"
    )
    arguments = parser.parse_args(given)
    kept: Record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if arguments.what == "run":
        found = {}
        for name in arguments.cases:
            found[name] = compared(name, arguments.repeats)
            print(table({name: found[name]}).splitlines()[-1], flush=True)
            kept = {case: record for case in CASES if (record := found.get(case, kept.get(case)))}
            if arguments.record:
                RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(table(kept))
    if arguments.record or arguments.what == "table":
        insert(PAGE, {"speed": table(kept)})


if __name__ == "__main__":
    main()
