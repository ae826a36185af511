"""Where the processor seconds of a large fit go, by kind of work, beside what each kind needs of this machine.

    python -m benchmarks.speed_kinds          # 5,000,000 rows of clients by items: quasi-likelihood, Laplace, its errors

Functions of lmmformula are wrapped for one process: what a call takes of all threads, less what calls within it take, counts
for its kind, and each call has what it cannot do without: bytes in order, cache lines from anywhere, dense operations.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.pql_records import RESULTS, write_record
from benchmarks.speed_cases import PROBLEMS, WORK

__all__ = ["KINDS", "ROWS", "Needs", "Sizes", "main"]

FOLDER = RESULTS / "speed_kinds"
ROWS = 5_000_000
REST = "everything else"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a model of two factors.

    Attributes
    ----------
    n, pairs, levels, others : float
        Rows, pairs of levels that meet, levels of the larger and of the smaller factor.
    p, varying, own : float
        Columns of X, those with numbers of the rows, and those held by the larger factor.
    frame : float
        Bytes of the data frame.
    met : float
        Products of a coupling with itself: half the sum of squares of the pairs of a level.
    """

    n: float
    pairs: float
    levels: float
    others: float
    p: float
    varying: float
    own: float
    frame: float
    met: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What one call cannot do without; names as in :class:`benchmarks.speed_cases.Least`."""

    stream: float = 0.0
    gather: float = 0.0
    flops: float = 0.0


Entry = tuple[str, Callable[[Sizes], Needs]]
"""A function, as module:name, and what a call needs."""


def nothing(s: Sizes) -> Needs:
    """For calls that ask others of the table, or whose work goes with theirs."""
    del s
    return Needs()


def _dense(s: Sizes, power: float) -> Needs:
    return Needs(flops=power * s.others**3)


KINDS: Mapping[str, Sequence[Entry]] = {
    "data frame: variables, levels, response": (
        ("lmmformula.frame.build:build", lambda s: Needs(stream=s.frame + 32.0 * s.n)),
    ),
    "columns by level, rows in order of levels": (
        ("lmmformula.frame.held_columns:held_columns", lambda s: Needs(s.frame + 8.0 * s.n * s.varying)),
        ("lmmformula.frame.rank:apart_in_some_rows", lambda s: Needs(8.0 * s.n * s.varying)),
        ("lmmformula.ir.patterns:sorted_pairs", lambda s: Needs(32.0 * s.n, 2.0 * s.n)),
        ("lmmformula.numerics.row_sums:Arranged.of", lambda s: Needs(16.0 * s.n * s.varying, s.n)),
        ("lmmformula.numerics.ragged:_Meetings.of", lambda s: Needs(24.0 * s.pairs, s.pairs)),
    ),
    "the family's densities and derivatives": (
        ("lmmformula.criteria.family_rows:family_rows", lambda s: Needs(48.0 * s.n)),
        ("lmmformula.criteria.family_rows:start_eta", lambda s: Needs(16.0 * s.n)),
    ),
    "other passes over rows": (
        ("lmmformula.ir.memory_rows:MemoryRows.apply", lambda s: Needs(s.n * (8.0 * s.varying + 24.0), s.n)),
        ("lmmformula.criteria.working:WorkingModel.summed", lambda s: Needs(120.0 * s.n)),
        ("lmmformula.criteria.laplace:LaplacePoint.push", lambda s: Needs(24.0 * s.n)),
        ("lmmformula.criteria.laplace:LaplacePoint.d_eta", lambda s: Needs(40.0 * s.n)),
        ("lmmformula.ir.memory_rows:MemoryRows.adjoint", lambda s: Needs(16.0 * s.n, s.n)),
        ("lmmformula.ir.memory_rows:MemoryRows.row_quadratic", lambda s: Needs(20.0 * s.n, 2.0 * s.n)),
        (
            "lmmformula.ir.level_columns:ByLevel.transposed",
            lambda s: Needs(s.n * (8.0 * s.varying + 24.0), s.n),
        ),
        (
            "lmmformula.ir.level_columns:ByLevel.gram",
            lambda s: Needs(s.n * (8.0 * s.varying + 8.0), s.n, 2.0 * s.n * s.p**2),
        ),
    ),
    "Grams: sums by level and by pair": (
        (
            "lmmformula.ir.memory_rows:MemoryRows.gram",
            lambda s: Needs(s.n * 24.0 + 8.0 * s.pairs, s.n),
        ),
        (
            "lmmformula.ir.gram_by_level:GramByLevel.__init__",
            lambda s: Needs(s.n * 16.0 * s.varying + 8.0 * s.levels * s.varying),
        ),
        (
            "lmmformula.ir.level_columns:LevelColumns.wide",
            lambda s: Needs(
                12.0 * s.pairs + 8.0 * s.levels * s.p, 0.0, 2.0 * s.pairs * (s.p - s.varying - s.own)
            ),
        ),
    ),
    "clients and items settled in turn": (
        ("lmmformula.criteria.working:WorkingSystem.solve", nothing),
        (
            "lmmformula.engines.backfitting.centred:CentredSweeps.sweep",
            lambda s: Needs(24.0 * s.pairs + 16.0 * s.levels * (s.varying + s.own + 4.0)),
        ),
        ("lmmformula.criteria.pql_correction:shift", nothing),
        (
            "lmmformula.engines.backfitting.information:fixed_information",
            lambda s: Needs(flops=24.0 * s.pairs * s.p),
        ),
    ),
    "clients eliminated": (
        ("lmmformula.engines.blocked:_factorise", lambda s: Needs(24.0 * s.pairs)),
        (
            "lmmformula.numerics.ragged:Ragged.less_gram",
            lambda s: Needs(12.0 * s.pairs + 8.0 * s.met, 2.0 * s.pairs),
        ),
    ),
    "items factorised and inverted": (
        ("lmmformula.engines.blocked:_factored_dense", lambda s: _dense(s, 1.0 / 3.0)),
        ("lmmformula.engines.blocked:BlockedFactor._inverse", lambda s: _dense(s, 2.0 / 3.0)),
    ),
    "traces and leverages of clients": (
        ("lmmformula.engines.selected:SelectedInverse.of", lambda s: Needs(24.0 * s.pairs)),
        (
            "lmmformula.numerics.ragged:Ragged.on_pattern",
            lambda s: Needs(20.0 * s.pairs + 8.0 * s.met, 2.0 * s.pairs),
        ),
    ),
    "solutions": (
        ("lmmformula.engines.blocked:BlockedFactor.solve", lambda s: Needs(24.0 * s.pairs)),
        ("lmmformula.criteria.joint:JointSystem.fixed_part", lambda s: Needs(0.0, 0.0, 8.0 * s.pairs * s.p)),
        ("lmmformula.criteria.fixed_curvature:beta_curvature", nothing),
    ),
}
"""Kinds of work, and whose calls they are."""


@dataclass
class Ledger:
    """Seconds of all threads by kind, and calls of each function."""

    spent: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _open: list[list[float]] = field(default_factory=list)
    _thread: int = field(default_factory=threading.get_ident)

    def wrapped(self, kind: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that enters what its calls take."""

        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*given, **named)
            self._open.append([0.0])
            start = time.process_time()
            try:
                return function(*given, **named)
            finally:
                took = time.process_time() - start
                (within,) = self._open.pop()
                self.calls[name] = self.calls.get(name, 0) + 1
                self.spent[kind] = self.spent.get(kind, 0.0) + took - within
                if self._open:
                    self._open[-1][0] += took

        return call


