"""Predictions and rows with what a fit says of them, written to a file a batch at a time, in the order of the data.

Memory is that of one batch, whatever the number of rows. A batch is replayed on its own, by what the fit has learned, so that
its numbers are those of all rows at once; what is drawn is drawn for each batch from the same seed, so that one unseen level
has one effect in all of them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError, DataError, LmmformulaWarning
from lmmformula.frame.opening import open_data
from lmmformula.frame.recipe import MISSING
from lmmformula.frame.sinks import check_out, open_sink
from lmmformula.frame.table import Table
from lmmformula.inference.new_positions import with_new_positions
from lmmformula.inference.prediction_rows import Selection, own_parts, rows_of, selected
from lmmformula.inference.predictive import new_weights
from lmmformula.inference.records import Part, Rows, Wanted
from lmmformula.inference.rows import draft_of, named_columns, refuse_no_rows
from lmmformula.memory import in_words
from lmmformula.progress import working
from lmmformula.typing import Data, Entries

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from lmmformula.frame.sources.base import Source
    from lmmformula.frame.streamed.draft import Draft
    from lmmformula.inference.fitted import Fitted

__all__ = ["RowFile", "augment_to", "predict_to"]

SLICE = 131_072
"""Rows of a table in memory that are written at a time."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows that has been written.

    Attributes
    ----------
    path : str
    rows, size : int
        Rows, and bytes on disk.
    columns : tuple of str
    """

    path: str
    rows: int
    size: int
    columns: tuple[str, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a table of one row."""
        import pandas as pd

        columns = ", ".join(self.columns)
        return pd.DataFrame(
            {"path": [self.path], "rows": [self.rows], "bytes": [self.size], "columns": [columns]}
        )

    def __str__(self) -> str:
        return f"{self.path}: {self.rows:,} rows, {in_words(self.size)}\n  {', '.join(self.columns)}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False)


def predict_to(
    fit: Fitted,
    out: str | Path,
    newdata: Data,
    wanted: Wanted,
    *,
    re_form: str | None,
    columns: str | Sequence[str],
    weights: Data,
    seed: int | np.random.Generator | None,
) -> RowFile:
    """Write the rows of `newdata` (of the data of the fit if None) with their predictions.

    Parameters
    ----------
    fit : Fit
    out : str or Path
        ``.parquet``, ``.csv`` or ``.tsv``; whole or, after an error, not there.
    newdata : table, path, or rows that are read a batch at a time
    wanted : Wanted
    re_form, weights, seed
        As of :func:`lmmformula.inference.predict.predict`; `weights` names a column.
    columns : "formula", "all", or names
        Columns of the data that are written too.

    Returns
    -------
    RowFile
    """
    path = check_out(out)
    if weights is not None and not isinstance(weights, str):
        raise ArgumentError(
            "weights= of rows that are written to a file must name a column of them: they are read a batch at a time."
        )
    source = source_of(_own(fit) if newdata is None else newdata)
    chosen, aux_terms = selected(fit, re_form), re_form == "all"
    number = int(np.random.default_rng(seed).integers(2**63))
    shown = named_columns(fit, source.names, columns)
    read = list(dict.fromkeys((*_needed(fit, source, weights), *shown)))
    with working("predictions", fit.recall.arguments.get("progress")):
        places: dict[int, pd.Index] = {}
        errors = wanted.se or wanted.interval is not None
        unseen = _unseen(fit, source, read, chosen, places) if wanted.new_levels == "sample" else {}

        def predicted(batch: pa.RecordBatch, first: bool) -> dict[str, Entries]:
            from lmmformula.frame.sources import table_of

            table = table_of(batch)
            rng = np.random.default_rng(seed if isinstance(seed, int) else number)
            own_fit = with_new_positions(fit, table, chosen, errors=errors, rng=rng)
            rows = rows_of(
                own_fit, table, chosen, aux_terms=aux_terms, places=places if own_fit is fit else None
            )
            if unseen:
                rows = replace(rows, parts=tuple(_known(part, unseen) for part in rows.parts))
            with warnings.catch_warnings():
                if not first:  # said once
                    warnings.simplefilter("ignore", LmmformulaWarning)
                own = new_weights(fit, table, weights) if wanted.interval == "prediction" else None
            return _named(own_fit.inference.predict(rows, wanted, own, rng))

        made = (
            (batch.select(shown), predicted(batch, number == 0))
            for number, batch in enumerate(source.batches(read))
        )
        return _written(path, made)


