"""Which search a checkpoint is of: what a fit depends on, part by part, in words where they are short and else as digests.

Rows in memory are gone through once, each kind of column with a SHA-256 of its own: the digest does not depend on where chunks
end. Rows that lie elsewhere are digested where they are, in whatever parts and order: each number is scrambled to 64 bits;
those of a kind of column are added up, and so are the scrambled sums of rows, that an exchange between rows changes.
(So the same rows in memory and elsewhere are two searches.) It costs a pass, about a second for each gigabyte of columns.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families.observed import Observed
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk
from lmmformula.keeping.codec import Encoder
from lmmformula.keeping.refusal import CodecError
from lmmformula.planner.record import Planned
from lmmformula.typing import Entries
from lmmformula.version import __version__

__all__ = ["fingerprint", "refuse_other"]

_SLICE = 65_536
"""Rows of a matrix that are copied at a time, to have them row by row."""
_DIGEST = "#"
"""What a digest begins with."""
_COLUMNS = ("columns", "levels", "rows", "values", "shares", "covariances")
"""First words of what follows from the formula."""
_SHOWN, _NAMED = 60, 4
"""Characters of a value, and differences, that a message shows."""


def fingerprint(problem: Problem, planned: Planned) -> dict[str, str]:
    """What a search depends on: model, rows, method and its options. Cost O(rows columns), one pass."""
    out = {"version of lmmformula": __version__, "formula": problem.formula, "family": str(problem.family)}
    out["number of rows"] = f"{problem.n:,}"
    out["columns of the fixed effects"] = ", ".join(problem.X.names)
    for block, parameter in zip(problem.aux, problem.family.auxiliaries, strict=False):
        out[f"columns of {parameter.name}"] = ", ".join(block.names)
    for name, term in _terms(problem):
        out[f"covariances of {name}"] = _told(term.covariance)
        out[f"levels of {name}"] = f"{term.m:,}"
    out |= _of_rows(problem)
    plan = planned.plan
    return out | {"method": plan.method, "engine": plan.engine} | dict(_options(planned.backend))


def refuse_other(path: object, kept: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse a checkpoint whose fingerprint differs from that of a call.

    Raises
    ------
    PlanError
        That says what differs.
    """
    names = [name for name in dict.fromkeys((*here, *kept)) if kept.get(name) != here.get(name)]
    if not names:
        return
    if "formula" in names or "family" in names:  # of which the columns are a consequence
        names = [name for name in names if name.split()[0] not in _COLUMNS]
    told = [_difference(name, kept.get(name), here.get(name)) for name in names[:_NAMED]]
    more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise PlanError(
        f"{path} is the checkpoint of another fit: {'; '.join(told)}{more}. Make the call that began it to go on with it, or "
        "name another file (or delete this one) to begin anew."
    )


def _difference(name: str, kept: str | None, here: str | None) -> str:
    verb = "are" if name.split()[0] in (*_COLUMNS, "weights") else "is"
    if kept is None or here is None:
        return f"{name} {verb} {'in the checkpoint' if here is None else 'in this call'} only"
    if any(value.startswith(_DIGEST) or len(value) > _SHOWN for value in (kept, here)):
        return f"{name} {verb} not the same"
    return f"{name}: {kept} in the checkpoint, {here} in this call"


def _terms(problem: Problem) -> Iterator[tuple[str, GroupBlock]]:
    """Every term with its name, those of auxiliary predictors too."""
    for term in problem.terms:
        yield f"({term.label or term.group})", term
    for parameter, terms in zip(problem.family.auxiliaries, problem.aux_terms, strict=False):
        for term in terms:
            yield f"({term.label or term.group}) in {parameter.name}", term


# -- rows ---------------------------------------------------------------------------------------------------------


def _of_rows(problem: Problem) -> dict[str, str]:
    """Digests of what has an entry for each row."""
    names = [name for name, _ in _terms(problem)]
    if not problem.data.at_hand:
        found = problem.data.reduce(partial(_sums, names=names), merge=_both)
        return {name: f"{_DIGEST}{value:016x}" for name, value in found.items()}
    digests: defaultdict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for chunk in problem.data.chunks():
        for name, values in _columns(chunk, names):
            if values is not None:
                _add(digests[name], values)
    return {name: _DIGEST + digest.hexdigest()[:32] for name, digest in digests.items()}


def _columns(chunk: Chunk, names: list[str]) -> Iterator[tuple[str, Entries | None]]:
    yield from (("the response", chunk.y), ("weights", chunk.weights), ("the offset", chunk.offset))
    if isinstance(chunk.y, Observed):
        yield "bounds of the response", chunk.y.known
    yield "values of the fixed effects", chunk.fixed
    for j, matrix in enumerate(chunk.aux):
        yield f"values of auxiliary predictor {j + 1}", matrix
    terms = (*chunk.terms, *(term for own in chunk.aux_terms for term in own))
    for name, term in zip(names, terms, strict=True):
        yield f"rows of the levels of {name}", term.codes
        yield f"values of {name}", term.basis
        yield f"shares of {name}", term.shares


def _sums(chunk: Chunk, *, names: list[str]) -> dict[str, int]:
    """Of each kind of column the sum of its scrambled numbers, and of whole rows."""
    out: dict[str, int] = {}
    rows = np.zeros(chunk.n, dtype=np.uint64)
    for name, values in _columns(chunk, names):
        if values is None:
            continue
        kind = np.int64 if values.dtype.kind in "iu" else np.float64
        for column in np.asarray(values, dtype=kind).reshape(chunk.n, -1).T:
            bits = _scrambled(
                np.ascontiguousarray(column + kind(0)).view(np.uint64)
            )  # one zero, whatever its sign
            out[name] = (out.get(name, 0) + int(bits.sum())) % 2**64
            rows = _scrambled(rows + bits)
    out["rows of the values"] = int(rows.sum())
    return out


def _both(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: (value + other[name]) % 2**64 for name, value in one.items()}


def _scrambled(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit out depends on every bit in."""
    x = bits + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _add(digest: hashlib._Hash, values: Entries) -> None:
    """Row by row, whatever the order of a matrix in memory and wherever a chunk ends."""
    kind = np.int64 if values.dtype.kind in "iu" else np.float64
    for start in range(0, len(values), _SLICE):
        digest.update(np.ascontiguousarray(values[start : start + _SLICE], dtype=kind).data)


# -- options ------------------------------------------------------------------------------------------------------


def _options(backend: object) -> Iterator[tuple[str, str]]:
    """The fields of a backend and of its engine: options of the method as they have been settled."""
    if not is_dataclass(backend) or isinstance(backend, type):
        return
    for field in fields(backend):
        value = getattr(backend, field.name)
        if field.name == "engine":
            yield from _options(value)
        elif field.name != "name":
            yield field.name, _told(value)


def _told(value: object) -> str:
    """A value: as Python writes it where that is short, else a digest."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    encode = Encoder()
    try:
        digest = hashlib.sha256(json.dumps(encode(value)).encode())
    except CodecError:  # of a class from outside, which says no more of itself
        return f"{type(value).__module__}.{type(value).__qualname__}"
    for array in encode.arrays:
        digest.update(np.ascontiguousarray(array).data)
    return _DIGEST + digest.hexdigest()[:32]
