"""Smooths of a linear predictor as its fixed and random effects, once their bases are known.

``s(x)`` becomes the term of its unpenalised columns and, for each variance, a random-effects term of one level whose columns
are independent, :mod:`lmmformula.frame.smooths.mixed`. ``s(x, g, bs = "fs")`` and ``s(g, bs = "re")`` become terms over the
levels of g.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from lmmformula.formula.deparse import deparse
from lmmformula.formula.smooths import is_smooth
from lmmformula.formula.spec import Arg, Call, Expr, LinearPart, Number, RandomTerm, String, Term
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.smooths.record import SmoothRecord
from lmmformula.frame.smooths.state import COLUMNS, Smooth
from lmmformula.frame.values import Factor, Value, drop_unused
from lmmformula.ir.covariance import IID, Unstructured

__all__ = ["Expansion", "expanded"]


class Expansion:
    """Smooths of the linear predictors of one model, as terms.

    Parameters
    ----------
    frame : ModelFrame
        With the smooths' columns; :attr:`frame` has those of the terms in their place.
    """

    def __init__(self, frame: ModelFrame) -> None:
        self._given = frame
        self._memory = dict(frame.memory)
        self._values = dict(frame.values)
        self.records: list[SmoothRecord] = []
        self._known: dict[tuple[Expr, str], tuple[list[Term], list[RandomTerm]]] = {}
        self._evaluator = Evaluator(
            frame.columns, frame.n, frame.text, frame.context, self._memory, learn=False, known=frame.values
        )

    @property
    def frame(self) -> ModelFrame:
        """The model frame with values of the terms."""
        return replace(self._given, values=self._values, memory=self._memory)

    def terms(
        self, part: LinearPart, random: tuple[RandomTerm, ...]
    ) -> tuple[LinearPart, tuple[RandomTerm, ...]]:
        """Fixed and random effects of a linear predictor."""
        short = Counter(_label(term.factors[0]) for term in part.terms if self._is_own(term))
        fixed: list[Term] = []
        more: list[RandomTerm] = []
        for term in part.terms:
            if not self._is_own(term):
                fixed.append(term)
                continue
            label = _label(term.factors[0])
            if short[label] > 1:
                label = deparse(term.factors[0])
            key = term.factors[0], label
            if key not in self._known:  # a smooth of several predictors is made once
                self._known[key] = self._expand(term, label)
            own, beside = self._known[key]
            fixed += own
            more += beside
        return replace(part, terms=tuple(fixed)), (*random, *more)

    def _is_own(self, term: Term) -> bool:
        """Whether a term is a smooth, and not the call of a function of the caller's."""
        return _is_call(term) and isinstance(self._given.memory.get(term.factors[0]), Smooth)

    def _expand(self, term: Term, label: str) -> tuple[list[Term], list[RandomTerm]]:
        call = term.factors[0]
        assert isinstance(call, Call)
        state = self._memory[call]
        groups = tuple(_positional(call)[j] for j in state.groups)
        if groups:
            del self._memory[call]
            call, state = _without(call, groups), replace(state, groups=())
            self._memory[call] = state
        self._values.pop(term.factors[0], None)  # with another label it was made before
        by = next((deparse(arg.value) for arg in call.args if arg.name == "by"), "")
        fixed: list[Term] = []
        random: list[RandomTerm] = []
        for one in state.parts:
            name = label if state.by is None else f"{label}:{by}{one.level or ''}"
            before = len(random)
            if one.fixed[0] < one.fixed[1]:
                columns = self._columns(call, one.fixed, name, ".#")
                fixed.append(Term((columns,), name, term.span))
            for j, place in enumerate(one.random):
                own = name if len(one.random) == 1 else f"{name}#{j + 1}"
                random.append(self._random(call, state, place, own, groups, term))
            if state.basis is not None:
                labels = tuple(own.text for own in random[before:])
                random[before:] = [replace(own, smooth=name) for own in random[before:]]
                variables = tuple(map(deparse, _positional(call)))
                group = ":".join(map(deparse, groups))
                self.records.append(SmoothRecord(name, call, variables, labels, by, one.level, group))
        return fixed, random

    def _random(
        self,
        call: Call,
        state: Smooth,
        place: tuple[int, int],
        label: str,
        groups: tuple[Expr, ...],
        term: Term,
    ) -> RandomTerm:
        if state.basis is None and state.by is None and not _positional(call):
            design, kind = LinearPart(intercept=True, terms=()), Unstructured.name
        else:
            columns = self._columns(call, place, label, "[#]")
            design, kind = LinearPart(intercept=False, terms=(Term((columns,), label, term.span),)), IID.name
        for group in groups:
            if group not in self._values:
                self._values[group] = _as_level(self._evaluator(group))
        name = ":".join(map(deparse, groups)) or label
        return RandomTerm(design, groups, name, kind, text=label, span=term.span)

    def _columns(self, call: Call, place: tuple[int, int], label: str, mark: str) -> Expr:
        """The expression of some of a smooth's columns, whose value is put into the frame."""
        ends = (Number(str(place[0])), Number(str(place[1])))
        expr = Call(COLUMNS, tuple(Arg(v) for v in (call, *ends, String(label), String(mark))), call.span)
        self._values[expr] = self._evaluator(expr)
        return expr


def expanded(
    parts: list[LinearPart], random: list[tuple[RandomTerm, ...]], frame: ModelFrame
) -> tuple[list[LinearPart], list[tuple[RandomTerm, ...]], ModelFrame]:
    """Linear predictors without smooths, their random effects, and the frame with the values of both."""
    if not any(_is_call(term) for part in parts for term in part.terms):
        return parts, random, frame
    expansion = Expansion(frame)
    both = [expansion.terms(parts[0], random[0])]
    records = tuple(expansion.records)
    both += [expansion.terms(part, own) for part, own in zip(parts[1:], random[1:], strict=True)]
    frame = replace(expansion.frame, smooths=records)
    return [part for part, _ in both], [own for _, own in both], frame


def _is_call(term: Term) -> bool:
    return len(term.factors) == 1 and is_smooth(term.factors[0])


def _positional(call: Call) -> tuple[Expr, ...]:
    return tuple(arg.value for arg in call.args if arg.name is None)


def _without(call: Call, groups: tuple[Expr, ...]) -> Call:
    """The call without the factors whose levels have a function each."""
    return replace(
        call, args=tuple(arg for arg in call.args if arg.name is not None or arg.value not in groups)
    )


def _label(expr: Expr) -> str:
    """``s(x, z)`` of ``s(x, z, k = 20)``, mgcv's name."""
    assert isinstance(expr, Call)
    return f"{expr.function}({', '.join(map(deparse, _positional(expr)))})"


def _as_level(value: Value) -> Value:
    return drop_unused(value) if isinstance(value, Factor) else value
