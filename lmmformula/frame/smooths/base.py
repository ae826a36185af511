r"""What a basis of smooth functions is asked.

A smooth is ``f(x) = sum_j beta_j b_j(x)`` with the penalty ``beta' S beta``, which measures how much f bends. Functions that
S does not see are its null space. :mod:`lmmformula.frame.smooths.mixed` turns the pair (b, S) into columns of a mixed model;
a basis knows nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lmmformula.typing import Array

__all__ = ["BASES", "BasisRecord", "RawBasis", "register_basis"]


class RawBasis(Protocol):
    """K functions of one variable or several, with what was learned from the rows of a fit.

    A frozen dataclass, so that a fit can keep it in a file.
    """

    @property
    def penalty(self) -> Array:
        """S, (K, K), symmetric and positive semidefinite."""
        ...

    @property
    def null_dim(self) -> int:
        """Dimension of the functions that S does not see."""
        ...

    def design(self, x: Array) -> Array:
        """The functions at points (n, d), (n, K); beyond the range of the fit too."""
        ...


@dataclass(frozen=True, slots=True)
class BasisRecord:
    """One basis of the formula language, ``s(x, bs = "name")``.

    Attributes
    ----------
    name : str
    description : str
        For readers of a summary or a report.
    learn : callable
        ``learn(x, k, m)``: the basis for points x (n, d), with k functions (None: its default) and orders m (none: its
        default).
    most_variables : int
        Of how many variables its functions may be.
    periodic : bool
        Whether values beyond the range of the fit are values within it.
    """

    name: str
    description: str
    learn: Callable[[Array, int | None, tuple[int, ...]], RawBasis]
    most_variables: int = 1
    periodic: bool = False


BASES: dict[str, BasisRecord] = {}
"""Name -> basis."""


def register_basis(record: BasisRecord) -> BasisRecord:
    """Enter a basis under its name; ``s(x, bs = "name")`` then works in formulas.

    A basis from outside of the package is let into files by :func:`lmmformula.extensions.enter`, given its class.
    """
    BASES[record.name] = record
    return record
