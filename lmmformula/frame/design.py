"""Columns of a linear predictor: R's coding of terms, names and order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, LmmformulaWarning, PlanError, warn
from lmmformula.formula.render import deparse
from lmmformula.formula.spec import Expr, LinearPart, Term
from lmmformula.frame.contrasts import Contrast, coding
from lmmformula.frame.values import Basis, Factor, Value, label_index
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Entries

__all__ = ["Design", "FactorPart", "NumericPart", "Source", "make_design", "product", "write"]

Array = NDArray[np.float64]
Source: TypeAlias = "Callable[[slice | Entries], Array]"
"""Gives columns of some rows."""

# A dense matrix beyond this is nearly always an identifier used as a fixed effect.
_MAX_BYTES = 16e9

# Rows coded at a time, so that temporaries stay in the cache.
_CHUNK = 16_384


@dataclass(frozen=True, slots=True)
class NumericPart:
    """A numeric variable of a term; `suffixes` has one entry per column."""

    expr: Expr
    name: str
    suffixes: tuple[str, ...]

    def source(self, value: Value) -> Source:
        """Gives the columns of some rows, shape (rows, k)."""
        return self.key(value).__getitem__

    def key(self, value: Value) -> Entries:
        """What the columns of a row follow from, (n, k)."""
        if isinstance(value, Factor):
            raise DataError(
                f"`{self.name}` was numeric in the fit, but holds text or a factor in the new data"
            )
        return value.matrix if isinstance(value, Basis) else value[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class FactorPart:
    """A factor of a term with its coding: `matrix` has one row per level."""

    expr: Expr
    name: str
    levels: tuple[str, ...]
    matrix: Array
    suffixes: tuple[str, ...]

    def source(self, value: Value) -> Source:
        """Gives the columns of some rows, shape (rows, k); a missing value gives NaN."""
        matrix, codes = self.matrix, self.codes(value)
        return lambda rows: _gather(matrix, codes[rows])

    def key(self, value: Value) -> Entries:
        """What the columns of a row follow from, (n,)."""
        return self.codes(value)

    def codes(self, value: Value) -> NDArray[np.int32]:
        """Position of each row's value among the levels of the fit, -1 if missing."""
        factor = _as_factor(value)
        if len(factor.levels) == len(self.levels) and all(map(str.__eq__, factor.levels, self.levels)):
            return factor.codes
        position = np.append(label_index(self.levels, factor.levels), np.int32(-1))
        codes = position[factor.codes]
        unseen = (codes < 0) & (factor.codes >= 0)
        if unseen.any():
            new = sorted(set(factor.levels[factor.codes[unseen]]))
            raise DataError(
                f"`{self.name}` has {_count(len(new), 'level')} that the fit did not see: {_listed(new)} "
                f"(in {_count(int(unseen.sum()), 'row')}); known levels: {_listed(self.levels)}"
            )
        return codes


Part: TypeAlias = NumericPart | FactorPart


@dataclass(frozen=True, slots=True)
class Design:
    """Coded terms, ready for any rows.

    Attributes
    ----------
    intercept : bool
    terms : tuple of tuple of Part
    names : tuple of str
        R's names of the columns.
    assign : tuple of int
        Term of each column, 0 the intercept.
    term_labels : tuple of str
    """

    intercept: bool
    terms: tuple[tuple[Part, ...], ...]
    names: tuple[str, ...]
    assign: tuple[int, ...]
    term_labels: tuple[str, ...]

    @property
    def is_constant(self) -> bool:
        """Whether the only column is the intercept."""
        return self.intercept and not self.terms

    def matrix(self, value_of: Callable[[Expr], Value], n: int) -> Array:
        """The columns, shape (n, p)."""
        p = len(self.names)
        if n * p * 8.0 > _MAX_BYTES:
            raise PlanError(
                f"{p:,} columns for {n:,} rows would take {n * p * 8 / 1e9:.0f} GB: leave out interactions"
            )
        out = np.empty((n, p))
        constant: list[tuple[slice, Sequence[Source]]] = [(slice(0, int(self.intercept)), [_one])]
        terms = zip(self.places, self.terms, strict=True)
        own = [(where, [part.source(value_of(part.expr)) for part in parts]) for where, parts in terms]
        write(constant + own, out)
        return out

    @property
    def places(self) -> tuple[slice, ...]:
        """Where the columns of each term stand."""
        sizes = [math.prod(len(part.suffixes) for part in parts) for parts in self.terms]
        ends = np.cumsum([int(self.intercept), *sizes]).tolist()
        return tuple(map(slice, ends[:-1], ends[1:]))


def write(plan: Sequence[tuple[slice, Sequence[Source]]], out: Array) -> None:
    """The columns of terms to their places in a matrix of all rows, some rows at a time."""

    def part(first: int, stop: int) -> None:
        rows = slice(first, stop)
        for columns, sources in plan:
            out[rows, columns] = product([source(rows) for source in sources])

    in_parts(part, edges(len(out), _CHUNK))


def _one(rows: slice | Entries) -> Array:
    del rows
    return np.ones((1, 1))


def _gather(matrix: Array, codes: NDArray[np.int32]) -> Array:
    out = matrix[codes]
    if codes.size and codes.min() < 0:
        out[codes < 0] = np.nan
    return out


def product(blocks: Sequence[Array]) -> Array:
    """Row-wise products of columns, those of the first block fastest."""
    result = blocks[0]
    for block in blocks[1:]:
        both = block[:, :, None] * result[:, None, :]
        result = both.reshape(len(both), block.shape[1] * result.shape[1])  # there may be no rows
    return result


