"""Arguments of public functions, checked before any work: their names, and their values by kind.

:func:`checked` wraps a function, :func:`checked_methods` the public methods of a class. What a parameter may be stands
in :data:`lmmformula.arguments.table.ARGUMENTS` under its name, so that a method written later is checked without a word
of its own.
"""

from __future__ import annotations

import inspect
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, overload

from lmmformula.arguments.elsewhere import argument_here
from lmmformula.arguments.kinds import Kind, UnsuitedError
from lmmformula.arguments.table import ARGUMENTS
from lmmformula.errors import ArgumentError

if TYPE_CHECKING:
    from lmmformula.typing import AnyFunction, Argument


__all__ = [
    "Contract",
    "check",
    "checked",
    "checked_methods",
    "contract_of",
    "own_options",
    "shown",
]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)
Rest: TypeAlias = "Iterable[str | AnyFunction | dict[str, Kind]]"

_SHOWN = 60
"""Characters of a value that a message shows."""


def check(name: str, value: object, kind: Kind | None = None) -> Argument:
    """`value` as the argument called `name`, read by its kind.

    Raises
    ------
    ArgumentError
        That names the argument, shows the value and says what it may be.
    """
    known = ARGUMENTS[name] if kind is None else kind
    try:
        return known.read(value)
    except UnsuitedError as unsuited:
        more = f" {unsuited}" if str(unsuited) else ""
        raise ArgumentError(f"{name}={shown(value)} must be {known.accepted}.{more}") from None


def shown(value: object) -> str:
    """A value in a message: as Python writes it where that is short, else its type and shape."""
    shape = getattr(value, "shape", None)
    if shape:
        return f"({type(value).__name__} of shape {shape})"
    try:
        written = repr(value)
    except Exception:  # a foreign object's own fault; the message is about the argument
        written = ""
    if written and len(written) <= _SHOWN and "\n" not in written and " object at 0x" not in written:
        return written
    return (
        f"(an object of type {type(value).__name__})"
        if not isinstance(value, str)
        else f"{written[:_SHOWN]}..."
    )


@dataclass(frozen=True, slots=True)
class Contract:
    """What a function may be called with.

    Attributes
    ----------
    called : str
        The function's public name.
    parameters : tuple of str
        Those that may be given by position, in order, without ``self``.
    named : mapping
        Every argument that may be given by name -> its kind, None where it has none.
    required : tuple of str
    repeated : str
        Name of ``*arguments``, empty if there are none.
    skip : int
        1 for a method, whose first argument is the object.
    """

    called: str
    parameters: tuple[str, ...]
    named: Mapping[str, Kind | None]
    required: tuple[str, ...]
    repeated: str
    skip: int

    def read(
        self, positional: tuple[object, ...], named: Mapping[str, object]
    ) -> tuple[tuple[Argument, ...], dict[str, Argument]]:
        """The arguments of a call, each read by its kind."""
        own, given = positional[: self.skip], positional[self.skip :]
        if len(given) > len(self.parameters) and not self.repeated:
            raise ArgumentError(self._too_many(given))
        for name in named:
            if name in self.parameters[: len(given)]:
                raise ArgumentError(f"{self.called}() was given {name} twice: by position, and as {name}=.")
            if name not in self.named:
                raise ArgumentError(unknown_argument(self.called, name, named[name], self.named))
        for name in self.required:
            if name not in named and name not in self.parameters[: len(given)]:
                raise ArgumentError(f"{self.called}() needs {name}=, which was not given.{self._meant(name)}")
        values = [self._value(name, value) for name, value in zip(self.parameters, given, strict=False)]
        values += [self._value(self.repeated, value) for value in given[len(self.parameters) :]]
        return (*own, *values), {name: self._value(name, value) for name, value in named.items()}

    def _value(self, name: str, value: object) -> Argument:
        kind = self.named.get(name)
        return value if kind is None else check(name, value, kind)

    def _meant(self, name: str) -> str:
        kind = self.named.get(name)
        return "" if kind is None else f" It must be {kind.accepted}."

    def _too_many(self, given: tuple[object, ...]) -> str:
        first = given[len(self.parameters)]
        known = [name for name in self.named if name not in self.parameters]
        rest = f" Others go by name: {', '.join(f'{name}=' for name in known)}." if known else ""
        taken = f" ({', '.join(self.parameters)})" if self.parameters else ""
        count = f"{len(self.parameters)} argument{'' if len(self.parameters) == 1 else 's'}"
        return f"{self.called}() takes {count} by position{taken}, and {shown(first)} is one more.{rest}"


