"""R's ``update.formula``: a change of a formula, in which ``.`` stands for the side of the old one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lmmformula.formula.associate import associate
from lmmformula.formula.bars import has_random, is_random
from lmmformula.formula.context import Context
from lmmformula.formula.deparse import deparse
from lmmformula.formula.model import model_spec, split_terms
from lmmformula.formula.parse import parse
from lmmformula.formula.random import random_terms
from lmmformula.formula.render import fixed_terms
from lmmformula.formula.residuals import is_residual, residual_term
from lmmformula.formula.responses import WRAPPERS, Several, several_responses
from lmmformula.formula.spec import Arg, Binary, Call, Expr, Name, Number, Paren, Unary
from lmmformula.formula.walk import BARS, nodes, strip, summands

__all__ = ["means_other_columns", "updated"]

_DOT = Name(".")
_Signed = tuple[str, Expr]


def means_other_columns(text: str) -> bool:
    """Whether a formula says ``.``, every other column of the data."""
    return "." in text and any(node == _DOT for node in nodes(parse(text)))


def updated(old: str, new: str, columns: Sequence[str] | None = None) -> str:
    """The formula that `new` makes of `old`.

    In `new`, ``.`` left of the tilde is the left-hand side of `old`, and right of it the terms of `old`, random terms
    included. Without a left-hand side `new` keeps that of `old`. Terms taken away need not be there, as in R; a random term
    taken away must be. The result is simplified as R does: products written out, terms by their degree, random terms last.

    Parameters
    ----------
    old, new : str
        A formula of ``bf()`` is updated parameter by parameter; those that `new` does not name stay. Of several responses
        each formula is changed by `new`, or by its own of several.
    columns : sequence of str, optional
        Columns of the data of `old`; needed only where `old` says ``.``.

    Returns
    -------
    str

    Raises
    ------
    FormulaError
        If the result is no formula, or a random term is taken away that `old` does not have.

    Examples
    --------
    >>> updated("Reaction ~ Days + (Days | Subject)", "~ . - Days")
    'Reaction ~ (Days | Subject)'
    >>> updated("y ~ a * b + (1 | g)", "log(.) ~ . - a:b + (1 | h)")
    'log(y) ~ a + b + (1 | g) + (1 | h)'
    """
    before, change = strip(parse(old)), strip(parse(new))
    context = Context(new, None if columns is None else tuple(map(str, columns)))
    was, now = several_responses(before, replace(context, text=old)), several_responses(change, context)
    if was is not None or now is not None:
        return _of_responses(was, now, change, context, old)
    return _single(before, change, context, old)


def _of_responses(was: Several | None, now: Several | None, change: Expr, context: Context, old: str) -> str:
    """The formulas of several responses, each changed in the same way or by its own; or what takes their place."""
    if not any(node == _DOT for node in nodes(change)):
        model_spec(context.text, context.columns)
        return context.text
    changes = now.formulas if now is not None else (change,) * len(was.formulas if was else ())
    if was is None or len(changes) != len(was.formulas):
        raise context.error(
            f"{len(changes)} changes of {1 if was is None else len(was.formulas)} formulas",
            change.span,
            "give one change for all, one for each in their order, or the whole new formula",
        )
    pairs = zip(was.formulas, changes, strict=True)
    each = [_single(strip(one), strip(own), context, old) for one, own in pairs]
    said = was.rescor if now is None or now.rescor is None else now.rescor
    parts = [
        text if text.startswith(tuple(f"{name}(" for name in WRAPPERS)) else f"bf({text})" for text in each
    ]
    out = " + ".join([*parts, *([] if said is None else [f"set_rescor({str(said).upper()})"])])
    model_spec(out, context.columns)
    return out


def _single(before: Expr, change: Expr, context: Context, old: str) -> str:
    if not any(isinstance(e, Call) and e.function in WRAPPERS for e in (before, change)):
        return _one(before, change, context, old)
    return _several(before, change, context, old)


def _several(before: Expr, change: Expr, context: Context, old: str) -> str:
    """``bf(...)`` on either side: the first formula, then those of the further parameters by name."""
    (first, *rest), (first_change, *rest_change) = _formulas(before), _formulas(change)
    main = _one(first, first_change, context, old)
    further = {_parameter(e): _text(e) for e in rest}
    known = {_parameter(e): e for e in rest}
    for expr in rest_change:
        name = _parameter(expr)
        further[name] = _one(known[name], expr, context, old) if name in known else _text(expr)
    family = _family(change) or _family(before)
    out = f"bf({', '.join([main, *further.values(), *family])})" if further or family else main
    model_spec(out, context.columns)
    return out


def _formulas(expr: Expr) -> list[Expr]:
    if isinstance(expr, Call) and expr.function in WRAPPERS:
        return [strip(arg.value) for arg in expr.args if arg.name != "family"] or [expr]
    return [expr]


def _family(expr: Expr) -> list[str]:
    """``family = poisson`` of ``bf()``, if it is there."""
    given = expr.args if isinstance(expr, Call) and expr.function in WRAPPERS else ()
    return [f"family = {_text(arg.value)}" for arg in given if arg.name == "family"]


def _parameter(expr: Expr) -> str:
    return _text(expr.left) if isinstance(expr, Binary) else _text(expr)


def _text(expr: Expr) -> str:
    return deparse(expr, exact=True)


def _sides(expr: Expr) -> tuple[Expr | None, Expr | None]:
    match expr:
        case Binary("~", left, right):
            return left, right
        case Unary("~", right):
            return None, right
        case _:
            return None, None


def _one(before: Expr, change: Expr, context: Context, old: str) -> str:
    old_left, old_right = _sides(before)
    left, right = _sides(change)
    if right is None or old_right is None:
        raise context.error("the change has no `~`", change.span, "write ~ . + x, ~ . - x or a whole formula")
    side = _left(old_left, left)
    head = "" if side is None else _text(side) + " "
    if not any(node == _DOT for node in nodes(right)) and not any(s == "-" for s, _ in summands(right)):
        return f"{head}~ {_text(right)}"
    fixed, bars = split_terms(_written_out(old_right, old_left, context), replace(context, text=old))
    bars += [item for _, item in fixed if is_residual(item)]
    fixed = [(sign, item) for sign, item in fixed if not is_residual(item)]
    change_of = _Change(fixed, bars, context)
    change_of.add(associate(right))
    return change_of.text(head)


def _written_out(right: Expr, left: Expr | None, context: Context) -> Expr:
    """The old right-hand side with ``.`` as the columns that it stood for."""
    right = associate(right)
    if not any(node == _DOT for node in nodes(right)):
        return right
    taken = {node.value for node in nodes(left) if isinstance(node, Name)} if left is not None else set()
    names = [Name(c) for c in context.columns or () if c not in taken]
    return _replaced(right, _sum([("+", name) for name in names])) if names else right


def _left(old: Expr | None, new: Expr | None) -> Expr | None:
    """The response: ``.`` alone is all of the old side, within an expression its value without the additions."""
    if new is None or old is None or new == _DOT:
        return old if new is None or new == _DOT else new
    if not any(node == _DOT for node in nodes(new)):
        return new
    if not (isinstance(old, Binary) and old.operator in BARS):
        return _replaced(new, old)
    value = _replaced(new, old.left)
    again = isinstance(value, Binary) and value.operator in BARS
    return value if again else Binary(old.operator, value, old.right)


class _Change:
    """Terms of the new right-hand side, collected from left to right."""

    def __init__(self, fixed: list[_Signed], bars: list[Expr], context: Context) -> None:
        self.old_fixed, self.old_bars, self.context = fixed, bars, context
        self.fixed: list[_Signed] = []
        self.bars: list[Expr] = []

    def add(self, expr: Expr, outer: str = "+") -> None:
        """Add the summands of `expr`, or take them away where `outer` is a minus."""
        for sign, item in summands(expr):
            into = "+" if sign == outer else "-"
            inner = strip(item)
            if inner == _DOT:
                self._add_old(into)
            elif is_random(item) or is_residual(item):
                self._random(item, into)
            elif isinstance(item, Paren) and (
                has_random(item) or _DOT in [strip(e) for _, e in summands(inner)]
            ):
                self.add(associate(inner), into)
            else:
                if into == "+" and any(node == _DOT for node in nodes(item)):
                    self._keep(self.old_bars)
                self.fixed.append((into, _replaced(item, _sum(self.old_fixed))))

    def _add_old(self, sign: str) -> None:
        if self.old_fixed:
            self.fixed.append((sign, Paren(_sum(self.old_fixed))))
        if sign == "+":
            self._keep(self.old_bars)
        else:
            self.bars = [bar for bar in self.bars if bar not in self.old_bars]

    def _keep(self, bars: list[Expr]) -> None:
        self.bars += [bar for bar in bars if bar not in self.bars]

    def _random(self, item: Expr, sign: str) -> None:
        if sign == "+":
            self._keep([item])
            return
        left = [bar for bar in self.bars if not self._same(bar, item)]
        if len(left) == len(self.bars):
            has = ", ".join(map(_text, self.bars)) or "none"
            raise self.context.error(
                f"the formula has no random term {_text(item)} to take away",
                item.span,
                f"its random terms: {has}",
            )
        self.bars = left

    def _same(self, one: Expr, other: Expr) -> bool:
        """Whether two random terms, or two correlations of residuals, mean the same."""
        if is_residual(one) or is_residual(other):
            both = is_residual(one) and is_residual(other)
            return both and residual_term([("+", one)], self.context) == residual_term(
                [("+", other)], self.context
            )
        return random_terms([one], self.context) == random_terms([other], self.context)

    def text(self, head: str) -> str:
        """The simplified formula."""
        part = model_spec(f"~ {_text(_sum(self.fixed))}").fixed
        parts = [*fixed_terms(part), *map(_text, self.bars)]
        if not parts:
            return f"{head}~ {int(part.intercept)}"
        return f"{head}~ {' + '.join(parts)}" + ("" if part.intercept else " - 1")


def _sum(items: list[_Signed]) -> Expr:
    """Summands as one expression; nothing is the intercept alone."""
    if not items:
        return Number("1")
    sign, total = items[0]
    total = Unary("-", total) if sign == "-" else total
    for sign, item in items[1:]:
        total = Binary(sign, total, item)
    return total


def _replaced(expr: Expr, by: Expr) -> Expr:
    """`expr` with `by` in parentheses for every ``.``, as R substitutes."""
    atom = by if isinstance(by, Name | Call | Number | Paren) else Paren(by)

    def walk(node: Expr) -> Expr:
        match node:
            case Name("."):
                return atom
            case Paren(Name(".")):
                return Paren(by)
            case Binary():
                return _chain(node, walk)
            case Unary():
                return replace(node, operand=walk(node.operand))
            case Paren():
                return replace(node, inner=walk(node.inner))
            case Call():
                return replace(
                    node, args=tuple(Arg(_inside(arg.value, by, walk), arg.name) for arg in node.args)
                )
            case _:
                return node

    return by if expr == _DOT else walk(expr)


def _inside(value: Expr, by: Expr, walk: Callable[[Expr], Expr]) -> Expr:
    """An argument that is ``.`` needs no parentheses: log(.)."""
    return by if value == _DOT else walk(value)


def _chain(node: Binary, walk: Callable[[Expr], Expr]) -> Expr:
    """Down the left side in a loop: a long sum must not run out of stack."""
    steps: list[Binary] = []
    expr: Expr = node
    while isinstance(expr, Binary):
        steps.append(expr)
        expr = expr.left
    out = walk(expr)
    for step in reversed(steps):
        out = replace(step, left=out, right=walk(step.right))
    return out
