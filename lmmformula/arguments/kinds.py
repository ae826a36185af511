"""Kinds of arguments: what a value may be, in code and in words.

A kind reads a value: it gives it back in the form that the code below relies on (a Python number for NumPy's, bytes for
``"2 GB"``), or raises :class:`UnsuitedError`. It knows nothing of the argument's name, which
:mod:`lmmformula.arguments.checking` puts in front.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmmformula.typing import Argument


__all__ = [
    "Kind",
    "ResultBase",
    "UnsuitedError",
    "anything",
    "as_number",
    "bytes_of_memory",
    "flag",
    "flag_or_positive",
    "formula",
    "function",
    "is_flag",
    "is_text",
    "mapping",
    "mappings",
    "names",
    "one_formula",
    "one_of",
    "optional",
    "path",
    "real",
    "reports",
    "responses",
    "seed",
    "side",
    "text",
    "whole",
    "word",
]


class UnsuitedError(Exception):
    """A value that is not of the kind; the text, if any, says what is wrong with it in particular."""


class ResultBase:
    """Base of the result of a fit, by which rooms below it tell one from anything else."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """What an argument may be.

    Attributes
    ----------
    accepted : str
        In words, to follow "must be".
    read : callable
        Value -> the value to go on with; raises :class:`UnsuitedError`.
    """

    accepted: str
    read: Callable[[Argument], Argument]


def is_flag(value: object) -> bool:
    """Whether `value` is True or False, Python's or NumPy's (asked without importing NumPy)."""
    return isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in _FLAGS)


_FLAGS = ("bool", "bool_")


def is_text(value: object) -> bool:
    """Whether it is one thing, though it can be gone through: text or a mapping."""
    return isinstance(value, str | bytes | Mapping)


def anything(accepted: str) -> Kind:
    """Whatever it is, the room that reads it judges it."""
    return Kind(accepted, lambda value: value)


def optional(kind: Kind) -> Kind:
    """`kind`, or None."""
    return Kind(f"{kind.accepted}, or None", lambda value: None if value is None else kind.read(value))


def flag() -> Kind:
    """True or False."""

    def read(value: object) -> bool:
        if not is_flag(value):
            raise UnsuitedError
        return bool(value)

    return Kind("True or False", read)


def whole(low: int, high: int | None = None) -> Kind:
    """A whole number of at least `low` and at most `high`."""
    accepted = f"a whole number of at least {low}"
    if high is not None:
        accepted = (
            f"a whole number from {low} to {high:,}" if high <= _FEW else f"{accepted}, and at most {high:,}"
        )

    def read(value: object) -> int:
        if is_flag(value) or not isinstance(value, Integral):
            raise UnsuitedError
        number = int(value)
        if number < low or (high is not None and number > high):
            raise UnsuitedError
        return number

    return Kind(accepted, read)


def real(accepted: str, suits: Callable[[float], bool]) -> Kind:
    """A finite number for which `suits`; `accepted` is that condition in words."""

    def read(value: object) -> float:
        number = as_number(value)
        if not suits(number):
            raise UnsuitedError
        return number

    return Kind(accepted, read)


def as_number(value: object) -> float:
    """A finite real number as Python's; anything else is unsuited."""
    if is_flag(value) or not isinstance(value, Real):
        raise UnsuitedError
    try:
        number = float(value)
    except OverflowError:
        raise UnsuitedError from None
    if not math.isfinite(number):
        raise UnsuitedError
    return number


def text(accepted: str = "text", *, blank: bool = False) -> Kind:
    """A string, with something in it unless it may be `blank`."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not (blank or value.strip()):
            raise UnsuitedError
        return value

    return Kind(accepted, read)


def formula() -> Kind:
    """A formula as text, or one for each of several responses, which is read as brms' sum of these."""
    one = text()

    def read(value: object) -> Argument:
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            return one.read(value)
        return one_formula([str(one.read(own)) for own in value])

    return Kind("a formula such as 'y ~ x + (1 | g)', or a list with one for each response", read)


def one_formula(value: str | Sequence[str]) -> str:
    """The text of a formula, or of several as a sum."""
    if isinstance(value, str):
        return value
    each = (own.strip() for own in value)
    return " + ".join(own if own.startswith(_WHOLE) else f"bf({own})" for own in each)


_WHOLE = ("bf(", "brmsformula(", "mvbf(", "mvbrmsformula(", "set_rescor(")


def word(*choices: str, any_case: bool = False) -> Kind:
    """One of some words; upper case is as good as lower case where `any_case` says so."""
    *others, last = map(repr, choices)
    listed = f"{', '.join(others)} or {last}" if others else last

    def read(value: Argument) -> str:
        found = value.lower() if any_case and isinstance(value, str) else value
        if isinstance(value, str) and found in choices:
            return found
        near = get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
        raise UnsuitedError(f"Did you mean {near[0]!r}?" if near else "")

    return Kind(listed, read)


def one_of(known: Callable[[], Sequence[str]]) -> Kind:
    """A name of a registry, which may grow; what is said of it lists those that are there at first."""
    return Kind(word(*known()).accepted, lambda value: word(*known()).read(value))


