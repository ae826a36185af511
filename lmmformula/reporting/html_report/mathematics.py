"""The model as an equation in plain HTML: linear predictor, distribution of the response, distribution of the effects."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from lmmformula.reporting.equations import Effects, Equations, Predictor, Summand, equations_of

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.problem import Problem

__all__ = ["equations"]

MOST_FIXED = 12
"""Coefficients that are written out."""
MOST_EFFECTS = 6
"""Columns of a random-effects term that are written out."""


def equations(fit: Fitted) -> str:
    """Lines of mathematics, one ``div`` each."""
    problem, family = fit.problem, fit.problem.family
    own = equations_of(problem)
    response = f"{_upright(fit.formula.split('~')[0].strip())}<sub><i>i</i></sub>"
    predictor = _predictor(own.mean)
    if problem.is_linear:
        lines = [f"{response} = {predictor} + <i>ε<sub>i</sub></i>"]
    else:
        given = " | <i>b</i>" if problem.terms else ""
        lines = [
            f"{response}{given} ~ {_distribution(problem, own)}",
            f"{_linked(family.link)} = {predictor}",
        ]
        lines += [
            f"{a.linked(f'<i>{escape(a.name)}<sub>i</sub></i>')} = {_predictor(one)}"
            for a, one in own.auxiliaries
        ]
    lines += map(_effects, own.effects)
    if problem.is_linear:
        variance = "<i>σ</i><sup>2</sup>" + ("/<i>w<sub>i</sub></i>" if own.are_weighted else "")
        lines.append(f"<i>ε<sub>i</sub></i> ~ Normal(0, {variance}), independent")
    inside = "\n".join(f'<div class="line">{line}</div>' for line in lines)
    return f'<div class="math">\n{inside}\n</div>'


def _upright(text: str) -> str:
    return f'<span class="name">{escape(text)}</span>'


def _linked(link: str) -> str:
    mean = "<i>μ<sub>i</sub></i>"
    return mean if link == "identity" else f"{escape(link)}({mean})"


def _distribution(problem: Problem, own: Equations) -> str:
    family, vary = problem.family, {a.name for a, _ in own.auxiliaries}
    trials = family.weights_are == "trials" and problem.data.weights is not None
    arguments = (["<i>w<sub>i</sub></i> trials"] if trials else []) + ["<i>μ<sub>i</sub></i>"]
    tables = dict.fromkeys(a.table for a in family.auxiliaries if a.table)
    arguments += [f"<i>{escape(table)}</i>" for table in tables]
    for a in family.auxiliaries:
        if not a.table:
            arguments.append(f"<i>{escape(a.name)}</i>{'<sub><i>i</i></sub>' if a.name in vary else ''}")
    name = escape(family.name.replace("_", " ").capitalize())
    meanings = [a.meaning for a in family.auxiliaries if a.meaning]
    note = f' <span class="note">({escape("; ".join(meanings))})</span>' if meanings else ""
    return f"{name}({', '.join(arguments)}){note}"


def _predictor(own: Predictor) -> str:
    symbol = "γ" if own.of else "β"
    if len(own.fixed) > MOST_FIXED:
        parts = [
            f'<span class="term"><b>x</b><sub><i>i</i></sub><sup>⊤</sup><i>{symbol}</i></span> ({len(own.fixed)} coefficients)'
        ]
    else:
        parts = [_product(f"{symbol}<sub>{one.number}</sub>", one) for one in own.fixed]
    for effects in own.random:
        group, of = f"{_upright(effects.term.group)}[<i>i</i>]", _of(effects)
        if len(effects.summands) > MOST_EFFECTS:
            parts.append(
                f'<span class="term"><b>z</b><sub><i>i</i></sub><sup>⊤</sup><i>b</i><sub>{of}{group}</sub></span>'
            )
        else:
            parts += [_product(f"b<sub>{of}{one.number},{group}</sub>", one) for one in effects.summands]
    if own.has_offset:
        parts.append("<i>offset<sub>i</sub></i>")
    return " + ".join(parts) or "0"


def _of(own: Effects) -> str:
    """The auxiliary parameter in whose predictor effects stand, to be put before their number."""
    return f"{escape(own.of)}," if own.of else ""


def _product(coefficient: str, own: Summand) -> str:
    """Coefficient times column; the intercept's column is not written."""
    factor = "" if own.is_constant else f" {_upright(own.column)}<sub><i>i</i></sub>"
    return f'<span class="term"><i>{coefficient}</i>{factor}</span>'


def _effects(own: Effects) -> str:
    term, of = own.term, _of(own)
    group, levels = _upright(term.group), f"for each of {term.m:,} levels"
    first, last = own.summands[0].number, own.summands[-1].number
    if term.k == 1:
        at = f"{of}{first},{group}"
        return f"<i>b</i><sub>{at}</sub> ~ Normal(0, <i>σ</i><sup>2</sup><sub>{at}</sub>) {levels}"
    middle = ", …, " if term.k > 2 else ", "
    vector = f"(<i>b</i><sub>{of}{first},{group}</sub>{middle}<i>b</i><sub>{of}{last},{group}</sub>)"
    kind = term.covariance.within.description or term.covariance.name
    return f"{vector} ~ Normal(0, <b>Σ</b><sub>{of}{group}</sub>) {levels}, {escape(kind)}"
