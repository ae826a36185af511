"""A method of fitting: when it suits, the options that it has, the engines that it may use, and the plan that it makes.

``fit``, ``plan``, ``update``, ``compare_methods``, the command line and the documentation read the records of
:data:`METHODS`, and ask for no method's name. A module of anybody's adds one by :func:`register_method`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from lmmformula.arguments.elsewhere import argument_here
from lmmformula.errors import ArgumentError, PlanError
from lmmformula.extensions import enter
from lmmformula.methods.options import Options

if TYPE_CHECKING:
    import numpy as np

    from lmmformula.arguments.kinds import Kind
    from lmmformula.backends.base import Backend
    from lmmformula.ir.estimate import Estimate
    from lmmformula.ir.levels import Levels
    from lmmformula.ir.problem import Problem
    from lmmformula.ir.standard import Standard
    from lmmformula.planner.record import Planned
    from lmmformula.typing import Array

__all__ = [
    "METHODS",
    "OPTIONS",
    "Method",
    "Request",
    "method_named",
    "options_table",
    "register_method",
    "unknown_option",
    "unregister_method",
]

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True, eq=False)
class Request(Generic[OptionsT]):
    """What a method plans a fit of.

    Attributes
    ----------
    problem : Problem
        In the units in which it is fitted.
    standard : Standard
        Those units, and the way back.
    blocks : Levels
        Of the terms of `problem`.
    options : Options
        The method's own record.
    start : array, Estimate or None
        Where a search starts, in the units of `problem`.
    limit : float
        Bytes of memory that are available.
    seed : int, Generator or None
    priors : mapping or None
    original : Problem or None
        The problem in the user's units, which priors are in.
    """

    problem: Problem
    standard: Standard
    blocks: Levels
    options: OptionsT
    start: Array | Estimate | None
    limit: float
    seed: int | np.random.Generator | None = None
    priors: Mapping[str, str] | None = None
    original: Problem | None = None


@dataclass(frozen=True, slots=True)
class Method(Generic[OptionsT]):
    """A way of fitting; a subclass says what :meth:`backend` fits, and whatever else is not as here.

    Attributes
    ----------
    name : str
        As users write it.
    words : str
        The same in words, for reports.
    about : str
        What it is, for documentation and help.
    options : type of Options
        Its record of options.
    engines : tuple of str
        Engines that may be asked for, if not all are that have a likelihood.
    has_priors : bool
        Whether its fits always have some.
    penalises : bool
        Whether priors that are given penalise its likelihood.
    kept : tuple of type
        Classes from outside of the package that its fits hold, so that files can hold them.
    structured : bool
        Whether it takes structured residuals.
    restricted : bool
        Whether sigma has to stay profiled: columns of its own are then those of a variance function.
    monotonic : bool
        Whether it takes monotonic effects.
    against_cells : str
        Why one row cannot stand for several equal ones in its fits; empty if it can.
    """

    name: str
    words: str
    about: str
    options: type[OptionsT]
    engines: tuple[str, ...] = ()
    has_priors: bool = False
    penalises: bool = False
    kept: tuple[type, ...] = ()
    structured: bool = False
    restricted: bool = False
    monotonic: bool = False
    against_cells: str = ""

    def arranged(self, problem: Problem) -> Problem:
        """The problem as its fits hold it: as it was built, but for columns of sigma beside what keeps sigma profiled."""
        if self.restricted or problem.residual is not None:
            return problem.with_modelled_residual()
        return problem

    def with_priors(self, problem: Problem, priors: object) -> Problem:
        """The problem as its fits with these priors, None for none, hold it."""
        return problem

    def unsuited(self, problem: Problem) -> str:
        """Why it cannot fit `problem`, and what can; empty if it can."""
        return ""

    def standard(self, problem: Problem) -> Standard:
        """The units in which it fits `problem`."""
        from lmmformula.ir.standard_responses import standard_of

        return standard_of(problem)

    def backend(self, request: Request[OptionsT]) -> Backend:
        """What fits the problem, with its options."""
        raise NotImplementedError(f"method {self.name!r} has neither a backend nor a plan of its own")

    def plan(self, request: Request[OptionsT]) -> Planned:
        """The whole of what a fit will do; as it stands here, by one exact factorisation of the cost of an exact fit.

        Raises
        ------
        PlanError
            If the problem does not fit in memory, or an option does not suit it.
        """
        from lmmformula.planner.engines import exact_plan
        from lmmformula.planner.record import Planned

        reason = f"method: {self.words}, as asked"
        chosen = exact_plan(request.problem, request.blocks, self.name, reason, request.limit)
        return Planned(chosen.plan, self.backend(request), chosen.prepared, request.standard)

    # -- options --------------------------------------------------------------------------------------------------

    def read(self, given: Mapping[str, object], linear: bool) -> OptionsT:
        """The record of the options of a call, for a model that is `linear` or not.

        Raises
        ------
        ArgumentError
            For an option that no method has, that this one has not, or a value that is none.
        PlanError
            For an engine that is not its own.
        """
        own = {}
        for name, value in given.items():
            if name not in OPTIONS:
                raise ArgumentError(unknown_option(name, value))
            if why := self.lacks(name, value, linear):
                raise ArgumentError(why)
            if name in self.options.kinds():
                own[name] = value
        read = self.options(**own)
        if "engine" in own and (why := self.refuses_engine(own["engine"])):
            raise PlanError(f"{why}: leave it out.")
        return read

    def lacks(self, name: str, value: object, linear: bool) -> str:
        """Why it does not have an option of this value; empty if it has, and for the value that stands for none."""
        if any(method.options.says_nothing(name, value) for method in METHODS.values()):
            return ""
        if why := self.options.without_meaning(name, linear):
            return f"{name}={value!r} {why}"
        known = self.options.kinds()
        if name in known:
            return ""
        owners = [record.name for record in METHODS.values() if name in record.options.kinds()]
        if len(owners) == 1:
            return f"{name!r} is an option of method={owners[0]!r} only; leave it out."
        return f"{name!r} is no option of method={self.name!r}; it has {', '.join(known)}."

    def refuses_engine(self, engine: str) -> str:
        """Why it does not work with an engine that is asked for; empty if it does."""
        if engine == "auto" or not self.engines or engine in self.engines:
            return ""
        return (
            f"method={self.name!r} works by the {' or '.join(self.engines)} engine, not by engine={engine!r}"
        )


AnyRequest: TypeAlias = Request[Any]
AnyMethod: TypeAlias = Method[Any]
"""A method, whatever its options."""

METHODS: dict[str, AnyMethod] = {}
"""Name -> method."""

OPTIONS: dict[str, Kind] = {}
"""Every option that some method has -> what it may be."""


def register_method(method: AnyMethod) -> None:
    """Add a method to those that ``fit``, ``plan``, ``compare_methods``, ``update`` and the command line know.

    Raises
    ------
    ArgumentError
        If its name is taken, or one of its options has the name of another method's and may be something else.
    """
    if method.name in METHODS:
        raise ArgumentError(f"there is a method {method.name!r} already: give this one another name.")
    kinds: dict[str, Kind] = method.options.kinds()
    for name, kind in kinds.items():
        known = OPTIONS.get(name, kind)
        if known.accepted != kind.accepted:
            raise ArgumentError(
                f"option {name!r} of method {method.name!r} may be {kind.accepted}, and that of other methods "
                f"{known.accepted}: an option means one thing, so give it another name."
            )
    METHODS[method.name] = method
    for cls in method.kept:
        enter(cls)
    OPTIONS.update(kinds)


def unregister_method(name: str) -> None:
    """Take a method away again, with the options that no other has."""
    gone = METHODS.pop(name)
    for option in gone.options.kinds():
        if not any(option in method.options.kinds() for method in METHODS.values()):
            del OPTIONS[option]


def method_named(name: object) -> AnyMethod:
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


def unknown_option(name: str, value: object) -> str:
    """The refusal of an option that no method has."""
    said = argument_here("fit", name, value, OPTIONS)
    if not said and (near := get_close_matches(name.lower(), OPTIONS, n=1)):
        said = f"Did you mean {near[0]!r}?"
    return f"unknown option {name!r}; known: {', '.join(OPTIONS)}.{' ' if said else ''}{said}"


def options_table(methods: Iterable[AnyMethod] = ()) -> str:
    """Methods and options in Markdown: what each method is; what each option may be, and which methods have it."""
    known = list(methods) or list(METHODS.values())
    lines = ["| method | what it is |", "|---|---|", *(f"| `{m.name}` | {m.about} |" for m in known)]
    lines += ["", "| option | value | methods |", "|---|---|---|"]
    for name, kind in OPTIONS.items():
        having = ", ".join(m.name for m in known if name in m.options.kinds())
        lines.append(f"| `{name}` | {kind.accepted} | {having} |")
    return "\n".join(lines) + "\n"
