r"""Terms whose covariance differs between kinds of levels: brms' ``gr(g, by = f)``.

Level s of g belongs to one level f(s) of f, and its effects are ``b_s ~ N(0, sigma^2 Sigma_f(s))``, a Sigma of its own for each
level of f (Buerkner 2018, sec. 3). With d_l the indicator of level l of f in a row, and c_sl that of level s::

    z_r'b_s = sum_l (d_rl z_r)'b_sl,    b_sl ~ N(0, sigma^2 Sigma_l)                                         (1)

for rows r of level s, as d_rl is 1 for l = f(s) and 0 for all others. The effects b_sl of pairs with c_sl = 0 meet zeros in
every row: they are not in the likelihood, their block of M is the identity, and what is reported leaves them out. (1) is a
sum of ordinary terms on one grouping factor, which every engine has as one group of k times as many columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.deparse import deparse
from lmmformula.formula.spec import Arg, Call, Expr, LinearPart, RandomTerm, String, Term
from lmmformula.frame.design import make_design
from lmmformula.frame.evaluate import Evaluator
from lmmformula.frame.functions import as_factor
from lmmformula.frame.grouping import group_factor, group_members
from lmmformula.frame.model_frame import ModelFrame
from lmmformula.frame.values import Factor, drop_unused
from lmmformula.ir.design import GroupBlock

__all__ = ["apart", "with_owners"]


def apart(
    random: Sequence[tuple[RandomTerm, ...]], frame: ModelFrame
) -> tuple[list[tuple[RandomTerm, ...]], ModelFrame]:
    """Terms of each linear predictor with ``by`` written as (1), and the frame with the indicators.

    Raises
    ------
    DataError
        If a level of the grouping factor has rows in several levels of `by`.
    FormulaError
        For `by` beside a structure across levels.
    """
    if not any(term.by is not None for own in random for term in own):
        return list(random), frame
    values, memory = dict(frame.values), dict(frame.memory)
    evaluator = Evaluator(frame.columns, frame.n, frame.text, frame.context, memory, learn=True)
    out = []
    for own in random:
        terms: list[RandomTerm] = []
        for term in own:
            terms += [term] if term.by is None else _of_each(term, term.by, frame, evaluator)
        for term in terms:
            if term.by_level:
                call = _indicator(term)
                values[call] = evaluator(call)
        out.append(tuple(terms))
    return out, replace(frame, values=values, memory=memory)


def with_owners(block: GroupBlock, term: RandomTerm) -> GroupBlock:
    """The block of a term of (1), which says whose effects it has."""
    if not term.by_level or block.basis is None:
        return block
    present = np.zeros(block.m, dtype=bool)
    present[block.codes[(block.basis != 0.0).any(axis=1)]] = True
    return replace(block, owners=present)


def _of_each(term: RandomTerm, by: Expr, frame: ModelFrame, evaluator: Evaluator) -> list[RandomTerm]:
    if term.cov is not None or term.prec is not None or term.along:
        raise FormulaError(
            "gr(by =) is for independent levels, and these depend on each other",
            frame.text,
            by.span,
            "leave by out, or the covariance",
        )
    kinds = drop_unused(as_factor(evaluator(by)))
    _refuse_several(term, by, kinds, frame)
    names = make_design(term.design, frame).names
    out = []
    for level in kinds.levels:
        own = replace(term, by_level=level)
        first = _indicator(own)
        columns = [(first,)] if term.design.intercept else []
        columns += [(first, *t.factors) for t in term.design.terms]
        terms = tuple(Term(f, ":".join(map(deparse, f)), term.span) for f in columns)
        shown = tuple(f"{name}:{deparse(by)}{level}" for name in names)
        own = replace(own, design=LinearPart(intercept=False, terms=terms), columns=shown)
        out.append(own)
    return out


def _indicator(term: RandomTerm) -> Call:
    assert term.by is not None
    return Call("dummy", (Arg(term.by), Arg(String(term.by_level))), term.span)


def _refuse_several(term: RandomTerm, by: Expr, kinds: Factor, frame: ModelFrame) -> None:
    """Each level of the grouping factor has one level of `by`."""
    grouping = group_factor(group_members(term.group), frame, clean=True).factor
    first = np.zeros(len(grouping.levels), dtype=np.int32)
    first[grouping.codes] = kinds.codes
    other = np.flatnonzero(first[grouping.codes] != kinds.codes)
    if other.size:
        at = int(other[0])
        level = grouping.codes[at]
        several = len(np.unique(grouping.codes[other]))
        raise DataError(
            f"gr({term.group_label}, by = {deparse(by)}) needs each level of `{term.group_label}` in one level of "
            f"`{deparse(by)}`: {several:,} of {len(grouping.levels):,} are in several, for example "
            f"{grouping.levels[level]!r} in {kinds.levels[first[level]]!r} and {kinds.levels[kinds.codes[at]]!r}. A predictor "
            f"that varies within levels is a slope: ({deparse(by)} | {term.group_label})."
        )
