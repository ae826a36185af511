"""Texts of many levels as numbers: a key of 64 bits for each, and each text once.

A column that names 1e7 clients would be 1e7 Python strings and a dictionary of them. Its rows are keys instead, looked
up as whole numbers are; the texts stay with Arrow, which also sorts them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.frame.streamed.labels import MANY, TextLabels
from lmmformula.frame.values import Factor, FactorKind, object_array
from lmmformula.numerics.text_keys import text_keys
from lmmformula.typing import Index

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
    if types.is_dictionary(kind):
        return (
            _is_text(kind.value_type)
            and not column.dictionary.null_count
            and len(column.dictionary) >= _MANY_IN_BATCH
        )
    return _is_text(kind) and len(column.unique()) >= _MANY_IN_BATCH


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)


def keys_of(column: pa.Array, seed: int) -> tuple[Keys, Keys]:
    """Key and check of each text; of a missing one those of any text."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        at = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        keys, checks = _keys_of_dictionary(_Dictionary(column.dictionary), seed)
        return keys[at], checks[at]
    width = np.int64 if types.is_large_string(column.type) else np.int32
    _, ends, data = column.buffers()
    if not len(column) or ends is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    own = np.frombuffer(ends, dtype=width)[column.offset : column.offset + len(column) + 1]
    content = (
        np.zeros(1, dtype=np.uint8) if data is None or not data.size else np.frombuffer(data, dtype=np.uint8)
    )
    return text_keys(own.astype(np.int64, copy=False), content, seed)


class _Dictionary:
    """A dictionary that batches have in common: the same one is where it was, as long as it is held."""

    def __init__(self, texts: pa.Array) -> None:
        self.texts = texts
        content = texts.buffers()[2]
        self._place = (0 if content is None else content.address, texts.offset, len(texts))

    def __hash__(self) -> int:
        return hash(self._place)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Dictionary) and self._place == other._place


@lru_cache(maxsize=3)
def _keys_of_dictionary(dictionary: _Dictionary, seed: int) -> tuple[Keys, Keys]:
    """Keys of the texts of a dictionary, which come again with every batch of a row group."""
    return keys_of(dictionary.texts, seed)


class DistinctTexts:
    """Different texts that pass by, with their keys; in the order of their dictionaries if they are categories."""

    def __init__(self) -> None:
        self.kind: FactorKind = "text"
        self._known: tuple[Keys, Keys, pa.Array] | None = None
        self._held: list[tuple[Keys, Keys, pa.Array]] = []
        self._n_held = 0
        self._listed: Keys | None = None
        self._last: Keys | None = None

    def add(self, column: pa.Array, at: NDArray[np.int64] | None, seed: int) -> None:
        """Take in the texts of a batch at rows where none is missing (all if None)."""
        from pyarrow import types

        if types.is_dictionary(column.type):
            self.kind = "ordered" if column.type.ordered else "factor"
            self._list(_keys_of_dictionary(_Dictionary(column.dictionary), seed)[0])
        texts = column if at is None else column.take(at)
        keys, checks = keys_of(texts, seed)
        first = _first_of_each(keys, checks)
        self._held.append((keys[first], checks[first], texts.take(first)))
        self._n_held += len(first)
        if self._n_held > max(2**20, 0 if self._known is None else len(self._known[0])):
            self._merge()

    def _list(self, keys: Keys) -> None:
        """Put the categories of a dictionary after those of others before."""
        if self._last is not None and np.array_equal(keys, self._last):
            return
        self._last = keys
        known = np.zeros(0, dtype=np.int64) if self._listed is None else self._listed
        self._listed = np.concatenate([known, keys[~np.isin(keys, known)]])

    def merge(self, other: DistinctTexts) -> None:
        """Take in what others had passed by."""
        parts = [*([] if other._known is None else [other._known]), *other._held]
        self._held += parts
        self._n_held += sum(len(part[0]) for part in parts)

    def _merge(self) -> None:
        import pyarrow as pa

        parts = [*([] if self._known is None else [self._known]), *self._held]
        keys, checks = (np.concatenate([part[j] for part in parts]) for j in range(2))
        texts = pa.concat_arrays([part[2].cast(pa.large_string()) for part in parts])
        first = _first_of_each(keys, checks)
        self._known, self._held, self._n_held = (keys[first], checks[first], texts.take(first)), [], 0

    def levels(self) -> tuple[Keys, NDArray[np.int32], Factor]:
        """Keys in increasing order, the place of the text of each in R's order, and the texts in that order, each in a row."""
        if self._held:
            self._merge()
        assert self._known is not None
        keys, _, texts = self._known
        order = self._order(keys, texts)
        place = np.empty(len(keys), dtype=np.int32)
        place[order] = np.arange(len(keys), dtype=np.int32)
        ordered = texts.take(order)
        labels = TextLabels(ordered) if len(keys) >= MANY else object_array(ordered.to_pylist())
        return keys, place, Factor(np.arange(len(keys), dtype=np.int32), labels, self.kind)  # type: ignore[arg-type]

    def _order(self, keys: Keys, texts: pa.Array) -> Index:
        """Positions of the texts in R's order."""
        import pyarrow.compute as pc

        if self._listed is None:
            return pc.call_function("sort_indices", [texts]).to_numpy()
        at = np.searchsorted(keys, self._listed)
        at = np.minimum(at, len(keys) - 1)
        return at[keys[at] == self._listed]


def _first_of_each(keys: Keys, checks: Keys) -> NDArray[np.intp]:
    """Positions at which each different key is first met, by increasing keys; refused where one has two checks."""
    order = np.argsort(keys, kind="stable")
    own = keys[order]
    new = np.ones(len(own), dtype=bool)
    new[1:] = own[1:] != own[:-1]
    if len(own) > 1 and ((checks[order][1:] != checks[order][:-1]) & ~new[1:]).any():
        raise AlikeError
    return order[new]
