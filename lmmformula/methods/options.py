"""Options of methods: frozen records, each field of which says what it may be, and is checked when a record is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from lmmformula.arguments import check
from lmmformula.arguments.kinds import Kind, bytes_of_memory, flag, names, one_of, optional, real, whole, word
from lmmformula.arguments.kinds_of_data import theta
from lmmformula.engines.registry import names as engine_names

if TYPE_CHECKING:
    from lmmformula.ir.estimate import Estimate
    from lmmformula.ir.standard import Standard
    from lmmformula.typing import Argument, Array

__all__ = ["MOST", "Approximated", "Options", "Quasi", "Sampled", "Searched", "option"]

MOST = 10_000_000
"""More than any count that a computer gets to the end of."""
_COUNT = whole(1, MOST)
_TOLERANCE = real("a number above 0 and at most 1", lambda x: 0.0 < x <= 1.0)
_START = theta()
_ENGINE = one_of(lambda: ("auto", *engine_names()))
_APPROXIMATE = ("nagq", "information")
_EXACT = "has no meaning for a Gaussian response, whose likelihood is exact; leave it out."


def option(kind: Kind, default: object = None, *, engine: str = "", anywhere: bool = False) -> Argument:
    """A field of a record of options.

    Parameters
    ----------
    kind : Kind
        What its value may be.
    default : object
        What stands where it is not given, checked by nobody; None leaves it to the backend.
    engine : str
        The engine whose own option it is, if it is one's.
    anywhere : bool
        Whether its default may be written out for methods that do not have it.
    """
    return field(default=default, metadata={"kind": kind, "engine": engine, "anywhere": anywhere})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options that every method has; each method's own record goes on from here.

    Raises
    ------
    ArgumentError
        When made with a value that is none, under the name of its option.
    """

    memory_limit: float | None = option(optional(bytes_of_memory()))

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not one.default:
                object.__setattr__(self, one.name, check(one.name, value, one.metadata["kind"]))

    @classmethod
    def kinds(cls) -> dict[str, Kind]:
        """Option -> what it may be."""
        return {one.name: one.metadata["kind"] for one in fields(cls)}

    @classmethod
    def says_nothing(cls, name: str, value: object) -> bool:
        """Whether a value is a default that may be written out for any method."""
        found = (one for one in fields(cls) if one.name == name and one.metadata["anywhere"])
        return any(value == one.default for one in found)

    @classmethod
    def engine_of(cls, name: str) -> str:
        """The engine whose own option `name` is; empty if it is none's."""
        return next((one.metadata["engine"] for one in fields(cls) if one.name == name), "")

    @classmethod
    def without_meaning(cls, name: str, linear: bool) -> str:
        """Why an option means nothing for a model, linear or not, to follow its name; empty if nothing is to be said of it."""
        return ""

    def given(self) -> dict[str, Argument]:
        """Options that differ from their defaults."""
        pairs = ((one, getattr(self, one.name)) for one in fields(self))
        return {one.name: value for one, value in pairs if value is not one.default and value != one.default}

    def begin(self, standard: Standard) -> Array | Estimate | None:
        """Where a search starts, in the units of `standard`; None leaves it to the search."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched(Options):
    """Options of a search for the maximum of a likelihood, and of its engines."""

    engine: str = option(_ENGINE, "auto")
    tolerance: float | None = option(_TOLERANCE)
    max_evaluations: int | None = option(_COUNT)
    start: Sequence[float] | float | Estimate | None = option(_START)
    accuracy: float | None = option(
        real(
            "a number above 0, the standard error of the log-likelihood in units of sqrt(n)",
            lambda x: x > 0.0,
        ),
        engine="krylov",
    )
    probes: int | None = option(whole(4, MOST), engine="krylov")
    max_steps: int | None = option(_COUNT, engine="krylov")
    preconditioner: str | None = option(word("schur", "ssor", "block-diagonal", "diagonal"), engine="krylov")
    device: str | None = option(word("cpu", "gpu"), engine="krylov")

    @classmethod
    def without_meaning(cls, name: str, linear: bool) -> str:
        """Nothing is approximated where a likelihood is exact."""
        return _EXACT if linear and name in _APPROXIMATE else ""

    def begin(self, standard: Standard) -> Array | None:
        """theta, off the boundary where it is that of an earlier estimate."""
        from lmmformula.backends.starting import start_theta

        return None if self.start is None else start_theta(standard, self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximated(Searched):
    """The same of a likelihood whose random effects are integrated out approximately where they must be."""

    nagq: int = option(whole(0, 100), 1, anywhere=True)
    information: str | None = option(word("observed", "expected"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quasi(Options):
    """Options of quasi-likelihood."""

    tolerance: float | None = option(_TOLERANCE)
    start: Sequence[float] | float | Estimate | None = option(_START)
    traces: str | None = option(word("diagonal", "exact"))
    dispersion: str = option(word("free", "fixed"), "free")
    correction: str = option(word("none", "laplace"), "none")
    max_outer: int | None = option(_COUNT)
    max_inner: int | None = option(_COUNT)

    def begin(self, standard: Standard) -> Array | Estimate | None:
        """Theta, or the whole of an earlier estimate, from which the search goes on."""
        from lmmformula.backends.starting import start_estimate

        return None if self.start is None else start_estimate(standard, self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(Options):
    """Options of a posterior's sampler."""

    sampler: str | None = option(word("auto", "nuts", "importance"))
    chains: int | None = option(_COUNT)
    draws: int | None = option(whole(4, MOST))
    warmup: int | None = option(optional(whole(10, MOST)))
    target_accept: float | None = option(real("a number from 0.5 to below 1", lambda x: 0.5 <= x < 1.0))
    max_depth: int | None = option(_COUNT)
    marginalize: str | Sequence[str] | None = option(
        names("'auto', 'all', 'none', 'laplace', or a list of grouping factors")
    )
    correct: bool = option(flag(), False)
    sample_prior: str = option(word("no", "only"), "no")
    engine: str = option(_ENGINE, "auto")
