"""Records of the package as plain values and arrays, and back.

What JSON has (text, numbers, true, false, null) stands for itself and a list for a tuple; everything else is an object with one
key that says what it is:

| key | stands for | value |
|---|---|---|
| ``class`` | a frozen dataclass of this package | ``[module below lmmformula, name, {field: value}]`` |
| ``extension`` | a frozen dataclass that a registry knows | ``[module:name, {field: value}]`` |
| ``sparse`` | a sparse matrix by rows | ``[shape, data, indices, pointers]`` |
| ``enum`` | a member of an enumeration of this package | ``[module, name, member]`` |
| ``link``, ``ufunc``, ``function`` | a link by its name, a NumPy ufunc, one of the package's calls (`FUNCTIONS`) | the name |
| ``array`` | an array of numbers, booleans or dates | its place among the arrays |
| ``objects`` | an array of text and the like | ``[shape, values]`` |
| ``list``, ``set``, ``frozenset`` | | the values |
| ``dict`` | | ``[key, value]`` pairs |
| ``bytes``, ``complex`` | | hexadecimal text; real and imaginary part |
| ``series``, ``frame``, ``categorical``, ``index``, ``multiindex`` | pandas | see :mod:`lmmformula.keeping.tables` |

Decoding imports modules of this package and nothing else, makes dataclasses and enumerations that these modules define, and
calls no function that a file names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from lmmformula.extensions import EXTENSIONS, key_of
from lmmformula.families.observed import Observed
from lmmformula.keeping.refusal import CodecError
from lmmformula.keeping.tables import decode_table, encode_table
from lmmformula.typing import AnyFunction, Json, Record, SparseMatrix

__all__ = ["FUNCTIONS", "Decoder", "Encoder"]

_PACKAGE = __name__.split(".")[0]
FUNCTIONS = {"fit": ("api", "fit")}
"""Calls that a fit remembers as the one that made it."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_NUMBERS = "biufcmM"
"""Kinds of NumPy's types that an array file holds without pickle."""


Kept: TypeAlias = Any
"""What a file holds: any of the values and records above."""


