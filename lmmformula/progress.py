"""Progress of a long fit: one line on a terminal, shown once the fit has taken a second.

Every backend calls ``report(iteration, value, change)`` after a step. What the three numbers are depends on the method:
:data:`LIKELIHOOD`, :data:`QUASI` and :data:`CHAINS` name them; chains report from threads of
their own, each its own iterations. Short fits stay silent and import nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["CHAINS", "LIKELIHOOD", "QUASI", "Labels", "Report", "reporting"]

Report: TypeAlias = Callable[[int, float, float], None]

WAIT = 1.0
"""Seconds of work before anything is shown, unless the user asked for it."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a backend's three numbers are called.

    Attributes
    ----------
    iteration, value, change : str
    digits : int
        Decimals of the value.
    change_as : str
        Format of the third number.
    """

    iteration: str
    value: str
    change: str
    digits: int
    change_as: str = ".1e"

    def line(self, iteration: int, value: float, change: float) -> str:
        """One step in words."""
        told = f"{self.iteration} {iteration}, {self.value} {value:.{self.digits}f}"
        return f"{told}, {self.change} {change:{self.change_as}}"


LIKELIHOOD = Labels("evaluation", "deviance", "still to gain", 4)
QUASI = Labels("outer iteration", "dispersion", "change of the fits", 4)
CHAINS = Labels("iteration", "-log density", "acceptance", 1, ".2f")


@contextmanager
def reporting(
    progress: bool | Report | None, labels: Labels, begun: float | None = None
) -> Iterator[Report | None]:
    """What to hand to a backend as its `progress`, cleared from the terminal at the end, however that comes.

    Parameters
    ----------
    progress : bool or callable, optional
        None shows a line on a terminal after `WAIT` seconds; True from the first step, and a line for each step where
        standard error is no terminal; False shows nothing; a callable is handed on as it is.
    labels : Labels
    begun : float, optional
        When the work began, as ``time.time()`` has it; now by default.
    """
    begun = time.time() if begun is None else begun
    if callable(progress):
        yield progress
        return
    terminal = _on_a_terminal()
    if progress is None and terminal:
        shown: _Line | None = _Line(labels, begun, WAIT)
    elif progress and terminal:
        shown = _Line(labels, begun, 0.0)
    else:
        yield _printer(labels) if progress else None
        return
    try:
        yield shown
    finally:
        shown.close()


def _on_a_terminal() -> bool:
    """Whether standard error is there and is a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it has been closed
        return False


def _printer(labels: Labels) -> Report:
    def report(iteration: int, value: float, change: float) -> None:
        print(labels.line(iteration, value, change), file=sys.stderr)

    return report


class _Line:
    """A line of tqdm that appears `wait` seconds after `begun` and leaves nothing behind."""

    def __init__(self, labels: Labels, begun: float, wait: float) -> None:
        self._labels, self._wait, self._begun = labels, wait, begun
        self._bar: Any = None
        self._turn = threading.Lock()

    def __call__(self, iteration: int, value: float, change: float) -> None:
        line = self._labels.line(iteration, value, change)
        with self._turn:
            if self._bar is not None:
                self._bar.set_description_str(line)
            elif time.time() - self._begun >= self._wait:
                self._bar = self._shown(line)

    def _shown(self, line: str) -> Any:
        from tqdm import tqdm

        bar = tqdm(
            desc=line,
            file=sys.stderr,
            leave=False,
            bar_format="{desc} [{elapsed}]",
            mininterval=0.0,
            dynamic_ncols=True,
        )
        bar.start_t = self._begun
        bar.refresh()
        return bar

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
