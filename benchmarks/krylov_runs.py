"""Fits and repeated log-likelihoods of several programs, each in a fresh process, in records that can be gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.krylov_data import FORMULA, Setting, read_arrays, write_arrays
from benchmarks.krylov_process import MARK
from benchmarks.pql_records import machine, read_record, write_record
from benchmarks.processes import environment

__all__ = ["NOISE_PROGRAMS", "PROGRAMS", "FitStudy", "NoiseStudy"]

PROGRAMS = ("lmmformula", "lmmformula, problem", "gpboost", "glmm", "lme4", "glmmTMB")
"""From a data frame; on a built problem; and the peers."""
NOISE_PROGRAMS = ("lmmformula", "gpboost")
_ROOT = Path(__file__).resolve().parent.parent
_SCRIPT = _ROOT / "benchmarks" / "adapters" / "mixed.R"
_R = ("lme4", "glmmTMB")
DIGITS = 12
"""Of numbers in the records: log-likelihoods differ in the eighth."""


@dataclass(frozen=True, slots=True)
class Processes:
    """How processes are started.

    Attributes
    ----------
    peers : str
        Interpreter of the Python peers.
    timeout : float
        Seconds after which a process is given up.
    threads : int or None
        Of all numerical libraries; None leaves them as they are.
    """

    peers: str
    timeout: float
    threads: int | None = None

    def run(self, task: str, program: str, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
        """The record of one process, or why there is none."""
        if program in _R:
            command = self._rscript(program, folder, options)
        else:
            python = sys.executable if program.startswith("lmmformula") else self.peers
            command = [python, "-m", "benchmarks.krylov_process", task, program, str(folder)]
            command.append(json.dumps(dict(options)))
        try:
            done = subprocess.run(
                command,
                cwd=_ROOT,
                env=environment(self.threads),
                capture_output=True,
                text=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"failure": f"more than {self.timeout:g} s"}
        lines = [line for line in done.stdout.splitlines() if line.startswith((MARK, "{"))]
        if done.returncode or not lines:
            return {"failure": " ".join(done.stderr.split())[-200:] or f"exit status {done.returncode}"}
        return json.loads(lines[-1].removeprefix(MARK))

    def _rscript(self, program: str, folder: Path, options: Mapping[str, Any]) -> list[str]:
        from benchmarks.exchange import write_frame
        from benchmarks.krylov_data import frame

        setting, data = read_arrays(folder)
        if not (folder / "data.csv").exists():
            table = frame(data)
            table[["g", "h"]] = table[["g", "h"]].astype(str).astype("category")
            write_frame(table, folder)
        method = "ml" if setting.family == "gaussian" else "laplace"
        ends = [str(options["repeats"]), str(options["budget"])]
        return [
            "Rscript",
            "--vanilla",
            str(_SCRIPT),
            program,
            str(folder),
            FORMULA,
            method,
            setting.family,
            *ends,
        ]


@dataclass(frozen=True, slots=True)
class FitStudy:
    """Whole fits.

    Attributes
    ----------
    settings : sequence of Setting
    programs : sequence of str
        Of `PROGRAMS`. One that fails is not asked for larger settings of the same family.
    processes : Processes
    repeats : int
        Timed fits after a first that warms up.
    budget : float
        Seconds after which no further fit starts; a first fit that takes longer is the measurement.
    evaluate : bool
        Whether the log-likelihood at each program's estimates is computed by lmmformula.
    """

    settings: Sequence[Setting]
    programs: Sequence[str]
    processes: Processes
    repeats: int = 3
    budget: float = 60.0
    evaluate: bool = True

    def run(self, record: Path) -> None:
        """Measure what the file `record` does not hold, adding to it after each process."""
        known = read_record(record).get("fits", [])
        for setting in sorted(self.settings, key=lambda s: (s.rows, sum(s.levels))):
            for found in self._measured(setting, known):
                show(found)
                known.append(found)
                write_record(record, {"machine": machine(), "fits": known}, DIGITS)

    def _todo(self, setting: Setting, known: Sequence[dict[str, Any]]) -> list[str]:
        done = {f["program"] for f in known if same(f, setting)}
        lost = {f["program"] for f in known if "failure" in f and f["family"] == setting.family}
        return [p for p in self.programs if p not in done | lost]

    def _measured(self, setting: Setting, known: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """One record of each program that is still to run, on one data set."""
        todo = self._todo(setting, known)
        if not todo:
            return
        options = {"repeats": self.repeats, "budget": self.budget}
        with tempfile.TemporaryDirectory(prefix="lmmformula-krylov-") as temporary:
            folder = Path(temporary)
            write_arrays(setting, folder)
            for program in todo:
                found = self.processes.run("fit", program, folder, options)
                if self.evaluate and "beta" in found:
                    given = {k: found[k] for k in ("beta", "sigma2", "variances")}
                    found |= self.processes.run("evaluate", "lmmformula", folder, given)
                yield setting.key | {"program": program} | found


@dataclass(frozen=True, slots=True)
class NoiseStudy:
    """The log-likelihood at one set of parameters over seeds.

    Attributes
    ----------
    settings : sequence of Setting
    programs : sequence of str
        Of `NOISE_PROGRAMS`; the parameters are lmmformula's estimates.
    processes : Processes
    seeds : int
    """

    settings: Sequence[Setting]
    programs: Sequence[str]
    processes: Processes
    seeds: int = 10

    def run(self, record: Path) -> None:
        """Measure what the file `record` does not hold."""
        known = read_record(record).get("noise", [])
        for setting in self.settings:
            own = next((f for f in known if same(f, setting) and f["program"] == "lmmformula"), None)
            done = {f["program"] for f in known if same(f, setting)}
            todo = [p for p in NOISE_PROGRAMS if p in self.programs and p not in done]
            if not todo:
                continue
            with tempfile.TemporaryDirectory(prefix="lmmformula-krylov-") as temporary:
                folder = Path(temporary)
                write_arrays(setting, folder)
                for program in todo:
                    options: dict[str, Any] = {"seeds": self.seeds}
                    if own is not None and "failure" not in own:
                        options |= {k: own[k] for k in ("beta", "sigma2", "variances")}
                    elif program != "lmmformula":
                        continue
                    found = self.processes.run("noise", program, folder, options)
                    entry = setting.key | {"program": program} | found
                    own = entry if program == "lmmformula" else own
                    show(entry)
                    known.append(entry)
                    write_record(record, {"machine": machine(), "noise": known}, DIGITS)


def same(entry: Mapping[str, Any], setting: Setting) -> bool:
    """Whether a record is of this setting."""
    return all(entry.get(k) == v for k, v in setting.key.items())


def show(entry: Mapping[str, Any]) -> None:
    """One line on the way."""
    hidden = ("beta", "tail", "seed", "intercept", "variances", "effect_variances")
    print(json.dumps({k: v for k, v in entry.items() if k not in hidden}), file=sys.stderr, flush=True)