def augment_to(
    fit: Fitted, out: str | Path, columns: str | Sequence[str], table: Callable[[], pd.DataFrame]
) -> RowFile:
    """Write the rows of the fit with fitted values and residuals, as :func:`lmmformula.reporting.tidy.augment` has them.

    `table` gives that table of a fit whose rows are in memory. Where rows were left out for missing values, ``.row`` is the
    position of each row among all rows of the data.
    """
    path = check_out(out)
    draft = draft_of(fit)
    with working("rows", fit.recall.arguments.get("progress")):
        if draft is not None:
            return _written(path, _augmented(fit, draft, columns))
        refuse_no_rows(fit, "fitted values and residuals")
        return _written(path, _in_memory(fit, table()))


def source_of(data: Data) -> Source:
    """Rows of any data, a batch at a time."""
    from lmmformula.frame.sources.memory import rows_in_memory

    opened = open_data(data)
    return rows_in_memory(opened.to_pandas()) if isinstance(opened, Table) else opened


def _own(fit: Fitted) -> Data:
    """The data of the fit."""
    draft = draft_of(fit)
    if draft is not None:
        return draft.source
    if fit.recall.given is None:
        raise DataError(
            "a loaded fit does not carry its data: pass the rows to be predicted, predict(data, out=...)."
        )
    return fit.recall.given


def _needed(fit: Fitted, source: Source, weights: str | None) -> list[str]:
    """Columns that predictions are made of."""
    names = [name for name in fit.problem.recipe.needed if name in source.names]
    return [*names, *([weights] if weights else [])]


def _named(predicted: pd.Series | pd.DataFrame) -> dict[str, Entries]:
    """``.fit``, ``.se``, ``.lower``, ``.upper``."""
    import pandas as pd

    frame = predicted.to_frame("fit") if isinstance(predicted, pd.Series) else predicted
    return {f".{name}": frame[name].to_numpy() for name in frame.columns}


def _written(path: Path, batches: Iterator[tuple[pa.RecordBatch, dict[str, Entries]]]) -> RowFile:
    import pyarrow as pa

    count, names = 0, ()
    with open_sink(path) as sink:
        for batch, columns in batches:
            own = [pa.array(values, from_pandas=True) for values in columns.values()]
            whole = pa.RecordBatch.from_arrays([*batch.columns, *own], [*batch.schema.names, *columns])
            sink.write(whole)
            count, names = count + whole.num_rows, tuple(whole.schema.names)
    return RowFile(str(path), count, os.stat(path).st_size, names)


# -- levels that the fit has not seen ------------------------------------------------------------------------------


def _unseen(
    fit: Fitted, source: Source, read: Sequence[str], chosen: Selection, places: dict[int, pd.Index]
) -> dict[int, tuple[str, ...]]:
    """Levels of each term that the fit has not seen, of all rows, in the order that a table of them would have."""
    from lmmformula.frame.sources import table_of

    found: dict[int, dict[str, None]] = {i: {} for i, _ in chosen}
    for batch in source.batches(read):
        for part in rows_of(fit, table_of(batch), chosen, places=places).parts:
            found[part.term].update(dict.fromkeys(part.new_levels))
    return {i: _ordered(levels) for i, levels in found.items()}


