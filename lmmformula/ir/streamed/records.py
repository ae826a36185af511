"""Records of rows one after the other, in memory while they are few and in a temporary file from then on."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from dataclasses import dataclass

from lmmformula.errors import PlanError
from lmmformula.memory import in_words

__all__ = ["Records", "Span", "refuse_full_disk"]

IN_MEMORY = 64e6
"""Bytes that are not worth a file."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a record lies."""

    start: int
    size: int


def refuse_full_disk(need: float) -> None:
    """Refuse rows that take more bytes than the folder for temporary files has room for, before they are written.

    Raises
    ------
    PlanError
    """
    if need <= IN_MEMORY:
        return
    folder = tempfile.gettempdir()
    free = float(shutil.disk_usage(folder).free)
    if need > free:
        raise PlanError(
            f"the rows take about {in_words(need)} on disk while they are put in order, and the folder for temporary files, "
            f"{folder}, has room for {in_words(free)}. Set the environment's TMPDIR to a folder on a larger disk, or fit a "
            "sample of the rows, fit(..., sample=)."
        )


class Records:
    """Bytes that are appended, and read at their place from any thread.

    The file is in the system's folder for temporary files (the environment's TMPDIR), without a name where the system allows
    it, so that it is gone with the process.

    Parameters
    ----------
    in_memory : float
        Bytes from which on they are in a file.
    """

    def __init__(self, in_memory: float = IN_MEMORY) -> None:
        self._limit, self._held = in_memory, bytearray()
        self._file: int | None = None
        self._turn = threading.Lock()
        self.size = 0

    def __getstate__(self) -> dict[str, object]:
        """What has been written: elsewhere it is in a file of its own."""
        return {"limit": self._limit, "content": bytes(self.read(Span(0, self.size)))}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(state["limit"])  # type: ignore[arg-type]
        self.append(state["content"])  # type: ignore[arg-type]

    @property
    def held(self) -> int:
        """Bytes that are in memory."""
        return len(self._held)

    @property
    def place(self) -> str:
        """Where they are, in words."""
        return (
            "memory"
            if self._file is None
            else f"a temporary file in {tempfile.gettempdir()} (TMPDIR sets the folder)"
        )

    def append(self, content: bytes) -> Span:
        """Add a record."""
        span = Span(self.size, len(content))
        if self._file is None and self.size + len(content) > self._limit:
            self._spill()
        if self._file is None:
            self._held += content
        else:
            _write(self._file, content)
        self.size += len(content)
        return span

    def read(self, span: Span) -> memoryview:
        """The record at a place."""
        if self._file is None:
            return memoryview(bytearray(self._held[span.start : span.start + span.size]))
        out = bytearray(span.size)
        view, at = memoryview(out), 0
        while at < span.size:
            got = self._read_into(view[at:], span.start + at)
            if not got:
                raise OSError(
                    f"the temporary file of rows ends at {span.start + at:,} of {self.size:,} bytes"
                )
            at += got
        return view

    def _read_into(self, view: memoryview, start: int) -> int:
        assert self._file is not None
        if hasattr(os, "preadv"):
            return os.preadv(self._file, [view], start)
        with self._turn:  # Windows has one position for all threads
            os.lseek(self._file, start, os.SEEK_SET)
            content = os.read(self._file, len(view))
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Give the space back."""
        self._held = bytearray()
        if self._file is not None:
            self._closing()

    def _spill(self) -> None:
        with tempfile.TemporaryFile(prefix="lmmformula-") as file:
            self._file = os.dup(file.fileno())
        self._closing = weakref.finalize(self, os.close, self._file)
        _write(self._file, bytes(self._held))
        self._held = bytearray()


def _write(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
