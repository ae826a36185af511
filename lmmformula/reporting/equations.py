"""The equations of a model as records: what stands in which predictor, which random effects there are.

Plain text is written from them by :mod:`lmmformula.reporting.model_text.mathematics`, HTML by
:mod:`lmmformula.reporting.html_report.mathematics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.ir.variance_parameters import TermParameters, named_terms

if TYPE_CHECKING:
    from lmmformula.families.auxiliary import Auxiliary
    from lmmformula.ir.design import FixedBlock, GroupBlock
    from lmmformula.ir.problem import Problem

__all__ = ["Effects", "Equations", "Predictor", "Summand", "equations_of"]

INTERCEPT = "(Intercept)"


@dataclass(frozen=True, slots=True)
class Summand:
    """A coefficient times its column.

    Attributes
    ----------
    number : int
        Of the coefficient among those of its predictor, or of the effect among those of its grouping factor there.
    column : str
    """

    number: int
    column: str

    @property
    def is_constant(self) -> bool:
        """Whether the column is one everywhere, and need not be written."""
        return self.column == INTERCEPT


@dataclass(frozen=True, slots=True)
class Effects:
    """The random effects of one term.

    Attributes
    ----------
    term : GroupBlock
    parameters : TermParameters
    summands : tuple of Summand
    of : str
        The auxiliary parameter in whose predictor they stand; "" for the mean.
    """

    term: GroupBlock
    parameters: TermParameters
    summands: tuple[Summand, ...]
    of: str = ""


@dataclass(frozen=True, slots=True)
class Predictor:
    """A linear predictor.

    Attributes
    ----------
    fixed : tuple of Summand
    random : tuple of Effects
    of : str
        The auxiliary parameter that it is of; "" for the mean.
    has_offset : bool
    """

    fixed: tuple[Summand, ...]
    random: tuple[Effects, ...]
    of: str = ""
    has_offset: bool = False


@dataclass(frozen=True, slots=True)
class Equations:
    """All of a model's.

    Attributes
    ----------
    mean : Predictor
    auxiliaries : tuple of (Auxiliary, Predictor)
        Those with columns or random effects of their own.
    are_weighted : bool
        Whether rows have precisions.
    """

    mean: Predictor
    auxiliaries: tuple[tuple[Auxiliary, Predictor], ...]
    are_weighted: bool

    @property
    def effects(self) -> tuple[Effects, ...]:
        """The random effects of all predictors."""
        return (*self.mean.random, *(one for _, own in self.auxiliaries for one in own.random))


def equations_of(problem: Problem) -> Equations:
    """The equations of `problem`."""
    data, auxiliaries = problem.data, []
    for j, (own, block) in enumerate(zip(problem.family.auxiliaries, problem.aux, strict=False)):
        terms = problem.aux_terms[j] if problem.aux_terms else ()
        if terms or not block.is_constant:
            auxiliaries.append((own, _predictor(block, terms, own.name, has_offset=False)))
    return Equations(
        _predictor(problem.X, problem.terms, "", has_offset=data.offset is not None),
        tuple(auxiliaries),
        data.weights is not None and not problem.family.repeated,
    )


def _predictor(block: FixedBlock, terms: Sequence[GroupBlock], of: str, *, has_offset: bool) -> Predictor:
    fixed = tuple(Summand(j, name) for j, name in enumerate(block.names))
    numbered: dict[str, int] = {}
    random = []
    for term, parameters in zip(terms, named_terms(terms, f"{of}:" if of else ""), strict=True):
        first = numbered.get(term.group, 0)
        numbered[term.group] = first + term.k
        own = tuple(Summand(first + j, name) for j, name in enumerate(term.columns))
        random.append(Effects(term, parameters, own, of))
    return Predictor(fixed, tuple(random), of, has_offset)
