"""Columns of pandas in a file of a fit: values, index and type, without pickle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lmmformula.keeping.refusal import CodecError
from lmmformula.typing import Data, Json

__all__ = ["decode_table", "encode_table"]


def encode_table(value: Data, encode: Callable[[object, str], Json], where: str) -> Json:
    """A Series, DataFrame, Categorical or Index; a column of another library as its values.

    ``series``: ``[values, index or null, name]``; ``frame``: ``[series of the columns, index, names of the columns]``;
    ``categorical``: ``[codes, categories, ordered]``; ``index``: ``[values, name]``; ``multiindex``: ``[its parts]``. The
    index of a table that counts from 0 is null.
    """
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        columns = [
            [_values(value.iloc[:, j].array, encode, f"{where}[{name!r}]"), None, None]
            for j, name in enumerate(value.columns)
        ]
        names = [encode(name, where) for name in value.columns]
        return {"frame": [columns, _index(value.index, encode, where), names]}
    if isinstance(value, pd.Series):
        index, name = _index(value.index, encode, where), encode(value.name, where)
        return {"series": [_values(value.array, encode, where), index, name]}
    if isinstance(value, pd.Categorical):
        return _values(value, encode, where)
    if isinstance(value, pd.MultiIndex):
        return {"multiindex": [encode(value.get_level_values(i), where) for i in range(value.nlevels)]}
    if isinstance(value, pd.Index):
        return {"index": [_values(value.array, encode, where), encode(value.name, where)]}
    if hasattr(value, "to_numpy"):
        return encode(np.asarray(value.to_numpy()), where)
    if value is pd.NA or value is pd.NaT:
        return None
    raise CodecError(f"{where.lstrip('.')} is a {type(value).__name__}, which a file cannot hold")


def _index(index: Data, encode: Callable[[object, str], Json], where: str) -> Json:
    import pandas as pd

    if isinstance(index, pd.RangeIndex) and (index.start, index.step, index.name) == (0, 1, None):
        return None
    return encode(index, where)


def _values(array: Data, encode: Callable[[object, str], Json], where: str) -> Json:
    import pandas as pd

    if isinstance(array, pd.Categorical):
        categories = _values(array.categories.array, encode, where)
        return {"categorical": [encode(array.codes, where), categories, bool(array.ordered)]}
    plain = np.asarray(array)
    if plain.dtype.kind in "OUS" or isinstance(array.dtype, pd.api.extensions.ExtensionDtype):
        if plain.dtype.kind not in "OUS":
            return encode(plain, where)
        values = [None if pd.isna(item) is True else item for item in plain.tolist()]
        return encode(_objects(values), where)
    return encode(plain, where)


def _objects(values: Sequence[object]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def decode_table(key: str, inner: Json, decode: Callable[[Json], Data]) -> Data:
    """The way back."""
    import pandas as pd

    if key == "categorical":
        codes, categories, ordered = (decode(part) for part in inner)
        return pd.Categorical.from_codes(codes, categories, ordered=ordered)
    if key == "multiindex":
        return pd.MultiIndex.from_arrays([decode(part) for part in inner])
    if key == "index":
        values, name = (decode(part) for part in inner)
        return pd.Index(values, name=name)
    if key == "series":
        values, index, name = (decode(part) for part in inner)
        return pd.Series(values, index=index, name=name)
    columns, index, names = inner
    index = decode(index)
    parts = [pd.Series(decode(values), index=index) for values, _, _ in columns]
    out = pd.DataFrame(dict(enumerate(parts)), index=index)
    out.columns = [decode(name) for name in names]
    return out
