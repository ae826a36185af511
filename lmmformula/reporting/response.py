"""The response of a fit in words: its name, and what 0 and 1 stand for where it is a factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.formula import model_spec
from lmmformula.formula.spec import Name
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["expected_response", "response_levels", "response_name"]


def response_name(fit: Fitted) -> str:
    """The left side of the formula as written."""
    return fit.formula.split("~")[0].strip()


def response_levels(fit: Fitted) -> dict[float, str]:
    """Names of 0 and 1 where the response is a factor of the data at hand; else none."""
    known = [record.name for record in fit.problem.recipe.columns]
    response = model_spec(fit.formula, columns=known).response
    match () if response is None or fit.recall.data is None else response.parts:
        case (Name(column),):
            try:
                values = open_table(fit.recall.data).column(column).at(fit.problem.rows)
            except (LmmformulaError, OSError):  # the file of the call is gone or has changed
                return {}
            if isinstance(values, Factor):
                used = [str(values.levels[code]) for code in np.unique(values.codes[values.codes >= 0])]
                return dict(zip((0.0, 1.0), used, strict=True)) if len(used) == 2 else {}
    return {}


def expected_response(fit: Fitted) -> str:
    """What the mean of the response is: the probability of a level, or the expected response."""
    levels = response_levels(fit)
    return f"probability of {levels[1.0]}" if levels else f"expected {response_name(fit)}"
