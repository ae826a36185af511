"""Random-effects terms: from ``(x | g)`` and its relatives to :class:`RandomTerm`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmmformula.formula.areas import areas_of, is_areas
from lmmformula.formula.associate import associate
from lmmformula.formula.bars import CONSTRUCTORS, HOMOGENEOUS, PLACED, has_random, is_random, is_term_function
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.elsewhere import AROUND_A_BAR
from lmmformula.formula.groups import Group, groups
from lmmformula.formula.literals import quote_name
from lmmformula.formula.placed import along_of, options_of
from lmmformula.formula.spec import (
    Binary,
    Call,
    Expr,
    LinearPart,
    Logical,
    Name,
    Number,
    RandomTerm,
    Span,
    Term,
)
from lmmformula.formula.terms import linear_part
from lmmformula.formula.walk import is_bar, nodes, strip, summands

__all__ = ["MEMBER_COLUMNS", "random_terms", "refuse_member_columns"]

MEMBER_COLUMNS = "mmc"
"""brms' function of a covariate for each member of ``mm()``."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar taken apart, before its design and its groups are looked at."""

    design: Expr
    group: Expr
    covariance: str
    explicit: bool
    correlation_id: str | None
    span: Span
    options: tuple[tuple[str, Expr], ...] = ()


def random_terms(exprs: list[Expr], context: Context) -> tuple[RandomTerm, ...]:
    """Read the random terms of a model.

    Parameters
    ----------
    exprs : list of Expr
        Summands for which `is_random` holds.
    context : Context

    Returns
    -------
    tuple of RandomTerm
        In the order of the formula; ``a/b`` gives ``b:a`` and then ``a``.
    """
    terms: list[RandomTerm] = []
    for expr in exprs:
        inner = strip(expr)
        if is_term_function(inner):
            terms.append(_of_one_level(inner))
            continue
        if is_areas(inner):
            terms.append(_of_areas(inner, context))
            continue
        bar = _bar(inner, context)
        design = _design(bar, context)
        terms += [_term(bar, design, group, context) for group in groups(bar.group, context)]
    merged = _merged(terms, context)
    _refuse_duplicates(merged, context)
    return merged


def _of_one_level(call: Expr) -> RandomTerm:
    """A call whose columns have independent effects with one variance."""
    label = deparse(call)
    design = LinearPart(intercept=False, terms=(Term((call,), label, call.span),))
    return RandomTerm(design, (), label, "iid", text=label, span=call.span)


def _of_areas(call: Expr, context: Context) -> RandomTerm:
    """``car()``: effects of one column of areas with a structure across them."""
    assert isinstance(call, Call)
    found = areas_of(call, context)
    bar = _Bar(found.design, found.group, "us", False, None, call.span)
    own = groups(found.group, context)
    if len(own) != 1 or own[0] != Group(own[0].factors, own[0].label) or len(own[0].factors) != 1:
        raise context.error(
            "car() takes one column of areas",
            found.group.span,
            "make one column of an interaction beforehand",
        )
    term = _term(bar, _design(bar, context), replace(own[0], cov=found.cov), context)
    return replace(term, text=f"{deparse(found.design)} | {own[0].label}")


def _bar(expr: Expr, context: Context) -> _Bar:
    kind = "us"
    explicit, options = isinstance(expr, Call), ()
    if isinstance(expr, Call):
        if expr.function not in CONSTRUCTORS:
            name = quote_name(expr.function)
            opening = expr.span[0] + len(name)
            if context.text[opening : opening + 1].isspace():
                raise context.error(
                    f"an operator is missing between `{name}` and the random term",
                    expr.span,
                    f"write {name} + ({deparse(strip(expr.args[0].value))})",
                )
            what = AROUND_A_BAR.get(expr.function)
            raise context.error(
                f"`{expr.function}` is not a known covariance"
                if what is None
                else f"{expr.function}() is not available; it is {what}",
                (expr.span[0], expr.span[0] + len(expr.function)),
                f"known around a bar: {', '.join(f'{name}()' for name in sorted(CONSTRUCTORS))}",
            )
        said = dict(options_of(expr, context))
        kind, hom = CONSTRUCTORS[expr.function], said.pop("hom", None)
        if isinstance(hom, Logical) and hom.value is not None:
            kind = HOMOGENEOUS[expr.function][hom.value]
        options, expr = tuple(said.items()), strip(expr.args[0].value)
    assert isinstance(expr, Binary)
    left, identifier = expr.left, None
    if is_bar(left):
        left, identifier = _correlation_id(expr, context)
    if expr.operator == "||":
        if explicit and kind != "diag":
            raise context.error(
                f"`||` asks for no correlations and {kind}() for some", expr.span, "use one of the two"
            )
        kind = "diag"
    return _Bar(left, expr.right, kind, explicit, identifier, expr.span, options)


def _correlation_id(expr: Binary, context: Context) -> tuple[Expr, str]:
    """Read brms' ``x |ID| g``, which parses as ``(x | ID) | g``."""
    inner = expr.left
    assert isinstance(inner, Binary)
    if expr.operator == inner.operator == "|" and not is_bar(inner.left):
        match inner.right:
            case Name(value) | Number(value):
                return inner.left, value
            case _:
                pass
    raise context.error(
        "too many bars in one random term",
        expr.span,
        "one bar separates columns from groups; brms' form (x |ID| g) takes one name between two bars",
    )