def unknown_argument(called: str, name: str, value: object, known: Iterable[str]) -> str:
    """The refusal of an argument that `called` does not have: what the right call is, where that can be known."""
    names = list(known)
    said = argument_here(called, name, value, names)
    if not said:
        near = get_close_matches(name.lower().replace(".", "_"), names, n=1, cutoff=0.7)
        said = f"Did you mean {near[0]}=?" if near else ""
    has = f" It has: {', '.join(names)}." if names and not said else ""
    what = "option" if called == "fit" else "argument"
    return f"unknown {what} {name!r} of {called}().{' ' if said else ''}{said}{has}"


def contract_of(function: AnyFunction) -> Contract | None:
    """The contract that a public function is held to; None if it is not checked."""
    make = getattr(function, "__contract__", None)
    return None if make is None else make()


def _contract(
    function: AnyFunction,
    called: str,
    rest: Rest,
    kinds: Mapping[str, Kind],
    method: bool,
) -> Contract:
    parameters = list(inspect.signature(function).parameters.values())[int(method) :]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    repeated = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
    own = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = [p.name for p in own] + (_further(rest) if open_ended else [])
    living: list[dict[str, Any]] = [one for one in rest if isinstance(one, dict)] if open_ended else []
    taken = {p.name for p in positional}
    words: ChainMap[str, Kind] = ChainMap(dict(kinds), dict(ARGUMENTS), *living)
    known = {name: words.get(name) for name in (*names, *([repeated] if repeated else []))}
    named: Mapping[str, Kind | None] = ChainMap(known, *living) if living else known
    required = tuple(
        p.name for p in own if p.default is p.empty and (p.name in taken or p.kind is p.KEYWORD_ONLY)
    )
    return Contract(called, tuple(p.name for p in positional), named, required, repeated, int(method))


def _further(rest: Rest) -> list[str]:
    """Names that ``**options`` may always have: given as they are, or those of functions that take the options on."""
    out: list[str] = []
    for one in rest:
        out += [one] if isinstance(one, str) else () if isinstance(one, dict) else option_names(one)
    return out


def option_names(function: AnyFunction) -> tuple[str, ...]:
    """Parameters of a function that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.default is not p.empty)


@overload
def checked(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def checked(
    *, rest: Rest = (), called: str = "", **kinds: Kind
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def checked(
    function: AnyFunction | None = None, /, *, rest: Rest = (), called: str = "", **kinds: Kind
) -> AnyFunction:
    """Check the arguments of a public function at each call.

    Parameters
    ----------
    function : callable
    rest : iterable of str or callable
        What ``**options`` may hold: names, functions whose parameters with defaults these are, or mappings from names to
        kinds, which are asked at each call.
    called : str
        Its public name, where that is another than its own.
    **kinds
        Parameter -> kind, where it is another than that of :data:`ARGUMENTS`.

    Returns
    -------
    callable
        Raises :class:`ArgumentError` for a name that the function does not have and a value that is not of its kind.
    """
    if function is None:
        return lambda made: _wrapped(made, called or made.__name__, rest, kinds, method=False)
    return _wrapped(function, called or function.__name__, rest, kinds, method=False)


def _wrapped(
    function: AnyFunction, called: str, rest: Rest, kinds: Mapping[str, Kind], *, method: bool
) -> AnyFunction:
    made: list[Contract] = []

    def contract() -> Contract:
        if not made:  # reading a signature is left to the first call, as importing should cost nothing
            made.append(_contract(function, called, rest, kinds, method))
        return made[0]

    @wraps(function)
    def call(*positional: object, **named: object) -> object:
        values, by_name = contract().read(positional, named)
        return function(*values, **by_name)

    call.__contract__ = contract  # type: ignore[attr-defined]
    return call


def checked_methods(
    rest: Mapping[str, Rest] | None = None, kinds: Mapping[str, Mapping[str, Kind]] | None = None
) -> Callable[[C], C]:
    """Check the arguments of every public method of a class.

    Parameters
    ----------
    rest : mapping, optional
        Method -> what its ``**options`` may hold, as in :func:`checked`.
    kinds : mapping, optional
        Method -> parameter -> kind, where it is another than that of :data:`ARGUMENTS`.
    """

    def decorate(cls: C) -> C:
        for name, member in list(vars(cls).items()):
            if inspect.isfunction(member) and not name.startswith("_"):
                further, own = (rest or {}).get(name, ()), (kinds or {}).get(name, {})
                setattr(cls, name, _wrapped(member, name, further, own, method=True))
        return cls

    return decorate


def own_options(options: Mapping[str, object], function: AnyFunction, what: str) -> None:
    """Refuse options that `function`, which would take them, does not have; `what` is how the user asked for it.

    Raises
    ------
    ArgumentError
    """
    known = option_names(function)
    for name in options:
        if name not in known:
            raise ArgumentError(f"{name!r} is no option of {what}; it has {', '.join(known) or 'none'}.")
