"""A simple random sample of rows: each set of k rows is as likely as any other.

Of n rows, those of a batch of b that are taken number a hypergeometric variable given what was taken before; which of the b
they are is uniform. So memory is that of a batch and the sample, and the sample depends on the seed, on n and on the order of
the rows alone, batches being of one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import ArgumentError, DataError, PlanError
from lmmformula.formula import model_spec
from lmmformula.frame.opening import open_data
from lmmformula.frame.sources import BATCH_ROWS
from lmmformula.frame.table import Table, open_table
from lmmformula.typing import Arguments, Data, Index

if TYPE_CHECKING:
    import pyarrow as pa

    from lmmformula.frame.sources.base import Source

__all__ = ["open_rows", "sampled"]


def sampled(
    data: Table | Source, names: Sequence[str], sample: float, seed: int | np.random.Generator | None
) -> Table:
    """Some of the rows in memory.

    Parameters
    ----------
    data : Table or Source
    names : sequence of str
        Columns that are wanted; others stay behind.
    sample : float
        Rows, or below 1 their share.
    seed : int, Generator or None

    Returns
    -------
    Table
        Rows in their order; its ``origin`` says what it is.

    Raises
    ------
    ArgumentError
        For more rows than there are, or none.
    """
    own = list(dict.fromkeys(name for name in data.names if name in names))
    n = data.n_rows if isinstance(data, Table) or data.n_rows is not None else _counted(data, own)
    assert n is not None
    k = round(sample * n) if sample < 1 else int(sample)
    if not 0 < k <= n:
        raise ArgumentError(
            f"sample={sample:g} is {k:,} rows of {n:,}: ask for at least one, and for no more than there are."
        )
    rng = np.random.default_rng(seed)
    if isinstance(data, Table):
        rows = np.concatenate([start + at for start, at in _taken(_sizes(n), n, k, rng)]).astype(np.int64)
        out = open_table(data.to_pandas(own, rows))
    else:
        out = open_table(_gathered(data, own, n, k, rng))
    said = "" if seed is None or isinstance(seed, np.random.Generator) else f", seed {seed}"
    out.origin = f"a sample of {k:,} of {n:,} rows{said}"
    return out


def _counted(source: Source, names: list[str]) -> int:
    return sum(batch.num_rows for batch in source.batches(names[:1]))


def _sizes(n: int) -> Iterator[int]:
    for start in range(0, n, BATCH_ROWS):
        yield min(BATCH_ROWS, n - start)


def _taken(sizes: Iterator[int], n: int, k: int, rng: np.random.Generator) -> Iterator[tuple[int, Index]]:
    """Where each batch begins, and which of its rows are taken."""
    start, left = 0, k
    for size in sizes:
        rest = n - start
        if size > rest:
            raise DataError(
                "the data have more rows now than when they were counted: they have changed meanwhile."
            )
        count = int(rng.hypergeometric(size, rest - size, left)) if left else 0
        yield start, np.sort(rng.choice(size, count, replace=False))
        start, left = start + size, left - count


def _gathered(source: Source, names: list[str], n: int, k: int, rng: np.random.Generator) -> pa.Table:
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    coming = source.batches(names)

    def sizes() -> Iterator[int]:
        for batch in coming:
            batches.append(batch)
            yield batch.num_rows

    parts = [batches.pop().take(pa.array(at)) for _, at in _taken(sizes(), n, k, rng)]
    return pa.Table.from_batches(parts).unify_dictionaries().combine_chunks()


def open_rows(
    formula: str,
    data: Data,
    building: Arguments,
    sample: float | None,
    seed: int | np.random.Generator | None,
) -> Table | Source:
    """The data, or a sample of their rows with the columns that the call names."""
    opened = open_data(data)
    if sample is None:
        return opened
    named: list[str] = []
    for name in ("weights", "offset"):
        given = building.get(name)
        if given is not None and not isinstance(given, str):
            raise PlanError(
                f"{name}= is an array, and sample= takes rows of the data: name a column of them."
            )
        named += [] if given is None else [given]
    for text in (formula, building.get("ziformula"), building.get("dispformula")):
        named += [] if text is None else model_spec(text, columns=opened.names).variables
    return sampled(opened, named, sample, seed)
