"""What one process measures, and the loop that measures it."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Measurement", "measure", "peak_memory_mb"]

_ENOUGH = 0.2
Status = Literal["ok", "absent", "cannot", "failed", "timeout"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One peer on one problem in one process.

    Attributes
    ----------
    status : str
        ``ok``; ``absent`` (the peer is not installed), ``cannot`` (the peer has no such model), ``failed``
        or ``timeout``.
    note : str
        Why there is no number.
    seconds : float or None
        Median over the timed fits.
    first : float or None
        The warm-up fit: what a user waits for once, compilation included.
    fits : int
        Number of timed fits.
    memory : float or None
        Peak resident memory of the process, MB.
    before : float or None
        The same before the first fit: the interpreter, the imports and the data.
    loglik : float or None
        Log-likelihood (restricted for REML) as the peer reports it.
    version : str
        Version of the peer.
    cpu : float or None
        Processor seconds of the first fit, all threads of the process together.
    """

    status: Status
    note: str = ""
    seconds: float | None = None
    first: float | None = None
    fits: int = 0
    memory: float | None = None
    before: float | None = None
    loglik: float | None = None
    version: str = ""
    cpu: float | None = None


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in units of a million bytes."""
    # On Linux ru_maxrss survives exec: a child starts with its parent's peak. VmHWM does not.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def measure(fit: Callable[[], float], repeats: int, budget: float, version: str) -> Measurement:
    """Time `fit`, which returns a log-likelihood.

    A first fit warms up (compilers, caches, thread pools) and is not counted; then `repeats` fits are, and
    more of a quick one until `_ENOUGH` seconds are measured; none starts after `budget` seconds. Where the
    first fit alone takes longer than the budget it is the measurement: compiling is then a small part of it.
    """
    before, spent = peak_memory_mb(), time.process_time()
    first, loglik = _timed(fit)
    spent = time.process_time() - spent
    times: list[float] = [first] if first > budget else []
    gc.collect()
    while first <= budget and (len(times) < repeats or sum(times) < _ENOUGH) and sum(times) <= budget:
        seconds, loglik = _timed(fit)
        times.append(seconds)
    return Measurement(
        status="ok",
        seconds=statistics.median(times),
        first=first,
        fits=len(times),
        memory=peak_memory_mb(),
        before=before,
        loglik=loglik,
        version=version,
        cpu=spent,
    )


def _timed(fit: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    loglik = fit()
    return time.perf_counter() - start, float(loglik)