def _crossed(names: list[list[str]]) -> list[str]:
    result = names[0]
    for later in names[1:]:
        result = [f"{a}:{b}" for b in later for a in result]
    return result


def _as_factor(value: Value) -> Factor:
    if isinstance(value, Factor):
        return value
    from lmmformula.frame.functions import as_factor

    return as_factor(value)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(levels: Iterable[str], most: int = 12) -> str:
    shown = [repr(str(level)) for level in levels]
    return ", ".join(shown[:most]) + (f", ... ({len(shown):,} in all)" if len(shown) > most else "")


def make_design(
    part: LinearPart, value_of: Callable[[Expr], Value], contrasts: Mapping[str, Contrast] | None = None
) -> Design:
    """Code the terms of `part` by R's rule.

    A factor of a term is coded by contrasts if the term without it is in the model (an earlier term
    contains it, or nothing is left and there is an intercept); by one column per level otherwise.

    Parameters
    ----------
    part : LinearPart
    value_of : callable
        Value of a factor's expression on the rows of the fit.
    contrasts : mapping, optional
        Variable -> contrast, instead of treatment (polynomial if ordered).
    """
    full = _full_rank_places(part, value_of)
    columns: list[tuple[str, str]] = [("(Intercept)", "(Intercept)")] if part.intercept else []
    assign = [0] * len(columns)
    terms = []
    for j, term in enumerate(part.terms):
        parts = tuple(
            _coded(expr, value_of(expr), full=(j, i) in full, contrasts=contrasts or {})
            for i, expr in enumerate(term.factors)
        )
        new = zip(
            *(_crossed([own(coded) for coded in parts]) for own in (_names_in_r, _bracketed)), strict=True
        )
        columns += new
        assign += [j + 1] * (len(columns) - len(assign))
        terms.append(parts)
    labels = tuple(term.label for term in part.terms)
    return Design(part.intercept, tuple(terms), _distinct(columns), tuple(assign), labels)


def _names_in_r(part: Part) -> list[str]:
    """Names of a part's columns: ``fb`` for the level b of f."""
    return [part.name + suffix for suffix in part.suffixes]


def _bracketed(part: Part) -> list[str]:
    """Names that tell the variable from what follows: ``f[b]``."""
    return [f"{part.name}[{suffix}]" if suffix else part.name for suffix in part.suffixes]


def _distinct(columns: list[tuple[str, str]]) -> tuple[str, ...]:
    """R's names of the columns; where R would give one name to several, names with brackets, and a warning."""
    times = Counter(name for name, _ in columns)
    if len(times) == len(columns):
        return tuple(name for name, _ in columns)
    out, changed = [], []
    for name, clear in columns:
        chosen = clear if times[name] > 1 else name
        number = 2
        while chosen in out or (chosen != name and chosen in times):
            chosen, number = f"{clear} ({number})", number + 1
        if chosen != name:
            changed.append(f"{chosen!r} (R: {name!r})")
        out.append(chosen)
    warn(
        f"several columns would have the name {next(n for n, t in times.items() if t > 1)!r}, as the name of a variable and "
        f"that of a level run together; they are called {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}. Rename "
        "the variable to have R's names.",
        LmmformulaWarning,
    )
    return tuple(out)


def _full_rank_places(part: LinearPart, value_of: Callable[[Expr], Value]) -> set[tuple[int, int]]:
    """(term, factor) pairs that need one column per level."""
    full: set[tuple[int, int]] = set()
    earlier: list[frozenset[Expr]] = []
    spans_intercept = part.intercept
    for j, term in enumerate(part.terms):
        members = frozenset(term.factors)
        for i, expr in enumerate(term.factors):
            if not isinstance(value_of(expr), Factor):
                continue
            rest = members - {expr}
            # R counts an empty margin as present; without an intercept, the first factor of
            # the formula then gets one column per level.
            present = not rest or any(rest <= other for other in earlier)
            if not present or not spans_intercept:
                full.add((j, i))
                spans_intercept = True
        earlier.append(members)
    return full


def _refuse_wide(name: str, levels: int, n: int) -> None:
    """Stop before a coding or its columns fill the memory."""
    if levels * max(n, levels) * 8.0 > _MAX_BYTES:
        raise PlanError(
            f"`{name}` has {levels:,} levels: {levels:,} columns for {n:,} rows would take "
            f"{levels * n * 8 / 1e9:.0f} GB; so many levels suit a random effect, (1 | {name})"
        )


def _coded(expr: Expr, value: Value, *, full: bool, contrasts: Mapping[str, Contrast]) -> Part:
    name = deparse(expr)
    if isinstance(value, Basis):
        return NumericPart(expr, name if value.label is None else value.label, value.suffixes)
    if not isinstance(value, Factor):
        return NumericPart(expr, name, ("",))
    levels = tuple(value.levels)
    _refuse_wide(name, len(levels), len(value.codes))
    if full:
        return FactorPart(expr, name, levels, np.eye(len(levels)), levels)
    contrast = contrasts.get(name) or value.contrast
    if contrast is None:
        contrast = Contrast("poly" if value.kind == "ordered" else "treatment")
    matrix, suffixes = coding(contrast, levels, name)
    return FactorPart(expr, name, levels, matrix, suffixes)


def variables_of(terms: Iterable[Term]) -> list[Expr]:
    """Expressions of the terms, in order of first use."""
    seen: dict[Expr, object] = {}
    for term in terms:
        seen.update(dict.fromkeys(term.factors))
    return list(seen)
