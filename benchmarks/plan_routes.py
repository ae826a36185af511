"""Three ways to a large binary model, measured: ``python -m benchmarks.plan_routes {measure,one,table}``.

Two crossed factors and five predictors (`krylov_data`), and the popular-items design of `problems`. Laplace's approximation on
the Krylov engine, PQL, and PQL corrected to Laplace; the exact engine where it can run. Estimates are compared with the most
exact fit of the same rows in its standard errors, variances by theta's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.krylov_data import FORMULA, FRAME_COLUMNS, Setting
from benchmarks.pages import insert

__all__ = ["SETTINGS", "WAYS", "main"]

ROOT = Path(__file__).resolve().parent.parent
RECORD = Path(__file__).parent / "results" / "plan_routes.json"
PAGE = ROOT / "docs" / "planner.md"
SETTINGS = {
    "1e5, even": Setting("binomial", 100_000, (10_000, 10_000)),
    "1e6, even": Setting("binomial", 1_000_000, (50_000, 50_000)),
    "1e6, sparse": Setting("binomial", 1_000_000, (200_000, 200_000)),
    "5e6, even": Setting("binomial", 5_000_000, (250_000, 250_000)),
    "5e6, clients and items": Setting("binomial", 5_000_000, (744_482, 3_547), tail=1.5),
}
"""Rows and levels; the last has levels whose popularity has a heavy tail."""
WAYS: dict[str, dict[str, Any]] = {
    "blocked": {"method": "laplace", "engine": "blocked"},
    "krylov": {"method": "laplace", "engine": "krylov"},
    "corrected": {"method": "pql", "traces": "diagonal", "correction": "laplace"},
    "pql": {"method": "pql", "traces": "diagonal"},
}


def one(name: str, way: str) -> None:
    """A fit in this process, and what the plan says of it, as a line of JSON."""
    import lmmformula

    setting = SETTINGS[name]
    small = Setting("binomial", 60_000, (3_000, 2_000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way != "blocked":
            lmmformula.fit(FORMULA, columns(small), family="binomial", **WAYS[way])
        data = columns(setting)
        size = sum(v.nbytes for v in data.values())
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        begun = time.perf_counter()
        m = lmmformula.fit(FORMULA, data, family="binomial", **WAYS[way])
        errors = np.asarray(m.bse)
        seconds = time.perf_counter() - begun
    status = Path("/proc/self/status").read_text(encoding="ascii")
    sds = m.varcorr()["sdcor"].to_numpy()[:2]
    record: dict[str, Any] = {
        "setting": name,
        "way": way,
        "seconds": seconds,
        "memory": int(status.split("VmHWM:")[1].split()[0]) * 1024 - size,
        "beta": np.asarray(m.params).tolist(),
        "errors": errors.tolist(),
        "sds": sds.tolist(),
        "converged": bool(m.converged),
    }
    if way in ("blocked", "krylov"):
        record["sd_errors"] = np.sqrt(np.diag(m.backend.joint_vcov(m.estimate, m.point))).tolist()
    print(json.dumps(record))


def columns(setting: Setting) -> dict[str, np.ndarray]:
    """A table by columns."""
    arrays = setting.arrays()
    xs = {name: arrays["x"][:, j].copy() for j, name in enumerate(FRAME_COLUMNS)}
    return {"y": arrays["y"], "g": arrays["g"], "h": arrays["h"], **xs}


def measure(limit: float, names: Sequence[str]) -> None:
    """Every setting by every way; the exact engine where a plan promises less than `limit` seconds."""
    import lmmformula

    for name in names or SETTINGS:
        for way, arguments in WAYS.items():
            records = _records()
            if any((r["setting"], r["way"]) == (name, way) for r in records):
                continue
            if way == "blocked":
                data = columns(SETTINGS[name])
                plan = lmmformula.plan(FORMULA, data, family="binomial", memory_limit=1e13, **arguments)
                if plan.seconds > limit:
                    continue
            command = [sys.executable, "-m", "benchmarks.plan_routes", "one", name, way]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                continue
            records.append(json.loads(done.stdout.splitlines()[-1]))
            RECORD.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
            print(name, way, f"{records[-1]['seconds']:.3g} s", file=sys.stderr, flush=True)


def table() -> None:
    """Seconds, memory and distances from the most exact fit, into the page."""
    import lmmformula

    lines = [
        "| rows | levels | way | seconds | plan | memory (MB) | plan | coefficients off by | sds off by | relative |",
        "|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, setting in SETTINGS.items():
        found = {r["way"]: r for r in _records() if r["setting"] == name}
        base = found.get("blocked") or found.get("krylov")
        if base is None:
            continue
        levels, data = " x ".join(f"{m:,}" for m in setting.levels), columns(setting)
        for way, r in found.items():
            plan = lmmformula.plan(FORMULA, data, family="binomial", memory_limit=1e13, **WAYS[way])
            lines.append(
                f"| {setting.rows:,} | {levels} | {way} | {r['seconds']:.2g} | {plan.seconds:.2g} | "
                f"{r['memory'] / 1e6:.0f} | {plan.memory / 1e6:.0f} | {_apart(r, base)} |"
            )
    insert(PAGE, {"routes": "\n".join(lines)})


def _apart(record: dict[str, Any], base: dict[str, Any]) -> str:
    """Largest distances of coefficients and of standard deviations in standard errors, and of the latter as a share."""
    if record is base:
        return " | | "
    beta, sds = (np.array(record[k]) - np.array(base[k]) for k in ("beta", "sds"))
    places = len(base["beta"]) + np.arange(len(sds))
    errors = np.array(base["sd_errors"])[places]
    share = np.abs(sds / np.array(base["sds"])).max()
    return f"{np.abs(beta / np.array(base['errors'])).max():.2g} SE | {np.abs(sds / errors).max():.2g} SE | {share:.2%}"


def _records() -> list[dict[str, Any]]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_routes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("measure")
    whole.add_argument("--limit", type=float, default=60.0)
    whole.add_argument("--settings", nargs="*", default=[])
    single = commands.add_parser("one")
    single.add_argument("setting")
    single.add_argument("way")
    commands.add_parser("table")
    options = parser.parse_args(arguments)
    if options.command == "measure":
        measure(options.limit, options.settings)
    elif options.command == "one":
        one(options.setting, options.way)
    else:
        table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