@contextmanager
def entered(ledger: Ledger) -> Iterator[None]:
    """Within the block every function of the table enters its calls, wherever lmmformula has it."""
    back: list[tuple[Any, str, Any]] = []
    for kind, entries in KINDS.items():
        for name, _ in entries:
            module, _, path = name.partition(":")
            owner: Any = importlib.import_module(module)
            *outer, last = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            for place, key, found in _places(owner, last):
                back.append((place, key, found))
                setattr(place, key, _replaced(ledger, kind, name, found))
    try:
        yield
    finally:
        for place, key, found in reversed(back):
            setattr(place, key, found)


def _places(owner: Any, last: str) -> list[tuple[Any, str, Any]]:
    """A method where it is, a function in every module of lmmformula that has it."""
    found = vars(owner)[last]
    if isinstance(owner, type):
        return [(owner, last, found)]
    modules = [m for key, m in list(sys.modules.items()) if key.startswith("lmmformula") and m is not None]
    return [(m, key, found) for m in modules for key, value in list(vars(m).items()) if value is found]


def _replaced(ledger: Ledger, kind: str, name: str, found: Any) -> Any:
    """A function, a method of a class or a property that is computed once, entered."""
    if isinstance(found, classmethod):
        return classmethod(ledger.wrapped(kind, name, found.__func__))
    if callable(found):
        return ledger.wrapped(kind, name, found)
    compute = "compute" if hasattr(found, "compute") else "func"
    made = type(found)(ledger.wrapped(kind, name, getattr(found, compute)))
    made.__set_name__(None, name.rpartition(".")[2])
    return made


