"""kill -9 of a process in the middle of a fit, and the same call again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula import fit
from lmmformula.keeping.archive import CHECKPOINT, read_archive
from lmmformula.keeping.codec import Decoder
from lmmformula.typing import Record

CROSSED = "r2 ~ Anger + situ + (1 | id) + (1 | item)"

KILLED = """
import sys, time
import lmmformula.keeping.checkpoint as checkpoints
from lmmformula import fit, load_dataset
checkpoints.EVERY = 0.0
formula, data, path, options = eval(sys.argv[1])
def slowly(*_):
    time.sleep(0.15)
print("begins", flush=True)
fit(formula, load_dataset(data), checkpoint=path, progress=slowly, **options)
print("ended", flush=True)
"""


@pytest.fixture
def killed() -> Iterator[Callable[..., bool]]:
    """Make a call in a process and kill it so many seconds after its checkpoint has a search; whether it was still at work."""
    running: list[subprocess.Popen[str]] = []

    def run(formula: str, data: str, path: Path, options: Record, search: str, seconds: float) -> bool:
        call = repr((formula, data, str(path), options))
        process = subprocess.Popen([sys.executable, "-c", KILLED, call], stdout=subprocess.PIPE, text=True)
        running.append(process)
        before, until = written(path, search), time.monotonic() + 120.0
        while process.poll() is None and written(path, search) in (before, None) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        return "begins" in out and "ended" not in out

    yield run
    for process in running:
        process.kill()
        process.wait()


def written(path: Path, search: str) -> int | None:
    """When the file was last written with a state of that search in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = f'["{search}",{{' in archive.read("checkpoint.json").decode()
        return path.stat().st_mtime_ns if found else None
    except (FileNotFoundError, zipfile.BadZipFile):
        return None


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("options", "kills"),
    [({"family": "binomial"}, 1), ({"family": "binomial", "method": "pql", "correction": "laplace"}, 2)],
    ids=str,
)
def test_kill_9_loses_no_more_than_the_last_step(
    tmp_path: Path, options: Record, kills: int, killed: Callable[..., bool]
) -> None:
    path, rng = tmp_path / "fit.ckpt", np.random.default_rng(7)
    for _ in range(kills):
        assert killed(CROSSED, "VerbAgg", path, options, "search", rng.uniform(0.0, 0.2))
    m: Any = fit(CROSSED, "VerbAgg", checkpoint=path, **options)
    whole: Any = fit(CROSSED, "VerbAgg", **options)
    assert m.diagnostics["continued"] == kills
    np.testing.assert_allclose(m.params, whole.params, rtol=1e-6)
    np.testing.assert_allclose(m.theta, whole.theta, rtol=1e-6)
    assert abs(m.diagnostics["evaluations"] - whole.diagnostics["evaluations"]) <= 2


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_chains_that_were_killed_draw_what_they_would_have(
    tmp_path: Path, killed: Callable[..., bool]
) -> None:
    path, call = tmp_path / "fit.ckpt", ("Yield ~ 1 + (1 | Batch)", "Dyestuff")
    options: Record = {"method": "hmc", "sampler": "nuts", "seed": 4, "chains": 2, "draws": 600}
    assert killed(*call, path, options, "chains", 0.1)
    head, arrays = read_archive(path, CHECKPOINT)
    left = Decoder(arrays)(head["kept"]).searches["chains"]["chains"]
    assert any(0 < chain.done < 700 for chain in left)
    m: Any = fit(*call, checkpoint=path, **options)
    assert m.diagnostics["continued"] == 1
    whole: Any = fit(*call, **options)
    for name in ("x", "beta", "variances"):
        np.testing.assert_array_equal(getattr(m.posterior, name), getattr(whole.posterior, name))
    np.testing.assert_array_equal(m.posterior.effects[0], whole.posterior.effects[0])
    for name, values in whole.posterior.statistics.items():
        np.testing.assert_array_equal(m.posterior.statistics[name], values)
