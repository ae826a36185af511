"""Rows that do not fit: files of any number of ratings, and fits of them with their time and peak memory.

    python -m benchmarks.scale write FOLDER --rows 100_000_000
    python -m benchmarks.scale write FOLDER --retail            # 5,000,000 rows, 744,482 x 3,547 levels, 34 coefficients
    python -m benchmarks.scale fit FOLDER --method pql [--correction laplace] [--in-memory]
    python -m benchmarks.scale compare FOLDER --method pql      # from files, and in memory, each in a process of its own
    python -m benchmarks.scale fit FOLDER --record benchmarks/results/scale.json         # add it to the record
    python -m benchmarks.scale figure docs/figures/scale.svg --record benchmarks/results/scale.json

A row says whether a client rated an item: ten rows a client, items of uneven popularity, seven predictors (three of single
precision, four of zeros and ones), effects of clients and items of standard deviations .7 and .5. Files are made chunk by chunk
from a seed, so that the same rows come out on every machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale_figures import add, draw

CHUNK = 1_000_000
FORMULA = "{y} ~ x1 + x2 + x3 + z1 + z2 + z3 + z4 + (1 | client) + (1 | item)"
BETA = np.array([-0.3, 0.4, -0.2, 0.1, 0.3, -0.5, 0.2, 0.15])
SD = (0.7, 0.5)


def sizes(rows: int) -> tuple[int, int]:
    """Clients and items."""
    return max(rows // 10, 2), max(int(2 * rows**0.5), 2)


def write(folder: Path, rows: int, seed: int, per_file: int) -> None:
    """The files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    clients, items = sizes(rows)
    rng = np.random.default_rng(seed)
    a, b = (s * rng.normal(size=m) for s, m in zip(SD, (clients, items), strict=True))
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        x = [rng.normal(size=n).astype(np.float32) for _ in range(3)]
        z = [(rng.uniform(size=n) < share).astype(np.int8) for share in (0.5, 0.3, 0.2, 0.1)]
        client = rng.integers(0, clients, n).astype(np.int32)
        item = (items * rng.uniform(size=n) ** 2).astype(np.int32)
        eta = BETA[0] + sum(c * v for c, v in zip(BETA[1:], (*x, *z), strict=True)) + a[client] + b[item]
        names = dict(zip(("x1", "x2", "x3", "z1", "z2", "z3", "z4"), (*x, *z), strict=True))
        table = pa.table(
            {
                "top": (rng.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int8),
                "score": (eta + rng.normal(size=n)).astype(np.float32),
                "client": client,
                "item": item,
                **names,
            }
        )
        if start % per_file == 0:
            if writer is not None:
                writer.close()
            writer = pq.ParquetWriter(folder / f"part-{start // per_file:05d}.parquet", table.schema)
        assert writer is not None
        writer.write_table(table)
    if writer is not None:
        writer.close()
    (folder / "about.json").write_text(json.dumps({"rows": rows, "seed": seed, "formula": FORMULA}))


def write_retail(folder: Path, rows: int, seed: int) -> None:
    """The rows of :func:`benchmarks.crossed_logit.retail`, in five files."""
    from benchmarks.crossed_logit import retail

    folder.mkdir(parents=True, exist_ok=True)
    made = retail(rows, seed)
    step = -(-rows // 5)
    for k in range(5):
        made.frame.iloc[k * step : (k + 1) * step].to_parquet(folder / f"part-{k}.parquet", index=False)
    formula = made.formula.replace("y ~", "{y} ~", 1)
    (folder / "about.json").write_text(json.dumps({"rows": rows, "seed": seed, "formula": formula, "y": "y"}))


def run(folder: Path, method: str, correction: str, *, in_memory: bool) -> dict[str, Any]:
    """One fit: its time, peak memory and estimates."""
    import pandas as pd

    from lmmformula import fit

    gaussian = method in ("reml", "ml")
    options: dict[str, Any] = {} if gaussian else {"family": "binomial"}
    if method == "pql":
        options["correction"] = correction
    about = json.loads((folder / "about.json").read_text())
    formula = about.get("formula", FORMULA).format(y=about.get("y", "score" if gaussian else "top"))
    warm = pd.DataFrame({"y": [1.0, 2.0, 2.5, 4.0, 3.0, 6.0], "g": list("aabbcc")})
    fit("y ~ 1 + (1 | g)", warm)
    begun, cpu = time.perf_counter(), time.process_time()
    data: Any = str(folder / "*.parquet")
    if in_memory:
        data = pd.concat(map(pd.read_parquet, sorted(folder.glob("*.parquet"))), ignore_index=True)
    read = time.perf_counter() - begun
    m = fit(formula, data, method=method, progress=_tell, **options)
    spent = time.perf_counter() - begun
    return {
        "rows": m.nobs,
        "method": m.method,
        "engine": m.plan.engine,
        "coefficients": len(m.params),
        "levels": list(m.ngroups.values()),
        "from": "memory" if in_memory else "files",
        "seconds": round(spent, 1),
        "reading the table": round(read, 1) if in_memory else None,
        "cpu": round(time.process_time() - cpu, 1),
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "beta": m.params.round(4).tolist(),
        "se": m.bse.round(5).tolist(),
        "sd": m.varcorr().sdcor.round(4).tolist(),
    }


def _tell(step: int, value: float, change: float) -> None:
    print(f"  {time.strftime('%X')} {step} {value:.10g} {change:.2g}", file=sys.stderr, flush=True)


def compare(folder: Path, method: str, correction: str) -> None:
    """From files and in memory, each in its own process, one after the other."""
    for more in ([], ["--in-memory"]):
        words = ["fit", str(folder), "--method", method, "--correction", correction, *more]
        subprocess.run([sys.executable, "-m", "benchmarks.scale", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["write", "fit", "compare", "figure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-file", type=int, default=10_000_000)
    parser.add_argument("--method", default="pql")
    parser.add_argument("--correction", default="none")
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--retail", action="store_true")
    parser.add_argument("--record", type=Path)
    asked = parser.parse_args()
    if asked.what == "write" and asked.retail:
        write_retail(asked.folder, asked.rows, asked.seed)
    elif asked.what == "write":
        write(asked.folder, asked.rows, asked.seed, asked.per_file)
    elif asked.what == "compare":
        compare(asked.folder, asked.method, asked.correction)
    elif asked.what == "figure":
        draw(asked.record, asked.folder)
    else:
        found = run(asked.folder, asked.method, asked.correction, in_memory=asked.in_memory)
        print(json.dumps(found))
        if asked.record is not None:
            add(asked.record, found)


if __name__ == "__main__":
    main()
