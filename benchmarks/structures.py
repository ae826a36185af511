"""Random-effect structures against R, in one run.

python -m benchmarks.structures                                  # all models; glmmTMB's fields take minutes
python -m benchmarks.structures --models gam mmrm --rounds 3
python -m benchmarks.structures --models exp mat --locations 100
python -m benchmarks.structures table                            # a table in Markdown, from the record
python -m benchmarks.structures figures                          # the tables of the pages on each structure, from the record

Every number is a process with a fresh interpreter and one thread, which reads the same file, fits once to warm up and then
`--repeats` times; a first fit of more than 20 s of processor time is itself the number. From a table in memory to estimates
and standard errors. Ratios compare processes of one round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.pages import insert
from benchmarks.processes import environment
from benchmarks.structures_data import curves, field, herd, visits

__all__ = ["main", "of_pages", "table"]

RESULTS = Path(__file__).with_name("results") / "structures.json"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    "smooths": ("gam",),
    "relationships": ("animal",),
    "residuals": ("mmrm",),
    "time_space": ("exp", "mat"),
}
"""Page of the documents -> the models whose times it has."""
PEERS = {
    "gam": ("bam", "bam-discrete"),
    "animal": ("cholmod", "TMB"),
    "mmrm": ("gls",),
    "exp": ("glmmTMB",),
    "mat": ("glmmTMB",),
}
NAMES = {
    "gam": "{rows:,} rows, three smooths and `(1 \\| g)`, REML",
    "animal": "{rows:,} animals of a pedigree, a record each, REML",
    "mmrm": "500 subjects × 8 visits ({rows:,} rows), unstructured, REML",
    "exp": "field of {rows:,} points, `exp`, ML",
    "mat": "field of {rows:,} points, `mat` with its smoothness, ML",
}
CALLED = {
    "bam": "`mgcv::bam`",
    "bam-discrete": "`bam(discrete = TRUE)`",
    "cholmod": "A⁻¹ given, `optimize` and CHOLMOD: Matrix",
    "TMB": "A⁻¹ given, `nlminb` and a template: TMB",
    "gls": "`nlme::gls`",
    "glmmTMB": "`glmmTMB`",
}
Record = dict[str, Any]
"""A line of JSON that a process prints."""


def prepare(model: str, folder: Path, locations: int, animals: int) -> int:
    """Write the data of a model; returns the number of rows."""
    if model == "animal":
        from scipy.io import mmwrite

        from lmmformula.numerics.pedigree import Pedigree

        made = herd(animals)
        names = pd.Index(made.pedigree["animal"])
        own, sire, dam = (names.get_indexer(pd.Index(made.pedigree[c])) for c in made.pedigree)
        found = Pedigree.of(own, sire, dam, len(own))
        mmwrite(folder / "precision.mtx", found.precision(), symmetry="general")
        (folder / "log_det.txt").write_text(f"{-found.log_det!r}\n")
        made.pedigree.to_csv(folder / "pedigree.csv", index=False)
        table = made.rows.assign(code=names.get_indexer(pd.Index(made.rows["animal"])))
    else:
        table = {"gam": curves, "mmrm": visits}[model]() if model in ("gam", "mmrm") else field(locations)
    table.to_csv(folder / "data.csv", index=False)
    return len(table)


def measured(peer: str, model: str, folder: Path, repeats: int, timeout: float) -> Record:
    """One process; a record with `note` alone where it failed."""
    here = Path(__file__)
    if peer == "lmmformula":
        command = [sys.executable, "-m", "benchmarks.structures_process", model, str(folder), str(repeats)]
    else:
        script = str(here.with_name("structures.R"))
        command = ["Rscript", "--vanilla", script, peer, model, str(folder), str(repeats)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment(1),
            cwd=here.parents[1],
        )
    except subprocess.TimeoutExpired:
        return {"note": f"more than {timeout:.0f} s"}
    if done.returncode:
        return {"note": " ".join(done.stderr.split())[-300:]}
    return json.loads(done.stdout.splitlines()[-1])


def run(arguments: argparse.Namespace) -> None:
    kept: Record = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = prepare(model, folder, arguments.locations, arguments.animals)
            peers = ["lmmformula", *PEERS[model]]
            found: dict[str, list[Record]] = {peer: [] for peer in peers}
            for turn in range(arguments.rounds):
                for peer in peers if turn % 2 == 0 else peers[::-1]:
                    record = measured(peer, model, folder, arguments.repeats, arguments.timeout)
                    record["load"] = round(os.getloadavg()[0], 1)
                    found[peer].append(record)
                    print(
                        model,
                        peer,
                        json.dumps({k: v for k, v in record.items() if k not in ("beta", "se")}),
                        flush=True,
                    )
        kept[model] = {
            "rows": rows,
            "date": date.today().isoformat(),
            "python": platform.python_version(),
            "peers": found,
        }
        if arguments.record:
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(table(kept))


def table(kept: Record) -> str:
    """Rows of Markdown: a row for each model and peer, with the ratio of processor times."""
    lines = [
        "| model | program | processor, s | wall, s | first fit, s | log-likelihood | processor time of R / ours |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for model, record in kept.items():
        ours = [r for r in record["peers"]["lmmformula"] if "cpu" in r]
        for peer, found in record["peers"].items():
            good = [r for r in found if "cpu" in r]
            first = NAMES[model].format(rows=record["rows"]) if peer == "lmmformula" else ""
            called = (
                f"lmmformula {ours[-1]['version']}"
                if peer == "lmmformula" and ours
                else CALLED.get(peer, peer)
            )
            if not good:
                lines.append(f"| {first} | {called} | {found[-1]['note']} | | | | |")
                continue
            if peer != "lmmformula":
                called += f" {good[-1]['version']}"
            middle = {k: statistics.median(r[k] for r in good) for k in ("cpu", "wall", "first_cpu")}
            pairs = [a["cpu"] / b["cpu"] for a, b in zip(good, ours, strict=False)]
            ratio = "" if peer == "lmmformula" or not pairs else f"{statistics.median(pairs):.2g}"
            lines.append(
                f"| {first} | {called} | {middle['cpu']:.3g} | {middle['wall']:.3g} | {middle['first_cpu']:.3g} | "
                f"{good[-1]['loglik']:.4f} | {ratio} |"
            )
    return "\n".join(lines)


def of_pages(kept: Record) -> None:
    """Put each page's part of the table between its marks."""
    for page, models in PAGES.items():
        insert(DOCS / f"{page}.md", {"speed": table({m: kept[m] for m in models if m in kept})})


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Random-effect structures against R.")
    parser.add_argument("what", nargs="?", choices=["run", "table", "figures"], default="run")
    parser.add_argument("--models", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--locations", type=int, default=500)
    parser.add_argument("--animals", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=7200.0)
    parser.add_argument("--record", action="store_true", help="into benchmarks/results/structures.json")
    arguments = parser.parse_args(given)
    if arguments.what != "run":
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))
        print(table(kept))
        if arguments.what == "figures":
            of_pages(kept)
    else:
        run(arguments)


if __name__ == "__main__":
    main()
