"""What the backfitting engine prepares, for rows that are together and for rows that workers hold apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.engines.backfitting.factor import BackfittingFactor, BackfittingWeighted
from lmmformula.engines.base import Across
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.streamed.apart import GramApart
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.engines.backfitting.apart_engine import ApartFactor, ApartWeighted

__all__ = ["BackfittingPrepared"]


@dataclass(frozen=True, eq=False)
class BackfittingPrepared:
    """The blocks; nothing about them need be known in advance."""

    blocks: Levels

    is_exact = False

    @property
    def dense_side(self) -> int:
        return 0

    @property
    def rough(self) -> BackfittingPrepared:
        return self

    def weighted(self, gram: Gram | GramApart) -> BackfittingWeighted | ApartWeighted:
        if isinstance(gram, GramApart):
            from lmmformula.engines.backfitting.apart_engine import ApartWeighted  # few fits have rows apart

            return ApartWeighted(self.blocks, gram)
        return BackfittingWeighted(self.blocks, gram)

    def factor(
        self, gram: Gram | GramApart, factors: Sequence[Array], across: Across = ()
    ) -> BackfittingFactor | ApartFactor:
        return self.weighted(gram).factor(factors)
