"""What every stage of reading a model needs to know besides the expression in hand."""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.errors import FormulaError
from lmmformula.formula.spec import Span

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    """The formula's text, for errors, and the columns that ``.`` stands for.

    Attributes
    ----------
    text : str
    columns : tuple of str or None
        Every column of the data; None where no data are at hand.
    response_variables : frozenset of str
        Columns named on the left-hand side, which ``.`` leaves out.
    """

    text: str
    columns: tuple[str, ...] | None = None
    response_variables: frozenset[str] = frozenset()

    def error(self, problem: str, span: Span, hint: str | None = None) -> FormulaError:
        """A `FormulaError` that marks `span`."""
        return FormulaError(problem, self.text, span, hint)

    def others(self) -> tuple[str, ...]:
        """The columns that ``.`` stands for."""
        return tuple(c for c in self.columns or () if c not in self.response_variables)
