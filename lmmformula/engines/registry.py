"""The engines, a record each: planners look at all of them and take the one that costs least; nobody asks for one's class.

A module of anybody's adds one by :func:`register_engine`. Engines are imported when they are first made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lmmformula.errors import ArgumentError
from lmmformula.extensions import enter

if TYPE_CHECKING:
    from lmmformula.engines.base import Engine
    from lmmformula.engines.equations import Sweeping
    from lmmformula.ir.levels import Levels
    from lmmformula.typing import Arguments

__all__ = [
    "ENGINES",
    "EngineRecord",
    "exact_engine",
    "names",
    "register_engine",
    "sweeping",
    "unregister_engine",
]


LARGE = 2_000
"""Columns of a dense part from which on it is worth looking whether most of it is empty."""
MANY = 400_000
"""Pairs of levels up to which finding an order takes less than about a second."""
EMPTY = 0.25
"""Share of the dense part that may be filled at first."""


def _always(blocks: Levels) -> bool:
    """Everywhere."""
    return True


def _never(blocks: Levels) -> bool:
    """It is there for checking."""
    return False


def _tangled(blocks: Levels) -> bool:
    """Where levels are coupled, or elimination by blocks leaves a large matrix of several factors that may be mostly empty.

    Levels of several factors may all lie within those of another, as interactions with it do. The pairs that eliminating the
    finest factor brings together, of which those to come are mostly repetitions, tell whether that may be so. Elsewhere blocks
    are eliminated with less ado, and finding an order would take longer than what it saves.
    """
    if not all(group.is_blockwise for group in blocks.groups):
        return True
    if len(blocks.groups) < 3:
        return False
    from lmmformula.engines.elimination import choose_chain

    chain = choose_chain(blocks)
    rest = [a for a in range(len(blocks.groups)) if a not in chain]
    side = sum(blocks.groups[a].q for a in rest)
    if len(rest) < 2 or side < LARGE:
        return False
    if sum(blocks.pattern(*pair).nnz for pair in blocks.pairs()) > MANY:
        return False
    counts = [blocks.counts(chain[0], a) * blocks.groups[a].k for a in rest]
    brought = sum(counts[1:], counts[0])
    return float(brought @ brought) <= EMPTY * side**2


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """An engine under its name.

    Attributes
    ----------
    name : str
        As users write it.
    words : str
        The same in words, for reports.
    make : callable
        (options, seed) -> engine; `options` are those of its own that were given.
    options : tuple of str
        Their names.
    volunteers : callable
        Whether it is worth a look at some blocks where no engine is asked for.
    is_exact : bool
        As the engine itself says.
    has_likelihood : bool
        Whether it has log|M|, and can be asked for by ``fit(engine=)``.
    extension : type, optional
        Its class, if that is not the package's: fits by it can then be kept in files.
    """

    name: str
    words: str
    make: Callable[[Arguments, int], Engine]
    options: tuple[str, ...] = ()
    volunteers: Callable[[Levels], bool] = _always
    is_exact: bool = True
    has_likelihood: bool = True
    extension: type | None = None


ENGINES: dict[str, EngineRecord] = {}
"""Name -> record; of engines that cost the same the first is taken."""


def names() -> tuple[str, ...]:
    """What ``fit(engine=)`` may ask for."""
    return tuple(record.name for record in ENGINES.values() if record.has_likelihood)


def register_engine(record: EngineRecord) -> None:
    """Add an engine to those that planners choose from.

    Raises
    ------
    ArgumentError
        If its name is taken.
    """
    if record.name in ENGINES or record.name == "auto":
        raise ArgumentError(f"there is an engine {record.name!r} already: give this one another name.")
    ENGINES[record.name] = record
    if record.extension is not None:
        enter(record.extension)


def unregister_engine(name: str) -> None:
    """Take an engine away again."""
    del ENGINES[name]


def exact_engine() -> Engine:
    """What factorises M where nobody has chosen: the first of those that do."""
    return next(record for record in ENGINES.values() if record.is_exact).make({}, 0)


def sweeping(**options: bool) -> Sweeping:
    """What solves M by sweeps over its blocks and never forms it; with ``corrected=True``, also for a correction."""
    own = next(record for record in ENGINES.values() if not record.has_likelihood)
    return cast("Sweeping", own.make(options, 0))


def _blocked(options: Arguments, seed: int) -> Engine:
    from lmmformula.engines.blocked import BlockedEngine

    return BlockedEngine()


def _dense(options: Arguments, seed: int) -> Engine:
    from lmmformula.engines.dense import DenseEngine

    return DenseEngine()


def _sparse(options: Arguments, seed: int) -> Engine:
    from lmmformula.engines.sparse import SparseEngine

    return SparseEngine()


def _krylov(options: Arguments, seed: int) -> Engine:
    """A device that is asked for must be there."""
    from lmmformula.engines.krylov.device import DEVICES, find_device
    from lmmformula.engines.krylov.engine import KrylovEngine

    device = options.get("device", DEVICES[0])
    if device != DEVICES[0]:
        find_device(device)
    return KrylovEngine(seed=seed, **options)


def _backfitting(options: Arguments, seed: int) -> Engine:
    from lmmformula.engines.backfitting.engine import BackfittingEngine

    return BackfittingEngine(**options)


for _record in (
    EngineRecord("blocked", "exact factorisation by blocks", _blocked),
    EngineRecord("dense", "exact dense factorisation", _dense, volunteers=_never),
    EngineRecord(
        "krylov",
        "Krylov iterations",
        _krylov,
        ("accuracy", "probes", "max_steps", "preconditioner", "device"),
        is_exact=False,
    ),
    EngineRecord("sparse", "exact sparse factorisation", _sparse, volunteers=_tangled),
    EngineRecord("backfitting", "backfitting", _backfitting, is_exact=False, has_likelihood=False),
):
    register_engine(_record)
