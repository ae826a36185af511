"""The backfitting engine: what it costs and refuses, known without loading what it works with.

Plans of every generalised model look at it, few fits use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.engines.backfitting.cost import backfitting_cost
from lmmformula.engines.base import Estimating, Survey, refuse
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem

if TYPE_CHECKING:
    from lmmformula.engines.backfitting.prepared import BackfittingPrepared

__all__ = ["BackfittingEngine"]


@dataclass(frozen=True)
class BackfittingEngine(Estimating):
    """Block coordinate descent over grouping factors."""

    corrected: bool = False
    """Whether it is also asked for what a correction of quasi-likelihood takes."""
    name: str = "backfitting"

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """One group at a time."""
        words = "one grouping factor at a time; cost grows like the number of rows"
        cost = backfitting_cost(problem, blocks, corrected=self.corrected)
        return Survey(cost, ("backfitted",) * len(blocks.groups), words)

    def prepare(self, blocks: Levels) -> BackfittingPrepared:
        from lmmformula.engines.backfitting.prepared import BackfittingPrepared

        refuse(blocks, self)
        return BackfittingPrepared(blocks)
