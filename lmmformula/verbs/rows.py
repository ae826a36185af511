"""What a fit says of rows: predictions, and the data with fitted values beside them, in memory or in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import Kind, names, optional, path
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from lmmformula.inference.to_files import RowFile
    from lmmformula.typing import Data, Record

__all__ = ["RowVerbs"]

_OUT: Mapping[str, Kind] = {
    "out": optional(path("the path of a .parquet or .csv file")),
    "columns": names("'formula', 'all', or names of columns of the data"),
}


@checked_methods(kinds={"predict": _OUT, "augment": _OUT})
class RowVerbs(Verbs):
    """What a fit says of rows."""

    def __copy__(self) -> Self:
        """Another front of the same fit, with its rows wherever they are."""
        out = object.__new__(type(self))
        out.__dict__.update(self.__dict__)
        return out

    def __deepcopy__(self, memo: Record) -> Self:
        """The same: nothing in a fit ever changes."""
        del memo
        return self.__copy__()

    def __getstate__(self) -> Record:
        state = dict(self.__dict__)
        if self._fit.problem.held is None:
            return state
        from lmmformula.inference.leaving import state_without_rows

        return state_without_rows(self._fit, state)

    @overload
    def predict(
        self,
        newdata: Data = None,
        *,
        re_form: str | None = "all",
        kind: str = "response",
        new_levels: str = "error",
        interval: str | None = None,
        level: float = 0.95,
        se: bool = False,
        uncertainty: str | None = None,
        weights: Data = None,
        seed: int | np.random.Generator | None = None,
        out: None = None,
        columns: str | Sequence[str] = "formula",
    ) -> pd.Series | pd.DataFrame: ...
    @overload
    def predict(
        self,
        newdata: Data = None,
        *,
        re_form: str | None = "all",
        kind: str = "response",
        new_levels: str = "error",
        interval: str | None = None,
        level: float = 0.95,
        se: bool = False,
        uncertainty: str | None = None,
        weights: Data = None,
        seed: int | np.random.Generator | None = None,
        out: str | Path,
        columns: str | Sequence[str] = "formula",
    ) -> RowFile: ...
    def predict(
        self,
        newdata: Data = None,
        *,
        re_form: str | None = "all",
        kind: str = "response",
        new_levels: str = "error",
        interval: str | None = None,
        level: float = 0.95,
        se: bool = False,
        uncertainty: str | None = None,
        weights: Data = None,
        seed: int | np.random.Generator | None = None,
        out: str | Path | None = None,
        columns: str | Sequence[str] = "formula",
    ) -> pd.Series | pd.DataFrame | RowFile:
        """Predictions for the data of the fit or for new data; see :func:`lmmformula.inference.predict.predict`.

        With ``out="scored.parquet"`` they are written to a file, beside the columns of the data that the formula names
        (``columns="all"``: all of them; or names), as ``.fit[, .se][, .lower, .upper]``: all rows in the order of the data, a
        missing value where a row has no prediction. Rows are read and written a batch at a time, so that `newdata` may be
        whatever :func:`lmmformula.fit` takes. The file is there whole or not at all.
        """
        from lmmformula.inference.predict import predict

        return predict(
            self._fit,
            newdata,
            re_form=re_form,
            kind=kind,
            new_levels=new_levels,
            interval=interval,
            level=level,
            se=se,
            uncertainty=uncertainty,
            weights=weights,
            seed=seed,
            out=out,
            columns=columns,
        )

    @overload
    def augment(self, out: None = None, columns: str | Sequence[str] = "formula") -> pd.DataFrame: ...
    @overload
    def augment(self, out: str | Path, columns: str | Sequence[str] = "formula") -> RowFile: ...
    def augment(
        self, out: str | Path | None = None, columns: str | Sequence[str] = "formula"
    ) -> pd.DataFrame | RowFile:
        """Broom's table of rows: data used, fitted values, residuals.

        With ``out="rows.parquet"`` it is written to a file a batch at a time, which also serves rows that do not fit in memory;
        `columns` of the data as for :meth:`predict`, and ``.row``, the position of each row in the data, where some were left
        out.
        """
        from lmmformula.reporting import tidy

        def table() -> pd.DataFrame:
            return tidy.augment(self._fit, columns)

        if out is None:
            return table()
        from lmmformula.inference.to_files import augment_to

        return augment_to(self._fit, out, columns, table)
