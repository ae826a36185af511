"""Tables of results: pandas frames that show all of themselves.

pandas leaves out columns or breaks lines where a terminal is narrow, and writes a p-value of 1e-20 as 0.000000. A
:class:`Table` is a DataFrame in every use; only how it is shown differs: whole, aligned, p-values as in a summary, with
the heading and the notes that came with it in ``attrs``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import wraps

import pandas as pd

from lmmformula.inference import compare as _compare
from lmmformula.reporting.exhibits import Exhibit
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html import inline_table, small
from lmmformula.reporting.lines import wrapped
from lmmformula.reporting.numbers import (
    STARS_LEGEND,
    aligned,
    general,
    on_one_line,
    p_value,
    significant,
    stars,
    statistic,
    width,
)
from lmmformula.typing import Argument

__all__ = ["Table", "anova", "printed"]

MOST_ROWS = 60
"""Rows that are shown; a longer table says how many it has."""
LONG = 32
"""Places from which on the names of rows are listed above the table, which has numbers for them."""
_TWO_DECIMALS = ("AIC", "AICc", "cAIC", "BIC", "logLik", "-2*log(L)", "deviance", "REMLcrit")
_STATISTICS = (
    *("Chisq", "F value", "t value", "z value", "statistic"),
    *("t.ratio", "z.ratio", "F.ratio"),
)
_DEGREES = ("df", "DenDF", "df2")
_COUNTS = ("Eliminated", "Df", "NumDF", "npar", "nobs", "df_residual", "df1")


class Table(pd.DataFrame):
    """A DataFrame that is shown whole.

    What is taken from one (rows, columns) is one again; rounded numbers are a plain DataFrame, since whoever rounds has
    decided how they are shown. ``attrs`` may hold ``heading`` and ``note``, which are shown with it, and ``refitted``, the
    number of models that were fitted again by maximum likelihood.
    """

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def round(self, *args: Argument, **arguments: Argument) -> pd.DataFrame:
        return pd.DataFrame(self).round(*args, **arguments)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Names of the columns and cells of all rows as they are shown, without the index."""
        alike = _alike(self)
        frame = pd.DataFrame(self)
        columns = [alike.get(str(name)) or _column(str(name), own, "NA") for name, own in frame.items()]
        return [on_one_line(str(name)) for name in self.columns], [
            list(row) for row in zip(*columns, strict=True)
        ]

    def exhibit(self) -> Exhibit:
        """What a report shows of it: the table, its heading and its notes; ``attrs["title"]`` is the heading of the section."""
        heading = str(self.attrs.get("heading", ""))
        title = str(self.attrs.get("title", "")) or heading.partition(". ")[0].partition(": ")[0]
        shown = _one_level(self)
        if not _is_plain(shown):
            return Exhibit(title, said=("It has no rows.",))
        header, rows, names = _cells(shown)
        notes = [*(f"{label}: {name}" for label, name in names), *_notes(self)]
        if any(row[-1] for row in rows) and _p_column(shown):
            notes.insert(0, STARS_LEGEND)
        caption = heading if heading != title else ""
        grid = Grid(caption, tuple(header), tuple(map(tuple, rows)), _left(shown))
        return Exhibit(title, (grid,), tuple(notes))

    def __repr__(self) -> str:
        if not _is_plain(shown := _one_level(self)):
            return super().__repr__()
        header, rows, names = _cells(shown)
        left = _left(shown)
        lines = [*wrapped(str(self.attrs["heading"]))] if "heading" in self.attrs else []
        lines += [f"{label}: {name}" for label, name in names]
        lines += aligned(header, rows, left=left)
        if any(row[-1] for row in rows) and _p_column(shown):
            lines += ["---", STARS_LEGEND]
        return "\n".join([*lines, *(line for note in _notes(self) for line in wrapped(note))])

    def _repr_html_(self) -> str | None:
        if not _is_plain(shown := _one_level(self)):
            return super()._repr_html_()  # type: ignore[operator]
        header, rows, names = _cells(shown)
        below = [f"{label}: {name}" for label, name in names]
        if any(row[-1] for row in rows) and _p_column(shown):
            below.append(STARS_LEGEND)
        heading = str(self.attrs.get("heading", ""))
        return inline_table(heading, header, rows, _left(shown)) + small([*below, *_notes(self)])


def printed(frame: pd.DataFrame) -> Table:
    """The same frame as a :class:`Table`."""
    return Table(frame).__finalize__(frame)


@wraps(_compare.anova)
def anova(*fits: Argument, **arguments: Argument) -> Table:  # noqa: D103 - the docstring is that of what it shows
    return printed(_compare.anova(*fits, **arguments))


