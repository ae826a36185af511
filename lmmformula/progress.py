"""Progress of a long computation: one line on a terminal, from the first second until the end.

    search: evaluation 5, deviance 1743.6283, still to gain 1.2e-03 [00:12, about 40 s planned]
    chains: iteration 300 of 1,100, -log density 871.2, acceptance 0.85, about 50 s left [00:21]
    search: outer iteration 3, dispersion 1.0204, change of the fits 2.1e-03; pass 4, 45,000 of 1,000,000 rows, 310 MB/s [01:52]

The line has the stage, which whoever works tells by :func:`stage` (and :func:`step`, where the number of steps is known), the
last report, and the time since the beginning; a thread of its own keeps that going while nothing is told. Every backend calls
``report(iteration, value, change)`` after a step. What the three numbers are depends on the method: :data:`LIKELIHOOD`,
:data:`QUASI` and :data:`CHAINS` name them; chains report from threads of their own, each its own iterations. Short fits stay
silent and import nothing.

Rows that are read again and again, from files, tell of it by :func:`passing` at the beginning of a pass and :func:`passed`
after each batch, from any thread that sees the context variables of the one that works.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "CHAINS",
    "LIKELIHOOD",
    "QUASI",
    "Labels",
    "Report",
    "expected",
    "passed",
    "passing",
    "reporting",
    "shifted",
    "stage",
    "step",
    "working",
]

Report: TypeAlias = Callable[[int, float, float], None]

WAIT = 1.0
"""Seconds of work before anything is shown, unless the user asked for it."""
TICK = 0.5
"""Seconds from one look at the clock to the next."""


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
    is_deviance : bool
        Whether the value is a deviance, whose units are those of the response.
    """

    iteration: str
    value: str
    change: str
    digits: int
    change_as: str = ".1e"
    is_deviance: bool = False

    def line(self, iteration: int, value: float, change: float, total: int = 0) -> str:
        """One step in words, of `total` where that is known."""
        of = f"{iteration:,} of {total:,}" if total else f"{iteration}"
        told = f"{self.iteration} {of}, {self.value} {value:.{self.digits}f}"
        return f"{told}, {self.change} {change:{self.change_as}}"


LIKELIHOOD = Labels("evaluation", "deviance", "still to gain", 4, is_deviance=True)
QUASI = Labels("outer iteration", "dispersion", "change of the fits", 4)
CHAINS = Labels("iteration", "-log density", "acceptance", 1, ".2f")


_now: ContextVar[_Board | None] = ContextVar("what shows the progress", default=None)
_silent: ContextVar[bool] = ContextVar("the user wants no progress", default=False)


@contextmanager
def reporting(
    progress: bool | Report | None, labels: Labels = LIKELIHOOD, begun: float | None = None
) -> Iterator[Report | None]:
    """What to hand to a backend as its `progress`, cleared from the terminal at the end, however that comes.

    A block within another one goes on with the other's line.

    Parameters
    ----------
    progress : bool or callable, optional
        None shows a line on a terminal after `WAIT` seconds; True from the first step, and a line for each step where
        standard error is no terminal; False shows nothing; a callable is handed on as it is.
    labels : Labels
    begun : float, optional
        When the work began, as ``time.time()`` has it; now by default.
    """
    outer = _now.get()
    if outer is not None and not callable(progress):
        outer.labels = labels
        yield outer.report
        return
    begun = time.time() if begun is None else begun
    board: _Board | None = None
    if progress is not False and not callable(progress) and not _silent.get():
        if _on_a_terminal():
            board = _Line(labels, begun, 0.0 if progress else WAIT)
        elif progress:
            board = _Printer(labels, begun)
    shown, silent = _now.set(board), _silent.set(_silent.get() or progress is False or callable(progress))
    try:
        yield progress if callable(progress) else None if board is None else board.report
    finally:
        _now.reset(shown)
        _silent.reset(silent)
        if board is not None:
            board.close()


@contextmanager
def working(what: str, progress: bool | Report | None = None) -> Iterator[None]:
    """A line for work that is done when first asked for, as standard errors are; `progress` is what the fit was given."""
    with reporting(False if callable(progress) else progress):
        stage(what)
        yield


def shifted(report: Report, shift: float) -> Report:
    """A report of values that lie `shift` below those to be told."""
    return (
        report if shift == 0.0 else lambda iteration, value, change: report(iteration, value + shift, change)
    )


def stage(name: str, total: int = 0, parts: int = 1) -> None:
    """Say what is done now; `total` steps of it where that is known, of each of `parts` that report side by side."""
    board = _now.get()
    if board is not None:
        board.stage(name, total, parts)


def step() -> None:
    """One step of the present stage is done."""
    board = _now.get()
    if board is not None:
        board.step()


def passing(rows: int = 0) -> None:
    """A pass over the rows begins; of `rows` where their number is known."""
    board = _now.get()
    if board is not None:
        board.passing(rows)


def passed(rows: int, size: int = 0) -> None:
    """So many rows more of the present pass are done, read from `size` bytes; when all were, it is the next pass."""
    board = _now.get()
    if board is not None:
        board.passed(rows, size)


