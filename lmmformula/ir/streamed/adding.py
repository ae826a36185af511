"""Sums of many stores, added up two by two where they are before the rest of it is done here.

Who adds what is settled by the number of stores alone, so that the same stores give the same numbers bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from lmmformula.ir.streamed.workers import Remote, Workers

__all__ = ["FEW", "added_there", "added_up"]

FEW = 4
"""Results that are added up here."""

T = TypeVar("T")


def added_there(
    workers: Workers, remotes: Sequence[Remote], add: Callable[..., object], *more: Remote
) -> list[Remote]:
    """Not more than `FEW` results, made of many by ``add(one, other, *more)`` of neighbours."""
    left = list(remotes)
    while len(left) > FEW:
        pairs = [left[i : i + 2] for i in range(0, len(left), 2)]
        left = [workers.submit(add, *pair, *more) if len(pair) == 2 else pair[0] for pair in pairs]
    return left


def added_up(results: Sequence[T], add: Callable[[T, T], T]) -> T:
    """Results that are here, in their order."""
    out = results[0]
    for other in results[1:]:
        out = add(out, other)
    return out
