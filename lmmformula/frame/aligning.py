"""Expressions on other rows than those that they were learned from: factors within them keep the levels that they had.

``as.numeric(as.factor(g))`` ranks values among the levels of a factor, which must be those of the fit: the rows of a
subset would be ranked among themselves, and R does so in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lmmformula.errors import DataError
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Call, Expr, Name
from lmmformula.formula.walk import children, nodes
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.values import Factor, Value, align
from lmmformula.typing import Context, Entries

__all__ = ["Aligning", "levels_within"]

_RANKS = frozenset({"as.numeric", "as.double", "as.integer"})
"""Functions that give the place of a level."""


def levels_within(exprs: Iterable[Expr], found: Mapping[Expr, Value]) -> dict[Expr, Entries]:
    """Levels of the factors that are made on the way to the values of `exprs`, by expression."""
    out: dict[Expr, Entries] = {}
    for expr in exprs:
        for part in children(expr):
            for node in nodes(part):
                value = found.get(node)
                if isinstance(value, Factor) and value.kind != "logical":
                    out[node] = value.levels
    return out


class Aligning(Evaluator):
    """An evaluator whose factors have the levels that are known first, and those that are new after them.

    Parameters
    ----------
    known : mapping
        Levels by expression, of columns by their name as an expression.
    columns, n_rows, text, context, memory
        As for :class:`lmmformula.frame.evaluate.Evaluator`.

    Raises
    ------
    DataError
        Where the place of a level is asked for that is not among the known ones.
    """

    def __init__(
        self,
        known: Mapping[Expr, Entries],
        columns: Mapping[str, Value],
        n_rows: int,
        text: str,
        context: Context,
        memory: dict[Expr, Value],
    ) -> None:
        super().__init__(columns, n_rows, text, context, memory, learn=False)
        self.known = known

    def _evaluate(self, expr: Expr) -> Value:
        value = super()._evaluate(expr)
        if isinstance(value, Factor) and (levels := self.known.get(expr)) is not None:
            return align(value, levels)
        if isinstance(expr, Call) and expr.args:
            name = expr.function.rpartition("::")[2]
            if name in _RANKS and name not in self.context:
                self._refuse_new(expr, expr.args[0].value)
        return value

    def _refuse_new(self, expr: Expr, of: Expr) -> None:
        """Refuse rows whose level has no place among the known ones."""
        levels, factor = self.known.get(of), self(of)
        if levels is None or not isinstance(factor, Factor) or factor.kind not in ("factor", "ordered"):
            return
        if (new := factor.codes >= len(levels)).any():
            label = factor.levels[factor.codes[new][0]]
            what = "column" if isinstance(of, Name) else "factor"
            raise DataError(
                f"`{deparse(expr)}` asks for the place of a level among those of the fit, and {int(new.sum()):,} of "
                f"{self.n_rows:,} rows have a level of the {what} `{deparse(of)}` that was not there, such as {label!r}: leave "
                "these rows out, or use the numbers themselves in the formula"
            )