def expected(seconds: float) -> None:
    """How long the whole was estimated to take; nan where there is no estimate."""
    board = _now.get()
    if board is not None and not math.isnan(seconds):
        board.expected = seconds


def _on_a_terminal() -> bool:
    """Whether standard error is there and is a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it has been closed
        return False


@dataclass(slots=True)
class _Pass:
    """A pass over rows: its number, when it began and last told, rows and bytes done, and all rows where that is known.

    `untimed` are bytes that had been read when it began, which is when its first batch had been.
    """

    number: int
    begun: float
    total: int
    told: float = 0.0
    rows: int = 0
    size: int = 0
    untimed: int = 0

    def words(self) -> str:
        """``pass 14, 45,000,000 of 100,000,000 rows, 310 MB/s``."""
        of = f" of {self.total:,}" if self.total else ""
        spent = self.told - self.begun
        timed = self.size - self.untimed
        speed = f", {timed / spent / 1e6:,.0f} MB/s" if timed and spent > 0.0 else ""
        return f"pass {self.number}, {self.rows:,}{of} rows{speed}"


class _Board:
    """Where the work stands, in words."""

    def __init__(self, labels: Labels, begun: float) -> None:
        self.labels, self.expected = labels, 0.0
        self._begun, self._turn = begun, threading.RLock()
        self._stage, self._since, self._total, self._parts = "", begun, 0, 1
        self._told, self._done = "", dict[int, int]()
        self._pass: _Pass | None = None

    def stage(self, name: str, total: int, parts: int) -> None:
        with self._turn:
            self._stage, self._since, self._total, self._parts = name, time.time(), total, parts
            self._told, self._done = "", {}
            self._changed(step=False)

    def step(self) -> None:
        with self._turn:
            done = self._done[0] = self._done.get(0, 0) + 1
            self._told = f"{done} of {self._total}" if self._total else f"{done}"
            self._changed(step=True)

    def passing(self, rows: int) -> None:
        with self._turn:
            number = 1 if self._pass is None else self._pass.number + 1
            self._pass = _Pass(number, time.time(), rows)

    def passed(self, rows: int, size: int) -> None:
        with self._turn:
            now = self._pass or _Pass(1, time.time(), 0)
            if now.total and now.rows >= now.total:  # all of them again
                now = _Pass(now.number + 1, time.time(), now.total, untimed=size)
            self._pass = now
            now.rows, now.size, now.told = now.rows + rows, now.size + size, time.time()

    def report(self, iteration: int, value: float, change: float) -> None:
        with self._turn:
            self._done[threading.get_ident()] = iteration
            least = min(self._done.values()) if self._total else iteration
            self._told = self.labels.line(least, value, change, self._total)
            self._changed(step=True)

    def words(self) -> str:
        """Stage, last report, and what is left of it."""
        words = ": ".join(word for word in (self._stage, self._told) if word)
        spent, share = time.time() - self._since, sum(self._done.values()) / max(1, self._total * self._parts)
        if self._total and share >= SHARE and spent >= WAIT:
            words += f", about {_in_words(spent * (1.0 - share) / share)} left"
        return words if self._pass is None else "; ".join(filter(None, (words, self._pass.words())))

    def _changed(self, *, step: bool) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind."""


class _Printer(_Board):
    """A line for each stage and step, where there is no terminal."""

    def _changed(self, *, step: bool) -> None:
        print(f"[{_clock(time.time() - self._begun)}] {self.words()}", file=sys.stderr)


class _Line(_Board):
    """A line of tqdm that appears `wait` seconds after `begun` and leaves nothing behind."""

    def __init__(self, labels: Labels, begun: float, wait: float) -> None:
        super().__init__(labels, begun)
        self._wait, self._bar, self._closed = wait, None, threading.Event()
        threading.Thread(target=self._tick, name="lmmformula progress", daemon=True).start()

    def _tick(self) -> None:
        """Keep the clock going, and begin on time although nothing is told."""
        while not self._closed.wait(TICK):
            with self._turn:
                if not self._closed.is_set():
                    self._show()

    def _changed(self, *, step: bool) -> None:
        if step or self._bar is not None:
            self._show()

    def _show(self) -> None:
        if self._bar is None and time.time() - self._begun < self._wait:
            return
        if self._bar is None:
            self._bar = self._opened()
        of = f", about {_in_words(self.expected)} planned" if self.expected > WAIT else ""
        self._bar.bar_format = f"{{desc}} [{{elapsed}}{of}]"
        self._bar.set_description_str(self.words())

    def _opened(self) -> Any:
        from tqdm import tqdm

        bar: Any = tqdm(
            file=sys.stderr, leave=False, bar_format="{desc}", mininterval=0.0, dynamic_ncols=True
        )
        bar.start_t = self._begun
        return bar

    def close(self) -> None:
        with self._turn:
            self._closed.set()
            if self._bar is not None:
                self._bar.close()


SHARE = 0.02
"""Share of a stage that must be done before what is left is told."""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _in_words(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.0f} s" if seconds < 10.0 else f"{round(seconds, -1):.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
