"""What plans promise against what fits take: ``python -m benchmarks.plan_study {measure,calibrate,table}``.

``measure`` fits every case by every engine that should take less than a given time, each in a process of its own, and
records seconds, memory and the plan's estimates. ``calibrate`` fits the planner's rates to the records by non-negative
least squares on relative errors. ``table`` writes estimates, measurements and decisions into ``docs/planner.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import peak_memory_mb

__all__ = ["CASES", "Case", "main"]

ROOT = Path(__file__).resolve().parent.parent
RECORD = Path(__file__).parent / "results" / "plan.json"
PAGE = ROOT / "docs" / "planner.md"
MARKS = "<!-- measured -->", "<!-- end -->"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Two crossed factors (one if `second` is zero) with random intercepts, or slopes on the first."""

    name: str
    rows: int
    first: int
    second: int
    predictors: int = 5
    family: str = "gaussian"
    slopes: bool = False

    @property
    def formula(self) -> str:
        xs = " + ".join(f"x{j}" for j in range(1, self.predictors + 1))
        bars = f"({'1 + x1' if self.slopes else '1'} | g)" + (" + (1 | h)" if self.second else "")
        return f"y ~ {xs} + {bars}"

    def data(self) -> dict[str, Any]:
        """Columns, the same each time."""
        rng = np.random.default_rng(self.rows + self.first)
        x = rng.standard_normal((self.rows, self.predictors))
        g = rng.integers(0, self.first, self.rows)
        eta = x @ np.linspace(0.5, -0.5, self.predictors) + rng.standard_normal(self.first)[g]
        columns: dict[str, Any] = {f"x{j + 1}": x[:, j] for j in range(self.predictors)} | {"g": g}
        if self.slopes:
            eta += 0.5 * rng.standard_normal(self.first)[g] * x[:, 0]
        if self.second:
            columns["h"] = rng.integers(0, self.second, self.rows)
            eta += 0.7 * rng.standard_normal(self.second)[columns["h"]]
        if self.family == "gaussian":
            columns["y"] = eta + rng.standard_normal(self.rows)
        else:
            columns["y"] = (rng.random(self.rows) * (1.0 + np.exp(-eta)) < 1.0).astype(int)
        return columns


CASES = (
    Case("one factor", 20_000, 500, 0),
    Case("slopes", 100_000, 5_000, 0, slopes=True),
    Case("crossed, small", 10_000, 500, 400),
    Case("crossed, uneven", 200_000, 20_000, 500),
    Case("crossed, even", 31_620, 1_581, 1_581),
    Case("crossed, large", 100_000, 5_000, 5_000),
    Case("crossed, huge", 1_000_000, 50_000, 50_000),
    Case("binary, small", 10_000, 500, 400, family="binomial"),
    Case("binary, uneven", 200_000, 20_000, 500, family="binomial"),
    Case("binary, even", 31_620, 1_581, 1_581, family="binomial"),
    Case("binary, large", 100_000, 5_000, 5_000, family="binomial"),
    Case("binary, huge", 1_000_000, 50_000, 50_000, family="binomial"),
)


