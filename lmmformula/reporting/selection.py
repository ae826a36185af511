"""How the results of selecting a model are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial, wraps
from html import escape
from typing import TYPE_CHECKING, ClassVar

from lmmformula.arguments import checked
from lmmformula.inference.selection import table as _table
from lmmformula.inference.selection.allfit import AllFits
from lmmformula.inference.selection.conditional_aic import ConditionalAIC
from lmmformula.inference.selection.cross_validation import CrossValidation
from lmmformula.inference.selection.folds import ROW
from lmmformula.inference.selection.repca import RandomComponents
from lmmformula.inference.selection.step import Steps
from lmmformula.reporting.drawn import DrawnTable
from lmmformula.reporting.exhibits import ACROSS, Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.html import small

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from lmmformula.inference.fitted import FittedT
    from lmmformula.inference.selection.null_distribution import Null
    from lmmformula.typing import Argument, Drawn

__all__ = [
    "ShownComponents",
    "ShownConditionalAIC",
    "ShownCrossValidation",
    "ShownFits",
    "ShownSteps",
    "model_selection",
    "shown_deletions",
    "shown_variances",
]


@checked
@wraps(_table.model_selection)
def model_selection(*fits: Argument, criterion: str = "aicc", conditional: bool = False) -> DrawnTable:  # noqa: D103
    from lmmformula.reporting.plots.tests import weights

    found = _table.model_selection(*fits, criterion=criterion, conditional=conditional)
    picture = Drawing("Weights", "Weights of the models.", _height(len(found)), partial(weights, found))
    return DrawnTable.of(found, picture)


def shown_variances(table: pd.DataFrame, tests: Mapping[str, tuple[float, Null]]) -> DrawnTable:
    """Tests of variances, drawn against their distributions."""
    from lmmformula.reporting.plots.tests import null_distributions

    table.attrs["title"] = "Tests of the random part"
    caption = "The statistic, and what it would be if the piece were not needed."
    count = len(tests)
    size = (4.8, 2.8) if count == 1 else (3.4 * min(count, ACROSS), 2.8 * -(-count // ACROSS))
    draw = partial(null_distributions, tests)
    return DrawnTable.of(table, Drawing("Likelihood ratios", caption, size, draw, count))


def shown_deletions(table: pd.DataFrame) -> DrawnTable:
    """Tests of terms, drawn by their p-values."""
    from lmmformula.reporting.plots.tests import p_values

    table.attrs["title"] = "Single term deletions"
    caption = "P-values without each term; the line is at .05."
    return DrawnTable.of(table, Drawing("P-values", caption, _height(len(table)), partial(p_values, table)))


def _height(rows: int) -> tuple[float, float]:
    return 5.2, 1.2 + 0.32 * max(rows, 2)


class _Stacked:
    """Tables one below the other, and sentences."""

    __slots__ = ()
    _title: ClassVar[str]

    @property
    def _tables(self) -> Sequence[Table]:
        raise NotImplementedError

    @property
    def _said(self) -> Sequence[str]:
        raise NotImplementedError

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        found = Exhibit(self._title)
        for table in self._tables:
            found = found.above(table.exhibit()) if len(table) else found
        return found.above(Exhibit("", said=tuple(self._said)))

    def __repr__(self) -> str:
        shown = [repr(table) for table in self._tables if len(table)]
        return "\n\n".join([*shown, "\n".join(self._said)])

    def _repr_html_(self) -> str:
        tables = [table for table in self._tables if len(table)]
        shown = [table._repr_html_() or f"<pre>{escape(repr(table))}</pre>" for table in tables]
        return "".join(shown) + small(self._said)


class ShownSteps(_Stacked, Steps["FittedT"]):
    """The steps of a selection; prints lmerTest's two tables and the model found."""

    @classmethod
    def of(cls, found: Steps[FittedT]) -> ShownSteps[FittedT]:
        """The same, to be shown."""
        return cls(printed(found.random), printed(found.fixed), found.fit)

    _title = "Steps of a selection"

    @property
    def _tables(self) -> list[Table]:
        return [printed(self.random), printed(self.fixed)]

    @property
    def _said(self) -> list[str]:
        return [
            f"Model found: {self.formula}",
            "It was chosen by the same data: p-values and intervals of its terms do not know of the search.",
        ]


