"""Rows of a source drawn at random, as a table in memory: a first look at data that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.sources.base import Source

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["sampled"]


def sampled(source: Source, names: Sequence[str], rows: int, seed: int | np.random.Generator) -> pa.Table:
    """A simple random sample of rows, in their order, in one pass.

    Every row is given a uniform number, and those with the `rows` least ones are kept, so that each set of rows is as likely as
    any other whether or not their number is known beforehand (Vitter 1985, section 1, on keys and reservoirs). Numbers go with
    rows: the sample does not depend on how the rows are cut into batches.

    Parameters
    ----------
    source : Source
    names : sequence of str
    rows : int
        Of the sample; all rows, if there are no more.
    seed : int or Generator

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    DataError
        As :meth:`Source.batches`, and if there is no row.

    Notes
    -----
    Memory is that of twice the sample and a batch. A sample of rows has all large levels of a grouping factor, with fewer rows
    each, and not all small ones: variances can be estimated from it, effects of single levels hardly.
    """
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    held: list[pa.Table] = []
    keys = np.empty(0)
    most = np.inf  # keys from here on are not among the least
    for batch in source.batches(names):
        drawn = rng.random(batch.num_rows)
        chosen = np.flatnonzero(drawn < most)
        held.append(pa.Table.from_batches([batch]).take(pa.array(chosen)))
        keys = np.concatenate([keys, drawn[chosen]])
        if len(keys) >= 2 * rows:
            held, keys = _least(held, keys, rows)
            most = keys.max()
    if not held:
        raise DataError(f"{source.name} has no rows")
    if len(keys) > rows:
        held, keys = _least(held, keys, rows)
    return pa.concat_tables(held).unify_dictionaries().combine_chunks()


def _least(held: list[pa.Table], keys: np.ndarray, rows: int) -> tuple[list[pa.Table], np.ndarray]:
    """The rows of the least keys, in their order."""
    import pyarrow as pa

    kept = np.sort(np.argpartition(keys, rows - 1)[:rows])
    return [pa.concat_tables(held).take(pa.array(kept))], keys[kept]
