"""What goes along with a fit when its rows, which are not in memory, stay behind: in a file, or to another process."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from lmmformula.errors import LmmformulaError
from lmmformula.ir.streamed.left import LeftRows
from lmmformula.typing import Data, Record

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["known_of", "lasting_source", "left_rows", "state_without_rows"]

_ASKED = ("twin_vcov", "joint_vcov", "vcov", "df")
"""Properties that need rows and belong to every summary; they are computed before the rows are left."""


def left_rows(fit: Fitted) -> LeftRows:
    """In the place of the rows of a fit, with what is known of them."""
    rows = fit.problem.data
    if isinstance(rows, LeftRows):
        return rows
    answers: Record = {}
    for name in _ASKED:
        with suppress(LmmformulaError):
            answers[name] = getattr(fit, name)
    return LeftRows(rows.n, rows.weights is not None, rows.offset is not None, answers)


def known_of(fit: Fitted) -> Record:
    """These answers, as a fit keeps what it has computed."""
    rows = fit.problem.held
    return {f"_computed_{name}": v for name, v in rows.answers.items()} if isinstance(rows, LeftRows) else {}


def lasting_source(source: Data) -> Data:
    """Where the data are, if another process can look there: paths; None for anything else."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, list | tuple) and all(isinstance(one, str | os.PathLike) for one in source):
        return [os.fspath(one) for one in source]
    return None


def state_without_rows(fit: Fitted, state: Record) -> Record:
    """What a pickle holds of a fit whose rows are not in memory."""
    left = left_rows(fit)
    gone = {"optimum", "standard"}
    recall = replace(fit.recall, source=lasting_source(fit.recall.source))
    kept = {name: value for name, value in state.items() if name not in gone}
    kept |= {"problem": replace(fit.problem, held=left), "point": None, "twin": None, "recall": recall}
    return kept | {f"_computed_{name}": value for name, value in left.answers.items()}