class Encoder:
    """Turns values into what JSON has, and gathers their arrays.

    Attributes
    ----------
    arrays : list of arrays
        Each array once, however often it occurs.
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._places: dict[int, int] = {}

    def __call__(self, value: object, where: str = "") -> Json:
        """Encode `value`.

        Raises
        ------
        CodecError
            If it cannot be kept; the message names its place, `where`.
        """
        if value is None or (isinstance(value, str | bool) and not isinstance(value, Enum)):
            return value
        if isinstance(value, np.generic):
            return self._scalar(value, where)
        if isinstance(value, int | float) and not isinstance(value, Enum):
            return value
        if isinstance(value, Observed):
            return {"observed": [self(value.plain, where), self(value.known, where)]}
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, Mapping):
            pairs = [[self(k, where), self(v, f"{where}[{k!r}]")] for k, v in value.items()]
            return {"dict": pairs}
        if isinstance(value, list | tuple | set | frozenset):
            return self._several(value, where)
        if hasattr(value, "__array__") and hasattr(value, "find"):  # labels that hold no strings
            return self._array(np.asarray(value), where)
        return self._record(value, where)

    def _scalar(self, value: np.generic, where: str) -> Json:
        if value.dtype.kind in "biuf":
            return value.item()
        return self._array(np.asarray(value), where)

    def _several(self, value: Iterable[object], where: str) -> Json:
        items = [self(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if type(value) in (list, set, frozenset):
            return {type(value).__name__: items}
        if type(value) is tuple:
            return items
        raise CodecError(_cannot(value, where))

    def _array(self, value: np.ndarray, where: str) -> Json:
        if value.dtype.kind in _NUMBERS and value.dtype.names is None:
            place = self._places.get(id(value))
            if place is None:
                place = self._places[id(value)] = len(self.arrays)
                self.arrays.append(value)
            return {"array": place}
        items = [self(item, f"{where}[{i}]") for i, item in enumerate(value.ravel().tolist())]
        return {"objects": [list(value.shape), items]}

    def _record(self, value: object, where: str) -> Json:
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        if isinstance(value, bytes):
            return {"bytes": value.hex()}
        if isinstance(value, np.ufunc) and getattr(np, value.__name__, None) is value:
            return {"ufunc": value.__name__}
        kind = type(value)
        if kind.__module__.startswith(f"{_PACKAGE}."):
            module = kind.__module__[len(_PACKAGE) + 1 :]
            if isinstance(value, Enum):
                return {"enum": [module, kind.__qualname__, value.name]}
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                return self._dataclass(value, module, where)
        if dataclasses.is_dataclass(kind) and EXTENSIONS.get(key_of(kind)) is kind:
            return {"extension": [key_of(kind), self._fields(value, where)]}
        if kind.__module__.startswith("scipy.sparse") and kind.__name__ == "csr_array":
            return {"sparse": self._sparse(value, where)}
        for name, (module, attribute) in FUNCTIONS.items():
            if callable(value) and value is getattr(import_module(f"{_PACKAGE}.{module}"), attribute):
                return {"function": name}
        if kind.__module__.startswith("pandas.") or hasattr(value, "to_numpy"):
            return encode_table(value, self, where)
        if hasattr(value, "__array__") and hasattr(value, "dtype"):  # of JAX
            return self._array(np.asarray(value), where)
        raise CodecError(_cannot(value, where))

    def _sparse(self, value: SparseMatrix, where: str) -> list[Json]:
        return [list(value.shape or ()), *(self(a, where) for a in (value.data, value.indices, value.indptr))]

    def _dataclass(self, value: Kept, module: str, where: str) -> Json:
        if _is_link(value):
            return {"link": value.name}
        return {"class": [module, type(value).__qualname__, self._fields(value, where)]}

    def _fields(self, value: Kept, where: str) -> Record:
        return {
            field.name: self(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
        }


def _is_link(value: object) -> bool:
    """Whether it is a link of the package: these hold functions, and are known by name."""
    from lmmformula.families.links import LINKS, Link

    return isinstance(value, Link) and LINKS.get(value.name) is value


def _cannot(value: object, where: str) -> str:
    kind = type(value)
    return f"{where.lstrip('.') or 'the value'} is a {kind.__module__}.{kind.__qualname__}, which a file cannot hold"


class Decoder:
    """The way back.

    Parameters
    ----------
    arrays : sequence of arrays
        As gathered by the encoder.
    """

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays

    def __call__(self, value: Json) -> Kept:
        """Decode `value`.

        Raises
        ------
        CodecError
            If it holds a record that this version does not have.
        """
        if isinstance(value, list):
            return tuple([self(item) for item in value])
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise CodecError(f"a value with {len(value)} keys, where one says what it is")
        ((key, inner),) = value.items()
        reader = _READERS.get(key)
        if reader is None:
            raise CodecError(f"a value of an unknown kind, {key!r}")
        return reader(self, inner)

    def array(self, place: int) -> np.ndarray:
        """One of the arrays."""
        return self.arrays[place]

    def objects(self, inner: Json) -> np.ndarray:
        """An array of text and the like."""
        shape, items = inner
        out = np.empty(len(items), dtype=object)
        out[:] = [self(item) for item in items]
        return out.reshape(shape)

    def observed(self, inner: Json) -> Observed:
        """Responses with what is known of each."""
        values, seen = inner
        return Observed(self(values), self(seen))

    def pairs(self, inner: Json) -> dict[object, object]:
        """A dictionary."""
        return {self(key): self(item) for key, item in inner}

    def record(self, inner: Json) -> Kept:
        """A dataclass of the package; fields that a file of an earlier version lacks have their defaults."""
        module, name, held = inner
        cls = _own_class(module, name)
        if not dataclasses.is_dataclass(cls):
            raise CodecError(f"{module}.{name}, which is no record")
        return self._made(cls, name, held)

    def extension(self, inner: Json) -> Kept:
        """A dataclass that a registry knows."""
        key, held = inner
        cls = EXTENSIONS.get(key)
        if cls is None or not dataclasses.is_dataclass(cls):
            raise CodecError(
                f"{key}, which nothing has registered; import the module that does before loading"
            )
        return self._made(cls, key, held)

    def sparse(self, inner: Json) -> Kept:
        """A sparse matrix by rows."""
        from scipy.sparse import csr_array

        shape, *parts = inner
        return csr_array(tuple(self(part) for part in parts), shape=tuple(shape))

    def _made(self, cls: type, name: str, held: Record) -> Kept:
        known = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(set(held) - set(known)):
            raise CodecError(f"{name}.{unknown[0]}, a field that this version does not have")
        values = {field: self(item) for field, item in held.items()}
        try:
            out = cls(**{field: item for field, item in values.items() if known[field].init})
        except TypeError as error:
            raise CodecError(f"{name} without what this version needs in it ({error})") from error
        for field, item in values.items():
            if not known[field].init:
                object.__setattr__(out, field, item)
        return out

    def member(self, inner: Json) -> Enum:
        """A member of an enumeration of the package."""
        module, name, member = inner
        cls = _own_class(module, name)
        if not issubclass(cls, Enum) or member not in cls.__members__:
            raise CodecError(f"{module}.{name}.{member}, which this version does not have")
        return cls[member]

    def link(self, name: str) -> Kept:
        """A link by its name."""
        from lmmformula.families.links import LINKS

        if name not in LINKS:
            raise CodecError(f"the link {name!r}, which this version does not have")
        return LINKS[name]

    def ufunc(self, name: str) -> np.ufunc:
        """A function of NumPy that works element by element."""
        found = getattr(np, name, None) if isinstance(name, str) else None
        if not isinstance(found, np.ufunc):
            raise CodecError(f"the function {name!r}, which is no ufunc of NumPy")
        return found

    def function(self, name: str) -> Kept:
        """One of the package's calls."""
        if name not in FUNCTIONS:
            raise CodecError(f"the function {name!r}, which this version does not have")
        module, attribute = FUNCTIONS[name]
        return getattr(import_module(f"{_PACKAGE}.{module}"), attribute)

    def table(self, key: str, inner: Json) -> Kept:
        """A pandas object."""
        return decode_table(key, inner, self)


