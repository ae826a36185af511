"""Texts of many levels as numbers: a key of 64 bits for each, and each text once.

A column that names 1e7 clients would be 1e7 Python strings and a dictionary of them. Its rows are keys instead, looked
up as whole numbers are; the texts stay with Arrow, which also sorts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.streamed.labels import MANY, TextLabels
from lmmformula.frame.values import Factor, object_array
from lmmformula.numerics.text_keys import text_keys

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AlikeError", "DistinctTexts", "keys_of", "many_texts"]

_MANY_IN_BATCH = 2048
"""Different texts in the first rows from which a column is read as keys."""

Keys = NDArray[np.int64]


class AlikeError(Exception):
    """Two texts have one key; another seed tells them apart."""


def many_texts(column: pa.Array) -> bool:
    """Whether a column holds so many different texts that they are better read as keys."""
    from pyarrow import types

    kind = column.type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return is_text and len(column.unique()) >= _MANY_IN_BATCH


def keys_of(column: pa.Array, seed: int) -> tuple[Keys, Keys]:
    """Key and check of each text; of a missing one those of an empty text."""
    from pyarrow import types

    width = np.int64 if types.is_large_string(column.type) else np.int32
    _, ends, data = column.buffers()
    if not len(column) or ends is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    own = np.frombuffer(ends, dtype=width)[column.offset : column.offset + len(column) + 1]
    content = (
        np.zeros(1, dtype=np.uint8) if data is None or not data.size else np.frombuffer(data, dtype=np.uint8)
    )
    return text_keys(own.astype(np.int64, copy=False), content, seed)


class DistinctTexts:
    """Different texts that pass by, with their keys."""

    def __init__(self) -> None:
        self._known: tuple[Keys, Keys, pa.Array] | None = None
        self._held: list[tuple[Keys, Keys, pa.Array]] = []
        self._n_held = 0

    def add(self, keys: Keys, checks: Keys, texts: pa.Array) -> None:
        """Take in the texts of a batch, none of them missing."""
        first = _first_of_each(keys, checks)
        self._held.append((keys[first], checks[first], texts.take(first)))
        self._n_held += len(first)
        if self._n_held > max(2**20, 0 if self._known is None else len(self._known[0])):
            self._merge()

    def _merge(self) -> None:
        import pyarrow as pa

        parts = [*([] if self._known is None else [self._known]), *self._held]
        keys, checks = (np.concatenate([part[j] for part in parts]) for j in range(2))
        texts = pa.concat_arrays([part[2].cast(pa.large_string()) for part in parts])
        first = _first_of_each(keys, checks)
        self._known, self._held, self._n_held = (keys[first], checks[first], texts.take(first)), [], 0

    def levels(self) -> tuple[Keys, NDArray[np.int32], Factor]:
        """Keys in increasing order, the place of the text of each in R's order, and the texts in that order, each in a row."""
        import pyarrow.compute as pc

        if self._held:
            self._merge()
        assert self._known is not None
        keys, _, texts = self._known
        order = pc.call_function("sort_indices", [texts]).to_numpy()
        place = np.empty(len(keys), dtype=np.int32)
        place[order] = np.arange(len(keys), dtype=np.int32)
        ordered = texts.take(order)
        labels = TextLabels(ordered) if len(keys) >= MANY else object_array(ordered.to_pylist())
        return keys, place, Factor(np.arange(len(keys), dtype=np.int32), labels, "text")  # type: ignore[arg-type]


def _first_of_each(keys: Keys, checks: Keys) -> NDArray[np.intp]:
    """Positions at which each different key is first met, by increasing keys; refused where one has two checks."""
    order = np.argsort(keys, kind="stable")
    own = keys[order]
    new = np.ones(len(own), dtype=bool)
    new[1:] = own[1:] != own[:-1]
    if len(own) > 1 and ((checks[order][1:] != checks[order][:-1]) & ~new[1:]).any():
        raise AlikeError
    return order[new]
