"""What a call costs: wall seconds, and memory at its peak where the system tells."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["Measured", "metered"]

T = TypeVar("T")
_RESET_PEAK = "5"
"""What Linux wants to read in ``clear_refs`` to set VmHWM back to VmRSS."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a call cost.

    Attributes
    ----------
    seconds : float
        Wall time.
    memory : int or None
        Bytes by which the resident memory of the process at its peak lay above that before the call; None where the
        system does not say (other than Linux, or without the right to reset the peak). Memory that the process already
        held and used again does not count.
    """

    seconds: float
    memory: int | None


def metered(call: Callable[[], T]) -> tuple[T, Measured]:
    """Run `call` and measure it."""
    gc.collect()
    before = _start()
    begun = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - begun
    peak = None if before is None else _resident("VmHWM")
    return result, Measured(seconds, None if before is None or peak is None else max(peak - before, 0))


def _start() -> int | None:
    """Resident bytes now, with the peak set back to them."""
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return None
    return _resident("VmRSS")


def _resident(name: str) -> int | None:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
