r"""Elements of phi as readers know them: a range, a smoothness, a correlation, a share; what posteriors put priors on.

Each has a natural value v between two ends, from which the element of phi follows, the distribution that is its default prior,
and what a stated prior means for it. Lengths are relative to the positions: a default prior of a range has its median where
the correlation has fallen to about exp(-2) at half of the largest distance, so that it does not depend on their unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.prior_complexity import Complexity, PCCorrelation, PCRange, PCShare
from lmmformula.ir.prior_distributions import LKJ, Beta, LogNormal, Normal, Stated, Uniform, written
from lmmformula.ir.prior_text import Role

if TYPE_CHECKING:
    from lmmformula.ir.across.base import Across
    from lmmformula.typing import Array, Numbers

__all__ = ["Correlation", "Free", "Length", "Natural", "Portion", "Smoothness", "naturals_of"]


class Natural(ABC):
    """One element of phi.

    Attributes
    ----------
    role : str
        Which texts may state its prior.
    low, high : float
        Ends of its natural value.
    """

    role: ClassVar[Role]
    low: float
    high: float

    @property
    @abstractmethod
    def default(self) -> Stated:
        """The prior where none is stated."""

    @abstractmethod
    def inward(self, v: Numbers) -> Numbers:
        """The element of phi."""

    @abstractmethod
    def rate(self, v: Numbers) -> Numbers:
        """dphi / dv."""

    @property
    @abstractmethod
    def bulk(self) -> tuple[float, float]:
        """Ends within which a search for a mode begins."""

    def of(self, complexity: Complexity) -> Stated:
        """What ``pc(u, p)`` means."""
        raise PlanError(
            f"{written('pc', complexity.u, complexity.p)}: this parameter has no prior by complexity in closed form."
        )

    def prior(self, stated: Stated) -> Stated:
        """The prior that a text means; refused where it has no probability between the ends."""
        out = self.of(stated) if isinstance(stated, Complexity) else stated
        if isinstance(out, Uniform) and not self.low <= out.low < out.high <= self.high:
            raise PlanError(
                f"the prior {out} needs {self.low:g} <= low < high <= {self.high:g}, where the parameter lies."
            )
        return out


@dataclass(frozen=True)
class Length(Natural):
    """A range over distances: phi = log(v / unit).

    Attributes
    ----------
    unit : float
        The distance that phi is relative to.
    falls : float
        Ranges after which the correlation is about exp(-2).
    dimensions : int
        Of the positions.
    """

    unit: float
    falls: float
    dimensions: int
    role = "length"
    low, high = 0.0, np.inf

    @property
    def typical(self) -> float:
        """Median of the default prior."""
        return 0.5 * self.unit / self.falls

    @property
    def default(self) -> PCRange:
        return PCRange(float(f"{self.typical:.3g}"), 0.5, self.dimensions)

    def inward(self, v: Numbers) -> Numbers:
        return np.log(v / self.unit)

    def rate(self, v: Numbers) -> Numbers:
        return 1.0 / v

    @property
    def bulk(self) -> tuple[float, float]:
        return 0.02 * self.unit, 4.0 * self.unit

    def of(self, complexity: Complexity) -> PCRange:
        return PCRange(complexity.u, complexity.p, self.dimensions)


@dataclass(frozen=True)
class Smoothness(Natural):
    """nu of a Matern field, below `high`: phi = log(v / (1 - v / high))."""

    high: float
    role = "smoothness"
    low = 0.0

    @property
    def default(self) -> LogNormal:
        return LogNormal(0.0, 0.5)

    def inward(self, v: Numbers) -> Numbers:
        return np.log(v) - np.log1p(-v / self.high)

    def rate(self, v: Numbers) -> Numbers:
        return 1.0 / (v * (1.0 - v / self.high))

    @property
    def bulk(self) -> tuple[float, float]:
        return 0.3, 4.0


@dataclass(frozen=True)
class Correlation(Natural):
    """A correlation of neighbours: phi = atanh v."""

    role = "autocorrelation"
    low, high = -1.0, 1.0

    @property
    def default(self) -> LKJ:
        return LKJ(1.0)

    def inward(self, v: Numbers) -> Numbers:
        return np.arctanh(v)

    def rate(self, v: Numbers) -> Numbers:
        return 1.0 / (1.0 - v * v)

    @property
    def bulk(self) -> tuple[float, float]:
        return -0.95, 0.95

    def of(self, complexity: Complexity) -> PCCorrelation:
        if not complexity.u < 1.0:
            raise PlanError(f"pc({complexity.u:g}, p) of a correlation needs u below 1.")
        return PCCorrelation(complexity.u, complexity.p)


@dataclass(frozen=True, eq=False)
class Portion(Natural):
    """A share: v = sin^2 phi.

    Attributes
    ----------
    roots : (m,) array or None
        Those of :class:`lmmformula.ir.prior_complexity.PCShare`; None where no prior by complexity is known.
    """

    roots: Array | None = None
    role = "share"
    low, high = 0.0, 1.0

    @property
    def default(self) -> Stated:
        return Beta(1.0, 1.0) if self.roots is None else PCShare(0.5, 0.667, self.roots)

    def inward(self, v: Numbers) -> Numbers:
        return np.arcsin(np.sqrt(v))

    def rate(self, v: Numbers) -> Numbers:
        return 0.5 / np.sqrt(v * (1.0 - v))

    @property
    def bulk(self) -> tuple[float, float]:
        return 0.05, 0.95

    def of(self, complexity: Complexity) -> Stated:
        if self.roots is None:
            return super().of(complexity)
        if not complexity.u < 1.0:
            raise PlanError(f"pc({complexity.u:g}, p) of a share needs u below 1.")
        return PCShare(complexity.u, complexity.p, self.roots)


@dataclass(frozen=True)
class Free(Natural):
    """The free number itself, of a structure that says no more of it."""

    start: float
    role = "coefficient"
    low, high = -np.inf, np.inf

    @property
    def default(self) -> Normal:
        return Normal(self.start, 1.5)

    def inward(self, v: Numbers) -> Numbers:
        return v

    def rate(self, v: Numbers) -> Numbers:
        return 1.0 + 0.0 * v

    @property
    def bulk(self) -> tuple[float, float]:
        return self.start - 4.0, self.start + 4.0


def naturals_of(across: Across) -> tuple[Natural, ...]:
    """Elements of phi as the structure's ``naturals`` say, or free numbers where it has none."""
    own = getattr(across, "naturals", None)
    return tuple(map(Free, map(float, across.start()))) if own is None else own
