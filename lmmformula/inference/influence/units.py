"""Which rows are left out together: the rows of each level of a factor, or each row for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError
from lmmformula.inference.rows import row_labels
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Units"]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Rows that are left out together.

    Attributes
    ----------
    labels : pandas Index
        Of the m units, named after their factor.
    codes : (n,) array
        Unit of each row.
    is_rows : bool
        Whether each row is a unit.
    """

    labels: pd.Index
    codes: NDArray[np.intp]
    is_rows: bool = False

    @property
    def m(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.intp]:
        """Rows of each unit, (m,)."""
        return np.bincount(self.codes, minlength=self.m)

    @classmethod
    def of(cls, fit: Fitted, group: str | None) -> Units:
        """The levels of a grouping factor of the model or of a column of the data (``a:b`` of two); rows if `group` is None.

        Raises
        ------
        DataError
            For a name that is neither, levels of which rows have several or none, and fits that do not carry their data.
        """
        import pandas as pd

        if group is None:
            return cls(row_labels(fit.problem), np.arange(fit.problem.n), is_rows=True)
        for term in fit.problem.terms:
            if term.group == group:
                if term.shares is not None:
                    raise DataError(
                        f"rows belong to several levels of `{group}`, so leaving out one of them leaves parts of rows. Use "
                        "group=None for rows, or the name of a factor of which rows have one level each."
                    )
                if term.owners is None:
                    levels = pd.Index(np.asarray(term.levels, dtype=object), name=group)
                    return cls(levels, term.codes.astype(np.intp))
                if (term.codes >= 0).all():  # behind the levels of rows stand effects that no row has
                    there, codes = np.unique(term.codes, return_inverse=True)
                    levels = pd.Index(np.asarray(term.levels, dtype=object)[there], name=group)
                    return cls(levels, codes.astype(np.intp))
        codes, labels = _column(fit, group)
        if (codes < 0).any():
            count = int((codes < 0).sum())
            raise DataError(f"`{group}` is missing in {count:,} of the rows that were fitted.")
        return cls(pd.Index(labels, name=group), codes.astype(np.intp))


def _column(fit: Fitted, group: str) -> tuple[Data, Data]:
    """Codes and labels of a factor that is no term of the model."""
    from lmmformula.formula.spec import Expr, Name
    from lmmformula.frame import open_table
    from lmmformula.frame.grouping import group_factor

    known = ", ".join(f"`{name}`" for name in dict.fromkeys(t.group for t in fit.problem.terms)) or "none"
    if fit.recall.data is None:
        raise DataError(
            f"`{group}` is no grouping factor of the model, and the fit does not carry its data, as it was loaded. Use "
            f"a grouping factor of it ({known}) or None for rows."
        )
    table = open_table(fit.recall.data).session()
    names = [group] if group in table else group.split(":")
    lacking = [name for name in names if name not in table]
    if lacking:
        raise DataError(
            f"group={group!r}: `{lacking[0]}` is neither a grouping factor of the model ({known}) nor a column of the "
            "data. Use None for rows."
        )
    values: dict[Expr, Data] = {Name(name): table.column(name).at(fit.problem.rows) for name in names}
    factor = group_factor(tuple(values), values.__getitem__).factor
    return factor.codes, factor.levels
