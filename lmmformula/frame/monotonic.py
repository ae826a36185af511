"""The monotonic effects of a design, and the problem on the face of some of their steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmmformula.formula.monotonic import is_monotonic
from lmmformula.frame.design import Design, NumericPart, Part
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.steps import Steps
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.monotonic import Monotonic, MonotonicEffect
from lmmformula.ir.problem import Problem

__all__ = ["monotonic_effects", "on_face", "without_face"]


def monotonic_effects(
    design: Design, kept: tuple[int, ...], block: FixedBlock, frame: ModelFrame
) -> Monotonic | None:
    """The monotonic effects of a design; None where it has none.

    Parameters
    ----------
    design : Design
    kept : tuple of int
        Columns of the design that `block` has.
    block : FixedBlock
    frame : ModelFrame
    """
    effects: list[MonotonicEffect] = []
    start = int(design.intercept)
    place = {column: j for j, column in enumerate(kept)}
    for j, parts in enumerate(design.terms):
        sizes = [len(part.suffixes) for part in parts]
        at = next((i for i, part in enumerate(parts) if _state(part, frame) is not None), None)
        if at is not None:
            state = _state(parts[at], frame)
            assert state is not None
            columns = start + np.arange(math.prod(sizes)).reshape(sizes, order="F")
            columns = np.moveaxis(columns, at, -1).reshape(-1, sizes[at], order="F")
            others = _labels(parts, at, state.name)
            for label, own in zip(others, columns.tolist(), strict=True):
                effects += _effect(label, own, state, place, j + 1)
        start += math.prod(sizes)
    if not effects:
        return None
    return Monotonic(tuple(effects), block, tuple(range(len(kept))), (), kept)


def _effect(
    label: str, columns: list[int], state: Steps, place: dict[int, int], term: int
) -> list[MonotonicEffect]:
    """The effect of some columns of the design, those apart that other columns determine."""
    there = [i for i, column in enumerate(columns) if column in place]
    if not there:
        return []
    return [
        MonotonicEffect(
            label,
            tuple(place[columns[i]] for i in there),
            tuple(state.levels[i + 1] for i in there),
            tuple(state.widths[i] for i in there),
            term,
        )
    ]


def _state(part: Part, frame: ModelFrame) -> Steps | None:
    """What a part of a term learned, if it is a monotonic effect, and not the call of a function of the caller's."""
    if not (isinstance(part, NumericPart) and is_monotonic(part.expr)):
        return None
    found = frame.memory.get(part.expr)
    return found if isinstance(found, Steps) else None


def _labels(parts: Sequence[Part], at: int, name: str) -> list[str]:
    """Names of a term's effects: of each column of its other variables, those of the first fastest."""
    out = [""]
    for i, part in enumerate(parts):
        own = [""] if i == at else part.suffixes
        stem = name if i == at else part.name
        out = [f"{before}:{stem}{suffix}" for suffix in own for before in out]
    return [label[1:] for label in out]


def on_face(problem: Problem, kept: tuple[int, ...], signs: tuple[int, ...]) -> Problem:
    """The problem with those steps of its monotonic effects that are not zero.

    Parameters
    ----------
    problem : Problem
    kept : tuple of int
        Columns of all fixed effects, :attr:`Monotonic.full`.
    signs : tuple of int
        Of each effect.
    """
    own = problem.monotonic
    assert own is not None
    if len(kept) == len(own.full.names):
        block = own.full
    else:
        block = own.block(kept)
    recipe = replace(problem.recipe, kept=tuple(own.design[j] for j in kept))
    return replace(problem, X=block, recipe=recipe, monotonic=replace(own, kept=kept, signs=signs))


def without_face(problem: Problem) -> Problem:
    """The problem with all steps."""
    own = problem.monotonic
    return problem if own is None else on_face(problem, tuple(range(len(own.full.names))), ())
