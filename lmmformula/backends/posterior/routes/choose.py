"""What of a posterior is integrated out, and by which way it is then sampled.

================== ============================================= =======================================================
marginalize        normal or lognormal response                  other families
================== ============================================= =======================================================
``"auto"``         as ``"all"``                                  as ``"none"``; as ``"laplace"`` where levels are coupled, and
                                                                 where errors are known, which makes it exact
``"all"``          all random and fixed effects, exactly         refused
``"none"``         nothing                                       nothing
``["subj", ...]``  random effects of these groups, fixed effects refused
``"laplace"``      refused                                       all random effects, by Laplace's approximation
================== ============================================= =======================================================

Monotonic effects have ``"auto"`` and ``"none"``, which are the same then, and ``"laplace"`` for other families.
A sigma with a formula of its own keeps ``"all"``, ``"none"`` and lists: its own coefficients and random effects are sampled.
So are random effects of any auxiliary parameter of another family, which ``"laplace"`` therefore refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from lmmformula.backends.optimum import refuse_random_aux
from lmmformula.backends.posterior.routes.base import Route
from lmmformula.backends.posterior.routes.exact import Exact
from lmmformula.backends.posterior.routes.laplace import Approximate
from lmmformula.backends.posterior.routes.none import Nothing
from lmmformula.backends.posterior.routes.partial import Partial
from lmmformula.criteria.marginal import has_formula, is_normal
from lmmformula.errors import PlanError
from lmmformula.ir.problem import Problem

__all__ = ["CHOICES", "Marginalize", "choose_route"]

Marginalize: TypeAlias = "str | Sequence[str]"
CHOICES = ("auto", "all", "none", "laplace")


def choose_route(problem: Problem, marginalize: Marginalize = "auto", *, correct: bool = False) -> Route:
    """The way for `problem`; with `correct` one by Laplace's approximation, whose draws are weighted to the exact posterior.

    Raises
    ------
    PlanError
        For a choice that does not exist or does not suit the family; the message says which do.
    """
    groups = tuple(dict.fromkeys(t.group for t in problem.terms))
    named = _named(marginalize, groups)
    if problem.monotonic is not None and (named is not None or marginalize == "all"):
        raise PlanError(
            f"marginalize={marginalize!r} integrates fixed effects out, and those of monotonic effects are products of an "
            "average step and a simplex, which are not normal: leave it out, or use marginalize='none'."
        )
    if not problem.terms:
        route: Route = Nothing((), "none", "the model has no random effects")
    elif is_normal(problem):
        route = _normal(problem, marginalize, groups, named)
    else:
        route = _other_family(problem, marginalize, groups)
    if correct:
        route = _corrected(route)
    _check_levels(problem, route)
    if (
        problem.terms
        and problem.family.repeated
        and (has_formula(problem) or (route.groups and not route.is_few))
    ):
        raise PlanError(
            "y | weights(w) repeats rows, which a posterior of some integrated effects, or with a formula for sigma, does "
            "not count: use marginalize='all' with one sigma, or write the rows out w times."
        )
    return route


def _corrected(route: Route) -> Route:
    """The same way with weights."""
    if isinstance(route, Approximate):
        return replace(route, correct=True)
    raise PlanError(
        f"correct=True weights draws by Laplace's approximation to the exact posterior, and here nothing is approximated: "
        f"{route.reason}. Leave it out, or write marginalize='laplace' for a response that is not normal."
    )


def _check_levels(problem: Problem, route: Route) -> None:
    """Levels that depend on each other, and rows of several levels, are for routes that leave them to the engine."""
    if not (route.is_few and route.label == "all"):
        problem.refuse_elsewhere(f"method='hmc' with marginalize={route.label!r}")
    problem.refuse_unfree("method='hmc'", "Use method='ml', 'reml' or 'laplace'.")
    if not route.is_few:
        problem.refuse_coupled(
            f"method='hmc' with marginalize={route.label!r}, which samples effects,",
            "Use marginalize='all' for a normal response with one sigma, 'laplace' for other families.",
        )


def _normal(
    problem: Problem, marginalize: Marginalize, groups: tuple[str, ...], named: tuple[str, ...] | None
) -> Route:
    if marginalize == "laplace":
        raise PlanError(
            f"marginalize='laplace' approximates what can be done exactly for {problem.family}; leave it out, or write "
            "marginalize='all'."
        )
    if marginalize == "none":
        return Nothing((), "none", "nothing is integrated out, as asked")
    if problem.monotonic is not None:
        why = "steps of monotonic effects are products of average steps and simplexes, which are not normal"
        return Nothing((), "none", why)
    if named is not None and set(named) != set(groups):
        why = "the random effects of these groups and the fixed effects are normal given the rest"
        return Partial(named, ", ".join(named), why)
    if has_formula(problem):
        why = "given sigma of each row, all effects of the mean are normal; sigma's own are sampled"
        return Partial(groups, "all", why)
    return Exact(groups, "all", "given the variances, all random and fixed effects are normal")


def _other_family(problem: Problem, marginalize: Marginalize, groups: tuple[str, ...]) -> Route:
    coupled = [t for t in problem.terms if not t.is_blockwise]
    if marginalize == "auto" and coupled and problem.monotonic is None and not any(problem.aux_terms):
        label = coupled[0].label or coupled[0].group
        why = f"by Laplace's approximation, as levels or rows of ({label}) depend on each other, which sampling does not take"
        return Approximate(groups, "laplace", why)
    plain = problem.monotonic is None and not any(problem.aux_terms)
    if marginalize == "auto" and plain and problem.family.distribution.quadratic:
        why = "by Laplace's approximation, which is exact: given the variances, all random effects are normal"
        return Approximate(groups, "laplace", why)
    if marginalize in ("auto", "none"):
        why = f"the effects of a {problem.family.name} model are not normal given the variances"
        return Nothing((), "none", why)
    if marginalize == "laplace":
        refuse_random_aux(problem, "marginalize='laplace'", "Use marginalize='none'")
        why = "random effects are integrated out by Laplace's approximation, as asked"
        return Approximate(groups, "laplace", why)
    raise PlanError(
        f"marginalize={marginalize!r}: random effects integrate out exactly for gaussian (identity link) and lognormal "
        f"responses, not for {problem.family}. Use 'none' (sample them) or 'laplace' (integrate them out approximately)."
    )


def _named(marginalize: Marginalize, groups: tuple[str, ...]) -> tuple[str, ...] | None:
    """The groups of a list, checked; None for a word."""
    if isinstance(marginalize, str):
        if marginalize not in CHOICES:
            hint = f" For one group write [{marginalize!r}]." if marginalize in groups else ""
            raise PlanError(
                f"marginalize={marginalize!r} is unknown; use {', '.join(map(repr, CHOICES))}, or a list of grouping "
                f"factors ({', '.join(groups) or 'this model has none'}).{hint}"
            )
        return None
    named = tuple(marginalize)
    if unknown := [g for g in named if g not in groups]:
        raise PlanError(
            f"marginalize names {unknown[0]!r}, which is no grouping factor of this model; it has: {', '.join(groups)}."
        )
    if not named:
        raise PlanError("marginalize=[] names no group; write marginalize='none' to integrate nothing out.")
    return named
