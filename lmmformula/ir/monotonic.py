r"""Monotonic effects of ordered predictors: which coefficients of a model have one sign.

A predictor x with levels 0 < 1 < .. < D has the effect (Buerkner & Charpentier 2020, equation 2) ::

    b D sum_{j <= x} zeta_j,       zeta_j >= 0,  sum_j zeta_j = 1                                                       (1)

b is the average difference of adjacent levels, and zeta says how it is shared out. In columns 1[x >= j] this is the linear
predictor with coefficients ``gamma_j = b D zeta_j``, and (b, zeta) is any gamma whose elements have one sign: ::

    b = sum_j gamma_j / D,         zeta_j = gamma_j / sum_i gamma_i                                                     (2)

An interaction ``mo(x):z`` has one such set of coefficients for each column of the rest of the term, with columns
``1[x >= j] z`` and a simplex of its own, as in brms.

References
----------
Buerkner & Charpentier (2020), Modelling monotonic effects of ordinal predictors in Bayesian regression models, British J.
Math. Stat. Psychol. 73, 420-451.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmmformula.ir.design import FixedBlock
from lmmformula.typing import Entries

__all__ = ["Monotonic", "MonotonicEffect"]


@dataclass(frozen=True, slots=True)
class MonotonicEffect:
    """The steps of one effect, whose coefficients have one sign.

    Attributes
    ----------
    label : str
        brms' name of b: ``mox``, ``mox:z``.
    columns : tuple of int
        Of the whole block of fixed effects, one for each step.
    levels : tuple of str
        The level that each step leads to.
    widths : tuple of int
        How many of the D steps of (1) each is: 1, but for whole numbers of which some do not occur.
    term : int
        The term of the formula, as in :attr:`FixedBlock.assign`.
    """

    label: str
    columns: tuple[int, ...]
    levels: tuple[str, ...]
    widths: tuple[int, ...]
    term: int

    @property
    def size(self) -> int:
        """D, the number of steps from the lowest to the highest level."""
        return sum(self.widths)


@dataclass(frozen=True, slots=True, eq=False)
class Monotonic:
    """The monotonic effects of a mean.

    Attributes
    ----------
    effects : tuple of MonotonicEffect
    full : FixedBlock
        All columns. Those of the problem are the ones `kept`: a step whose coefficient is zero has none.
    kept : tuple of int
    signs : tuple of int
        1 for an increasing effect, -1 for a decreasing one; empty before they are known, and where they are sampled.
    design : tuple of int
        Columns of the formula's design that `full` has.
    """

    effects: tuple[MonotonicEffect, ...]
    full: FixedBlock
    kept: tuple[int, ...]
    signs: tuple[int, ...]
    design: tuple[int, ...]

    def at(self, rows: slice | Entries) -> Monotonic:
        """The same of some of the rows."""
        return replace(self, full=self.full.at(rows))

    @property
    def is_held(self) -> bool:
        """Whether signs are held, so that steps may be zero; not where steps are sampled."""
        return bool(self.signs)

    @property
    def steps(self) -> tuple[int, ...]:
        """Columns of `full` that are steps."""
        return tuple(sorted(c for effect in self.effects for c in effect.columns))

    @property
    def dropped(self) -> tuple[int, ...]:
        """Steps of zero."""
        return self.dropped_of(self.kept)

    def dropped_of(self, kept: tuple[int, ...]) -> tuple[int, ...]:
        """Steps that are not among some columns of `full`."""
        return tuple(sorted(set(self.steps) - set(kept)))

    def sign_of(self, column: int, signs: tuple[int, ...]) -> int:
        """Sign of the step in a column of `full`, given those of the effects."""
        return next(s for effect, s in zip(self.effects, signs, strict=True) if column in effect.columns)

    def places(self, effect: MonotonicEffect) -> tuple[int | None, ...]:
        """Where the problem's coefficients have each step; None for those of zero."""
        at = {column: place for place, column in enumerate(self.kept)}
        return tuple(at.get(column) for column in effect.columns)

    def block(self, kept: tuple[int, ...]) -> FixedBlock:
        """Some columns of `full`."""
        full, chosen = self.full, list(kept)
        return FixedBlock(
            full.matrix[:, chosen],
            tuple(full.names[j] for j in kept),
            tuple(full.assign[j] for j in kept),
            full.term_labels,
            full.dropped,
        )
