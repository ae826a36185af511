"""Processes elsewhere: what is asked of them. The one door by which clusters come in; who they are is known behind it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

__all__ = ["Remote", "Workers"]

Remote: TypeAlias = Any
"""What a worker holds or will hold, known to its :class:`Workers` alone; it is given up with the last reference to it."""


class Workers(Protocol):
    """Processes, each with memory and disk of its own, that keep what functions return.

    What is lost with a process that dies is made again, from what it was made of, when it is needed: so functions give the
    same each time.

    Attributes
    ----------
    name : str
        For messages: ``2 workers of Dask``.
    """

    @property
    def name(self) -> str: ...

    def submit(self, function: Callable[..., object], *arguments: object, at: int | None = None) -> Remote:
        """What a function makes of arguments, where those that are remote are; at once, and kept there.

        `at` is the number of a place where it should be made rather than elsewhere.
        """
        ...

    def results(self, remotes: Sequence[Remote]) -> Iterator[Any]:
        """What they hold, in their order, brought here; an error that a function raised is raised."""
        ...
