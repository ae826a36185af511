"""What plans promise against what fits take: ``python -m benchmarks.plan_study {measure,calibrate,table,again}``.

``measure`` fits every case by every way that should take less than a given time, seconds and memory each in a process of its
own, and records them with the counts behind the plan. ``calibrate`` fits the planner's rates to the records of
`plan_cases.CALIBRATION` by non-negative least squares on relative errors, and writes them into ``lmmformula/engines/rates.py``.
``table`` writes estimates, measurements and decisions into ``docs/planner.md``. ``again`` is all three, for the ways that are
named: after a change of the Krylov engine, ``python -m benchmarks.plan_study again --ways krylov``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import insert
from benchmarks.plan_cases import CALIBRATION, CASES, HELD_OUT, POSTERIORS, Case, Shipped, ways
from benchmarks.processes import environment

__all__ = ["counts", "main"]

ROOT = Path(__file__).resolve().parent.parent
RATES = ROOT / "lmmformula" / "engines" / "rates.py"
PAGE = ROOT / "docs" / "planner.md"
ALONE = ("crossed, huge", "binary, huge", "crossed, wide", "binary, half a million")
"""Cases whose exact fit takes minutes or hours, so that the Krylov engine is the only likelihood measured."""
ARRAYS = ("table", "family", "patterns", "entries", "iterated", "levels", "probes", "copies", "dense")
SHORT = {"SECONDS": 0.3}
"""Seconds of fits that count half as much as those of long ones: they are mostly overhead, and nobody waits for them."""
LEAST: dict[str, dict[str, float]] = {
    "SECONDS": {"pairs": 5e-10},
    "BYTES": dict.fromkeys(ARRAYS, 1.0),
    "SAMPLING": {"compiled": 0.7, "joint": 1.5},
}
"""Least rates, of what the cases cannot tell apart: a multiplication in a compiled loop, one array of each kind, compiling."""
RECORD = Path(__file__).parent / "results" / "plan.json"


def counts(case: Case | Shipped, way: str) -> dict[str, dict[str, float]]:
    """The counts of work and space behind a plan; those of a posterior's sampler as its work."""
    import lmmformula
    from lmmformula.engines.backfitting.cost import backfitting_cost
    from lmmformula.engines.blocked import BlockedEngine
    from lmmformula.engines.factorised_cost import exact_cost
    from lmmformula.engines.krylov.cost import krylov_cost
    from lmmformula.engines.krylov.coupled import Coupled
    from lmmformula.ir.blocks import Blocks

    problem = lmmformula.build(case.formula, case.data(), family=case.family)
    exact = BlockedEngine().prepare(Blocks(problem.terms, problem.n))
    if case in POSTERIORS:
        return {"work": dataclasses.asdict(_sampling(case, problem, exact, way))}
    if way in ("pql", "corrected"):
        cost = backfitting_cost(problem, exact.blocks, corrected=way == "corrected")
    elif way == "krylov":
        cost = krylov_cost(problem, exact.blocks, Coupled.of(exact.blocks), 8)
    else:
        cost = exact_cost(problem, exact.plan, exact.dense_side)
    return {"work": dataclasses.asdict(cost.work), "space": dataclasses.asdict(cost.space)}


def _sampling(case: Case | Shipped, problem: Any, exact: Any, way: str) -> Any:
    from lmmformula.backends.posterior.routes.choose import choose_route
    from lmmformula.engines.factorised_cost import exact_cost
    from lmmformula.planner.bayes_cost import sampling_cost

    options = ways(case)[way]
    route = choose_route(problem, options.get("marginalize", "auto"))
    likelihood = exact_cost(problem, exact.plan, exact.dense_side)
    draws = (4, options.get("draws", 1_000))
    return sampling_cost(problem, exact.blocks, likelihood, route, way, *draws, None)


