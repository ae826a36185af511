"""Plans of likelihoods penalised by priors."""

from __future__ import annotations

from dataclasses import fields, replace

from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.penalised import PenalisedBackend
from lmmformula.criteria.penalty import Penalty
from lmmformula.errors import PlanError
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.prior_distributions import Flat, Point
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem
from lmmformula.ir.stacked import has_several
from lmmformula.methods.likelihood import likelihood_plan
from lmmformula.methods.options import Searched
from lmmformula.methods.record import Request
from lmmformula.planner.record import Planned

__all__ = ["penalised_plan"]


def penalised_plan(request: Request[Searched]) -> Planned:
    """The plan of a fit that maximises a likelihood times the density of priors.

    Raises
    ------
    PlanError
        For a model that has no such fit, or priors that cannot be read or have no density.
    """
    problem = request.original
    assert problem is not None
    _refuse(problem)
    priors = resolve_priors(problem, request.priors, flat=True)
    _check(priors)
    exact = "exact" if problem.family.is_linear else "by Laplace's approximation"
    names = ", ".join(prior.name for prior in priors.stated)
    reason = f"method: maximum likelihood, {exact}, penalised by priors of {names}"
    planned = likelihood_plan(request, "laplace", reason, request.options.engine, gives_way=False)
    own = planned.backend
    assert isinstance(own, LaplaceBackend)
    given = {field.name: getattr(own, field.name) for field in fields(LaplaceBackend)}
    if own.nagq == 0:
        raise PlanError(
            "nagq=0 finds the fixed effects together with the modes, and priors of these are not part of that: use nagq=1."
        )
    backend = PenalisedBackend(**given, penalty=Penalty.of(priors, request.standard))
    return replace(planned, backend=backend)


def _refuse(problem: Problem) -> None:
    """Models whose parameters are not all among those of one criterion."""
    several = has_several(problem) or any(problem.aux_terms)
    for is_so, what in (
        (bool(problem.responses), "of several responses"),
        (problem.is_linear, "whose residual variance is profiled"),
        (several, "with random effects in another parameter than the mean"),
        (problem.residual is not None, "with structured residuals"),
        (problem.monotonic is not None, "with monotonic effects"),
        (problem.family.known, "whose residual variances are known"),
    ):
        if is_so:
            raise PlanError(
                f"priors penalise likelihoods of models with one linear predictor, and this is one {what}: leave the priors "
                "out, or use method='hmc' where it takes such a model."
            )


def _check(priors: Priors) -> None:
    """Refuse what is no density of one of the parameters that are estimated."""
    if not priors.stated:
        raise PlanError(
            "priors is empty: leave it out, or state a prior, for example {'sd': 'gamma(2.5, 0.01)'}."
        )
    structures = [prior for term in priors.terms for prior in term.phis]
    for prior in priors.stated:
        if isinstance(prior.distribution, Point):
            raise PlanError(
                f"priors[{prior.name!r}] = '{prior}' holds a parameter, which maximum likelihood does not: use method='hmc'."
            )
        if prior in structures and not isinstance(prior.distribution, Flat):
            raise PlanError(
                f"priors[{prior.name!r}]: parameters of structures across levels have priors with method='hmc' alone; leave it "
                "out here."
            )
