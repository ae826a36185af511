"""The model as an equation in plain HTML: linear predictor, distribution of the response, distribution of the effects."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.design import GroupBlock
    from lmmformula.ir.problem import Problem

__all__ = ["equations"]

MOST_FIXED = 12
"""Coefficients that are written out."""
MOST_EFFECTS = 6
"""Columns of a random-effects term that are written out."""


def equations(fit: Fitted) -> str:
    """Lines of mathematics, one ``div`` each."""
    problem, family = fit.problem, fit.problem.family
    response = f"{_upright(fit.formula.split('~')[0].strip())}<sub><i>i</i></sub>"
    predictor = _predictor(problem)
    if fit.problem.is_linear:
        lines = [f"{response} = {predictor} + <i>ε<sub>i</sub></i>"]
    else:
        given = " | <i>b</i>" if problem.terms else ""
        lines = [f"{response}{given} ~ {_distribution(problem)}", f"{_linked(family.link)} = {predictor}"]
        lines += _auxiliary_lines(problem)
    lines += [_effects(*item) for item in _numbered(problem)]
    if fit.problem.is_linear:
        variance = "<i>σ</i><sup>2</sup>" + (
            "/<i>w<sub>i</sub></i>" if problem.data.weights is not None and not family.repeated else ""
        )
        lines.append(f"<i>ε<sub>i</sub></i> ~ Normal(0, {variance}), independent")
    inside = "\n".join(f'<div class="line">{line}</div>' for line in lines)
    return f'<div class="math">\n{inside}\n</div>'


def _upright(text: str) -> str:
    return f'<span class="name">{escape(text)}</span>'


def _linked(link: str) -> str:
    mean = "<i>μ<sub>i</sub></i>"
    return mean if link == "identity" else f"{escape(link)}({mean})"


def _distribution(problem: Problem) -> str:
    family = problem.family
    trials = family.weights_are == "trials" and problem.data.weights is not None
    arguments = (["<i>w<sub>i</sub></i> trials"] if trials else []) + ["<i>μ<sub>i</sub></i>"]
    tables = dict.fromkeys(a.table for a in family.auxiliaries if a.table)
    arguments += [f"<i>{escape(table)}</i>" for table in tables]
    for j, a in enumerate(family.auxiliaries):
        if a.table:
            continue
        varies = j < len(problem.aux) and not problem.aux[j].is_constant
        arguments.append(f"<i>{escape(a.name)}</i>{'<sub><i>i</i></sub>' if varies else ''}")
    name = escape(family.name.replace("_", " ").capitalize())
    meanings = [a.meaning for a in family.auxiliaries if a.meaning]
    note = f' <span class="note">({escape("; ".join(meanings))})</span>' if meanings else ""
    return f"{name}({', '.join(arguments)}){note}"


def _auxiliary_lines(problem: Problem) -> list[str]:
    """Auxiliary predictors with columns of their own."""
    lines = []
    for a, block in zip(problem.family.auxiliaries, problem.aux, strict=False):
        if not block.is_constant:
            left = a.linked(f"<i>{escape(a.name)}<sub>i</sub></i>")
            terms = _sum([_product(f"γ<sub>{j}</sub>", name) for j, name in enumerate(block.names)])
            lines.append(f"{left} = {terms}")
    return lines


def _predictor(problem: Problem) -> str:
    names = problem.X.names
    if len(names) > MOST_FIXED:
        parts = [
            f'<span class="term"><b>x</b><sub><i>i</i></sub><sup>⊤</sup><i>β</i></span> ({len(names)} coefficients)'
        ]
    else:
        parts = [_product(f"β<sub>{j}</sub>", name) for j, name in enumerate(names)]
    for term, first in _numbered(problem):
        group = f"{_upright(term.group)}[<i>i</i>]"
        if term.k > MOST_EFFECTS:
            parts.append(
                f'<span class="term"><b>z</b><sub><i>i</i></sub><sup>⊤</sup><i>b</i><sub>{group}</sub></span>'
            )
        else:
            parts += [
                _product(f"b<sub>{first + j},{group}</sub>", name) for j, name in enumerate(term.columns)
            ]
    if problem.data.offset is not None:
        parts.append("<i>offset<sub>i</sub></i>")
    return _sum(parts) if parts else "0"


def _sum(parts: list[str]) -> str:
    return " + ".join(parts)


def _product(coefficient: str, column: str) -> str:
    """Coefficient times column; the intercept's column is not written."""
    factor = "" if column == "(Intercept)" else f" {_upright(column)}<sub><i>i</i></sub>"
    return f'<span class="term"><i>{coefficient}</i>{factor}</span>'


def _numbered(problem: Problem) -> list[tuple[GroupBlock, int]]:
    """Each term with the number of its first effect among those of its grouping factor."""
    seen: dict[str, int] = {}
    out = []
    for term in problem.terms:
        first = seen.get(term.group, 0)
        out.append((term, first))
        seen[term.group] = first + term.k
    return out


def _effects(term: GroupBlock, first: int) -> str:
    group = _upright(term.group)
    levels = f"for each of {term.m:,} levels"
    if term.k == 1:
        return f"<i>b</i><sub>{first},{group}</sub> ~ Normal(0, <i>σ</i><sup>2</sup><sub>{first},{group}</sub>) {levels}"
    last = first + term.k - 1
    middle = ", …, " if term.k > 2 else ", "
    vector = f"(<i>b</i><sub>{first},{group}</sub>{middle}<i>b</i><sub>{last},{group}</sub>)"
    kind = term.covariance.within.description or term.covariance.name
    return f"{vector} ~ Normal(0, <b>Σ</b><sub>{group}</sub>) {levels}, {escape(kind)}"