def measure(options: argparse.Namespace) -> None:
    """Every case by every way that is asked for and not recorded yet; written after each."""
    records = load()
    for case in (*CASES, *POSTERIORS):
        if options.cases and case.name not in options.cases:
            continue
        for way, arguments in ways(case).items():
            if options.ways and way not in options.ways:
                continue
            record = records.setdefault(f"{case.name} / {way}", {"case": case.name, "way": way})
            for what in (options.what,) if options.what else ("seconds", "memory"):
                if (what in record and not options.again) or promised(case, arguments) > options.limit:
                    continue
                if found := _in_process(what, case.name, way):
                    record.update(found)
                    print(case.name, way, found, file=sys.stderr, flush=True)
                    save(records)


def promised(case: Case | Shipped, arguments: dict[str, Any]) -> float:
    """Seconds that the plan says."""
    import lmmformula

    return lmmformula.plan(
        case.formula, case.data(), family=case.family, memory_limit=1e13, **arguments
    ).seconds


def _in_process(what: str, name: str, way: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan_process", what, name, way]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def load() -> dict[str, dict[str, Any]]:
    """Records by case and way."""
    found = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    return {f"{r['case']} / {r['way']}": r for r in found}


def save(records: dict[str, dict[str, Any]]) -> None:
    kept = [r for r in records.values() if "seconds" in r or "memory" in r]
    RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def calibrate(options: argparse.Namespace) -> None:
    """Rates of work and space by robust least squares on logarithms, printed and written."""
    records = load()
    likelihoods = {c.name: c for c in CALIBRATION}
    posteriors = {c.name: c for c in POSTERIORS}
    _fit_rates("SECONDS", "work", "seconds", likelihoods, records)
    _fit_rates("BYTES", "space", "memory", likelihoods, records)
    _fit_rates("SAMPLING", "work", "seconds", posteriors, records)
    held = {c.name: c for c in HELD_OUT}
    for record in records.values():
        if record["case"] in held:  # for the tests, which do not build the larger ones
            record.update(counts(held[record["case"]], record["way"]))
    save(records)


def _fit_rates(
    name: str, of: str, measured: str, cases: Mapping[str, Case | Shipped], records: dict[str, dict[str, Any]]
) -> None:
    some = [r for r in records.values() if r["case"] in cases and measured in r]
    for r in some:
        r.update(counts(cases[r["case"]], r["way"]))
    rates, promised = fitted(some, of, measured, LEAST[name], SHORT.get(name, 0.0))
    write_rates(name, rates)
    for r, p in zip(some, promised, strict=True):
        print(f"{r['case']:26s} {r['way']:10s} {r[measured]:10.4g} promised {p:10.4g}  {p / r[measured]:.2f}")
    print(name, rates)


def fitted(
    records: list[dict[str, Any]], of: str, measured: str, least: Mapping[str, float], short: float = 0.0
) -> tuple[dict[str, float], Any]:
    """Rates that come nearest to the measurements in relative terms, those of `least` at least that, and what they promise.

    Measurements weigh ``v / (v + short)``. What no record has any of keeps its least rate.
    """
    import numpy as np
    from scipy.optimize import least_squares, nnls

    names = list(records[0][of])
    table = np.array([[r[of][n] for n in names] for r in records])
    values = np.array([r[measured] for r in records])
    low = np.array([least.get(n, 0.0) for n in names])
    weights = values / (values + short)
    more = nnls(table / values[:, None], 1.0 - table @ low / values)[0]
    largest = np.median(values) / np.maximum(table.max(axis=0), 1e-300)
    begin = np.log(np.maximum(more, 1e-3 * largest))
    found = least_squares(
        lambda x: weights * np.log(table @ (low + np.exp(x)) / values), begin, loss="soft_l1", f_scale=0.3
    )
    rates = [float(f"{v:.3g}") for v in low + np.where(table.any(axis=0), np.exp(found.x), 0.0)]
    return dict(zip(names, rates, strict=True)), table @ np.array(rates)


def write_rates(name: str, rates: dict[str, float]) -> None:
    """Put a dictionary into the planner's module of rates."""
    text = RATES.read_text(encoding="utf-8")
    lines = "".join(f'    "{k}": {v:.3g},\n'.replace("e+", "e") for k, v in rates.items())
    RATES.write_text(
        re.sub(rf"{name} = {{\n.*?}}", f"{name} = {{\n{lines}}}", text, flags=re.DOTALL), encoding="utf-8"
    )


def table(options: argparse.Namespace) -> None:
    """Estimates of the present planner against the measurements, and decisions against the fastest, into the page."""
    records = load()
    with_marks = {
        "calibration": _estimates(CALIBRATION, records),
        "held out": _estimates(HELD_OUT, records),
        "posteriors": _estimates(POSTERIORS, records),
        "decisions": _decisions(records),
    }
    insert(PAGE, with_marks)


def _estimates(cases: Sequence[Case | Shipped], records: dict[str, dict[str, Any]]) -> str:
    import lmmformula

    lines = [
        "| case | rows | levels | way | seconds, plan | measured | ratio | memory (MB), plan | measured | ratio |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for case in cases:
        first = True
        for way, arguments in ways(case).items():
            r = records.get(f"{case.name} / {way}", {})
            if not ("seconds" in r or "memory" in r):
                continue
            plan = lmmformula.plan(
                case.formula, case.data(), family=case.family, memory_limit=1e13, **arguments
            )
            about = f"{case.name} | {case.rows:,} | {case.levels}" if first else " | | "
            first = False
            lines.append(
                f"| {about} | {way} | {_pair(plan.seconds, r.get('seconds'), 1.0, '.2g')} | "
                f"{_pair(plan.memory, r.get('memory'), 1e6, '.0f')} |"
            )
    return "\n".join(lines)


def _pair(promised: float, measured: float | None, unit: float, style: str) -> str:
    """Estimate, measurement and their ratio as cells."""
    if measured is None:
        return f"{promised / unit:{style}} | | "
    return f"{promised / unit:{style}} | {measured / unit:{style}} | {promised / measured:.2f}"


def _decisions(records: dict[str, dict[str, Any]]) -> str:
    """What the plan takes against the fastest likelihood measured."""
    import lmmformula

    lines = ["| case | taken | seconds | fastest likelihood | seconds | |", "|---|---|--:|---|--:|---|"]
    right = decisions = 0
    for case in CASES:
        seconds = {w: records.get(f"{case.name} / {w}", {}).get("seconds") for w in ways(case)}
        likelihood = {w: s for w, s in seconds.items() if s is not None and w in ("blocked", "krylov")}
        if len(likelihood) < 2 and "x" in case.levels and case.name not in ALONE:
            continue
        arguments = {"method": "ml"} if case.family == "gaussian" else {}
        taken = lmmformula.plan(case.formula, case.data(), family=case.family, **arguments).engine
        fastest = min(likelihood, key=lambda w: likelihood[w])
        best, took = likelihood[fastest], likelihood.get(taken, math.inf)
        close = took <= max(1.5 * best, best + 1.0)
        decisions, right = decisions + 1, right + close
        lines.append(
            f"| {case.name} | {taken} | {took:.2g} | {fastest} | {best:.2g} | {'' if close else 'no'} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"The plan takes the fastest likelihood, or one within a second or a factor 1.5 of it, in {right} of "
            f"{decisions} cases.",
        ]
    )


def again(options: argparse.Namespace) -> None:
    """Measure anew, fit the rates, and redraw the tables."""
    options.again = True
    measure(options)
    calibrate(options)
    table(options)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("measure", measure), ("calibrate", calibrate), ("table", table), ("again", again)):
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        if run in (measure, again):
            command.add_argument("--limit", type=float, default=60.0, help="seconds that a plan may promise")
            command.add_argument("--cases", nargs="*", default=[])
            command.add_argument("--ways", nargs="*", default=[])
            command.add_argument("--what", choices=("seconds", "memory"), default=None)
        if run is measure:
            command.add_argument("--again", action="store_true", help="also what is recorded already")
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
