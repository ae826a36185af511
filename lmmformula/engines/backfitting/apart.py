r"""Sweeps whose largest group is eliminated by the workers that have its levels; what travels is as large as the other groups.

With a the group whose levels are apart, every sum over them splits into those of the workers w, and (2) of
:mod:`lmmformula.engines.backfitting.clubbed` asks for a alone::

    v_w = M_w^-1 (t_w - L'N_w x),      g = sum_w C_w'v_w                      x = L_b u_b of the other groups, down; g up
    u_w = v_w - M_w^-1 C_w beta,       h = sum_w N_w'L u_w                    beta down; h up

N_w holds the rows of Z_a'WZ_b of the levels that w has. That is the product of u_b with the Schur complement of a, in two
steps, as beta is settled between them. X'V^-1X takes products with the complement alone
(:mod:`lmmformula.engines.backfitting.information`). Blocks of a, and its effects, never leave the workers.

The tasks are pure functions: what a worker that dies had made is made again by another. All else is done here as if the group
had no levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from typing import cast

import numpy as np

from lmmformula.engines.backfitting import led_there, there
from lmmformula.engines.backfitting.clubbed import Clubbed, Operators
from lmmformula.engines.backfitting.information import Complement, information
from lmmformula.engines.backfitting.led import Leading, LedSweeps
from lmmformula.engines.base import Stacked
from lmmformula.engines.equations import State
from lmmformula.ir.levels import Levels
from lmmformula.ir.patterns import CrossPattern, pattern_of
from lmmformula.ir.streamed.apart import GramApart, LevelArray, Noted, Pieces, Same
from lmmformula.numerics.batched import flat, matmul
from lmmformula.typing import Array

__all__ = ["ApartClubbed", "ApartLed", "Lead", "Rest", "apart_information"]


_tokens = count()
"""Of the sweeps of this process."""


class Rest(Levels):
    """Groups of which the first has no levels here, and the patterns of the others."""

    def __init__(self, whole: Levels) -> None:
        first, *others = whole.groups
        super().__init__((replace(first, m=0), *others), whole.n)
        self._whole = whole

    def _met(self, a: int, b: int) -> CrossPattern:
        none = np.zeros(0, dtype=np.int32)
        return pattern_of(none, none, 0) if a == 0 else self._whole.pattern(a, b)


@dataclass(frozen=True, eq=False)
class Lead:
    """The first group at one W and theta, with the workers.

    Attributes
    ----------
    gram : GramApart
    pieces : Pieces
        :class:`lmmformula.engines.backfitting.there.AtTheta` of each store.
    sums : Pieces
        What each store has of `constants`, made ahead of being asked for.
    """

    gram: GramApart
    pieces: Pieces
    sums: Pieces

    @classmethod
    def of(cls, gram: GramApart, lower: Array, name: str) -> Lead:
        """At a relative Cholesky factor; `name` is the group's, for messages."""
        holders = gram.holders
        held = gram.once("W", lambda: holders.each(there.at_weights, holders.placed, gram.shares))

        def made() -> Lead:
            pieces = holders.each(partial(there.at_theta, name=name), held, Same(lower))
            return cls(gram, pieces, holders.each(there.constants, pieces))

        return gram.once(lower.tobytes(), made)

    def total(self, function: Callable[..., object], *arguments: object) -> tuple[Array, ...]:
        """What a function makes of each store, added up."""
        holders = self.gram.holders
        return holders.total(holders.each(function, self.pieces, *arguments))

    @cached_property
    def constants(self) -> tuple[Array, Array]:
        """C'M^-1C, and the sum over levels of M^-1."""
        return cast("tuple[Array, Array]", self.gram.holders.total(self.sums))


class _Solution(LevelArray):
    """u of (2) with what is known of it: u'Mu, and h for each other group."""

    def __init__(self, like: LevelArray, square: float, h: tuple[Array, ...]) -> None:
        super().__init__(like.holders, like.what, len(like), like.tail)
        self.square, self.h = square, h


