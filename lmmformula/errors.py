"""One tree of errors and warnings.

Every message says what happened (with numbers), the likely cause, and what to do about it. :func:`address` is where the
documentation says more of its class: an error has it as a note below its traceback, a warning at the end of its text.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Self

__all__ = [
    "ArgumentError",
    "BoundaryWarning",
    "ConvergenceWarning",
    "DataDroppedWarning",
    "DataError",
    "FitError",
    "FormulaError",
    "LmmformulaError",
    "LmmformulaWarning",
    "PlanError",
    "RankDeficientWarning",
    "SeparationWarning",
    "SingularFitWarning",
    "address",
    "warn",
]


def address(kind: type[BaseException]) -> str:
    """Where the documentation says what an error or a warning of this class means, relative to its folder."""
    return f"troubleshooting.md#{kind.__name__.lower()}"


class LmmformulaError(Exception):
    """Base class of every error this package raises on purpose."""

    def __new__(cls, *_: object, **__: object) -> Self:
        made = super().__new__(cls)
        made.add_note(f"docs: {address(cls)}")
        return made


class FormulaError(LmmformulaError):
    """A formula that cannot be read, or that means nothing.

    Parameters
    ----------
    problem : str
        One sentence: what is wrong at the marked place.
    formula : str
        The whole formula as the user wrote it.
    span : tuple of int, optional
        Half-open range of characters ``(start, stop)`` to mark in `formula`.
    hint : str, optional
        What was expected, or what to write instead.

    Attributes
    ----------
    problem, formula, span, hint
        As given.
    """

    def __init__(
        self,
        problem: str,
        formula: str = "",
        span: tuple[int, int] | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem, self.formula, self.span, self.hint = problem, formula, span, hint
        super().__init__(problem, formula, span, hint)

    def __str__(self) -> str:
        lines = [self.problem]
        if self.formula and self.span is not None:
            lines += _marked(self.formula, *self.span)
        elif self.formula:
            lines.append(f"  in: {self.formula}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def _marked(formula: str, start: int, stop: int) -> list[str]:
    """The line of `formula` that holds `start`, and a line of carets under the span."""
    start = max(0, min(start, len(formula)))
    begin = formula.rfind("\n", 0, start) + 1
    end = formula.find("\n", start)
    end = len(formula) if end < 0 else end
    width = max(1, min(stop, end) - start)
    return [f"  {formula[begin:end]}", "  " + " " * (start - begin) + "^" * width]


class DataError(LmmformulaError):
    """Data that cannot serve the formula: names the column and counts the rows."""


class PlanError(LmmformulaError):
    """A model or method that is not available for this problem: says why and what suits."""


class ArgumentError(PlanError, DataError):
    """An argument of a public call with a wrong name, type or range: names the argument, and says what it may be.

    It is both of the kinds of error that arguments have always raised, so that whoever caught one of them still does.
    """


class FitError(LmmformulaError):
    """Estimation that cannot give a trustworthy number: says where it stopped."""


class LmmformulaWarning(UserWarning):
    """Base class of every warning of this package."""


class ConvergenceWarning(LmmformulaWarning):
    """The optimiser stopped before its tolerance was met."""


class SeparationWarning(LmmformulaWarning):
    """A coefficient runs off to infinity: some predictor separates the outcomes."""


class BoundaryWarning(LmmformulaWarning):
    """A parameter of the family lies at the end of its range: the simpler family fits as well."""


class SingularFitWarning(LmmformulaWarning):
    """A covariance matrix of random effects is singular at the optimum."""


class RankDeficientWarning(LmmformulaWarning):
    """Columns of the fixed-effects matrix were dropped because others determine them."""


class DataDroppedWarning(LmmformulaWarning):
    """Rows were left out of the fit."""


class ExtrapolationWarning(LmmformulaWarning):
    """Values lie beyond those that a smooth was fitted to."""


_PACKAGE = str(Path(__file__).resolve().parent) + os.sep


def warn(message: str, category: type[Warning] = LmmformulaWarning) -> None:
    """Warn at the line outside the package that made the call, however deep inside it the reason was found."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        depth, frame = depth + 1, frame.f_back
    where = f" [docs: {address(category)}]"
    warnings.warn(message.removesuffix(where) + where, category, stacklevel=depth + 1)
