"""Slabs of draws that are worked on together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from lmmformula.numerics.threads import in_order
from lmmformula.typing import Index

__all__ = ["NOISE", "SOLVES", "in_slabs"]

NOISE, SOLVES = 1e-3, 60
"""Error of a solution in standard deviations, root mean square over the effects; iterations at most."""

Piece = TypeVar("Piece")


def in_slabs(
    piece: Callable[[Index, np.random.Generator], Piece], count: int, width: int, seed: np.random.SeedSequence
) -> Iterator[Piece]:
    """Pieces for `count` draws, `width` after `width`, each from its places and random numbers of its own; by all threads."""
    cuts = range(0, count, width)
    jobs = zip(cuts, map(np.random.default_rng, seed.spawn(len(cuts))), strict=True)
    return in_order(lambda job: piece(np.arange(count)[job[0] : job[0] + width], job[1]), jobs)