def _ordered(levels: dict[str, None]) -> tuple[str, ...]:
    """Numbers in their order, else text by code point; what is missing last."""
    names = [name for name in levels if name != MISSING]
    try:
        names.sort(key=float)
    except ValueError:
        names.sort()
    return (*names, MISSING) if MISSING in levels else tuple(names)


def _known(part: Part, unseen: dict[int, tuple[str, ...]]) -> Part:
    """The part with its unseen levels among those of all rows."""
    place = {name: j for j, name in enumerate(unseen[part.term])}
    own = np.array([*(place[name] for name in part.new_levels), -1], dtype=np.int32)
    return replace(part, new_codes=own[part.new_codes], new_levels=unseen[part.term])


# -- the rows of the fit -------------------------------------------------------------------------------------------


def _augmented(
    fit: Fitted, draft: Draft, columns: str | Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, dict[str, Entries]]]:
    from lmmformula.frame.streamed.again import complete_rows, encoded

    shown = named_columns(fit, draft.source.names, columns)
    numbered, start = fit.problem.n_used < fit.problem.n_rows_data, 0
    for batch in draft.source.batches(list(dict.fromkeys((*draft.columns, *shown)))):
        at = complete_rows(draft, batch)
        own: dict[str, Entries] = {".row": start + at} if numbered else {}
        rows = encoded(draft, batch)
        here = _canonical(fit, rows)
        eta = here.X @ fit.estimate.beta + here.offset
        mean = _named(fit.inference.predict(here, _MEAN, None, np.random.default_rng(0)))[".fit"]
        own |= {".fitted": mean, ".resid": rows.y - mean, ".fixed": eta}
        if rows.offset is not None:
            own[".offset"] = rows.offset
        if rows.weights is not None:
            own[".weights"] = rows.weights
        start += batch.num_rows
        yield batch.select(shown).take(at), own


_MEAN = Wanted("response", "error", None, 0.95, se=False)


def _canonical(fit: Fitted, rows: Data) -> Rows:
    """Encoded rows with the columns that the model has."""
    import pandas as pd

    problem = fit.problem
    kept, terms = problem.data.store.layout.kept, []  # type: ignore[attr-defined]
    for i, (own, block) in enumerate(zip(problem.terms, rows.terms, strict=True)):
        basis = block.basis
        if basis is not None and kept.terms[i] is not None:
            basis = basis[:, list(kept.terms[i])]
        terms += own_parts(i, replace(own, codes=block.codes, basis=basis, shares=block.shares), 1.0)
    columns = tuple(a.matrix[:, list(which)] for a, which in zip(rows.aux, kept.aux, strict=True))
    if problem.aux:
        aux = tuple(a @ alpha for a, alpha in zip(columns, fit.estimate.aux, strict=True))
    else:
        aux = tuple(a.predictor(np.full(rows.n, fit.sigma)) for a in problem.family.auxiliaries)
    offset = np.zeros(rows.n) if rows.offset is None else rows.offset
    return Rows(
        rows.fixed.matrix[:, list(kept.fixed)], offset, tuple(terms), pd.RangeIndex(rows.n), aux, columns
    )


def _in_memory(fit: Fitted, frame: pd.DataFrame) -> Iterator[tuple[pa.RecordBatch, dict[str, Entries]]]:
    """Slices of the table of a fit whose rows are in memory."""
    import pyarrow as pa

    at = fit.problem.rows if fit.problem.n < fit.problem.n_rows_data else None
    shown = [name for name in frame.columns if name not in _OWN]
    for start in range(0, len(frame), SLICE):
        rows = slice(start, start + SLICE)
        batch = pa.RecordBatch.from_pandas(frame[shown].iloc[rows], preserve_index=False)
        values = {} if at is None else {".row": at[rows]}
        own = {name: frame[name].to_numpy()[rows] for name in _OWN if name in frame}
        yield batch.replace_schema_metadata(), values | own


_OWN = (".fitted", ".resid", ".fixed", ".offset", ".weights")
