"""Recovery from simulated data: bias of estimates and coverage of 95% intervals, a structure at a time.

python -m benchmarks.coverage run --replicates 40             # adds replicates up to this number to the record
python -m benchmarks.coverage run --cases ar1 mo --replicates 200
python -m benchmarks.coverage figures                         # the table of docs/coverage.md, from the record

Replicate r of a case has the seed (case, r), so that a record can go on. Intervals are those of ``tidy(conf_int=True)``, by
Wald: t for fixed effects, of logarithms for standard deviations and of Fisher's z for correlations. Of smooths it is the
pointwise band of ``m.smooth()``, averaged over the curve, and of monotonic effects the average step of ``m.monotonic()``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.coverage_cases import CASES, Case
from benchmarks.pages import insert

__all__ = ["main", "table"]

RESULTS = Path(__file__).with_name("results") / "coverage.json"
PAGE = Path(__file__).parents[1] / "docs" / "coverage.md"
LEVEL = 0.95
Record = dict[str, Any]


def replicate(case: Case, number: int) -> Record:
    """Estimates and intervals of one simulated table: parameter -> [truth, estimate, low, high]."""
    import lmmformula

    drawn = case.draw(np.random.default_rng([zlib.crc32(case.name.encode()), number]))
    before = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            m = lmmformula.fit(case.formula, drawn.table, data2=drawn.data2, **case.options)
            found = case.read(m, drawn)
        except lmmformula.LmmformulaError as error:
            return {"note": f"{type(error).__name__}: {error}"[:300]}
    return {"seconds": time.process_time() - before, "converged": m.converged, "found": found}


def run(arguments: argparse.Namespace) -> None:
    kept: Record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for number in range(arguments.replicates):
        for name in arguments.cases:
            own = kept.setdefault(name, [])
            if len(own) > number:
                continue
            own.append(replicate(CASES[name], number))
            print(name, number, json.dumps(own[-1])[:160], flush=True)
        RESULTS.write_text(json.dumps(kept) + "\n", encoding="utf-8")


def table(kept: Record) -> str:
    """Rows of Markdown: a row for each parameter."""
    lines = [
        "| model | parameter | truth | mean estimate | bias / standard deviation | coverage, % | intervals | fits |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, record in kept.items():
        good = [r["found"] for r in record if "found" in r]
        if not good:
            continue
        first = _cell(f"`{CASES[name].formula}`{CASES[name].words}")
        for parameter in good[0]:
            values = np.array([found[parameter] for found in good if parameter in found], dtype=float)
            truth, estimate = values[:, 0], values[:, 1]
            known = np.isfinite(values[:, 2:4]).all(axis=1)
            spread = estimate.std(ddof=1) if len(estimate) > 1 else np.nan
            # a curve's entry is the share of it that the band holds
            inside = values[:, 2] if parameter.startswith("s(") else _inside(values)
            bias = (estimate - truth).mean() / spread
            covered = f"{100 * inside[known].mean():.0f}" if known.any() else ""
            lines.append(
                f"| {first} | {_cell(parameter)} | {truth.mean():.3g} | {estimate.mean():.3g} | {bias:.2f} | {covered} | "
                f"{int(known.sum())} | {len(values)} |"
            )
            first = ""
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text in a table, where a bar would end it."""
    return text.replace("|", "\\|")


def _inside(values: np.ndarray) -> np.ndarray:
    return ((values[:, 2] <= values[:, 0]) & (values[:, 0] <= values[:, 3])).astype(float)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Bias and coverage from simulated data.")
    parser.add_argument("what", choices=["run", "figures", "table"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--replicates", type=int, default=40)
    arguments = parser.parse_args(given)
    if arguments.what == "run":
        run(arguments)
        return
    made = table(json.loads(RESULTS.read_text(encoding="utf-8")))
    print(made)
    if arguments.what == "figures":
        insert(PAGE, {"coverage": made})


if __name__ == "__main__":
    main()
