"""Which levels there are and which of them meet: all that engines ask of a model's rows before they see a Gram."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

from lmmformula.ir.groups import Group
from lmmformula.ir.patterns import CrossPattern
from lmmformula.typing import Index

__all__ = ["Levels"]

T = TypeVar("T")


class Levels(ABC):
    """Groups of `n` rows and the patterns of their pairs, wherever the rows are."""

    def __init__(self, groups: Sequence[Group], n: int) -> None:
        self.groups = tuple(groups)
        self.n = n
        self._patterns: dict[tuple[int, int], CrossPattern] = {}
        self._known: dict[Callable[[Levels], Any], Any] = {}

    def pattern(self, a: int, b: int) -> CrossPattern:
        """Pattern of the pair (a, b), a < b, or of different levels of one group; found once."""
        if (a, b) not in self._patterns:
            self._patterns[a, b] = self._met(a, b)
        return self._patterns[a, b]

    def counts(self, a: int, b: int) -> Index:
        """How many levels of group b each level of group a meets, (m_a,); in whichever order their pairs are held."""
        pattern = self.pattern(min(a, b), max(a, b))
        return np.diff(pattern.indptr) if a < b else np.bincount(pattern.indices, minlength=self.groups[a].m)

    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of groups, and each group of which rows have several levels with itself."""
        several = [(a, a) for a, g in enumerate(self.groups) if g.several]
        return [*combinations(range(len(self.groups)), 2), *several]

    def once(self, look: Callable[[Levels], T]) -> T:
        """What `look` makes of these levels, made once: whatever depends on neither W nor theta.

        It is made of a twin that shares all arrays, so that what holds its levels is not held by them in a circle.
        """
        if look not in self._known:
            twin = copy(self)
            twin._known = {}
            self._known[look] = look(twin)
        return self._known[look]

    @abstractmethod
    def _met(self, a: int, b: int) -> CrossPattern:
        """Which levels of the two groups meet in some row."""
