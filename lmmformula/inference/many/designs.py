"""A fit moved to another design or another truth: what simulations draw from, and the base of their refits."""

from __future__ import annotations

from dataclasses import replace

from lmmformula.inference.fitted import FittedT
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard_responses import standard_of
from lmmformula.typing import Argument, Array

__all__ = ["on_design", "truth"]


def truth(fit: FittedT, problem: Problem, beta: Array) -> FittedT:
    """What draws come from: the fit's variances, other fixed effects, the rows of `problem`."""
    return replace(fit, problem=problem, estimate=replace(fit.estimate, beta=beta), point=None, twin=None)


def on_design(fit: FittedT, problem: Problem, y: Array, **backend: Argument) -> FittedT:
    """The fit of response `y` on the rows of `problem`, by the backend of `fit` with other options."""
    problem = replace(problem, y=y)
    standard = standard_of(problem)
    recipe = fit.backend.afresh()
    recipe = replace(recipe, **backend) if backend else recipe
    found = recipe.fit(standard.problem)
    return replace(
        fit,
        problem=problem,
        estimate=standard.outward(found.estimate),
        backend=recipe,
        point=found.point,
        posterior=found.posterior,
        twin=standard,
    )
