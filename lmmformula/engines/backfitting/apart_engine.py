"""Backfitting where the levels of the first group are with workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lmmformula.engines.backfitting.apart import ApartClubbed, ApartLed, Lead, Rest, apart_information
from lmmformula.engines.backfitting.factor import BackfittingFactor, BackfittingWeighted, DiagonalInverse
from lmmformula.engines.backfitting.led import leads
from lmmformula.engines.base import Certain, Drawless, Stacked
from lmmformula.ir.levels import Levels
from lmmformula.ir.streamed.apart import GramApart
from lmmformula.ir.streamed.store import COMPILED
from lmmformula.typing import Array

__all__ = ["ApartFactor", "ApartWeighted"]


@dataclass(frozen=True, eq=False)
class ApartWeighted:
    """The blocks at one W, those of the first group with the workers that have its levels."""

    blocks: Levels
    gram: GramApart

    @cached_property
    def rest(self) -> BackfittingWeighted:
        """The other groups."""
        return BackfittingWeighted(Rest(self.blocks), self.gram.rest)

    @cached_property
    def here(self) -> BackfittingWeighted:
        """All groups, brought here."""
        return BackfittingWeighted(self.blocks, self.gram.here)

    def factor(self, factors: Sequence[Array]) -> ApartFactor:
        """See :class:`BackfittingWeighted`."""
        lead = Lead.of(self.gram, factors[0], self.blocks.groups[0].name)
        return ApartFactor(self, tuple(factors), self.rest.factor(factors), lead)


@dataclass(frozen=True, eq=False)
class ApartFactor(Certain, Drawless):
    """M through its single-factor operators, those of the first group with the workers; what is seldom asked is done here."""

    weighted: ApartWeighted
    factors: tuple[Array, ...]
    rest: BackfittingFactor
    lead: Lead

    @cached_property
    def here(self) -> BackfittingFactor:
        """The same with all groups."""
        return self.weighted.here.factor(self.factors)

    @property
    def blocks(self) -> Levels:
        return self.weighted.blocks

    @property
    def logdet(self) -> float:
        return self.rest.logdet

    def inverse(self) -> DiagonalInverse:
        return self.here.inverse()

    def trace_blocks(self) -> tuple[Array, ...]:
        return (self.lead.constants[1], *self.rest.trace_blocks()[1:])

    def solve(self, rhs: Stacked) -> Stacked:
        return self.here.solve(rhs)

    def equations(self) -> ApartClubbed:
        """See :class:`BackfittingFactor`."""
        columns = len(self.rest.gram.vv)
        led = leads(self.blocks.groups, columns) and self.blocks.n >= COMPILED  # sums are compiled, too
        kind = ApartLed if led else ApartClubbed
        return kind(self.rest, self.rest.gram.rhs, self.rest.gram.vv, self.lead)

    def fixed_information(self) -> Array:
        return apart_information(self.equations())
