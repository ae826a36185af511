"""What the adapters of R packages share: only the call of the fit is timed, in R, in the R process itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Measurement
from benchmarks.problems import Problem

__all__ = ["RPeer"]

_SCRIPT = Path(__file__).with_name("mixed.R")


@dataclass(frozen=True, slots=True)
class RPeer:
    """An adapter that runs `mixed.R`, which knows how each package is asked.

    Attributes
    ----------
    package : str
        Name of the package in R.
    way : {"default", "advised", "nagq0"}
        How lme4 is asked. Its vignette on performance (lmerperf) advises large models to leave out the derivatives after
        the search (``calc.derivs = FALSE``) and to search by ``nloptwrap``; ``nAGQ = 0`` is its fast approximation of
        generalised models, which leaves the fixed effects out of the search.
    """

    package: str
    way: str = "default"

    def absent(self) -> str | None:
        if shutil.which("Rscript") is None:
            return "no Rscript on the path"
        check = subprocess.run(
            ["Rscript", "-e", f"quit(status = !requireNamespace('{self.package}', quietly = TRUE))"],
            capture_output=True,
            check=False,
        )
        return f'install.packages("{self.package}")' if check.returncode else None

    def cannot(self, problem: Problem) -> str | None:
        if self.way == "nagq0" and problem.family == "gaussian":
            return "nAGQ is of generalised models"
        return None

    def measure(self, problem: Problem, folder: Path, repeats: int, budget: float) -> Measurement:
        model = [problem.formula, problem.method, problem.family]
        arguments = [self.package, str(folder), *model, str(repeats), str(budget), self.way]
        done = subprocess.run(
            ["Rscript", "--vanilla", str(_SCRIPT), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return Measurement("failed", " ".join(done.stderr.split())[-200:])
        return Measurement(status="ok", **json.loads(done.stdout.splitlines()[-1]))