@dataclass(frozen=True, eq=False)
class ApartClubbed(Clubbed):
    """The system (1) whose first group is with the workers; `factor` and `columns` are of the others."""

    lead: Lead

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The first group, then the others by size."""
        sizes = [g.q for g in self.factor.blocks.groups]
        return (0, *sorted(range(1, len(sizes)), key=lambda a: -sizes[a]))

    @cached_property
    def explained(self) -> tuple[Array, ...]:
        """C_a'M_a^-1C_a."""
        return (self.lead.constants[0], *map(self.explained_by, range(1, len(self.columns))))

    def sweep(self, rhs: Stacked, xwz: Array, state: State) -> State:
        beta, u = state[0], list(state[1])
        t = cast("LevelArray", rhs[0])
        with_fixed = bool(len(self.xwx))
        shares = {b: self.transposed_times(b, u[b]) for b in self.order[1:]} if with_fixed else {}
        x, token = Same(self._stretched(u)), next(_tokens)
        own = np.zeros((0, xwz.shape[1]))
        if with_fixed:
            (own,) = self.lead.total(there.seen, t, x, token)
            beta = self.clubbed[0] @ (xwz - sum(shares.values(), np.zeros_like(xwz)) - own)
            shares[0] = own - self.explained[0] @ beta
        noted = Noted(there.solution, (self.lead.pieces, t, x, Same(beta), token))
        lead = LevelArray(t.holders, noted, len(t), t.tail)
        square, *h = self.lead.total(there.reached, lead)
        lead, u[0] = _Solution(lead, float(square), tuple(h)), _none(t)
        for a in self.order[1:]:
            r = rhs[a] - self.factor.coupled(a, tuple(u)) - self._pushed(a, h[a - 1])
            u[a] = matmul(self.factor.inverses[a], r)
            if with_fixed:
                own = self.transposed_times(a, u[a])
                others = sum((s for b, s in shares.items() if b != a), np.zeros_like(xwz))
                beta = self.clubbed[a] @ (xwz - others - own)
                u[a] -= matmul(self.factor.inverses[a], self.times(a, beta))
                shares[a] = own - self.explained[a] @ beta
        return beta, (cast("Array", lead), *u[1:])

    def quadratic(self, rhs: Stacked, xwz: Array, beta: Array, u: Stacked) -> float:
        lead, t = cast("_Solution", u[0]), cast("LevelArray", rhs[0])
        (own,) = self.lead.total(there.quadratic, lead, t, Same(beta))
        met = sum(float(np.vdot(h, x)) for h, x in zip(lead.h, self._stretched(u), strict=True))
        here = super().quadratic((_none(t), *rhs[1:]), xwz, beta, (_none(t), *u[1:]))
        return here + float(own) + 2.0 * met

    def squared(self, u: Sequence[Array] | Mapping[int, Array], groups: Sequence[int]) -> float:
        here = super().squared(u, [a for a in groups if a])
        if 0 not in groups:
            return here
        lead = cast("LevelArray", u[0])
        if isinstance(lead, _Solution):
            return here + lead.square
        return here + float(self.lead.total(there.squared, lead)[0])

    def _stretched(self, u: Sequence[Array]) -> tuple[Array, ...]:
        """L_b u_b of the other groups, (q_b, c)."""
        return tuple(flat(matmul(f, v)) for f, v in zip(self.factor.factors[1:], u[1:], strict=True))

    def _pushed(self, a: int, h: Array) -> Array:
        """L_a'h, (m_a, k_a, c)."""
        group = self.factor.blocks.groups[a]
        return matmul(self.factor.factors[a].T, h.reshape(group.m, group.k, -1))


@dataclass(frozen=True, eq=False)
class ApartLed(ApartClubbed, Leading):
    """The same for two groups of one column each: a sweep goes to the workers and back once, see :mod:`.led`."""

    def sweeps(self, rhs: Stacked, xwz: Array, start: State) -> LedSweeps:
        t, before = cast("LevelArray", rhs[0]), start[1][0]
        return LedSweeps(self, _There(self.lead, t, 0.0 * t + before), rhs, xwz, start)

    def through(self) -> Array:
        return self.lead.total(led_there.through_columns)[0]

    def quadratic(self, rhs: Stacked, xwz: Array, beta: Array, u: Stacked) -> float:
        t, told = cast("LevelArray", rhs[0]), Same(np.ascontiguousarray(beta[:, 0]))
        (own,) = self.lead.total(led_there.quadratic_led, u[0], t, told, Same(self.in_b(u[1])))
        return Clubbed.quadratic(self, (_none(t), rhs[1]), xwz, beta, (_none(t), u[1])) + float(own[0])


class _There:
    """Passes over levels that are with the workers."""

    def __init__(self, lead: Lead, t: LevelArray, before: LevelArray) -> None:
        self._lead, self._t, self._before = lead, t, before
        self._last: tuple[object, ...] = ()
        self._token = -1

    def sweep(self, guess: Array, effects: Array) -> tuple[Array, Array, Array]:
        self._last, self._token = (Same(guess), Same(effects)), next(_tokens)
        g, sums, columns = self._lead.total(
            led_there.swept_once, self._t, self._before, *self._last, self._token
        )
        return g, sums, columns

    def close(self, move: Array) -> Array:
        noted = Noted(led_there.closed, (self._lead.pieces, self._t, *self._last, Same(move), self._token))
        return cast("Array", LevelArray(self._t.holders, noted, len(self._t), self._t.tail))


def _none(like: LevelArray) -> Array:
    return np.zeros((0, *like.tail))


@dataclass(frozen=True, eq=False)
class _ApartComplement(Complement):
    """S of the groups that are here."""

    lead: Lead

    def through(self, b: Array) -> Array:
        groups, parts, at = self.factor.blocks.groups, [], 0
        for i in range(1, len(groups)):
            (own,) = (j for j, r in enumerate(self.rest) if r == i)
            at = sum(groups[r].q for r in self.rest[:own])
            parts.append(b[at : at + groups[i].q])
        return self._stacked(self.lead.total(there.through, Same(tuple(parts))))

    def columns_through(self, columns: tuple[Array, ...]) -> Array:
        del columns
        return self._stacked(self.lead.total(there.columns_through))

    def _stacked(self, found: tuple[Array, ...]) -> Array:
        return np.concatenate([found[b - 1] for b in self.rest])


def apart_information(system: ApartClubbed) -> Array:
    """X'V^-1X of the working model, (p, p)."""
    if not len(system.xwx):
        return system.xwx
    complement = _ApartComplement(cast("Operators", system.factor), 0, system.order[1:], system.lead)
    return information(system, complement)
