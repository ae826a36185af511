"""Results that nobody overwrites: arrays that refuse to be written to, frames of which everyone gets a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmmformula.typing import AnyFunction

__all__ = ["computed_once", "evolved", "freeze", "handed_out", "is_computed"]

T = TypeVar("T")


def freeze(value: T) -> T:
    """Make the arrays of a record of this package read-only, in place, also those in its tuples and records.

    Microseconds for a small fit, whatever the number of rows.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif isinstance(value, tuple | list):
        for item in value:
            if type(item) is str:  # names of columns and the like, which come in long rows
                break
            freeze(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            freeze(item)
    else:
        for name in _names(kind):
            freeze(getattr(value, name))
    return value


_ATOMS = frozenset((str, int, float, bool, type(None)))
_NAMES: dict[type, tuple[str, ...]] = {}


def _names(cls: type) -> tuple[str, ...]:
    """Names of the fields of a dataclass, none of another type; looked up once."""
    if cls not in _NAMES:
        _NAMES[cls] = tuple(field.name for field in fields(cls)) if is_dataclass(cls) else ()
    return _NAMES[cls]


def evolved(
    instance: T, stale: Collection[str], known: Mapping[str, object] | None = None, **changes: object
) -> T:
    """A copy of a frozen record with some fields changed, which keeps what it has computed but for what is `stale`.

    Parameters
    ----------
    instance : dataclass
    stale : collection of str
        Cached properties that the changes touch.
    known : mapping, optional
        Values of cached properties that need not be computed.
    **changes
        Fields.
    """
    out = replace(instance, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue] - T is a dataclass
    own = _names(type(instance))
    kept = {k: v for k, v in vars(instance).items() if k not in stale and k not in own}
    vars(out).update(kept, **(known or {}))
    return out


class _HandedOut:
    """A property that is computed once; who asks gets a copy of a frame or Series, and an array that is read-only."""

    def __init__(self, compute: AnyFunction) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"_computed_{name}"

    def __get__(self, instance: object | None, owner: type) -> object:
        if instance is None:
            return self
        known = instance.__dict__
        if self.key not in known:
            known[self.key] = freeze(self.compute(instance))
        value = known[self.key]
        return value if value is None or isinstance(value, np.ndarray) else value.copy()


class _ComputedOnce:
    """A property that is computed once: ``functools.cached_property`` without the lock that it takes before Python 3.12."""

    def __init__(self, compute: AnyFunction) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> object:
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.compute(
            instance
        )  # found there from now on, before this is asked
        return value


def is_computed(instance: object, name: str) -> bool:
    """Whether a property that is computed once has been asked for."""
    return name in instance.__dict__


if TYPE_CHECKING:  # both read like a property, and a protocol that asks for one is answered
    handed_out = computed_once = property
else:
    handed_out, computed_once = _HandedOut, _ComputedOnce
