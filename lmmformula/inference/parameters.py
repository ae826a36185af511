"""The parameters of a fit by name, in lme4's order: what profiles, intervals and standard errors are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.errors import DataError
from lmmformula.inference.conditional import varying
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.residual import residual_parameters
from lmmformula.ir.structured import StructureParameter, structure_parameters

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = [
    "Parameter",
    "chosen",
    "has_deviations",
    "parameter_names",
    "parameters_of",
    "shown_structure",
    "structure_of",
]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes
    ----------
    name : str
    kind : {"sd", "cor", "phi", "residual", "sigma", "beta", "aux"}
    term : int
        Term, position of the coefficient, or position of the auxiliary predictor.
    columns : tuple of int
        Columns of the term: one for a standard deviation, two for a correlation; column of the auxiliary predictor; element of
        phi of a structure across levels; place among the parameters of a structure of residuals.
    """

    name: str
    kind: str
    term: int = -1
    columns: tuple[int, ...] = ()


def parameters_of(problem: Problem) -> list[Parameter]:
    """Each term's lower triangle column by column, structures' phi, sigma where there is one, beta, auxiliary coefficients.

    A structure of residuals has its parameters before sigma, which it replaces where it has a variance for each position or
    row.
    """
    out = [p for i, term in enumerate(problem.terms) for p in _of_term(i, term)]
    out += [Parameter(own.name, "phi", own.term, (own.element,)) for own in structure_parameters(problem)]
    own = residual_parameters(problem.residual)
    out += [Parameter(one.name, "residual", -1, (j,)) for j, one in enumerate(own)]
    if problem.is_linear and problem.family.estimates_sigma and not has_deviations(problem):
        out.append(Parameter("sigma", "sigma"))
    out += [Parameter(name, "beta", j) for j, name in enumerate(problem.X.names)]
    for j, (record, block) in enumerate(zip(problem.family.auxiliaries, problem.aux, strict=False)):
        alone = block.is_constant
        out += [
            Parameter(record.name if alone else f"{record.name}: {name}", "aux", j, (c,))
            for c, name in enumerate(block.names)
        ]
    return out


def has_deviations(problem: Problem) -> bool:
    """Whether a structure of residuals has the parameters that sigma would repeat."""
    return any(one.kind in ("sd", "coefficient") for one in residual_parameters(problem.residual))


def _of_term(i: int, term: GroupBlock) -> list[Parameter]:
    out, kind = [], term.covariance.within
    for j in range(term.k):
        if j < kind.n_sd:
            out.append(Parameter(f"sd_{varying(term)[j]}|{term.group}", "sd", i, (j,)))
        out += [
            Parameter(f"cor_{term.columns[r]}.{term.columns[c]}|{term.group}", "cor", i, (c, r))
            for c, r in kind.pairs
            if c == j
        ]
    return out


def structure_of(problem: Problem, parameter: Parameter) -> StructureParameter:
    """The element of phi that a parameter is."""
    return next(own for own in structure_parameters(problem) if own.name == parameter.name)


def shown_structure(problem: Problem, parameter: Parameter) -> Callable[[float], float] | None:
    """From the element of phi to the value that a reader knows; None for a parameter of another kind."""
    return structure_of(problem, parameter).natural if parameter.kind == "phi" else None


def parameter_names(fit: Fitted) -> tuple[str, ...]:
    """Names of :func:`parameters_of`."""
    return tuple(p.name for p in parameters_of(fit.problem))


def chosen(known: Sequence[Parameter], wanted: str | Iterable[str] | None) -> list[Parameter]:
    """The parameters asked for: "all" or None, "fixed" (the fixed effects), or names.

    Raises
    ------
    DataError
        For a name that is none of them.
    """
    by_name = {p.name: p for p in known}
    if wanted is None or (isinstance(wanted, str) and wanted == "all" and "all" not in by_name):
        return list(known)
    if isinstance(wanted, str) and wanted == "fixed" and "fixed" not in by_name:
        return [p for p in known if p.kind == "beta"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if unknown := [name for name in names if name not in by_name]:
        raise DataError(
            f"there is no parameter {unknown[0]!r}; use 'fixed', 'all', or some of {', '.join(by_name)}."
        )
    return [by_name[name] for name in names]
