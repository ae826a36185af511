"""Whether Ctrl-C ends what is done at the moment, with what has been found so far, or the whole computation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Event, Thread
from typing import TypeVar

__all__ = ["interrupts_keep", "keeps", "undisturbed"]

T = TypeVar("T")
LOOK = 0.1
"""Seconds between two looks at the keyboard: a signal may reach a thread that is not waiting for it."""
_keeps: ContextVar[bool] = ContextVar("an interrupt keeps what has been found", default=False)


@contextmanager
def interrupts_keep() -> Iterator[None]:
    """Within the block, one fit for its own sake, an interrupt hands out what there is, where that is worth having.

    Elsewhere (refits of a bootstrap, steps of a profile) an interrupt ends the computation, of which the fit is one part.
    """
    token = _keeps.set(True)
    try:
        yield
    finally:
        _keeps.reset(token)


def keeps() -> bool:
    """Whether what runs now shall keep what it has found when it is interrupted."""
    return _keeps.get()


def undisturbed(function: Callable[[], T]) -> T:
    """function(), in a thread of its own, where no interrupt reaches it; one that comes is raised when it is done.

    For compilers: an exception out of the middle of JAX's leaves it in a state that ends the process with a segmentation fault
    when the interpreter shuts down.
    """
    begun, ended = Event(), Event()
    out: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        begun.set()
        try:
            out.append(function())
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    pressed = False
    try:
        Thread(target=copy_context().run, args=(work,), name="lmmformula undisturbed").start()
    except KeyboardInterrupt:  # the thread may run all the same
        if not begun.wait(LOOK):
            raise
        pressed = True
    while not ended.is_set():
        try:
            ended.wait(LOOK)
        except KeyboardInterrupt:
            pressed = True
    if pressed:
        raise KeyboardInterrupt
    if failed:
        raise failed[0]
    return out[0]
