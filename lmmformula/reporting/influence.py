"""Influence as it is shown: the units that move most first, beside what they are measured against."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.inference.influence import Influence, influence
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html import inline_table, small
from lmmformula.reporting.lines import wrapped
from lmmformula.reporting.numbers import aligned, general, on_one_line, significant

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Data, Drawn

__all__ = ["InfluenceTable", "influence_table"]

MOST_UNITS = 10
"""Units that are shown."""
MOST_COLUMNS = 4
"""Coefficients up to which DFBETAS are shown one by one; of more only the largest."""
MOST_LETTERS = 48
"""Of their names together, likewise."""
_ROUNDING = 1e-9
"""A change of fewer standard errors is that of rounding, of searches too, and shown as zero."""
_SHOWN = ("n", "cooks_distance", "mdffits", "covratio", "leverage", "studentised_deleted")


@checked_methods()
@dataclass(frozen=True, eq=False, repr=False)
class InfluenceTable(Influence):
    """:class:`lmmformula.inference.influence.Influence` that prints, renders in a notebook and plots."""

    def __repr__(self) -> str:
        heading = f"Influence of the {self.units} on {self.formula}"
        lines = [*wrapped(heading), *wrapped(f"{self.how[0].upper()}{self.how[1:]}."), ""]
        return "\n".join(
            [*lines, *aligned(*self._cells()), "", *(t for s in self._notes() for t in wrapped(s))]
        )

    def _repr_html_(self) -> str:
        header, rows = self._cells()
        return inline_table(f"Influence of the {self.units}", header, rows, (0,)) + small(
            [f"{self.how[0].upper()}{self.how[1:]}.", *self._notes()]
        )

    def exhibit(self) -> Exhibit:
        """What a report shows of it: the units that move most, the cut-offs, and Cook's distances."""
        header, rows = self._cells()
        grid = Grid(f"Influence of the {self.units}", tuple(header), tuple(map(tuple, rows)))
        said = (f"{self.how[0].upper()}{self.how[1:]}.", *(note.strip() for note in self._notes()))
        picture = Drawing(
            "Cook's distances",
            f"Cook's distances of the {self.units}.",
            (5.6, 3.6),
            partial(self.plot, "cooks_distance"),
        )
        return Exhibit("Influence", (grid,), said, drawings=(picture,))

    def plot(self, measure: str = "cooks_distance", ax: Drawn = None) -> Drawn:
        """One measure of every unit with its cut-off; see :func:`lmmformula.reporting.plots.influence.influence`."""
        from lmmformula.reporting.plots.influence import influence as drawn

        return drawn(self, measure, ax)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: the units that move most, numbers beyond their cut-off with a star."""
        names = [name for name in _SHOWN if name in self.frame.columns]
        at, flagged = self.order()[:MOST_UNITS], self.flagged()
        columns, header = [], [""]
        for name in names:
            column = self.frame[name].iloc[at]
            texts = [str(v) for v in column] if name == "n" else significant(column.to_numpy())
            columns.append(_starred(texts, flagged[name].iloc[at] if name in flagged else None))
            header.append(name)
        if self.dfbetas.shape[1]:
            more, cells = self._dfbetas(at)
            header, columns = header + more, columns + cells
        labels = [on_one_line(str(label)) for label in self.frame.index[at]]
        return header, [list(row) for row in zip(labels, *columns, strict=True)]

    def _dfbetas(self, at: Data) -> tuple[list[str], list[list[str]]]:
        """Columns of DFBETAS, or of the largest of each unit with its coefficient's name."""
        table = self.dfbetas.iloc[at]
        table = table.where(table.abs() > _ROUNDING, table * 0.0)
        cutoff = next(c for c in self.cutoffs if c.measure == "dfbetas")
        if table.shape[1] <= MOST_COLUMNS and sum(len(str(c)) for c in table.columns) <= MOST_LETTERS:
            cells = [
                _starred(significant(table[c].to_numpy()), cutoff.exceeded(table[c])) for c in table.columns
            ]
            return [f"dfbetas {on_one_line(str(c))}" for c in table.columns], cells
        largest = table.abs().fillna(-1.0).to_numpy().argmax(axis=1)
        values = table.to_numpy()[range(len(table)), largest]
        texts = _starred(significant(values), cutoff.exceeded(table))
        names = [on_one_line(str(table.columns[j])) for j in largest]
        return ["largest dfbetas", "of"], [texts, names]

    def _notes(self) -> list[str]:
        """How many are shown, how many have no numbers, and the cut-offs."""
        flagged, out = self.flagged(), []
        if len(self) > MOST_UNITS:
            out.append(
                f"{MOST_UNITS} of {len(self):,} shown, largest Cook's distance first. * is beyond its cut-off:"
            )
        else:
            out.append("Largest Cook's distance first. * is beyond its cut-off:")
        for cutoff in self.cutoffs:
            count = int(flagged[cutoff.measure].to_numpy().sum())
            name = cutoff.measure if cutoff.centre is None else f"{cutoff.measure} - {cutoff.centre:g}"
            out.append(f"  |{name}| > {general(cutoff.value, 3)}: {count:,}. {cutoff.rule}")
        lost = int(self.dfbetas.isna().all(axis=1).sum()) if self.dfbetas.shape[1] else 0
        if lost:
            out.append(
                f"Without {lost:,} of them the rows that are left do not determine the fixed effects: no numbers."
            )
        return out


def influence_table(fit: Fitted, group: str | None = None, refit: bool = False) -> InfluenceTable:
    """:func:`lmmformula.inference.influence.influence`, shown."""
    found = influence(fit, group, refit)
    return InfluenceTable(**{f.name: getattr(found, f.name) for f in fields(found)})


def _starred(texts: list[str], beyond: pd.Series | None) -> list[str]:
    """Numbers with a star where they are beyond a cut-off, else a space in its place."""
    if beyond is None:
        return texts
    return [f"{text}{'*' if far else ' '}" for text, far in zip(texts, beyond, strict=True)]
