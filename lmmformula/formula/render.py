"""Specifications back to text, every shorthand written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from itertools import pairwise

from lmmformula.formula.deparse import deparse
from lmmformula.formula.literals import quote_name
from lmmformula.formula.spec import (
    Expr,
    LinearPart,
    ModelSpec,
    Name,
    RandomTerm,
    ResidualTerm,
    Response,
    String,
)

__all__ = ["deparse", "fixed_terms", "render", "render_group"]


def render(formula: Expr | ModelSpec) -> str:
    """Write an expression or a whole specification as formula text.

    Parameters
    ----------
    formula : Expr or ModelSpec
        An expression is written as R would (but for digits); a specification in canonical form: intercept, terms by
        degree, offsets, then random terms, with every shorthand (``*``, ``/``, ``||``) written out.

    Returns
    -------
    str
        Text that reads back as an equal object, with as many digits of numbers as that takes, for example
        ``y ~ 1 + x + (1 + x | g)``.
    """
    if not isinstance(formula, ModelSpec):
        return _exact(formula)
    if formula.responses:
        said = [] if formula.rescor is None else [f"set_rescor({str(formula.rescor).upper()})"]
        each = [_bf(own) if _has_more(own) else f"bf({_bf(own)})" for own in formula.responses]
        return " + ".join([*each, *said])
    return _bf(formula)


def _has_more(formula: ModelSpec) -> bool:
    return bool(formula.distributional or formula.family)


def _bf(formula: ModelSpec) -> str:
    """The formula of one response, within ``bf()`` where it says more than the mean."""
    main = _formula(formula)
    if not _has_more(formula):
        return main
    others = [f"{quote_name(name)} {_formula(other)}" for name, other in formula.distributional]
    family = [f"family = {_exact(String(formula.family))}"] if formula.family else []
    return f"bf({', '.join([main, *others, *family])})"


def _exact(expr: Expr) -> str:
    return deparse(expr, exact=True)


def _relabelled(label: str, factors: Sequence[Expr]) -> str:
    """`label`, in which the factors stand in order as R writes them, with their numbers in full."""
    done, rest = "", label
    for factor in factors:
        before, found, rest = rest.partition(deparse(factor))
        done += before + (_exact(factor) if found else "")
    return done + rest


def _formula(spec: ModelSpec) -> str:
    left = "" if spec.response is None else _response(spec.response) + " "
    fixed = spec.fixed
    if (
        spec.response is not None and spec.response.rate is not None
    ):  # the logarithm of which is its last offset
        fixed = replace(fixed, offsets=fixed.offsets[:-1])
    more = [_random(term) for term in spec.random]
    if spec.residual is not None:
        more.append(_residual(spec.residual))
    return f"{left}~ {_linear(fixed, more)}"


def _response(response: Response) -> str:
    besides = ", sigma = TRUE" if response.besides else ""
    additions = [
        f"{name}({_exact(value)}{more})"
        for name, value, more in (
            ("weights", response.weights if response.errors is None else None, ""),
            ("trials", response.trials, ""),
            ("se", response.errors, besides),
            ("rate", response.rate, ""),
            ("subset", response.chosen, ""),
        )
        if value is not None
    ]
    if response.imputed:
        additions.append("mi()")
    if response.censored is not None:
        until = "" if response.until is None else f", {_exact(response.until)}"
        additions.append(f"cens({_exact(response.censored)}{until})")
    bounds = [
        f"{name} = {_exact(v)}"
        for name, v in (("lb", response.least), ("ub", response.most))
        if v is not None
    ]
    if bounds:
        additions.append(f"trunc({', '.join(bounds)})")
    label = _relabelled(response.label, response.parts)
    return f"{label} | {' + '.join(additions)}" if additions else label


def _linear(part: LinearPart, more: list[str]) -> str:
    """Intercept, terms, offsets and whatever else is added."""
    declared, terms, withdrawn = _terms(part)
    offsets = [f"offset({_exact(value)})" for value in part.offsets]
    added = " + ".join(["1" if part.intercept else "0", *declared, *terms, *offsets, *more])
    return added + "".join(f" - {label}" for label in withdrawn)


def fixed_terms(part: LinearPart) -> list[str]:
    """Terms and offsets by their labels, the intercept left out; the order of factors may change when they are read again."""
    labels = [":".join(map(_exact, term.factors)) for term in part.terms]
    return [*labels, *(f"offset({_exact(value)})" for value in part.offsets)]


def _terms(part: LinearPart) -> tuple[list[str], list[str], list[str]]:
    """Terms, with a term before them and one subtracted after them where the order needs it.

    Factors within a term stand in the order in which the whole formula first mentions them, which
    the terms alone need not show (``a:b + b + a``). The product of all factors, added first and
    taken away last, states that order without changing the model.
    """
    met: dict[Expr, int] = {}
    for term in part.terms:
        for factor in term.factors:
            met.setdefault(factor, len(met))
    labels = [":".join(map(_exact, term.factors)) for term in part.terms]
    if all(met[a] < met[b] for term in part.terms for a, b in pairwise(term.factors)):
        return [], labels, []
    order: TopologicalSorter[Expr] = TopologicalSorter()
    for term in part.terms:
        for before, after in pairwise(term.factors):
            order.add(after, before)
    everything = ":".join(map(_exact, order.static_order()))
    if everything in labels:
        return [everything], [label for label in labels if label != everything], []
    return [everything], labels, [everything]


def _random(term: RandomTerm) -> str:
    if not (term.group or term.members):
        return term.group_label
    bar = "|" if term.correlation_id is None else f"|{quote_name(term.correlation_id)}|"
    wrapper = "" if term.covariance == "us" else term.covariance
    left = _linear(term.design, [])
    if term.along and not term.design.terms:
        places = ", ".join(map(_exact, term.along))
        left = (
            f"0 + {places}"
            if len(term.along) == 1 and isinstance(term.along[0], Name)
            else f"0 + pos({places})"
        )
    options = "".join(f", {name} = {_exact(value)}" for name, value in term.options)
    return f"{wrapper}({left} {bar} {render_group(term)}{options})"


def _residual(term: ResidualTerm) -> str:
    given = [_exact(expr) for expr in (*((term.cov,) if term.cov is not None else ()), *term.along)]
    if term.group is not None:
        given.append(f"gr = {_exact(term.group)}")
    if term.nugget:
        given.append("nugget = TRUE")
    return f"{term.kind}({', '.join(given)})"


def render_group(term: RandomTerm) -> str:
    """What stands right of the bar."""
    label = _relabelled(term.group_label, term.members or term.group)
    if term.members:
        weights = "" if term.member_weights is None else f", weights = {_exact(term.member_weights)}"
        scale = "" if term.member_scale else ", scale = FALSE"
        return f"{label[:-1]}{weights}{scale})"
    options = {"by": term.by, "cov": term.cov, "prec": term.prec}
    given = "".join(f", {name} = {_exact(value)}" for name, value in options.items() if value is not None)
    return f"gr({label}{given})" if given else label
