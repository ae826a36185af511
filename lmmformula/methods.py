"""The methods of fitting, a record each: when it suits, what it turns into, and the options that it has.

``fit``, ``plan``, ``update``, ``compare_methods``, the command line and the documentation read this one table. What the value
of an option may be stands in :data:`lmmformula.arguments.ARGUMENTS`, under the option's name.

A *method* is what a user asks for ("auto", "krylov"), a *criterion* what it comes to for a model ("reml", "laplace"): that
depends only on whether the model is linear, a Gaussian response with one residual variance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from lmmformula.arguments import check
from lmmformula.arguments.elsewhere import argument_here
from lmmformula.errors import ArgumentError, PlanError

__all__ = [
    "BUILDING",
    "ITERATED",
    "METHODS",
    "OPTIONS",
    "SAMPLED",
    "Method",
    "criterion_of",
    "inherited",
    "method_named",
    "options_table",
    "read_options",
    "unknown_option",
]

BUILDING = (
    "family",
    "weights",
    "offset",
    "contrasts",
    "ziformula",
    "dispformula",
    "missing",
    "context",
    "memory_limit",
)
"""Arguments that make the model, whatever fits it."""

SEARCHED = ("engine", "tolerance", "max_evaluations", "start", "memory_limit")
"""Options of a search for the maximum of a likelihood."""
APPROXIMATED = ("nagq", "information")
"""Options of a likelihood whose random effects are integrated out approximately."""
ITERATED = ("accuracy", "probes", "max_steps", "preconditioner", "device")
"""Options of the Krylov engine."""
QUASI = ("traces", "dispersion", "correction", "max_outer", "max_inner", "tolerance", "start", "memory_limit")
SAMPLED = ("sampler", "chains", "draws", "warmup", "target_accept", "max_depth", "marginalize")
"""Options of a posterior's sampler."""
DEFAULTS: Mapping[str, Any] = {"nagq": 1}
"""Options whose default may be written out for any method, as ``fit`` has it in its signature."""

_EXACT = "has no meaning for a Gaussian response, whose likelihood is exact; leave it out."


@dataclass(frozen=True, slots=True)
class Method:
    """A way of fitting.

    Attributes
    ----------
    name : str
        As users write it.
    about : str
        What it is, for documentation and help.
    options : tuple of str
    linear, generalised : str
        The criterion that it comes to for a linear model and for any other; empty where it does not suit.
    has_priors : bool
    refused : mapping
        Option -> why this method has it not, where that needs words of its own.
    """

    name: str
    about: str
    options: tuple[str, ...]
    linear: str
    generalised: str
    has_priors: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)

    def criterion(self, linear: bool) -> str:
        """What it comes to; empty for a model that it does not suit."""
        return self.linear if linear else self.generalised


def _record(*records: Method) -> dict[str, Method]:
    return {record.name: record for record in records}


_NO_APPROXIMATION: dict[str, str] = dict.fromkeys(APPROXIMATED, _EXACT)

METHODS: Mapping[str, Method] = _record(
    Method(
        "auto",
        "REML for a Gaussian response, Laplace's approximation otherwise, by the engine that the size allows; corrected "
        "quasi-likelihood where both engines would take too long",
        (*SEARCHED, *APPROXIMATED, *ITERATED),
        "reml",
        "laplace",
    ),
    Method(
        "reml",
        "restricted maximum likelihood; Gaussian response with identity link",
        (*SEARCHED, *ITERATED),
        "reml",
        "",
        refused=_NO_APPROXIMATION,
    ),
    Method(
        "ml",
        "maximum likelihood: exact for a Gaussian response, else Laplace's approximation",
        (*SEARCHED, *APPROXIMATED, *ITERATED),
        "ml",
        "laplace",
        refused=_NO_APPROXIMATION,
    ),
    Method(
        "laplace",
        "Laplace's approximation, or adaptive quadrature with nagq nodes",
        (*SEARCHED, *APPROXIMATED, *ITERATED),
        "ml",
        "laplace",
    ),
    Method(
        "pql",
        "penalised quasi-likelihood by backfitting: O(rows), no likelihood",
        QUASI,
        "pql",
        "pql",
    ),
    Method(
        "krylov",
        "ML or Laplace's approximation by iterations; the likelihood has a standard error",
        (*ITERATED, *SEARCHED, *APPROXIMATED),
        "ml",
        "laplace",
    ),
    Method(
        "hmc",
        "posterior by NUTS or importance sampling",
        (*SAMPLED, "engine", "memory_limit"),
        "hmc",
        "hmc",
        has_priors=True,
    ),
)
"""Name -> method."""

