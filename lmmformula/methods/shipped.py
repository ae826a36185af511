"""The methods that come with the package. Their plans are imported when first made, as help and checks need none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmmformula.methods.options import Approximated, Quasi, Sampled, Searched
from lmmformula.methods.record import Method, Request, register_method

if TYPE_CHECKING:
    from lmmformula.ir.problem import Problem
    from lmmformula.ir.standard import Standard
    from lmmformula.planner.record import Planned

__all__ = ["Likelihood", "Posterior", "QuasiLikelihood"]


@dataclass(frozen=True, slots=True)
class Likelihood(Method[Searched]):
    """A method that maximises a likelihood.

    A linear model is one with a Gaussian response and one residual variance: its likelihood is exact.

    Attributes
    ----------
    linear, other : (str, str)
        For a linear model and for any other: its criterion, of :data:`lmmformula.methods.likelihood.CRITERIA`, and why it is
        that; empty where the method does not suit.
    gives_way : bool
        Whether quasi-likelihood may take the place of a likelihood that would take too long.
    by_rows : bool
        Whether several Gaussian responses are fitted as those of any families are.
    """

    linear: tuple[str, str] = ("", "")
    other: tuple[str, str] = ("", "")
    gives_way: bool = False
    by_rows: bool = False

    def arranged(self, problem: Problem) -> Problem:
        """With the random effects of all linear predictors among the terms."""
        own = Method.arranged(self, problem)
        if self.by_rows and own.responses:
            from lmmformula.ir.stacking import unstacked_sigma

            own = unstacked_sigma(own)
        if not any(own.aux_terms):
            return own
        from lmmformula.ir.stacked import in_one

        return in_one(own)

    def with_priors(self, problem: Problem, priors: object) -> Problem:
        """With a sigma that is a parameter, where priors penalise: it has one itself, and is not profiled."""
        if priors is None or not self.penalises:
            return problem
        from lmmformula.backends.penalised import with_own_sigma

        return with_own_sigma(problem)

    def unsuited(self, problem: Problem) -> str:
        """Where it has no criterion."""
        if (self.linear if problem.is_linear else self.other)[0]:
            return ""
        from lmmformula.families.seen import Seen

        own = problem.family.distribution
        if own.quadratic:
            return (
                f"{self.name.upper()} takes known standard errors alone, y | se(s), and this model has more: use method='ml', "
                "whose likelihood is exact for responses that are all seen. A residual variance besides is for REML that of a "
                "random effect of each row: y | se(s) ~ ... + (1 | row), with a column `row` that numbers the rows."
            )
        if isinstance(own, Seen):
            return (
                f"{self.name.upper()} is of Gaussian responses that are all seen, and of y | {own.words} only part is: use "
                "method='laplace' or 'ml'."
            )
        return (
            f"{self.name.upper()} is defined for Gaussian responses with identity link; for {problem.family} use "
            "method='laplace'."
        )

    def plan(self, request: Request[Searched]) -> Planned:
        """By the engine that the size allows."""
        from lmmformula.methods.likelihood import likelihood_plan

        criterion, reason = self.linear if request.problem.is_linear else self.other
        engine = request.options.engine
        if request.priors is not None and self.penalises:
            from lmmformula.methods.penalised import penalised_plan

            return penalised_plan(request)
        if request.problem.residual is not None:
            from lmmformula.methods.structured import structured_plan

            return structured_plan(request, criterion, reason, engine)
        if len(self.engines) == 1:
            engine = self.engines[0]
        return likelihood_plan(request, criterion, reason, engine, gives_way=self.gives_way)


@dataclass(frozen=True, slots=True)
class QuasiLikelihood(Method[Quasi]):
    """Quasi-likelihood by backfitting."""

    def plan(self, request: Request[Quasi]) -> Planned:
        """With the traces that the size allows."""
        from lmmformula.methods.quasi import quasi_plan

        reason = (
            "method: penalised quasi-likelihood by backfitting, as asked; it has no likelihood to compare"
        )
        return quasi_plan(request, reason)


@dataclass(frozen=True, slots=True)
class Posterior(Method[Sampled]):
    """A posterior."""

    def arranged(self, problem: Problem) -> Problem:
        """With known standard errors in the density of each row: no sigma is sampled."""
        own = Method.arranged(self, problem)
        if not own.family.known or own.residual is not None:
            return own
        from lmmformula.families.known_errors import known_errors

        return replace(own, family=known_errors(own.family, besides=False))

    def unsuited(self, problem: Problem) -> str:
        """Where effects of several linear predictors are correlated, which its densities do not have."""
        from lmmformula.ir.shared import shared_across

        if not (name := shared_across(problem)):
            return ""
        return (
            f"|{name}| correlates effects of several linear predictors, and method='hmc' takes effects of different "
            f"predictors as independent: use method='laplace', or leave |{name}| out of one of them."
        )

    def standard(self, problem: Problem) -> Standard:
        """Columns alone: priors are in the units of the response."""
        from lmmformula.ir.standard import Standard

        return Standard.of_columns(problem)

    def plan(self, request: Request[Sampled]) -> Planned:
        """By chains, or as asked."""
        from lmmformula.methods.posterior import posterior_plan

        return posterior_plan(request, self.name)


_NOT_GAUSSIAN = (
    "laplace",
    "method: Laplace approximation, maximum likelihood for a response that is not Gaussian",
)

for _method in (
    Likelihood(
        "auto",
        "what suits the model",
        "REML for a Gaussian response, Laplace's approximation otherwise, by the engine that the size allows; corrected "
        "quasi-likelihood where both engines would take too long",
        Approximated,
        linear=(
            "reml",
            "method: REML, the usual choice for a Gaussian response (use 'ml' to compare fixed effects)",
        ),
        other=_NOT_GAUSSIAN,
        penalises=True,
        gives_way=True,
        structured=True,
        monotonic=True,
    ),
    Likelihood(
        "reml",
        "REML",
        "restricted maximum likelihood; Gaussian response with identity link",
        Searched,
        linear=("reml", "method: REML, as asked"),
        structured=True,
        restricted=True,
        monotonic=True,
    ),
    Likelihood(
        "ml",
        "maximum likelihood",
        "maximum likelihood: exact for a Gaussian response, else Laplace's approximation",
        Approximated,
        linear=("ml", "method: ML, as asked"),
        other=_NOT_GAUSSIAN,
        penalises=True,
        structured=True,
        monotonic=True,
    ),
    Likelihood(
        "laplace",
        "Laplace approximation",
        "Laplace's approximation, or adaptive quadrature with nagq nodes",
        Approximated,
        linear=("ml", "method: ML, which Laplace's approximation equals for a Gaussian response"),
        other=("laplace", "method: Laplace approximation, as asked"),
        penalises=True,
        structured=True,
        monotonic=True,
        by_rows=True,
    ),
    QuasiLikelihood(
        "pql",
        "penalised quasi-likelihood (PQL)",
        "penalised quasi-likelihood by backfitting: O(rows), no likelihood",
        Quasi,
        against_cells="method='pql' estimates a dispersion from rows",
    ),
    Likelihood(
        "krylov",
        "maximum likelihood by Krylov iterations",
        "ML or Laplace's approximation by iterations; the likelihood has a standard error",
        Approximated,
        ("krylov",),
        linear=("ml", "method: maximum likelihood by iterative linear algebra, as asked"),
        other=("laplace", "method: Laplace approximation by iterative linear algebra, as asked"),
    ),
    Posterior(
        "hmc",
        "posterior by Hamiltonian Monte Carlo",
        "posterior by NUTS or importance sampling",
        Sampled,
        ("blocked",),
        has_priors=True,
        monotonic=True,
        against_cells="method='hmc' takes rows as they are",
    ),
):
    register_method(_method)
