"""What the engine asks of the operator I - K that is left of M, whichever way it came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Across, InverseBlocks, Stacked
from lmmformula.engines.elimination import Elimination
from lmmformula.engines.krylov.moments import Moments
from lmmformula.engines.krylov.stochastic import Probed
from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import Group
from lmmformula.typing import Array

__all__ = ["Complement", "Pattern", "ProbedInverse"]


class ProbedInverse(InverseBlocks, Protocol):
    """Estimates of blocks of M^-1 and of their sums over levels."""

    @property
    def traces(self) -> tuple[Array, ...]: ...
    @property
    def trace_errors(self) -> tuple[Array, ...]:
        """Standard errors of `traces`, element by element."""
        ...


class Pattern(Protocol):
    """Where nonzeros stand; depends on neither W nor theta."""

    @property
    def kind(self) -> str: ...
    @property
    def goes_to_devices(self) -> bool:
        """Whether products can be made elsewhere than on the processor."""
        ...

    @property
    def plan(self) -> Elimination: ...
    @property
    def q(self) -> int:
        """Effects that are iterated on."""
        ...

    @property
    def dense_groups(self) -> Sequence[Group]:
        """Their groups."""
        ...

    @property
    def parts(self) -> NDArray[np.int32]:
        """Connected part of the design that each of them lies in, (q,)."""
        ...

    def complement(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> Complement: ...


class Complement(Protocol):
    """I - K with the scaling C of its groups, and the way between it and the stacked effects.

    Attributes
    ----------
    deflates : bool
        Whether solutions of several columns are worth a basis of outlying eigenvectors first.
    """

    deflates: ClassVar[bool]

    @property
    def pattern(self) -> Pattern: ...
    @property
    def c_inverses(self) -> tuple[Array, ...]: ...
    @property
    def q(self) -> int: ...
    @property
    def logdet(self) -> float:
        """The part of log|M| that is exact beside the moments."""
        ...

    @property
    def has_single(self) -> bool:
        """Whether `apply` takes blocks of single precision, and answers in it."""
        ...

    def apply(self, x: Array) -> Array:
        """(I - K) x for a block (q, c)."""
        ...

    def reduced(self, rhs: Stacked) -> tuple[Array, Array]:
        """What is eliminated, and the right-hand side of I - K, (q, c)."""
        ...

    def stacked(self, a: Array, x: Array) -> Stacked:
        """Back from what `reduced` gave and the solution x of I - K."""
        ...

    def moments(self, wanted: bool, on_patterns: bool = False) -> Moments:
        """Exact sums over the nonzeros of K, as far as they are wanted; `on_patterns` if more than sums will be asked for."""
        ...

    def correction(self, v: Array) -> Array:
        """What is added to the quadratic form of each column of `v` beside its quadrature, (c,)."""
        ...

    def inverse(self, moments: Moments, found: Probed | None) -> ProbedInverse:
        """Blocks of M^-1 from solutions for outliers and probes; None where nothing is iterated on."""
        ...