def ways(case: Case) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Ways to fit a case by their names in the record: arguments of ``fit``."""
    method = "ml" if case.family == "gaussian" else "laplace"
    out = [("blocked", {"method": method, "engine": "blocked"})]
    if case.second:
        out.append(("krylov", {"method": method, "engine": "krylov"}))
    if case.family != "gaussian":
        out.append(("pql", {"method": "pql", "traces": "diagonal"}))
    return tuple(out)


def fit_here(name: str, way: str) -> dict[str, Any]:
    """Fit one case in this process."""
    import lmmformula
    from lmmformula.planner.cost import RATES

    case = next(c for c in CASES if c.name == name)
    arguments, data = dict(ways(case))[way], case.data()
    warm = dataclasses.replace(
        case, rows=60_000 if case.rows > 60_000 else case.rows, first=300, second=200 * bool(case.second)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lmmformula.fit(warm.formula, warm.data(), family=case.family, **arguments)
        problem = lmmformula.build(case.formula, data, family=case.family)
        plan = lmmformula.plan(case.formula, data, family=case.family, **arguments)
        before, start = peak_memory_mb(), time.perf_counter()
        fitted = lmmformula.fit(case.formula, data, family=case.family, **arguments)
        seconds = time.perf_counter() - start
    return {
        "case": name,
        "way": way,
        "seconds": seconds,
        "memory": max(peak_memory_mb() - before, 0.0) * 1e6,
        "promised_seconds": plan.seconds,
        "promised_memory": plan.memory,
        "work": work(problem, arguments),
        "rates": RATES,
        "llf": None if math.isnan(fitted.llf) else fitted.llf,
    }


def work(problem: Any, arguments: dict[str, Any]) -> dict[str, float]:
    """The counts behind a plan."""
    from lmmformula.engines.blocked import BlockedEngine
    from lmmformula.ir.blocks import Blocks
    from lmmformula.planner.cost import Coupled, backfitting_cost, exact_cost, krylov_cost

    exact = BlockedEngine().prepare(Blocks(problem.terms, problem.n))
    if arguments["method"] == "pql":
        cost = backfitting_cost(problem, exact.blocks)
    elif arguments["engine"] == "krylov":
        cost = krylov_cost(problem, Coupled.of(exact.blocks), 8)
    else:
        cost = exact_cost(problem, exact, exact.dense_side)
    return dataclasses.asdict(cost.work)


def measure(limit: float) -> None:
    """Every case by every way promised to take less than `limit` seconds; written after each."""
    records = [r for r in _records() if "seconds" in r]
    for case in CASES:
        for way, arguments in ways(case):
            if any((r["case"], r["way"]) == (case.name, way) for r in records):
                continue
            import lmmformula

            promised = lmmformula.plan(
                case.formula, case.data(), family=case.family, memory_limit=1e13, **arguments
            ).seconds
            if promised > limit:
                continue
            command = [sys.executable, "-m", "benchmarks.plan_study", "one", case.name, way]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                continue
            records.append(json.loads(done.stdout.splitlines()[-1]))
            print(case.name, way, f"{records[-1]['seconds']:.3g} s", file=sys.stderr)
            RECORD.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def calibrate() -> dict[str, float]:
    """Rates by non-negative least squares on relative errors."""
    from scipy.optimize import nnls

    records = _records()
    names = list(records[0]["work"])
    counts = np.array([[r["work"][n] for n in names] for r in records])
    seconds = np.array([r["seconds"] for r in records])
    rates = nnls(counts / seconds[:, None], np.ones(len(records)))[0]
    for r, promised in zip(records, counts @ rates, strict=True):
        print(f"{r['case']:18s} {r['way']:8s} {r['seconds']:8.3f} s, promised {promised:8.3f}")
    return dict(zip(names, rates.tolist(), strict=True))


def table() -> None:
    """Estimates against measurements, and decisions against the fastest, into the page."""
    import lmmformula

    lines = [
        "| case | rows | levels | way | seconds, plan | measured | memory (MB), plan | measured | taken |",
        "|---|--:|--:|---|--:|--:|--:|--:|---|",
    ]
    right = decisions = 0
    for case in CASES:
        found = {r["way"]: r for r in _records() if r["case"] == case.name}
        if not found:
            continue
        arguments = {"method": "ml"} if case.family == "gaussian" else {}
        chosen = lmmformula.plan(case.formula, case.data(), family=case.family, **arguments)
        likelihood = {w: r["seconds"] for w, r in found.items() if w != "pql"}
        fastest = min(likelihood, key=lambda w: likelihood[w])
        close = likelihood.get(chosen.engine, math.inf) <= max(
            1.5 * likelihood[fastest], likelihood[fastest] + 1.0
        )
        decisions, right = decisions + 1, right + close
        for way, r in found.items():
            levels = f"{case.first:,}" + (f" x {case.second:,}" if case.second else "")
            lines.append(
                f"| {case.name} | {case.rows:,} | {levels} | {way} | {r['promised_seconds']:.2g} | {r['seconds']:.2g} | "
                f"{r['promised_memory'] / 1e6:.0f} | {r['memory'] / 1e6:.0f} | {'yes' if way == chosen.engine else ''} |"
            )
    lines += [
        "",
        f"The plan takes the fastest likelihood, or one within a second of it, in {right} of {decisions} cases.",
    ]
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(MARKS[0])
    PAGE.write_text(
        head + MARKS[0] + "\n" + "\n".join(lines) + "\n" + MARKS[1] + rest.split(MARKS[1])[1],
        encoding="utf-8",
    )


def _records() -> list[dict[str, Any]]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure").add_argument("--limit", type=float, default=60.0)
    one = commands.add_parser("one")
    one.add_argument("case")
    one.add_argument("way")
    commands.add_parser("calibrate")
    commands.add_parser("table")
    options = parser.parse_args(arguments)
    actions: dict[str, Callable[[], Any]] = {
        "measure": lambda: measure(options.limit),
        "one": lambda: print(json.dumps(fit_here(options.case, options.way))),
        "calibrate": lambda: print(json.dumps(calibrate(), indent=1)),
        "table": table,
    }
    actions[options.command]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
