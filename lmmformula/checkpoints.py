"""Searches that can be ended and gone on with: where one stands, told after each of its steps to whoever keeps it.

A search asks :func:`ongoing` under a name of its own, and goes on from what is left of an earlier run, if anything is::

    here = ongoing("search")
    left = None if here is None else here.left
    ...
    if here is not None:
        here.offer(lambda: {"theta": theta, "steps": steps})

A state holds arrays, numbers, text and records of this package, the whole of what the search needs besides its problem. It is
made when it is kept, about once a minute; the function that makes it must hold no more than that. Unless a checkpoint was asked
for, there is no one to ask and nothing is paid. Searches within another computation (refits of a bootstrap, steps of a profile)
are not kept, as each of them is short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from lmmformula.typing import Record

__all__ = ["Keeper", "Ongoing", "keeper_now", "keeping", "left_of", "ongoing"]


class Keeper(Protocol):
    """Where states of searches are kept; may be called from any thread."""

    def left(self, search: str) -> Record | None:
        """The last state that an earlier run has kept; None if there is none."""
        ...

    def offer(self, search: str, state: Callable[[], Record], *, at_once: bool) -> None:
        """A search stands where `state` says, which is kept if it is time, or `at_once`."""
        ...


@dataclass(frozen=True, slots=True)
class Ongoing:
    """One search, and who keeps it."""

    keeper: Keeper
    search: str

    @property
    def left(self) -> Record | None:
        """Where an earlier run of the same search has left it."""
        return self.keeper.left(self.search)

    def offer(self, state: Callable[[], Record], *, at_once: bool = False) -> None:
        """Say where the search stands; `at_once` at its end."""
        self.keeper.offer(self.search, state, at_once=at_once)


_keeper: ContextVar[Keeper | None] = ContextVar("who keeps the states of searches", default=None)


@contextmanager
def keeping(keeper: Keeper | None) -> Iterator[None]:
    """Within the block, `keeper` keeps the states of searches."""
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)


def keeper_now() -> Keeper | None:
    """Who keeps searches; for a computation that has fits of its own within it, which are to be kept by nobody."""
    return _keeper.get()


def ongoing(search: str) -> Ongoing | None:
    """The search of that name; None where nobody keeps searches."""
    keeper = _keeper.get()
    return None if keeper is None else Ongoing(keeper, search)


def left_of(here: Ongoing | None) -> Record | None:
    """What an earlier run has left of a search, if anything."""
    return None if here is None else here.left