class ShownComponents(_Stacked, RandomComponents):
    """Principal components of the random effects, by grouping factor."""

    __slots__ = ()

    @classmethod
    def of(cls, found: RandomComponents) -> ShownComponents:
        """The same, to be shown."""
        return cls(found.groups)

    _title = "Principal components of the random effects"

    @property
    def _tables(self) -> list[Table]:
        out = printed(self.frame)
        out.attrs["heading"] = (
            "Principal components of the random effects (standard deviations relative to sigma)"
        )
        return [out]

    @property
    def _said(self) -> list[str]:
        if not self.zero:
            return ["Every direction has a variance above zero."]
        where = ", ".join(f"{own.zero} of {len(own.sdev)} of {own.group}" for own in self.groups if own.zero)
        return [f"Directions without variance: {where}. A smaller random part fits as well: see ranova()."]


class ShownFits(_Stacked, AllFits):
    """Runs of engines, starts and optimisers side by side, with a verdict."""

    @classmethod
    def of(cls, found: AllFits) -> ShownFits:
        """The same, to be shown."""
        return cls(found.fit, found.runs)

    _title = "One likelihood by several ways"

    @property
    def _tables(self) -> list[Table]:
        frame = self.frame
        shown = frame.drop(columns=["kind", "name", "warnings"])
        shown.index = [f"{kind}: {name}" for kind, name in zip(frame["kind"], frame["name"], strict=True)]
        out = printed(shown)
        out.attrs["heading"] = f"One likelihood by several ways. Model: {self.fit.formula}"
        return [out]

    @property
    def _said(self) -> list[str]:
        told = dict.fromkeys(text for run in self.runs for text in (run.refused, *run.warnings) if text)
        verdict = self.verdict
        gaps = "beta_gap is in standard errors, theta_gap relative to theta, both in standard columns."
        return [verdict[0].upper() + verdict[1:], gaps, *(f"Warned: {text}" for text in told)]


class ShownCrossValidation(_Stacked, CrossValidation):
    """Scores of predictions of rows left out."""

    @classmethod
    def of(cls, found: CrossValidation) -> ShownCrossValidation:
        """The same, to be shown."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    _title = "Cross-validation"

    @property
    def _tables(self) -> list[Table]:
        out = printed(self.summary)
        out.attrs["heading"] = f"{self.n_folds}-fold cross-validation. Model: {self.formula}"
        return [out]

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

    def plot(self, ax: Drawn = None) -> Drawn:
        """The first score of each fold, per row, beside that of all rows."""
        from lmmformula.reporting.plots.canvas import new_axes
        from lmmformula.reporting.plots.tests import folds

        return folds(self, new_axes(ax, (5.2, 3.2)))

    def exhibit(self) -> Exhibit:
        """What a report shows of it."""
        return super().exhibit().drawn(Drawing("Folds", "The score of each fold.", (5.2, 3.2), self.plot))


class ShownConditionalAIC(_Stacked, ConditionalAIC):
    """cAIC and its parts."""

    __slots__ = ()

    @classmethod
    def of(cls, found: ConditionalAIC) -> ShownConditionalAIC:
        """The same, to be shown."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    _title = "Conditional AIC"

    @property
    def _tables(self) -> list[Table]:
        import pandas as pd

        names = {"caic": "cAIC", "llf": "logLik", "df": "degrees of freedom", "effective": "effective"}
        values = self.frame
        out = printed(
            pd.DataFrame({name: [values[key]] for key, name in names.items()}, index=["conditional"])
        )
        return [out]

    @property
    def _said(self) -> list[str]:
        known = "known" if self.variances == "known" else "estimated, which degrees of freedom allow for"
        return [f"Variances are taken for {known}; effective: degrees of freedom with the variances known."]

    def __repr__(self) -> str:
        return ConditionalAIC.__repr__(self)
