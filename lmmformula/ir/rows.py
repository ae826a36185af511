r"""Rows of a model behind one protocol: the products, maps and sums that likelihoods need of them, wherever they are.

Everything above this room works with coefficients, levels and sums over rows. What has an entry for each row (a response, a
linear predictor, a working weight, a score) is a :data:`RowVector`: made by :class:`Rows`, handed back to it, and never looked
into. So rows may lie in one place of memory, as :class:`lmmformula.ir.memory_rows.MemoryRows` has them, in a file, or with many
workers; and a vector may be an array, a list of parts, or a recipe that is followed when a sum asks for it.

Five operations read rows:

* ``apply``: eta = X beta + Z b + offset;
* ``adjoint``: Z'r, and ``fixed.transposed``: X'r;
* ``gram``: [Z X v]'W[Z X v] in blocks;
* ``map`` and ``reduce``: a function of one row at a time, over :class:`Chunk` after chunk, kept as vectors or added up;
* ``chunks``: one :class:`Chunk` after another, for what has more than a number for each row.

A function that is mapped or reduced sees some of the rows, any number of them, and each row counts once. Partial results merge
by + in an order that the rows settle, not the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce as fold
from typing import Protocol, TypeAlias, TypeVar

from lmmformula.ir.blocks import Gram
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.levels import Levels
from lmmformula.ir.sums import Share, Sum, least_of, most_of, total_of
from lmmformula.numerics.tall import Columns
from lmmformula.typing import Array, Numbers

__all__ = [
    "Chunk",
    "Each",
    "RowVector",
    "Rows",
    "Stacked",
    "Units",
    "merged",
    "range_of",
    "total",
]

RowVector: TypeAlias = Array
"""One number for each row; opaque above this room."""

Stacked: TypeAlias = tuple[Array, ...]
"""One (m_a, k_a) array for each group, or (m_a, k_a, c)."""

T = TypeVar("T")
V = TypeVar("V", bound="Array | None")


def added(one: Numbers, other: Numbers) -> Numbers:
    """The sum of two results."""
    return one + other


class Chunk(Protocol):
    """Some of the rows, as a mapped function sees them."""

    @property
    def n(self) -> int: ...
    @property
    def y(self) -> Array: ...
    @property
    def weights(self) -> Array | None: ...
    @property
    def offset(self) -> Array | None: ...
    @property
    def fixed(self) -> Array:
        """X, (n, p)."""
        ...

    @property
    def aux(self) -> tuple[Array, ...]:
        """Columns of the auxiliary linear predictors, (n, p_j)."""
        ...

    @property
    def terms(self) -> tuple[GroupBlock, ...]: ...
    @property
    def aux_terms(self) -> tuple[tuple[GroupBlock, ...], ...]: ...


@dataclass(frozen=True, eq=False)
class Units:
    """Units in which rows are read, see :mod:`lmmformula.ir.standard`.

    Attributes
    ----------
    response : float
        c, of which y is the multiple.
    slope : float
        f, of which eta is the multiple.
    precision : float
        v, of which the weights are the multiple.
    columns : (p, p) array or None
        C; None for the identity.
    bases : tuple of (k, k) arrays
        T of each term.
    aux : tuple of (columns or None, shift) pairs
        For each auxiliary predictor its C, and what its coefficients move by because of c.
    """

    response: float
    slope: float
    precision: float
    columns: Array | None
    bases: tuple[Array, ...]
    aux: tuple[tuple[Array | None, Array], ...]


Mapped: TypeAlias = Callable[..., tuple[Array | float, ...]]
"""f(chunk, *values) -> a number for each row, or one for all rows, of each of several vectors."""


class Rows(Protocol):
    """Rows of a model."""

    @property
    def n(self) -> int: ...
    @property
    def at_hand(self) -> bool:
        """Whether a number for each row can be had as an array, see :meth:`whole`."""
        ...

    def told(self, passes: float) -> str:
        """Where they are and what so many passes over them cost, for the plan; empty if they are in memory."""
        ...

    @property
    def levels(self) -> Levels:
        """Groups and which of their levels meet, from which engines are prepared."""
        ...

    @property
    def y(self) -> RowVector: ...
    @property
    def weights(self) -> RowVector | None: ...
    @property
    def offset(self) -> RowVector | None: ...
    @property
    def fixed(self) -> Columns:
        """X."""
        ...

    @property
    def varying(self) -> int:
        """Columns of X with numbers of their own in each row, how many; others are held by the levels they are constant in."""
        ...

    @property
    def aux(self) -> tuple[Columns, ...]:
        """Columns of the auxiliary linear predictors."""
        ...

    def over(self, levels: Levels) -> Rows:
        """The same rows with what is known of their levels already."""
        ...

    def scaled(self, units: Units) -> Rows:
        """The same rows in other units: (y / c, weights / v, offset / f, XC, ZT), each as it is read."""
        ...

    def whole(self, values: V) -> V:
        """The numbers of a vector in one array, (n,): for results that have one for each row, in the order of the data.

        Raises
        ------
        PlanError
            If they are not :attr:`at_hand`.
        """
        ...

    def chunks(self) -> Iterator[Chunk]:
        """The rows in order, as many at a time as there are in one place."""
        ...

    def apply(self, beta: Array | None, effects: Sequence[Array], *, offset: bool = True) -> RowVector:
        """X beta + Z b [+ offset], for effects (m_a, k_a) of each group or of none; without X beta if `beta` is None."""
        ...

    def adjoint(self, r: RowVector) -> Stacked:
        """Z'r."""
        ...

    def gram(self, weights: RowVector | None, *, fixed: bool = False, more: Sequence[RowVector] = ()) -> Gram:
        """[Z V]'W[Z V], where V has the columns of X if `fixed`, and then those of `more`; W = I if `weights` is None."""
        ...

    def weighted_columns(self, weights: RowVector | None) -> tuple[Stacked, Array]:
        """Z'WX and X'WX."""
        ...

    def row_quadratic(self, own: Sequence[Array], pairs: dict[tuple[int, int], Array]) -> RowVector:
        """z_r'C z_r of each row, from blocks of C over effects, see :meth:`lmmformula.ir.blocks.Blocks.row_quadratic`."""
        ...

    def level_sums(self, a: int, r: RowVector) -> Array:
        """Sum of r over the rows of each level of a group whose rows have one each, (m_a,)."""
        ...

    def map(
        self, function: Mapped, *vectors: RowVector | float | None, coarse: bool = False
    ) -> tuple[RowVector, ...]:
        """The vectors that `function` makes of each chunk and of the values there; a number stays a number.

        `coarse` asks for chunks as large as there are: for a start, which may look at a mean over the chunk.
        """
        ...

    def reduce(
        self,
        function: Callable[..., T],
        *vectors: RowVector | float | None,
        merge: Callable[[T, T], T] = added,
        coarse: bool = False,
    ) -> T:
        """`function` of every chunk and the values there, merged in order by + or by `merge`; of a tuple element by element."""
        ...

    def together(self, *sums: Sum[Share]) -> tuple[Share, ...]:
        """Several sums, in one pass where rows are dear to read."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """An array of each chunk, ``of`` it: as often as it is gone through."""

    rows: Rows
    of: Callable[[Chunk], Array]

    def __iter__(self) -> Iterator[Array]:
        return map(self.of, self.rows.chunks())

    def reduce(self, function: Callable[[Array], T], merge: Callable[[T, T], T]) -> T:
        """What a function makes of each, merged where the rows are."""
        of = self.of
        return self.rows.reduce(lambda chunk: function(of(chunk)), merge=merge, coarse=True)


def merged(parts: Sequence[T], merge: Callable[[T, T], T]) -> T:
    """Results of chunks in their order, merged; of tuples element by element."""
    if isinstance(parts[0], tuple):
        return tuple(fold(merge, column) for column in zip(*parts, strict=True))  # type: ignore[return-value,arg-type]
    return fold(merge, parts)


def total(rows: Rows, values: RowVector) -> float:
    """Sum over rows."""
    return float(total_of(values).of(rows))


def range_of(rows: Rows, values: RowVector) -> tuple[float, float]:
    """Smallest and largest entry; nan if any is."""
    low, high = rows.together(least_of(values), most_of(values))
    return float(low), float(high)