OPTIONS = tuple(dict.fromkeys(name for method in METHODS.values() for name in method.options))
"""Every option that some method has."""


def method_named(name: Any) -> Method:
    """The method that a user means; upper case is as good as lower case.

    Raises
    ------
    ArgumentError
        That lists the methods.
    """
    found = METHODS.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        near = get_close_matches(name.lower(), METHODS, n=1) if isinstance(name, str) else []
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ArgumentError(f"unknown method {name!r}; known: {', '.join(METHODS)}.{hint}")
    return found


def criterion_of(method: Method, linear: bool, family: Any) -> str:
    """What `method` comes to for a model, linear or not.

    Raises
    ------
    PlanError
        If it does not suit; `family` is named in the message.
    """
    found = method.criterion(linear)
    if not found:
        raise PlanError(
            f"{method.name.upper()} is defined for Gaussian responses with identity link; for {family} use method='laplace'."
        )
    return found


def read_options(method: Method, criterion: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call, each checked by its name and value; those written out at a default that all share are left out.

    Raises
    ------
    ArgumentError
        For an option that no method has, that this one has not, or a value that is none.
    """
    out = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise ArgumentError(unknown_option(name, value))
        read = check(name, value)
        if name in DEFAULTS and read == DEFAULTS[name]:
            continue
        if why := _foreign(method, criterion, name, value):
            raise ArgumentError(why)
        out[name] = read
    return out


def unknown_option(name: str, value: Any) -> str:
    """The refusal of an option that no method has."""
    said = argument_here("fit", name, value, OPTIONS)
    if not said and (near := get_close_matches(name.lower(), OPTIONS, n=1)):
        said = f"Did you mean {near[0]!r}?"
    return f"unknown option {name!r}; known: {', '.join(OPTIONS)}.{' ' if said else ''}{said}"


def _foreign(method: Method, criterion: str, name: str, value: Any) -> str:
    """Why `method`, which comes to `criterion`, does not have the option; empty if it has."""
    for record in (METHODS[criterion], method):
        if name in record.refused and criterion != "laplace":
            return f"{name}={value!r} {record.refused[name]}"
    if name in method.options:
        return ""
    owners = [record.name for record in METHODS.values() if name in record.options]
    if len(owners) == 1:
        return f"{name!r} is an option of method={owners[0]!r} only; leave it out."
    return f"{name!r} is no option of method={method.name!r}; it has {', '.join(method.options)}."


def inherited(
    given: Mapping[str, Any], method: str, linear: bool, engine: str | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arguments of an earlier call that a call with `method` can have, and a sentence for each that it cannot.

    Parameters
    ----------
    given : mapping
        Options and ``priors`` of the earlier call.
    method : str
        Of the later one.
    linear : bool
        Whether its model is.
    engine : str, optional
        That the later call asks for.
    """
    record = method_named(method)
    criterion = record.criterion(linear) or record.name
    iterated = record.name == "krylov" or (engine or given.get("engine")) == "krylov"
    kept: dict[str, Any] = {}
    left: list[str] = []
    for name, value in given.items():
        if name == "priors":
            why = "" if record.has_priors else f"method={record.name!r} has no priors"
        else:
            why = (
                ""
                if name in DEFAULTS and value == DEFAULTS[name]
                else _foreign(record, criterion, name, value)
            )
            why = why.rstrip(".").removesuffix("; leave it out")
            if not why and name in ITERATED and not iterated:
                why = f"{name!r} is an option of engine='krylov' only"
            if not why and name == "engine" and not _engine_suits(record, value):
                why = f"engine={value!r} does not suit method={record.name!r}"
        if why:
            left.append(f"left out of the earlier call: {name}={value!r}, as {why}")
        else:
            kept[name] = value
    return kept, tuple(left)


def _engine_suits(method: Method, engine: Any) -> bool:
    return engine in {"krylov": ("auto", "krylov"), "hmc": ("auto", "blocked")}.get(method.name, (engine,))


def options_table(methods: Iterable[Method] = METHODS.values()) -> str:
    """Options in Markdown, one row each: what its value may be, and which methods have it."""
    from lmmformula.arguments import ARGUMENTS

    known = list(methods)
    lines = ["| option | value | methods |", "|---|---|---|"]
    for name in OPTIONS:
        having = ", ".join(m.name for m in known if name in m.options)
        lines.append(f"| `{name}` | {ARGUMENTS[name].accepted} | {having} |")
    return "\n".join(lines) + "\n"
