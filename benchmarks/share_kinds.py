"""Kinds of work of a fit by iterations: what belongs to which, and what the compiled loops among it move.

Needs the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "REST", "WAITING", "Moved", "kind_of_function", "kind_of_loop", "moved_by"]

_SETUP, _WRITING, _BLOCKS, _COLUMNS = (
    "set-up from the data frame: checks, columns, levels, pairs",
    "writing N",
    "products with blocks of columns",
    "products with one or two columns",
)
_STEPS, _TRACES, _FAMILY = (
    "steps of iterations and subspaces",
    "moments of K, traces, leverages",
    "passes of the family over the rows",
)
_SUMS, _FIXED, _LOADING, WAITING, REST = (
    "sums by level, effects of rows",
    "products with X, least squares",
    "loading modules and compiled loops",
    "waiting for the other thread",
    "everything else",
)
KINDS = (
    _SETUP,
    _WRITING,
    _BLOCKS,
    _COLUMNS,
    _STEPS,
    _TRACES,
    _FAMILY,
    _SUMS,
    _FIXED,
    _LOADING,
    WAITING,
    REST,
)
"""In the order of the table."""

_FUNCTIONS = (
    (
        _WRITING,
        r"krylov/schur_pattern\.py:(_of_intercepts|_complement|_diagonal|_pairs)|krylov/schur\.py:_single",
    ),
    (
        _SETUP,
        r"lmmformula/(frame|formula|arguments|planner|methods|interfaces)/|lmmformula/(api|building)\.py",
    ),
    (
        _SETUP,
        r"ir/(patterns|groups|levels|standard\w*|units)\.py|families/checks\.py|engines/(elimination|blocked)\.py",
    ),
    (_SETUP, r"krylov/(schur_pattern|cost|within)\.py"),
    (_BLOCKS, r"krylov/(schur|compressed|lean)\.py"),
    (_COLUMNS, r"numerics/sparse_products\.py"),
    (_STEPS, r"numerics/conjugate_gradients\.py|krylov/(deflation|engine|device)\.py|tall\.py:orthonormal"),
    (_TRACES, r"krylov/(stochastic|moments|cycles)\.py|criteria/leverage\.py"),
    (_FAMILY, r"lmmformula/families/|criteria/family_rows\.py"),
    (_SUMS, r"ir/(blocks|row_products|memory_rows|gram\w*)\.py|numerics/(counted|row_sums)\.py"),
    (_FIXED, r"numerics/(tall|least_squares)\.py|ir/design\.py"),
    (_LOADING, r"numerics/(machine_code|compiled|kept_programs)\.py|importlib|/re/"),
    (WAITING, r"/threading\.py:|concurrent/futures/"),
)
_LOOPS = {
    _SETUP: ("rows_by_level", "sort_rows", "write_pairs", "count_pairs", "united", "spread"),
    _WRITING: ("scaled_columns", "scaled_rows", "level_products"),
    _BLOCKS: ("csr_times", "schur_times", "add_normal", "times", "add_transposed"),
    _COLUMNS: ("sparse_rows", "pair_times"),
    _STEPS: ("advance", "turn", "column_products"),
    _TRACES: ("find_cycles", "add_cycles", "sampled_product", "summed_moments", "second_moments"),
    _FAMILY: ("binomial_logit_rows",),
    _SUMS: ("add_by_code", "add_columns", "add_weighted_columns", "add_values"),
    _FIXED: ("row_sums", "row_products", "add_products"),
}
_KIND_OF_LOOP = {name: kind for kind, names in _LOOPS.items() for name in names}


@dataclass(frozen=True, slots=True)
class Moved:
    """What passes between memory and processor.

    Attributes
    ----------
    stream : float
        Bytes in order.
    lines, halves : float
        Lines of 64 and of 32 bytes of a block of effects, in double and in single precision, from anywhere.
    numbers : float
        Single numbers of a column of effects, from anywhere.
    """

    stream: float = 0.0
    lines: float = 0.0
    halves: float = 0.0
    numbers: float = 0.0

    def __add__(self, other: Moved) -> Moved:
        stream, lines = self.stream + other.stream, self.lines + other.lines
        return Moved(stream, lines, self.halves + other.halves, self.numbers + other.numbers)


def kind_of_function(path: str, name: str) -> str:
    """That of what a Python function does itself, numpy's part of it included."""
    place = f"{path}:{name}"
    return next((kind for kind, pattern in _FUNCTIONS if re.search(pattern, place)), REST)