def _design(bar: _Bar, context: Context) -> LinearPart:
    if has_random(bar.design):
        nested = next(
            node for node in nodes(bar.design, inside_calls=False) if is_bar(node) or is_random(node)
        )
        raise context.error("a bar inside a random term", nested.span, "write each random term on its own")
    for node in nodes(bar.design, inside_calls=False):
        if node == Name("."):
            raise context.error(
                "`.` cannot stand in a random term", node.span, "name the columns that vary by group"
            )
        if isinstance(node, Call) and node.function == "offset":
            raise context.error(
                "an offset cannot vary by group", node.span, "add it to the fixed part: + offset(x)"
            )
    design = linear_part(summands(associate(bar.design)), context)
    if not design.intercept and not design.terms:
        raise context.error(
            "this random term has no columns",
            bar.design.span,
            "write 1 for a random intercept, or a column for a random slope",
        )
    return design


def refuse_member_columns(part: LinearPart, context: Context) -> None:
    """Refuse covariates of members where there are none: in a part without ``mm()``."""
    for factor in (f for term in part.terms for f in term.factors):
        for node in nodes(factor):
            if isinstance(node, Call) and node.function == MEMBER_COLUMNS:
                raise context.error(
                    f"`{deparse(node)}` has a covariate for each member of mm(), and there is none",
                    node.span,
                    "it stands left of the bar of such a term: (mmc(x1, x2) | mm(g1, g2))",
                )


def _check_member_columns(design: LinearPart, group: Group, context: Context) -> None:
    """One covariate for each member, which is a column by itself."""
    if not group.members:
        refuse_member_columns(design, context)
        return
    for factor in (f for term in design.terms for f in term.factors):
        for node in nodes(factor):
            if not (isinstance(node, Call) and node.function == MEMBER_COLUMNS):
                continue
            if node is not factor:
                raise context.error(
                    f"`{deparse(node)}` stands within `{deparse(factor)}`",
                    node.span,
                    "it is a column by itself, or a factor of an interaction; functions go inside: mmc(log(x1), log(x2))",
                )
            if len(node.args) != len(group.members) or any(arg.name is not None for arg in node.args):
                raise context.error(
                    f"`{deparse(node)}` has {len(node.args)} covariates for the {len(group.members)} members of {group.label}",
                    node.span,
                    "for example (mmc(x1, x2) | mm(g1, g2))",
                )


def _term(bar: _Bar, design: LinearPart, group: Group, context: Context) -> RandomTerm:
    covariance = bar.covariance
    if not group.correlated:
        if covariance not in ("us", "diag"):
            raise context.error(
                f"cor = FALSE contradicts {covariance}()", bar.group.span, "use one of the two"
            )
        covariance = "diag"
    if covariance == "diag" and not design.terms:
        covariance = "us"
    _check_member_columns(design, group, context)
    along = along_of(covariance, design, group, bar.design, context)
    if along and covariance != "ar1":  # that may be a covariance of the columns of a factor too
        design = LinearPart(intercept=True, terms=())
    if bar.correlation_id and group.correlation_id and bar.correlation_id != group.correlation_id:
        raise context.error("two different correlation IDs for one term", bar.span, "keep one of them")
    return RandomTerm(
        design=design,
        group=group.factors,
        group_label=group.label,
        covariance=covariance,
        correlation_id=bar.correlation_id or group.correlation_id,
        by=group.by,
        members=group.members,
        member_weights=group.member_weights,
        member_scale=group.member_scale,
        cov=group.cov,
        prec=group.prec,
        along=along,
        options=bar.options,
        text=context.text[slice(*bar.span)],
        span=bar.span,
    )


def _same_group(a: RandomTerm, b: RandomTerm) -> bool:
    same_levels = set(a.group) == set(b.group) and a.members == b.members
    placed = tuple(t.along if t.covariance in PLACED else () for t in (a, b))
    return same_levels and (a.by, a.cov, a.prec, placed[0]) == (b.by, b.cov, b.prec, placed[1])


def _merged(terms: list[RandomTerm], context: Context) -> tuple[RandomTerm, ...]:
    """Join terms that share a correlation ID and a group: their effects are correlated."""
    result: list[RandomTerm] = []
    for term in terms:
        partner = next((i for i, other in enumerate(result) if _joins(other, term)), None)
        if partner is None:
            result.append(term)
            continue
        first = result[partner]
        _refuse_shared(first, term, context)
        design = LinearPart(
            first.design.intercept or term.design.intercept,
            tuple(sorted(first.design.terms + term.design.terms, key=lambda t: len(t.factors))),
        )
        result[partner] = replace(first, design=design, text=f"{first.text} + {term.text}")
    return tuple(result)


def _joins(a: RandomTerm, b: RandomTerm) -> bool:
    return (
        a.correlation_id is not None
        and a.correlation_id == b.correlation_id
        and a.covariance == b.covariance == "us"
        and _same_group(a, b)
    )


def _refuse_duplicates(terms: tuple[RandomTerm, ...], context: Context) -> None:
    for i, term in enumerate(terms):
        for other in terms[:i]:
            if _same_group(other, term):
                _refuse_shared(other, term, context)


def _refuse_shared(first: RandomTerm, second: RandomTerm, context: Context) -> None:
    """Two effects of one column on one grouping factor cannot be told apart."""
    seen = {frozenset(term.factors) for term in first.design.terms}
    rest = [term.label for term in second.design.terms if frozenset(term.factors) not in seen]
    twice = [term.label for term in second.design.terms if frozenset(term.factors) in seen]
    intercept_twice = first.design.intercept and second.design.intercept
    if intercept_twice:
        twice.insert(0, "1")
    if not twice:
        return
    verb = "appears" if len(twice) == 1 else "appear"
    keeps_intercept = second.design.intercept and not intercept_twice
    hint = "leave one of the two terms out"
    if rest or keeps_intercept:
        hint = f"write ({' + '.join(['1' if keeps_intercept else '0', *rest])} | {second.group_label})"
    raise context.error(
        f"{', '.join(f'`{name}`' for name in twice)} {verb} twice for group {second.group_label}",
        second.span,
        hint,
    )
