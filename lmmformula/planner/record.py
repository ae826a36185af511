"""What a fit will do, as a record that prints its reasons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lmmformula.memory import in_words

if TYPE_CHECKING:
    from lmmformula.backends.base import AnyBackend
    from lmmformula.engines.base import Prepared
    from lmmformula.ir.standard import Standard
    from lmmformula.typing import Json, Record

__all__ = ["Alternative", "Plan", "Planned", "TermSize", "seconds_in_words"]


@dataclass(frozen=True, slots=True)
class TermSize:
    """Size of one random-effects term, and what becomes of it in the factorisation."""

    label: str
    levels: int
    effects: int
    role: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """A method that was not taken.

    Attributes
    ----------
    method, engine : str
    seconds, memory : float
        Estimates for a fit; nan where none is made.
    against : str
        Why not.
    """

    method: str
    engine: str
    seconds: float
    memory: float
    against: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fit will do. Printing it shows sizes and reasons.

    Attributes
    ----------
    method : str
        The criterion: "reml", "ml", "laplace", "pql", "hmc", or the name of a method of somebody's own.
    engine : str
    n, p, q : int
        Rows, fixed effects, random effects.
    terms : tuple of TermSize
    dense : int
        Side of the dense matrix that remains after elimination.
    pairs : float
        Multiplications to form it, for each evaluation of the criterion.
    memory : float
        Bytes that the process holds at its peak, interpreter and libraries included and the caller's table left out;
        estimated.
    reasons : tuple of str
    seconds : float
        Of the fit and its standard errors on two cores of an ordinary machine, estimated, with what has to be loaded and
        compiled first; nan where no estimate is made.
    alternatives : tuple of Alternative
    device : str
        "cpu".
    passes : float
        Passes over the rows, estimated; nan where no estimate is made.
    """

    method: str
    engine: str
    n: int
    p: int
    q: int
    terms: tuple[TermSize, ...]
    dense: int
    pairs: float
    memory: float
    reasons: tuple[str, ...]
    seconds: float = float("nan")
    alternatives: tuple[Alternative, ...] = ()
    device: str = "cpu"
    passes: float = float("nan")

    def __str__(self) -> str:
        on = f" on the {self.engine} engine" if self.q else ""
        lines = [
            f"Plan: {self.method.upper()}{on}",
            f"  {self.n:,} rows, {self.p} fixed effects, {self.q:,} random effects",
        ]
        lines += [f"  ({t.label}): {t.levels:,} levels, {t.effects:,} effects, {t.role}" for t in self.terms]
        dense = f"dense part {self.dense:,} x {self.dense:,}" if self.dense else "nothing dense"
        estimate = _estimate(self.seconds, self.memory)
        lines.append(f"  {dense}, {estimate}" if self.q else f"  {estimate}")
        lines += [f"  - {reason}" for reason in self.reasons]
        if self.alternatives:
            lines.append("  instead:")
            width = max(len(f"{a.method} ({a.engine})") for a in self.alternatives)
            for a in self.alternatives:
                lines.append(
                    f"    {f'{a.method} ({a.engine})':{width}}  {_estimate(a.seconds, a.memory)}: {a.against}"
                )
        return "\n".join(lines)

    def to_dict(self) -> Record:
        """Plain lists, dictionaries and numbers, as JSON has them; missing estimates are None."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> Plan:
        """The plan that :meth:`to_dict` made the values of."""
        known: Record = {k: float("nan") if v is None else v for k, v in values.items()}
        known["terms"] = tuple(TermSize(**t) for t in known["terms"])
        known["alternatives"] = tuple(_alternative(dict(a)) for a in known["alternatives"])
        return cls(**{**known, "reasons": tuple(known["reasons"])})


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A plan with all that it takes to follow it.

    Attributes
    ----------
    plan : Plan
    backend : Backend
        Ready to fit.
    prepared : Prepared
        The engine's look at the problem, to be handed to the backend.
    standard : Standard
        The problem in the units in which the backend fits it.
    """

    plan: Plan
    backend: AnyBackend
    prepared: Prepared
    standard: Standard


def _alternative(values: Record) -> Alternative:
    known: Record = {k: float("nan") if v is None else v for k, v in values.items()}
    return Alternative(**known)


def _estimate(seconds: float, memory: float) -> str:
    """``about 0.5 s and 120 MB at the peak``, rounded as befits an estimate."""
    space = f"{in_words(memory)} at the peak"
    if math.isnan(seconds):
        return f"about {space}"
    if seconds < 0.1:
        return f"under 0.1 s and about {space}"
    return f"about {seconds_in_words(seconds)} and {space}"


def seconds_in_words(seconds: float) -> str:
    """``0.5 s``, ``3 min``, ``2.1 h``: no more digits than an estimate has."""
    if seconds < 100.0:
        return f"{seconds:.1g} s" if seconds < 10.0 else f"{round(seconds, -1):.0f} s"
    if seconds < 6000.0:
        return f"{seconds / 60.0:.2g} min"
    if seconds < 2e5:
        return f"{seconds / 3600.0:.2g} h"
    days = seconds / 86400.0
    return f"{days:.2g} days" if days < 99.5 else f"{float(f'{days:.2g}'):,.0f} days"


def _plain(value: object) -> Json:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