def kind_of_loop(name: str) -> str:
    """That of a compiled loop."""
    return _KIND_OF_LOOP.get(name, REST)


def moved_by(name: str, arguments: Sequence[Any]) -> Moved:
    """What a call of a compiled loop moves; nothing for loops that are not counted."""
    counts = _COUNTS.get(name)
    return Moved() if counts is None else counts(arguments)


def _entries(a: Sequence[Any], ptr: int) -> float:
    """Of the compressed rows that a loop works on, with their pointers in place `ptr` of its arguments."""
    return float(a[ptr][a[1]] - a[ptr][a[0]])


def _lines(stream: float, count: float, block: Any) -> Moved:
    """With lines of a block in its precision."""
    return Moved(stream, halves=count) if block.itemsize == 4 else Moved(stream, count)


def _block(a: Sequence[Any]) -> Moved:
    count, wide, rows = _entries(a, 2), -(-a[6].shape[1] // 8), a[1] - a[0]
    each = a[3].itemsize + a[4].itemsize
    return _lines(count * each * wide + rows * a[6].shape[1] * a[6].itemsize, count * wide, a[5])


def _schur(a: Sequence[Any]) -> Moved:
    own, other, out = _entries(a, 2), _entries(a, 5), a[10]
    wide, rows, size = -(-out.shape[1] // 8), a[1] - a[0], out.itemsize
    stream = own * (4 + size + 8 * size) + other * (4 + size)
    return _lines(stream * wide + rows * out.shape[1] * size, other * wide, out)


def _columns(a: Sequence[Any]) -> Moved:
    count = _entries(a, 2)
    return Moved(count * (a[3].itemsize + a[4].itemsize) + (a[1] - a[0]) * a[6].itemsize, numbers=count)


def _normal(a: Sequence[Any]) -> Moved:
    count, wide = _entries(a, 2), -(-a[6].shape[1] // 8)
    return Moved(2.0 * count * (a[3].itemsize + a[4].itemsize) * wide, 2.0 * count * wide)


def _sampled(a: Sequence[Any]) -> Moved:
    count, bytes_of = _entries(a, 2), a[4].shape[1] * a[4].itemsize
    return Moved(count * (a[3].itemsize + 2 * a[6].itemsize), count * -(-bytes_of // 64))


def _sums(a: Sequence[Any]) -> Moved:
    return Moved(float(sum(v.nbytes for v in a[:-1])), float(len(a[0])))


def _counted(a: Sequence[Any]) -> Moved:
    return Moved(float(a[0].nbytes + a[1].nbytes), numbers=float(len(a[0])))


def _values(a: Sequence[Any]) -> Moved:
    rows = float(a[1] - a[0])
    return Moved(rows * (a[2].itemsize + 16.0), numbers=rows)


def _whole(a: Sequence[Any]) -> Moved:
    return Moved(float(sum(getattr(v, "nbytes", 0) for v in a)))


_COUNTS: dict[str, Callable[[Sequence[Any]], Moved]] = {
    "csr_times": _block,
    "schur_times": _schur,
    "sparse_rows": _columns,
    "pair_times": _columns,
    "add_normal": _normal,
    "sampled_product": _sampled,
    "add_columns": _sums,
    "add_weighted_columns": _sums,
    "add_by_code": _counted,
    "add_values": _values,
    "binomial_logit_rows": _whole,
    "scaled_columns": lambda a: Moved(_entries(a, 2) * (16.0 + a[4].itemsize), numbers=2.0 * _entries(a, 2)),
    "scaled_rows": lambda a: Moved(_entries(a, 2) * 20.0, numbers=_entries(a, 2)),
}
