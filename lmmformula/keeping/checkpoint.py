"""The file in which a long search leaves where it stands, so that the same call goes on from there.

    checkpoint.json   {"format": "lmmformula checkpoint", "version": 1, "package": "0.1.0", "fingerprint": {...}, "kept": ...}
    0.npy ...         the arrays, by their place

It is an archive (:mod:`lmmformula.keeping.archive`) as the file of a fit is one. It begins as an empty one, so that a path that
cannot be written is known before any work; states of searches (:mod:`lmmformula.checkpoints`) follow at least every `EVERY`
seconds where a search tells of its steps that often, and at its end; in the end the estimate takes their place, with the draws
of a posterior. Each is written beside the file, flushed to the disk and renamed onto it: who kills the process finds the last
one whole.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmmformula.errors import LmmformulaError, PlanError, warn
from lmmformula.keeping.archive import CHECKPOINT, read_archive, write_archive
from lmmformula.keeping.codec import Decoder, Encoder
from lmmformula.keeping.fingerprint import fingerprint, refuse_other
from lmmformula.typing import Record
from lmmformula.version import __version__

if TYPE_CHECKING:
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.ir.estimate import Estimate
    from lmmformula.ir.problem import Problem
    from lmmformula.planner.record import Planned

__all__ = ["EVERY", "Checkpoint", "Kept", "open_checkpoint"]

EVERY = 60.0
"""Seconds from one state in the file to the next at most."""
FIRST = 5.0
"""The same for the first."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds.

    Attributes
    ----------
    searches : dict of str -> state
        Where each search of the fit stands; empty at the beginning, and when it is finished.
    runs : int
        How many runs there were, the present one left out.
    seconds : float
        Wall time of all runs up to here.
    estimate : Estimate or None
        The end of it, in the user's units.
    posterior : Posterior or None
        Likewise.
    """

    searches: Record = field(default_factory=dict)
    runs: int = 0
    seconds: float = 0.0
    estimate: Estimate | None = None
    posterior: Posterior | None = None


def open_checkpoint(path: str | Path, problem: Problem, planned: Planned) -> Checkpoint:
    """The checkpoint of a fit: what an earlier run has left in the file, or a new one.

    Raises
    ------
    PlanError
        If the method has no search that can be gone on with, or the file is the checkpoint of another fit.
    LmmformulaError
        If the file is something else, which is left as it is.
    OSError
        If the file cannot be written.
    """
    if not planned.backend.resumes:
        raise PlanError(
            f"checkpoint={str(path)!r}: {planned.plan.method.upper()} has no search that can be gone on with; leave it out."
        )
    here = fingerprint(problem, planned)
    kept = _read(path, here) if Path(path).exists() else None
    out = Checkpoint(Path(path), here, Kept() if kept is None else kept)
    if kept is None:
        out.write()
    return out


def _read(path: str | Path, here: Record) -> Kept | None:
    """What an earlier run has left; None if that is nothing yet."""
    head, arrays = read_archive(path, CHECKPOINT)
    there = {str(name): str(value) for name, value in dict(head.get("fingerprint") or {}).items()}
    try:
        kept: Kept = Decoder(arrays)(head.get("kept"))
        if not (kept.searches or kept.estimate):
            return None
    except (LmmformulaError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        refuse_other(path, there, here)  # of another version, most likely
        raise LmmformulaError(f"{path} is damaged: it holds {error}. Delete it to begin anew.") from error
    refuse_other(path, there, here)
    return kept


class Checkpoint:
    """A checkpoint while its fit runs; keeps states of searches, from any thread.

    Parameters
    ----------
    path : Path
    fingerprint : dict of str -> str
        Of the fit.
    kept : Kept
        What an earlier run has left.
    """

    def __init__(self, path: Path, fingerprint: Record, kept: Kept) -> None:
        self.path, self.kept = path, kept
        self._fingerprint, self._searches = fingerprint, dict(kept.searches)
        self._begun = self._written = self._told = time.monotonic()
        self._pending: dict[str, Callable[[], Record]] = {}
        self._first, self._failed = True, False
        self._turn = threading.Lock()

    @property
    def runs(self) -> int:
        """Runs that this one goes on from."""
        return self.kept.runs if self.kept.searches else 0

    @property
    def seconds(self) -> float:
        """Wall time of all runs."""
        return self.kept.seconds + time.monotonic() - self._begun

    def counted(self, estimate: Estimate) -> Estimate:
        """The estimate, which tells how often its search was gone on with."""
        if not self.runs:
            return estimate
        ended = replace(estimate.convergence, continued=self.runs, seconds=self.seconds)
        return replace(estimate, convergence=ended)

    def left(self, search: str) -> Record | None:
        """The last state of a search that an earlier run has kept."""
        return self.kept.searches.get(search)

    def offer(self, search: str, state: Callable[[], Record], *, at_once: bool) -> None:
        """Keep a state if it is time, `at_once`, or when the run ends before its time.

        It is time when `EVERY` seconds would have passed by the next offer, should that take as long as this one has.
        """
        if not self._turn.acquire(blocking=at_once):
            return  # another thread is writing
        try:
            now = time.monotonic()
            due = FIRST if self._first else EVERY
            since = now - self._written + (0.0 if self._first else now - self._told)
            self._told, self._pending[search] = now, state
            if at_once or since >= min(due, EVERY):
                self._keep_pending()
        finally:
            self._turn.release()

    def flush(self) -> None:
        """Keep what has been offered and is not kept yet: for runs that end before their time."""
        with self._turn:
            if self._pending:
                self._keep_pending()

    def finish(self, estimate: Estimate, posterior: Posterior | None) -> None:
        """Keep the end of the fit, in place of its searches."""
        with self._turn:
            self._pending.clear()
            self._write(Kept({}, self.kept.runs + 1, self.seconds, estimate, posterior))
            self._sweep()

    def write(self) -> None:
        """Write the file as it stands; what the system says against it is raised."""
        self._write_archive(Kept(self._searches, self.kept.runs + 1, self.seconds))
        self._sweep()

    def _keep_pending(self) -> None:
        self._searches |= {search: state() for search, state in self._pending.items()}
        self._write(Kept(self._searches, self.kept.runs + 1, self.seconds))
        self._pending.clear()  # not before: an interrupt may have come
        self._first, self._written = False, time.monotonic()

    def _write(self, kept: Kept) -> None:
        """Write; a full disk, say, costs the checkpoint and not the fit."""
        try:
            self._write_archive(kept)
        except OSError as error:
            if not self._failed:
                warn(
                    f"the checkpoint {self.path} could not be written ({error}): the fit goes on, and tries again later."
                )
            self._failed = True

    def _write_archive(self, kept: Kept) -> None:
        encode = Encoder()
        text = {"package": __version__, "fingerprint": self._fingerprint, "kept": encode(kept)}
        write_archive(self.path, CHECKPOINT, text, encode.arrays)

    def _sweep(self) -> None:
        """Remove what runs that were killed while writing have left (the names are those of :mod:`lmmformula.files`)."""
        target = self.path.resolve()
        name = re.compile(rf"\.{re.escape(target.name[:40])}\.\w{{8}}{re.escape(''.join(target.suffixes))}")
        with suppress(OSError):
            for left in target.parent.iterdir():
                if name.fullmatch(left.name) and time.time() - left.stat().st_mtime > EVERY:
                    left.unlink()
