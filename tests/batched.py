"""A table that is read so many rows at a time, and what is compared of a model on its batches and on the table."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lmmformula.formula import model_spec
from lmmformula.frame.sources.base import checked_names
from lmmformula.frame.streamed import Draft, Kept, Seen, learn
from lmmformula.ir.memory_rows import MemoryRows
from lmmformula.ir.problem import Problem


@dataclass(frozen=True)
class Batches:
    """A table of Arrow, so many rows at a time."""

    table: Any
    rows: int
    name: str = "a table"
    parts: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    @property
    def n_rows(self) -> int:
        return self.table.num_rows

    def size(self, names: Sequence[str]) -> float | None:
        return None

    def batches(self, names: Sequence[str], part: int | None = None) -> Iterator[Any]:
        yield from self.table.select(checked_names(names, self.names, self.name)).to_batches(
            max_chunksize=self.rows
        )

    def unchanged(self) -> None:
        """Nothing can change it."""


def source(frame: pd.DataFrame, rows: int) -> Batches:
    return Batches(pa.Table.from_pandas(frame, preserve_index=False), rows)


def encoded(draft: Draft, over: Batches) -> tuple[list[MemoryRows], Seen]:
    found = [draft.encode(batch) for batch in over.batches(draft.columns)]
    return [rows for rows, _ in found], sum((seen for _, seen in found[1:]), found[0][1])


def streamed(text: str, over: Batches, **options: Any) -> tuple[Problem, Kept, list[MemoryRows]]:
    draft = learn(model_spec(text, over.names), over, **options)
    parts, seen = encoded(draft, over)
    problem, kept = draft.finish(seen)
    return problem, kept, parts


def noted(call: Any) -> tuple[Any, list[tuple[str, str]]]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    return result, [(w.category.__name__, str(w.message)) for w in found]


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def same_block(own: Any, wanted: Any, parts: list[Any], kept: tuple[int, ...]) -> None:
    assert (own.names, own.assign, own.term_labels, own.dropped) == (
        wanted.names,
        wanted.assign,
        wanted.term_labels,
        wanted.dropped,
    )
    close(np.vstack(parts)[:, list(kept)], wanted.matrix)
    assert own.matrix.shape == (0, wanted.matrix.shape[1])


def same_term(own: Any, wanted: Any, parts: list[Any], kept: tuple[int, ...] | None) -> None:
    assert (own.group, own.columns, own.label, own.covariance) == (
        wanted.group,
        wanted.columns,
        wanted.label,
        wanted.covariance,
    )
    assert list(own.levels) == list(wanted.levels)
    codes = np.concatenate([part.codes for part in parts])
    np.testing.assert_array_equal(codes, wanted.codes)
    assert own.codes.shape == (0, *wanted.codes.shape[1:])
    assert codes.dtype == wanted.codes.dtype
    if wanted.basis is not None:
        basis = np.vstack([part.basis for part in parts])
        close(basis if kept is None else basis[:, list(kept)], wanted.basis)
    else:
        assert own.basis is None
        assert kept is None
    if wanted.shares is not None:
        close(np.vstack([part.shares for part in parts]), wanted.shares)
