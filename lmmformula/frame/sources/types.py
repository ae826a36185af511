"""One type for a column that several files hold, where it is the same column."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["in_words", "is_text", "joined"]


def joined(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both without a change of what they mean; None if there is none.

    Whole numbers of different width are 64 bits wide, whole numbers beside decimals are decimals (a writer that knows no
    missing whole numbers makes such files), a column without any value is of any type, and categories may be counted by
    integers of any width. Text and numbers, or text and categories, have none: 1 and "01" need not be the same level.
    """
    import pyarrow as pa
    from pyarrow import types

    if a.equals(b):
        return a
    if types.is_null(a) or types.is_null(b):
        return b if types.is_null(a) else a
    if types.is_integer(a) and types.is_integer(b):
        return pa.int64() if pa.uint64() not in (a, b) else _unsigned(a, b)
    if _is_number(a) and _is_number(b):
        return pa.float64()
    if is_text(a) and is_text(b):
        return pa.large_string()
    if types.is_dictionary(a) and types.is_dictionary(b) and a.ordered == b.ordered:
        values = joined(a.value_type, b.value_type)
        return None if values is None else pa.dictionary(pa.int32(), values, a.ordered)
    return None


def _unsigned(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    from pyarrow import types

    return pa.uint64() if types.is_unsigned_integer(a) and types.is_unsigned_integer(b) else None


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether it is one of the types of strings."""
    import pyarrow as pa
    from pyarrow import types

    view = getattr(types, "is_string_view", None)
    return kind in (pa.string(), pa.large_string()) or (view is not None and view(kind))


def in_words(kind: pa.DataType) -> str:
    """``text``, ``whole numbers (int64)`` and the like."""
    from pyarrow import types

    if is_text(kind):
        return "text"
    if types.is_dictionary(kind):
        return f"{'ordered ' if kind.ordered else ''}categories of {in_words(kind.value_type)}"
    if types.is_integer(kind):
        return f"whole numbers ({kind})"
    if _is_number(kind):
        return f"numbers ({kind})"
    if types.is_boolean(kind):
        return "true or false"
    return str(kind)
