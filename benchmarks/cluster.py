"""A cluster on this machine beside two threads of one process: seconds, processor time, and bytes that travel.

    python -m benchmarks.scale write FOLDER --rows 5_000_000
    python -m benchmarks.cluster FOLDER [--rounds 3] [--workers 2]

Runs alternate, each in a process of its own after a small fit of its kind and from files, too, so that all processes have
imported what they need. Penalised
quasi-likelihood of :data:`benchmarks.scale.FORMULA`. Bytes are what is pickled into tasks and out of results: those of the
learning passes, of the rows that are dealt out, and of an outer iteration.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.scale import FORMULA

SMALL = "y ~ x + (1 | g)"


def small() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(20), 10)
    y = (rng.uniform(size=200) < 0.5).astype(int)
    return pd.DataFrame({"y": y, "x": rng.normal(size=200), "g": g})


def processor_time(pids: list[int]) -> float:
    """Seconds of user and system time of processes."""
    total = 0
    for pid in pids:
        total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def counted() -> list[int]:
    """Bytes down and up so far, from now on."""
    import cloudpickle

    from lmmformula.frame.sources.cluster import DaskWorkers

    sent = [0, 0]
    submit, results = DaskWorkers.submit, DaskWorkers.results

    def size(value: Any) -> int:
        kind = type(value).__module__.partition(".")[0]
        return 0 if kind == "distributed" else len(cloudpickle.dumps(value, protocol=5))

    def submitted(self: Any, function: Any, *arguments: Any, at: int | None = None) -> Any:
        sent[0] += sum(map(size, arguments))
        return submit(self, function, *arguments, at=at)

    def brought(self: Any, remotes: Any) -> Iterator[Any]:
        for value in results(self, remotes):
            sent[1] += size(value)
            yield value

    DaskWorkers.submit, DaskWorkers.results = submitted, brought  # type: ignore[method-assign]
    return sent


def one(folder: Path, where: str, workers: int, *, bytes_too: bool) -> dict[str, Any]:
    """A fit: in one process, or by the workers of a cluster."""
    from lmmformula import fit

    formula, marks = FORMULA.format(y="top"), []
    options: dict[str, Any] = {"family": "binomial", "method": "pql"}
    pids, sent = [os.getpid()], [0, 0]
    few = Path(tempfile.mkdtemp()) / "few.parquet"
    small().to_parquet(few, row_group_size=len(small()) // workers)
    if where == "threads":
        fit(SMALL, [str(few)], **options)
        data: Any = str(folder / "*.parquet")
    else:
        import dask.dataframe as dd
        import distributed

        cluster = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
        client: Any = distributed.Client(cluster)
        fit(SMALL, dd.read_parquet(few, blocksize="1B"), **options)
        pids += client.run(os.getpid).values()
        data = dd.read_parquet(str(folder), blocksize="32MB")
        if bytes_too:
            sent = counted()
    begun, before = time.perf_counter(), processor_time(pids)

    def hook(*_: float) -> None:
        marks.append((time.perf_counter() - begun, processor_time(pids) - before, *sent))

    m = fit(formula, data, progress=hook, **options)
    each = np.diff(np.array(marks), axis=0)
    return {
        "where": where,
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu": round(processor_time(pids) - before, 1),
        "iterations": len(marks),
        "until the first": [round(float(v), 1) for v in marks[0]],
        "of each after it": [round(float(v), 2) for v in np.median(each, axis=0)],
        "peak GB here": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "beta": m.params.round(8).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--where", choices=["threads", "cluster"])
    parser.add_argument("--bytes", action="store_true")
    asked = parser.parse_args()
    if asked.where:
        print(json.dumps(one(asked.folder, asked.where, asked.workers, bytes_too=asked.bytes)), flush=True)
        return
    for number in range(asked.rounds):
        for where in ("threads", "cluster"):
            threads = {"OMP_NUM_THREADS": "2"} if where == "threads" else {"OMP_NUM_THREADS": "1"}
            environment = {k: v for k, v in os.environ.items() if k != "NUMBA_NUM_THREADS"} | threads
            words = [str(asked.folder), "--where", where, "--workers", str(asked.workers)]
            more = ["--bytes"] if number == asked.rounds - 1 else []
            subprocess.run(
                [sys.executable, "-m", "benchmarks.cluster", *words, *more], check=True, env=environment
            )


if __name__ == "__main__":
    main()
