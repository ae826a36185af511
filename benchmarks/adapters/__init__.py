"""One module per peer, named so as not to hide the package that it imports; each holds an `ADAPTER`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

from benchmarks.measure import Measurement
from benchmarks.problems import Problem

__all__ = ["PEERS", "Adapter", "adapter"]

PEERS = (
    "lmmformula",
    "lme4",
    "lme4-advised",
    "lme4-nagq0",
    "glmmtmb",
    "statsmodels",
    "glmm",
    "mixedlm",
    "gpboost",
    "gpboost-cholesky",
    "lme-python",
)


class Adapter(Protocol):
    """What the benchmark asks of a peer."""

    def absent(self) -> str | None:
        """Why the peer cannot be used here at all; None if it can."""
        ...

    def cannot(self, problem: Problem) -> str | None:
        """Why the peer has no such model, or no chance at this size; None if it has."""
        ...

    def measure(self, problem: Problem, folder: Path, repeats: int, budget: float) -> Measurement:
        """Fit the data of `folder` repeatedly."""
        ...


def adapter(peer: str) -> Adapter:
    """The adapter of one of `PEERS`."""
    return import_module(f"benchmarks.adapters.{peer.replace('-', '_')}_peer").ADAPTER
