"""lme4 through Rscript: only the call of `lmer` is timed, in R, in the R process itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.measure import Measurement
from benchmarks.problems import Problem

_SCRIPT = Path(__file__).with_name("lme4.R")


class Lme4:
    """See `benchmarks.adapters.Adapter`."""

    def absent(self) -> str | None:
        if shutil.which("Rscript") is None:
            return "no Rscript on the path"
        check = subprocess.run(
            ["Rscript", "-e", "quit(status = !requireNamespace('lme4', quietly = TRUE))"],
            capture_output=True,
            check=False,
        )
        return 'install.packages("lme4")' if check.returncode else None

    def cannot(self, problem: Problem) -> str | None:
        return None

    def measure(self, problem: Problem, folder: Path, repeats: int, budget: float) -> Measurement:
        arguments = [str(folder), problem.formula, problem.method, str(repeats), str(budget)]
        done = subprocess.run(
            ["Rscript", "--vanilla", str(_SCRIPT), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return Measurement("failed", " ".join(done.stderr.split())[-200:])
        return Measurement(status="ok", **json.loads(done.stdout.splitlines()[-1]))


ADAPTER = Lme4()