_READERS: dict[str, AnyFunction] = {
    "array": Decoder.array,
    "objects": Decoder.objects,
    "observed": Decoder.observed,
    "dict": Decoder.pairs,
    "class": Decoder.record,
    "enum": Decoder.member,
    "extension": Decoder.extension,
    "sparse": Decoder.sparse,
    "link": Decoder.link,
    "ufunc": Decoder.ufunc,
    "function": Decoder.function,
    "list": lambda decode, inner: [decode(item) for item in inner],
    "set": lambda decode, inner: {decode(item) for item in inner},
    "frozenset": lambda decode, inner: frozenset(decode(item) for item in inner),
    "complex": lambda _, inner: complex(*inner),
    "bytes": lambda _, inner: bytes.fromhex(inner),
    **{
        key: lambda decode, inner, key=key: decode.table(key, inner)
        for key in ("series", "frame", "categorical", "index", "multiindex")
    },
}


def _own_class(module: object, name: object) -> type:
    """A class that a module of this package defines."""
    if not (isinstance(module, str) and isinstance(name, str) and _DOTTED.fullmatch(module)):
        raise CodecError(f"a record of {module!r}")
    try:
        found = getattr(import_module(f"{_PACKAGE}.{module}"), name, None)
    except ImportError as error:
        raise CodecError(f"{module}.{name}, which this version does not have") from error
    if not isinstance(found, type) or found.__module__ != f"{_PACKAGE}.{module}":
        raise CodecError(f"{module}.{name}, which this version does not have")
    return found
