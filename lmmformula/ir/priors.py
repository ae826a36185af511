"""Priors of a mixed model as records; which they are by default says :mod:`lmmformula.ir.prior_defaults`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lmmformula.ir.prior_distributions import Flat, Stated
from lmmformula.ir.prior_shrinkage import Shrinkage
from lmmformula.ir.variance_parameters import TermParameters
from lmmformula.typing import Array

__all__ = ["AuxPriors", "Prior", "Priors", "SimplexPrior", "TermPriors"]


@dataclass(frozen=True, slots=True)
class Prior:
    """The prior of one parameter, or of the correlations of one term.

    Attributes
    ----------
    name : str
    distribution : Distribution or LKJ
        In the problem's units, in which it is evaluated.
    source : {"default", "user"}
    stated : Distribution, optional
        In the user's units, where those are others.
    """

    name: str
    distribution: Stated
    source: Literal["default", "user"]
    stated: Stated = None

    def in_units(self, c: float) -> Prior:
        """The prior of c times the parameter, with this one to be shown."""
        return (
            self
            if c == 1.0
            else replace(self, distribution=self.distribution.scaled(c), stated=self.distribution)
        )

    def __str__(self) -> str:
        return str(self.distribution if self.stated is None else self.stated)


@dataclass(frozen=True, slots=True)
class TermPriors:
    """Priors of one random-effects term.

    Attributes
    ----------
    parameters : TermParameters
    sds : tuple of Prior
    cor : Prior or None
    phis : tuple of Prior
        Of the natural values of the elements of phi.
    """

    parameters: TermParameters
    sds: tuple[Prior, ...]
    cor: Prior | None
    phis: tuple[Prior, ...] = ()


@dataclass(frozen=True, slots=True)
class SimplexPrior:
    """The prior of the simplex of a monotonic effect; that of its average step stands among the coefficients.

    Attributes
    ----------
    prior : Prior
        Of a :class:`Dirichlet`.
    columns : tuple of int
        Coefficients that are its steps.
    size : int
        D.
    """

    prior: Prior
    columns: tuple[int, ...]
    size: int

    @property
    def alpha(self) -> Array:
        """Concentrations."""
        return np.array(self.prior.distribution.alpha, dtype=float)


@dataclass(frozen=True, slots=True, eq=False)
class AuxPriors:
    """Priors of one auxiliary parameter of the family: of its value, or of the parts of its linear predictor.

    Attributes
    ----------
    name : str
    value : Prior or None
        Of the parameter itself, where it is one number; the rest is then empty.
    coefficients, contrast, terms
        As in :class:`Priors`.
    """

    name: str
    value: Prior | None
    coefficients: tuple[Prior, ...]
    contrast: Array = field(repr=False)
    terms: tuple[TermPriors, ...]

    @property
    def rows(self) -> tuple[Prior, ...]:
        """All priors."""
        return (self.value,) if self.value is not None else (*self.coefficients, *_of_terms(self.terms))


def _of_terms(terms: tuple[TermPriors, ...]) -> tuple[Prior, ...]:
    return tuple(prior for t in terms for prior in (*t.sds, *((t.cor,) if t.cor else ()), *t.phis))


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """The priors of every parameter of one problem. Printing gives a table.

    Attributes
    ----------
    coefficients : tuple of Prior
        In the order of the columns of X; a step of a monotonic effect has that of the average step.
    contrast : (p, p) array
        T: the priors are of ``T beta``. The identity, save that a centred intercept is ``beta_0 + mean(x)'beta``.
    terms : tuple of TermPriors
    sigma : Prior or None
        Of the residual standard deviation; None where the family has none, or a formula for it.
    aux : tuple of AuxPriors
        For each auxiliary parameter of the family, sigma included.
    simplexes : tuple of SimplexPrior
        Of monotonic effects.
    """

    coefficients: tuple[Prior, ...]
    contrast: Array = field(repr=False)
    terms: tuple[TermPriors, ...]
    sigma: Prior | None
    aux: tuple[AuxPriors, ...] = ()
    simplexes: tuple[SimplexPrior, ...] = ()

    @property
    def rows(self) -> tuple[Prior, ...]:
        """All priors, coefficients first."""
        further = (prior for aux in self.aux for prior in aux.rows)
        if not self.aux and self.sigma is not None:
            further = (self.sigma,)
        later = {column for own in self.simplexes for column in own.columns[1:]}
        coefficients = [prior for j, prior in enumerate(self.coefficients) if j not in later]
        return (*coefficients, *(own.prior for own in self.simplexes), *_of_terms(self.terms), *further)

    @property
    def stated(self) -> tuple[Prior, ...]:
        """Those that the user gave."""
        return tuple(prior for prior in self.rows if prior.source == "user")

    @property
    def shrunk(self) -> tuple[int, ...]:
        """Coefficients whose variances have a prior together."""
        return tuple(j for j, own in enumerate(self.coefficients) if isinstance(own.distribution, Shrinkage))

    @property
    def proper(self) -> bool:
        """Whether none is flat."""
        return not any(isinstance(prior.distribution, Flat) for prior in self.rows)

    def table(self) -> tuple[tuple[str, str, str], ...]:
        """(parameter, prior, source) of every row."""
        return tuple((r.name, str(r), r.source) for r in self.rows)

    def __str__(self) -> str:
        lines = [("parameter", "prior", "source"), *self.table()]
        wide = [max(len(line[i]) for line in lines) for i in range(3)]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines
        )
