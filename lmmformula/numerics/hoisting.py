r"""Programs of JAX without their numbers, so that what differs in numbers alone is compiled once.

A traced function is a list of operations in which the arrays that it closes over, and the numbers that Python computed,
stand as constants. Compiled as they are, the same model of another response is another program. Here the constants become
arguments: what remains is the *text* of the program - operations, shapes, types - which says whether two are one.

* Arrays are arguments. So are numbers of floating point that are no small multiple of 1/8: a scale, a count of rows. Small
  ones (2, -0.5) stay, since most of them are the formula's own and compile into less work; whole numbers stay, since they
  may be places or lengths.
* A constant within a program that another one calls is written into the text by its bytes.
* Functions of Python that a program holds (a callback) cannot be compared: such a program has no text and is compiled each
  time. Rules of derivatives are not part of it: a program is evaluated as it stands, derivatives are traced before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from lmmformula.typing import Array, Numbers

__all__ = ["Hoisted", "hoisted"]

_STEP, _LARGE = 0.125, 16.0
"""Multiples of the first up to the second stay in the text."""
_RULES = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Operations that hold rules of derivatives besides the program that they evaluate to."""
_EVALUATED = frozenset({"call_jaxpr", "fun_jaxpr", "num_consts"})


class _IncomparableError(Exception):
    """Something that has no text."""


@dataclass(frozen=True, eq=False)
class Hoisted:
    """A traced function whose numbers are arguments.

    Attributes
    ----------
    text : str or None
        A digest of the program without its numbers; None if it holds what cannot be compared.
    numbers : tuple of arrays
        The numbers less often than once an operation: first all single ones as one vector, then the arrays.
    """

    text: str | None
    numbers: tuple[Array, ...]
    _evaluate: Callable[..., Sequence[Numbers]]
    _tree: Numbers

    def __call__(self, numbers: Sequence[Numbers], *x: Numbers) -> Numbers:
        """The function's value at x with these numbers; traceable."""
        out = self._evaluate(*numbers[0], *numbers[1:], *jax.tree.leaves(x))
        return jax.tree.unflatten(self._tree, out)


def hoisted(function: Callable[..., Numbers], *shapes: Numbers) -> Hoisted:
    """Trace a function of arguments of these shapes. Call it within 64 bits."""
    closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)
    program = closed.jaxpr
    data = [(i, j) for i, eqn in enumerate(program.eqns) for j, v in enumerate(eqn.invars) if _is_datum(v)]
    values = np.array([float(program.eqns[i].invars[j].val) for i, j in data])
    numbers = (values, *(np.asarray(c) for c in closed.consts))
    places = {place: at for at, place in enumerate(data)}
    try:
        text = _Writer().digest(program, places)
    except _IncomparableError:
        text = None
    return Hoisted(text, numbers, _of_arguments(program, places), jax.tree.structure(out))


def _of_arguments(
    program: Numbers, places: Mapping[tuple[int, int], int]
) -> Callable[..., Sequence[Numbers]]:
    """The program as a function of its numbers at `places`, its arrays and its arguments."""
    singles = jax.make_jaxpr(lambda *s: s)(*[np.float64(0.0)] * len(places)).jaxpr.invars
    eqns = list(program.eqns)
    for i in {i for i, _ in places}:
        own = [singles[places[i, j]] if (i, j) in places else v for j, v in enumerate(program.eqns[i].invars)]
        eqns[i] = program.eqns[i].replace(invars=own)
    every = [*singles, *program.constvars, *program.invars]
    whole = program.replace(constvars=[], invars=every, eqns=eqns)
    return jaxpr_as_fun(ClosedJaxpr(whole, []))


def _is_datum(v: Numbers) -> bool:
    """Whether what an operation is given is a number of the data."""
    value = getattr(v, "val", None)
    if value is None or np.ndim(value) or np.asarray(value).dtype != np.float64:
        return False
    number = float(value)
    return bool(np.isfinite(number)) and (abs(number) > _LARGE or number % _STEP != 0.0)


class _Writer:
    """Writes programs; each nested one once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def digest(self, program: Numbers, hoisted: Mapping[tuple[int, int], int]) -> str:
        """Of a program, but for the constants at `hoisted` places."""
        names: dict[Numbers, int] = {}

        def name(v: Numbers) -> str:
            if hasattr(v, "val"):
                return _bytes_of(v.val)
            return str(names.setdefault(v, len(names)))

        out = [f"{name(v)}:{_type_of(v)}" for v in (*program.constvars, *program.invars)]
        for i, eqn in enumerate(program.eqns):
            given = ("#" if (i, j) in hoisted else name(v) for j, v in enumerate(eqn.invars))
            rules = eqn.primitive.name in _RULES
            params = (
                f"{key}={self._param(value)}"
                for key, value in sorted(eqn.params.items())
                if not rules or key in _EVALUATED
            )
            made = (name(v) for v in eqn.outvars)
            out.append(f"{' '.join(made)} = {eqn.primitive.name}[{' '.join(params)}] {' '.join(given)}")
        out.append(" ".join(map(name, program.outvars)))
        return sha256("\n".join(out).encode()).hexdigest()

    def _param(self, value: Numbers) -> str:
        if hasattr(value, "eqns"):
            if id(value) not in self._known:
                self._known[id(value)] = self.digest(value, {})
            return self._known[id(value)]
        if hasattr(value, "jaxpr") and hasattr(value, "consts"):
            return " ".join([self._param(value.jaxpr), *map(_bytes_of, value.consts)])
        if isinstance(value, (tuple, list)):
            return f"({' '.join(map(self._param, value))})"
        if isinstance(value, (np.ndarray, jax.Array)):
            return _bytes_of(value)
        text = repr(value)
        if " at 0x" in text:
            raise _IncomparableError
        return text


def _type_of(v: Numbers) -> str:
    return f"{v.aval.dtype}{tuple(v.aval.shape)}"


def _bytes_of(value: Numbers) -> str:
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}{sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"
