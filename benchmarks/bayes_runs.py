"""The loop over models and ways to fit them, each fit in a process of its own, in turns.

The effective sample size of a fit is the smallest bulk one over fixed effects, standard deviations, correlations, sigma and
every random effect. Draws by importance sampling may coincide, and count at most as often as they differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bayes_data import MODELS, BayesModel
from benchmarks.bayes_process import DRAWS, MARK
from benchmarks.exchange import write_frame
from benchmarks.pql_records import machine, read_record, write_record
from benchmarks.processes import environment

__all__ = ["WAYS", "BayesStudy", "FirstStudy", "ways_of"]

WAYS = ("nuts", "importance", "one", "none", "plain-one", "plain", "bambi")
"""Everything integrated out, by chains or by importance sampling; one class at a time; nothing; the same two in a plain NumPyro
model; bambi with nutpie."""

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class BayesStudy:
    """What is measured, and how.

    Attributes
    ----------
    models : sequence of str
        Of :data:`benchmarks.bayes_data.MODELS`.
    ways : sequence of str
        Of `WAYS`.
    chains, draws : int
    warmup : int
        Of chains that sample random effects; those that do not take their own default.
    timeout : float
        Seconds after which a process is given up.
    seed : int
    bambi : str
        A Python with bambi and nutpie.
    """

    models: Sequence[str]
    ways: Sequence[str]
    chains: int = 1
    draws: int = 1_000
    warmup: int = 500
    timeout: float = 300.0
    seed: int = 1
    bambi: str = sys.executable

    def run(self, record: Path) -> None:
        """Measure, adding to the file `record` after each fit; what it holds is not measured again."""
        known = read_record(record).get("fits", [])
        for name in self.models:
            model = MODELS[name]
            done = {f["way"] for f in known if f["model"] == name and _final(f)}
            known = [f for f in known if f["model"] != name or f["way"] in done]
            todo = [w for w in ways_of(model, self.ways) if w not in done]
            for found in self._measured(model, todo):
                print(json.dumps(found), file=sys.stderr, flush=True)
                known.append(found)
                write_record(record, {"machine": machine(), "fits": known}, 5)

    def _measured(self, model: BayesModel, ways: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not ways:
            return
        with tempfile.TemporaryDirectory(prefix="lmmformula-bayes-") as temporary:
            folder, frame = Path(temporary), model.make()
            write_frame(frame, folder)
            settings = {"chains": self.chains, "draws": self.draws, "warmup": self.warmup, "seed": self.seed}
            for way in ways:
                request = settings | {"folder": temporary, "formula": model.formula} | _request(way)
                python = self.bambi if way == "bambi" else sys.executable
                load = os.getloadavg()[0]
                found = _process(python, request, self.timeout)
                if (folder / DRAWS).exists():
                    found |= _efficiency(folder / DRAWS)
                    found["ess"] = min(found["ess"], found.get("different", np.inf))
                    (folder / DRAWS).unlink()
                what = {"model": model.name, "rows": len(frame), "way": way, "draws": self.draws}
                yield what | found | {"load": load}


@dataclass(frozen=True, slots=True)
class FirstStudy:
    """Time from the start of a process to the posterior of a small model, imports included.

    Modules, loops and programs have been compiled by an earlier process, as those of an installed package are.
    """

    models: Sequence[str]
    samplers: Sequence[str] = ("nuts", "importance")
    repeats: int = 3
    timeout: float = 300.0

    def run(self, record: Path) -> None:
        """Measure and write the file anew."""
        found: list[dict[str, Any]] = []
        for name in self.models:
            model = MODELS[name]
            with tempfile.TemporaryDirectory(prefix="lmmformula-bayes-") as temporary:
                write_frame(model.make(), Path(temporary))
                for sampler in self.samplers:
                    request = {"way": "first", "sampler": sampler, "seed": 1, "folder": temporary}
                    request |= {"formula": model.formula}
                    times: list[float] = []
                    cpu: list[float] = []
                    _process(sys.executable, request, self.timeout)  # modules and programs are compiled once
                    load, own = os.getloadavg()[0], {}
                    for _ in range(self.repeats):
                        start, before = time.perf_counter(), _children()
                        own = _process(sys.executable, request, self.timeout)
                        times.append(time.perf_counter() - start)
                        cpu.append(_children() - before)
                    what = {"model": name, "sampler": sampler, "seconds": times, "cpu": cpu, "load": load}
                    found.append(what | own)
                    print(json.dumps(found[-1]), file=sys.stderr, flush=True)
        write_record(record, {"machine": machine(), "fits": found}, 4)


def _children() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def ways_of(model: BayesModel, ways: Sequence[str]) -> list[str]:
    """The ways of one model; "one" stands for each of its classes, unless one is all there is, "plain-one" for each."""
    out: list[str] = []
    for way in ways:
        if way == "plain-one" or (way == "one" and len(model.groups) > 1):
            out += [f"{way}:{g}" for g in model.groups]
        elif way != "one":
            out.append(way)
    return out


def _final(fit: dict[str, Any]) -> bool:
    """Whether a fit need not be tried again: it ended, or took too long."""
    return "ess" in fit or str(fit.get("failure", "")).startswith("more than")


def _request(way: str) -> dict[str, Any]:
    kind, _, group = way.partition(":")
    if kind == "bambi":
        return {"way": "bambi"}
    if kind.startswith("plain"):
        return {"way": "plain", "without": group}
    marginalize = [group] if kind == "one" else "none" if kind == "none" else "all"
    return {
        "way": "ours",
        "marginalize": marginalize,
        "sampler": "importance" if way == "importance" else "nuts",
    }


def _process(python: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    """A fit in a fresh process: its record, or why there is none."""
    command = [python, "-m", "benchmarks.bayes_process", json.dumps(request)]
    try:
        done = subprocess.run(
            command,
            cwd=_ROOT,
            env=environment(1),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"more than {timeout:g} s"}
    lines = [line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        return {"failure": " ".join(done.stderr.split())[-200:] or f"exit status {done.returncode}"}
    return json.loads(lines[-1])


def _efficiency(path: Path) -> dict[str, Any]:
    """The smallest effective sample size, whose it is, and the largest R-hat."""
    from lmmformula.numerics.mcmc import ess_bulk, rhat

    least, worst, name, count = np.inf, 0.0, "", 0
    with np.load(path) as draws:
        for label, values in draws.items():
            flat = values.reshape(*values.shape[:2], -1)
            flat = flat[..., np.ptp(flat, axis=(0, 1)) > 0]
            if not flat.shape[-1]:
                continue
            own = float(np.nanmin(ess_bulk(flat)))
            worst = max(worst, float(np.nanmax(rhat(flat))))
            count += flat.shape[-1]
            if own < least:
                least, name = own, label
    return {"ess": least, "least": name, "rhat": worst, "parameters": count}
