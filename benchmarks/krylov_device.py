"""The Krylov engine on the processor and on another device, side by side in one process: kernels and whole fits.

``cpu-jax`` is the GPU's path run by JAX on the processor. It says what the path costs, and nothing about a GPU.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lmmformula
from benchmarks.krylov_data import FORMULA, VARIANCE, Setting, frame
from benchmarks.krylov_runs import DIGITS, same, show
from benchmarks.pql_records import machine, read_record, write_record
from lmmformula.engines.krylov import device
from lmmformula.engines.krylov.deflation import LARGE
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.ir.blocks import Blocks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DeviceStudy"]

WEIGHT = {"gaussian": 1.0, "binomial": 0.2}
"""Of a row while kernels are timed, about that of a fit."""


@dataclass(frozen=True, slots=True)
class DeviceStudy:
    """Seconds of products, solutions, subspace iterations and whole fits, on the processor and on `device`.

    Attributes
    ----------
    settings : sequence of Setting
    device : str
        "gpu" or "cpu-jax".
    repeats : int
        Fits on each after a first one, which compiles.
    """

    settings: Sequence[Setting]
    device: str
    repeats: int = 3

    def run(self, record: Path) -> None:
        """Measure what the file `record` does not hold."""
        if self.device == "cpu-jax":
            device.PLATFORMS["gpu"] = device.PLATFORMS["cpu-jax"]
        kind = device.find_device("gpu").device_kind
        known = read_record(record).get("devices", [])
        for setting in self.settings:
            if any(same(e, setting) and e["device"] == self.device and e["kind"] == kind for e in known):
                continue
            entry = (
                setting.key
                | {"device": self.device, "kind": kind, "cpus": machine()["cpus"]}
                | self._measured(setting)
            )
            show(entry)
            known.append(entry)
            write_record(record, {"machine": machine(), "devices": known}, DIGITS)

    def _measured(self, setting: Setting) -> dict[str, Any]:
        import jax

        jax.clear_caches()
        table = frame(setting.arrays())
        fits: dict[str, list[Any]] = {"cpu": [], "gpu": []}
        for _ in range(self.repeats + 1):
            for name, done in fits.items():
                gc.collect()
                done.append(_fit(setting.family, table, name))
        kernels, out = _kernels(setting.family, table), {}
        for name, label in (("cpu", "processor"), ("gpu", "other")):
            seconds = [s for s, _ in fits[name]]
            out[label] = kernels[name] | {"first": seconds[0], "seconds": statistics.median(seconds[1:])}
        llf = [fits[name][-1][1] for name in ("cpu", "gpu")]
        return out | {"difference": abs(llf[1] - llf[0])}


def _fit(family: str, table: pd.DataFrame, name: str) -> tuple[float, float]:
    start = time.perf_counter()
    m = lmmformula.fit(FORMULA, table, family=family, method="krylov", device=name, seed=1)
    return time.perf_counter() - start, m.llf


def _kernels(family: str, table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Least seconds of each kernel, with what it costs to bring a block there and back."""
    problem = lmmformula.build(FORMULA, table, family=family)
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(np.full(problem.n, WEIGHT[family]), problem.X.matrix)
    scale = VARIANCE if family == "gaussian" else 1.0
    factors = [np.array([[np.sqrt(VARIANCE / scale)]])] * len(blocks.groups)
    rng, out = np.random.default_rng(1), {}
    for name in ("cpu", "gpu"):
        prepared = KrylovEngine(device=name).prepare(blocks)
        place, s = prepared.place, prepared.factor(gram, factors).complement
        signs, start = rng.integers(0, 2, (s.q, 8)) * 2.0 - 1.0, rng.standard_normal((s.q, 8))
        out[name] = {
            "product": _least(lambda s=s, x=signs: s.apply(x)),
            "solution": _least(lambda p=place, s=s, x=signs: p.conjugate_gradients(s, x, 1e-5, 1000)),
            "subspace": _least(lambda p=place, s=s, x=start: p.subspace(s, x, LARGE)),
        }
    return out


def _least(function: Callable[[], Any]) -> float:
    """Least seconds of five calls, after one that compiles."""
    function()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