def _one_level(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with names of several levels written in one."""
    if frame.columns.nlevels == 1:
        return frame
    return frame.set_axis([" ".join(map(str, name)) for name in frame.columns], axis=1)


def _is_plain(frame: pd.DataFrame) -> bool:
    """Whether there are cells, under names that differ as text."""
    names = {str(name) for name in frame.columns}
    return bool(len(frame)) and 0 < len(names) == frame.shape[1]


def _p_column(frame: pd.DataFrame) -> str | None:
    """The p-values of a table of tests."""
    return next((str(name) for name in frame.columns if str(name).startswith("Pr(")), None)


def _left(frame: pd.DataFrame) -> tuple[int, ...]:
    """Columns that start at the left: names, text, and the stars."""
    last = (frame.shape[1] + 1,) if _p_column(frame) else ()
    return (0, *(j + 1 for j, t in enumerate(frame.dtypes) if not pd.api.types.is_numeric_dtype(t)), *last)


def _cells(frame: pd.DataFrame) -> tuple[list[str], list[list[str]], list[tuple[str, str]]]:
    """Header, rows, and the names that are listed apart because they are long."""
    shown = frame.iloc[:MOST_ROWS]
    p_column = _p_column(frame)
    blank = "" if p_column else "NA"
    alike = _alike(shown)
    columns = [alike.get(str(name)) or _column(str(name), shown[name], blank) for name in shown.columns]
    header = ["", *(on_one_line(str(name)) for name in shown.columns)]
    if p_column:
        columns.append([stars(float(p)) for p in shown[p_column]])
        header.append("")
    labels = [_label(name) for name in shown.index]
    apart: list[tuple[str, str]] = []
    if isinstance(shown.index, pd.RangeIndex):
        labels = [str(name) for name in shown.index]
    elif max(map(width, labels)) > LONG:
        apart = [(f"{j + 1}", label) for j, label in enumerate(labels)]
        labels = [number for number, _ in apart]
    return header, [list(row) for row in zip(labels, *columns, strict=True)], apart


_ONE_UNIT = (
    *("estimate", "std_error", "conf_low", "conf_high"),
    *("emmean", "response", "prob", "rate", "ratio", "odds.ratio", "SE"),
    *("lower.CL", "upper.CL", "asymp.LCL", "asymp.UCL", "lower.HPD", "upper.HPD", "lower.CI", "upper.CI"),
)


def _alike(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Cells of the columns that have one unit, with decimals in common: estimates and their limits, a covariance matrix."""
    names = [str(name) for name in frame.columns]
    matrix = names == [str(name) for name in frame.index]
    own = [n for n in names if matrix or n in _ONE_UNIT or n.endswith(" %")]
    numbers = frame[[c for c in frame.columns if str(c) in own]]
    if len(own) < 2 or not all(pd.api.types.is_float_dtype(numbers[c]) for c in numbers):
        return {}
    cells = iter(significant(numbers.to_numpy().T.ravel().tolist()))
    return {name: [next(cells) for _ in range(len(frame))] for name in own}


def _label(name: object) -> str:
    return on_one_line(", ".join(map(str, name)) if isinstance(name, tuple) else str(name))


def _column(name: str, values: pd.Series, blank: str) -> list[str]:
    """The cells of one column, by what its name and its type say of it."""
    kind = values.dtype
    if pd.api.types.is_bool_dtype(kind) or not pd.api.types.is_numeric_dtype(kind):
        missing = values.isna()
        return ["" if lost else on_one_line(str(v)) for v, lost in zip(values, missing, strict=True)]
    if pd.api.types.is_complex_dtype(kind):
        return [str(v) for v in values]
    if pd.api.types.is_integer_dtype(kind):
        return [str(v) for v in values]
    numbers = [float("nan") if lost else float(v) for v, lost in zip(values, values.isna(), strict=True)]
    texts = _numbers(name, numbers)
    return [blank if v != v else text for v, text in zip(numbers, texts, strict=True)]


def _numbers(name: str, values: list[float]) -> list[str]:
    if name.startswith("Pr(") or name in ("p_value", "p.value"):
        return [p_value(v) for v in values]
    if name in _TWO_DECIMALS:
        return [f"{v:.2f}" if abs(v) < 1e12 else general(v) for v in values]
    if name == "weight":
        return [f"{v:.3f}" for v in values]
    if name in _STATISTICS:
        return [statistic(v, 2) for v in values]
    if name in _DEGREES:
        return [statistic(v, 1) for v in values]
    if name in _COUNTS:
        return [f"{v:.0f}" for v in values]
    return significant(values)


def _notes(frame: pd.DataFrame) -> list[str]:
    """What is said below."""
    notes = []
    hidden = len(frame) - MOST_ROWS
    if hidden > 0:
        notes.append(f"... {hidden:,} more of {len(frame):,} rows")
    if count := _refitted(frame.attrs):
        which = "1 model that was" if count == 1 else f"{count} models that were"
        notes.append(f"Refitted by maximum likelihood for this table: {which} fitted by REML.")
    return [*notes, *([str(frame.attrs["note"])] if "note" in frame.attrs else [])]


def _refitted(attrs: Mapping[Hashable, object]) -> int:
    count = attrs.get("refitted", 0)
    return count if isinstance(count, int) else 0