def measured(ledger: Ledger, work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What some work gives, its seconds and those of all threads."""
    with entered(ledger):
        start, cpu = time.perf_counter(), time.process_time()
        out = work()
        return out, time.perf_counter() - start, time.process_time() - cpu


def sizes_of(model: Any, frame: Any) -> Sizes:
    """Of a fit."""
    import numpy as np

    blocks, held = model.problem.data.levels, model.problem.X.columns.held
    (a, b), counts = blocks.groups, np.diff(blocks.pattern(0, 1).indptr).astype(float)
    own = len(held.values_at[0])
    met = 0.5 * float(counts @ counts)
    bytes_of_frame = float(frame.memory_usage(index=False).sum())
    return Sizes(model.problem.n, counts.sum(), a.m, b.m, held.p, len(held.rest_at), own, bytes_of_frame, met)


def table(ledger: Ledger, cpu: float, s: Sizes) -> list[dict[str, Any]]:
    """A row for each kind, and what is left of `cpu` seconds."""
    rows = []
    for kind, entries in KINDS.items():
        if (spent := ledger.spent.get(kind, 0.0)) <= 0.0:
            continue
        needs = [(ledger.calls.get(name, 0), need(s)) for name, need in entries]
        total = {
            what: sum(calls * getattr(n, what) for calls, n in needs)
            for what in ("stream", "gather", "flops")
        }
        calls = sum(calls for calls, _ in needs)
        rows.append({"kind": kind, "cpu": spent, "calls": calls, **total})
    rest = cpu - sum(row["cpu"] for row in rows)
    return [*rows, {"kind": REST, "cpu": rest, "calls": 0, "stream": 0.0, "gather": 0.0, "flops": 0.0}]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_kinds", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the records")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    import lmmformula
    from benchmarks.crossed_logit import retail
    from benchmarks.speed_machine import rates

    lmmformula.fit(PROBLEMS["sleepstudy"].formula, lmmformula.load_dataset("sleepstudy"), method="ml")
    frame = retail(options.rows, seed=1).frame
    found = rates()
    for name in ("pql5e6", "laplace5e6"):
        work, ledger = WORK[name], Ledger()
        given = {"family": work.problem.family, "method": work.problem.method, **work.options}
        model, seconds, cpu = measured(
            ledger, lambda w=work, g=given: lmmformula.fit(w.problem.formula, frame, **g)
        )
        s = sizes_of(model, frame)
        record = {"rates": found, "rows": s.n, "title": work.title}
        record |= {"seconds": seconds, "cpu": cpu, "kinds": table(ledger, cpu, s)}
        if name == "laplace5e6":
            late = Ledger()
            _, seconds, cpu = measured(late, lambda m=model: m.bse)
            record |= {"errors_seconds": seconds, "errors_cpu": cpu, "errors": table(late, cpu, s)}
        del model
        write_record(options.results / f"{name}.json", record)
        print(options.results / f"{name}.json", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
