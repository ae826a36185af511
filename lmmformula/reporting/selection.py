"""How the results of selecting a model are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import wraps
from html import escape
from typing import TYPE_CHECKING

from lmmformula.arguments import checked
from lmmformula.inference.selection import table as _table
from lmmformula.inference.selection.allfit import AllFits
from lmmformula.inference.selection.cross_validation import CrossValidation
from lmmformula.inference.selection.folds import ROW
from lmmformula.inference.selection.repca import RandomComponents
from lmmformula.inference.selection.step import Steps
from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.html import small

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import FittedT
    from lmmformula.typing import Argument

__all__ = ["ShownComponents", "ShownCrossValidation", "ShownFits", "ShownSteps", "model_selection"]


@checked
@wraps(_table.model_selection)
def model_selection(*fits: Argument, criterion: str = "aicc", conditional: bool = False) -> Table:  # noqa: D103
    return printed(_table.model_selection(*fits, criterion=criterion, conditional=conditional))


class ShownSteps(Steps["FittedT"]):
    """The steps of a selection; prints lmerTest's two tables and the model found."""

    @classmethod
    def of(cls, found: Steps[FittedT]) -> ShownSteps[FittedT]:
        """The same, to be shown."""
        return cls(printed(found.random), printed(found.fixed), found.fit)

    @property
    def _said(self) -> list[str]:
        return [
            f"Model found: {self.formula}",
            "It was chosen by the same data: p-values and intervals of its terms do not know of the search.",
        ]

    def __repr__(self) -> str:
        return _stacked([self.random, self.fixed], self._said)

    def _repr_html_(self) -> str:
        return _stacked_html([printed(self.random), printed(self.fixed)], self._said)


class ShownComponents(RandomComponents):
    """Principal components of the random effects, by grouping factor."""

    __slots__ = ()

    @classmethod
    def of(cls, found: RandomComponents) -> ShownComponents:
        """The same, to be shown."""
        return cls(found.groups)

    def _table(self) -> Table:
        out = printed(self.frame)
        out.attrs["heading"] = (
            "Principal components of the random effects (standard deviations relative to sigma)"
        )
        return out

    @property
    def _said(self) -> list[str]:
        if not self.zero:
            return ["Every direction has a variance above zero."]
        where = ", ".join(f"{own.zero} of {len(own.sdev)} of {own.group}" for own in self.groups if own.zero)
        return [f"Directions without variance: {where}. A smaller random part fits as well: see ranova()."]

    def __repr__(self) -> str:
        return _stacked([self._table()], self._said)

    def _repr_html_(self) -> str:
        return _stacked_html([self._table()], self._said)


class ShownFits(AllFits):
    """Runs of engines, starts and optimisers side by side, with a verdict."""

    @classmethod
    def of(cls, found: AllFits) -> ShownFits:
        """The same, to be shown."""
        return cls(found.fit, found.runs)

    def _table(self) -> Table:
        frame = self.frame
        shown = frame.drop(columns=["kind", "name", "warnings"])
        shown.index = [f"{kind}: {name}" for kind, name in zip(frame["kind"], frame["name"], strict=True)]
        out = printed(shown)
        out.attrs["heading"] = f"One likelihood by several ways. Model: {self.fit.formula}"
        return out

    @property
    def _said(self) -> list[str]:
        told = dict.fromkeys(text for run in self.runs for text in (run.refused, *run.warnings) if text)
        verdict = self.verdict
        gaps = "beta_gap is in standard errors, theta_gap relative to theta, both in standard columns."
        return [verdict[0].upper() + verdict[1:], gaps, *(f"Warned: {text}" for text in told)]

    def __repr__(self) -> str:
        return _stacked([self._table()], self._said)

    def _repr_html_(self) -> str:
        return _stacked_html([self._table()], self._said)


class ShownCrossValidation(CrossValidation):
    """Scores of predictions of rows left out."""

    @classmethod
    def of(cls, found: CrossValidation) -> ShownCrossValidation:
        """The same, to be shown."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    def _table(self) -> Table:
        out = printed(self.summary)
        out.attrs["heading"] = f"{self.n_folds}-fold cross-validation. Model: {self.formula}"
        return out

    @property
    def _said(self) -> list[str]:
        units = "rows" if self.by == ROW else f"levels of {self.by}"
        said = [f"Predicted: {self.measures}.", f"Standard errors are over {self.n_units:,} {units}."]
        if "coverage" in self.scores:
            said.append(f"Coverage is that of {100 * self.level:g}% prediction intervals.")
        if self.unfinished:
            which = ", ".join(map(str, self.unfinished))
            said.append(f"The search did not meet its tolerance in folds {which}.")
        return said

    def __repr__(self) -> str:
        return _stacked([self._table()], self._said)

    def _repr_html_(self) -> str:
        return _stacked_html([self._table()], self._said)


def _stacked(tables: Sequence[pd.DataFrame], said: Sequence[str]) -> str:
    """Tables that have rows, one below the other, and sentences."""
    shown = [repr(table) for table in tables if len(table)]
    return "\n\n".join([*shown, "\n".join(said)])


def _stacked_html(tables: Sequence[Table], said: Sequence[str]) -> str:
    shown = [table._repr_html_() or f"<pre>{escape(repr(table))}</pre>" for table in tables if len(table)]
    return "".join(shown) + small(said)
