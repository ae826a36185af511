"""What a fit will do, as a record that prints its reasons."""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.planner.memory import in_words

__all__ = ["Plan", "TermSize"]


@dataclass(frozen=True, slots=True)
class TermSize:
    """Size of one random-effects term, and what becomes of it in the factorisation."""

    label: str
    levels: int
    effects: int
    role: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fit will do. Printing it shows sizes and reasons.

    Attributes
    ----------
    method : str
        "reml", "ml", "laplace" or "pql".
    engine : str
    n, p, q : int
        Rows, fixed effects, random effects.
    terms : tuple of TermSize
    dense : int
        Side of the dense matrix that remains after elimination.
    pairs : float
        Multiplications to form it, for each evaluation of the criterion.
    memory : float
        Bytes at the peak, estimated.
    reasons : tuple of str
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

    def __str__(self) -> str:
        lines = [
            f"Plan: {self.method.upper()} on the {self.engine} engine",
            f"  {self.n:,} rows, {self.p} fixed effects, {self.q:,} random effects",
        ]
        lines += [f"  ({t.label}): {t.levels:,} levels, {t.effects:,} effects, {t.role}" for t in self.terms]
        dense = f"dense part {self.dense:,} x {self.dense:,}" if self.dense else "nothing dense"
        lines.append(f"  {dense}, about {in_words(self.memory)} at the peak")
        lines += [f"  - {reason}" for reason in self.reasons]
        return "\n".join(lines)