def names(accepted: str = "a name or a list of names", *, blank: bool = False) -> Kind:
    """A string, or several; `blank`: or none."""

    def read(value: object) -> Argument:
        if isinstance(value, str) and value.strip():
            return value
        if is_text(value) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) != 1:
            raise UnsuitedError
        found = tuple(value)
        if not (found or blank) or not all(isinstance(one, str) for one in found):
            raise UnsuitedError
        return found

    return Kind(accepted, read)


def mapping(accepted: str) -> Kind:
    """A mapping from text."""

    def read(value: object) -> Argument:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise UnsuitedError
        return value

    return Kind(accepted, read)


def mappings(accepted: str) -> Kind:
    """A mapping from text, or several of them with different keys, read as one."""

    def read(value: object) -> Argument:
        several = [value] if isinstance(value, Mapping) else value
        if not (isinstance(several, list | tuple) and several) or not all(
            isinstance(one, Mapping) for one in several
        ):
            raise UnsuitedError
        pairs = [pair for one in several for pair in one.items()]
        if not all(isinstance(name, str) for name, _ in pairs) or len(dict(pairs)) < len(pairs):
            raise UnsuitedError
        return dict(pairs) if several is value else value

    return Kind(accepted, read)


def flag_or_positive(accepted: str) -> Kind:
    """True, False, or a number above 0."""

    def read(value: object) -> bool | float:
        if is_flag(value):
            return bool(value)
        number = as_number(value)
        if number <= 0.0:
            raise UnsuitedError
        return number

    return Kind(accepted, read)


def side() -> Kind:
    """The side of a one-sided test, as R and statsmodels write it too."""

    def read(value: object) -> Argument:
        known = isinstance(value, str) and value.lower() in _SIDES
        if not known and (is_flag(value) or not isinstance(value, Integral) or int(value) not in (-1, 0, 1)):
            raise UnsuitedError
        return value

    return Kind("'two-sided', 'less' or 'greater' ('<' and '>' for short)", read)


_SIDES = frozenset(
    (
        *("two-sided", "two", "both", "two.sided", "equivalence"),
        *("less", "left", "<", "nonsuperiority", "greater", "right", ">", "noninferiority"),
    )
)


def seed() -> Kind:
    """A seed of random numbers: None, a whole number, or NumPy's Generator."""
    number = whole(0, 2**63 - 1)

    def read(value: object) -> Argument:
        if value is None or (hasattr(value, "bit_generator") and hasattr(value, "integers")):
            return value
        return number.read(value)

    return Kind("a whole number of at least 0, a NumPy Generator, or None", read)


def responses() -> Kind:
    """Many responses: a table of numbers, or names of columns; what is in it the room that reads it judges."""

    def read(value: object) -> Argument:
        if isinstance(value, str):
            if not value.strip():
                raise UnsuitedError
            return value
        if isinstance(value, Mapping) or getattr(value, "ndim", 0) == 2 or hasattr(type(value), "columns"):
            if not len(value):  # type: ignore[arg-type]
                raise UnsuitedError("It is empty.")
            return value
        if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
            raise UnsuitedError
        return value

    return Kind("a table or an array with a column for each response, or names of columns of the data", read)


def reports() -> Kind:
    """What shows how far a fit is: None, True, False or a function."""

    def read(value: object) -> Argument:
        if value is None or (callable(value) and not isinstance(value, type)):
            return value
        return flag().read(value)

    return Kind("True, False, None, or a function that is called after every step", read)


def function(accepted: str) -> Kind:
    """What can be called, and is no class."""

    def read(value: object) -> Argument:
        if not callable(value) or isinstance(value, type):
            raise UnsuitedError
        return value

    return Kind(accepted, read)


def path(accepted: str = "the path of a file") -> Kind:
    """A path of a file: text or ``pathlib.Path``."""

    def read(value: object) -> Argument:
        if not isinstance(value, str | os.PathLike):
            raise UnsuitedError
        written = os.fspath(value)
        if not isinstance(written, str) or not written.strip() or "\0" in written:
            raise UnsuitedError
        return value

    return Kind(accepted, read)


_FEW = 1_000
"""Bounds from above that are worth saying in one breath with those from below."""

_UNITS = {"": 1.0, "b": 1.0}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS |= {_letter: 1e3**_power, f"{_letter}b": 1e3**_power, f"{_letter}ib": 1024.0**_power}


def bytes_of_memory() -> Kind:
    """A size of memory: bytes, or text with a unit."""

    def read(value: object) -> float:
        if isinstance(value, str):
            found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", value.lower())
            if found is None or found[2] not in _UNITS:
                raise UnsuitedError
            try:
                size = float(found[1]) * _UNITS[found[2]]
            except ValueError:
                raise UnsuitedError from None
        else:
            size = as_number(value)
        if not 0.0 < size < math.inf:
            raise UnsuitedError
        return size

    return Kind("a number of bytes above 0, or text such as '2 GB'", read)
