"""``s()`` and ``t2()`` as functions of a formula: their arguments, and what they learn."""

from __future__ import annotations

import numpy as np

from lmmformula.frame.numbers import RefusalError, shown
from lmmformula.frame.signature import Parameter, column, flag, numbers, register, unavailable, whole, word
from lmmformula.frame.smooths import cubic, p_spline, thin_plate  # noqa: F401  (they enter their bases)
from lmmformula.frame.smooths.base import BASES, BasisRecord, RawBasis
from lmmformula.frame.smooths.mixed import MixedForm, mixed_form, natural_form, unpenalised_form
from lmmformula.frame.smooths.state import Smooth, points
from lmmformula.frame.smooths.tensor import Tensor, margin, tensor_form
from lmmformula.frame.transforms import refuse_basis
from lmmformula.frame.values import Basis, Factor, Value, is_column
from lmmformula.typing import Array

__all__ = ["GROUPED"]

GROUPED = ("re", "fs")
"""Values of ``bs`` that are no basis: effects of levels, and a curve for each level."""

MOST_ORDER = 10
"""Derivatives or differences in a penalty."""

_NO_OPTIONS = "the variance of each smooth is estimated from the data"


def _variable(value: Value, what: str) -> Value:
    if isinstance(value, Basis) or not is_column(value):
        raise RefusalError(f"{what} takes columns, numeric or factors, and not {shown(value)}")
    return value if isinstance(value, Factor) else column(value, what)


_OPTIONS = (
    Parameter("by", _variable),
    Parameter("bs", word),
    Parameter("k", whole(-1, 100_000)),
    Parameter("m", numbers()),
    Parameter("fx", flag),
    Parameter("sp", unavailable(_NO_OPTIONS)),
    Parameter("id", unavailable("each smooth has a variance of its own")),
    Parameter("pc", unavailable("smooths sum to zero over the rows of the fit")),
    Parameter("xt", unavailable("write the basis as bs =")),
)


@register("s", Parameter("...", _variable, required=True), *_OPTIONS, learns=True, replayed=("by",))
def _s(
    *x: Value,
    by: Value = None,
    bs: str = "tp",
    k: int = -1,
    m: tuple[float, ...] = (),
    fx: bool = False,
) -> Smooth:
    groups = tuple(j for j, value in enumerate(x) if isinstance(value, Factor)) if bs in GROUPED else ()
    numeric = tuple(value for j, value in enumerate(x) if j not in groups)
    levels = _levels(by)
    if bs == "re":
        nothing = np.zeros((1, 0))
        return Smooth(
            None,
            nothing,
            (np.ones((1, 1)),),
            np.ones(1),
            np.zeros(0),
            np.zeros(0),
            groups,
            levels,
            description="independent effects",
        )
    record = _record("tp" if bs == "fs" else bs, len(numeric), "s()")
    z = _complete(points(numeric, 0), "s()")
    refuse_basis(max(k, 1), len(z), "s()")
    basis = record.learn(z, None if k < 0 else k, _orders(m))
    raw = basis.design(z)
    if bs == "fs":
        if len(groups) != 1:
            raise RefusalError(
                f's(bs = "fs") takes one factor beside its numbers, and has {len(groups)}',
                'for example s(x, g, bs = "fs"); several are one as interaction(g, h)',
            )
        form = natural_form(raw, basis.penalty, basis.null_dim)
    elif fx:
        form = unpenalised_form(raw, centre=_is_centred(by))
    else:
        form = mixed_form(raw, basis.penalty, basis.null_dim, centre=_is_centred(by))
    what = f"{record.description} for each level" if bs == "fs" else record.description
    return _smooth(basis, form, z, groups, levels, periodic=record.periodic, description=what)


@register("t2", Parameter("...", _variable, required=True), *_OPTIONS, learns=True, replayed=("by",))
def _t2(
    *x: Value,
    by: Value = None,
    bs: str = "cr",
    k: int = -1,
    m: tuple[float, ...] = (),
    fx: bool = False,
) -> Smooth:
    if len(x) < 2:
        raise RefusalError("t2() takes two variables or more", "a smooth of one is s(x)")
    if fx:
        raise RefusalError("fx of t2() is not available", "ns(x, 3) * ns(z, 3) is an unpenalised surface")
    record = _record(bs, 1, "t2()")
    z = _complete(points(x, 0), "t2()")
    size = 5 if k < 0 else k
    refuse_basis(size ** z.shape[1], len(z), "t2()")
    margins = tuple(margin(record.learn(z[:, [j]], size, _orders(m)), z[:, [j]]) for j in range(z.shape[1]))
    tensor = Tensor(margins)
    form = tensor_form(tensor, z, centre=_is_centred(by))
    return _smooth(
        tensor, form, z, (), _levels(by), periodic=False, description=f"tensor product, {record.description}s"
    )


def _smooth(
    basis: RawBasis | Tensor,
    form: MixedForm,
    z: Array,
    groups: tuple[int, ...],
    by: tuple[str, ...] | None,
    *,
    periodic: bool,
    description: str,
) -> Smooth:
    low, high = z.min(axis=0), z.max(axis=0)
    return Smooth(
        basis,
        form.fixed,
        form.random,
        form.lead,
        low,
        high,
        groups,
        by,
        periodic,
        description,
        form.level,
    )


def _record(name: str, d: int, what: str) -> BasisRecord:
    if name not in BASES:
        known = ", ".join(f'"{b}"' for b in (*BASES, *GROUPED))
        raise RefusalError(f'{what} has no basis bs = "{name}"', f"known: {known}")
    record = BASES[name]
    if not d:
        raise RefusalError(f"{what} needs a numeric variable", "a factor has random effects: (1 | f)")
    if d > record.most_variables:
        raise RefusalError(
            f'a smooth with bs = "{name}" takes {record.most_variables} variable, not {d}',
            's(x, z) has bs = "tp"; t2(x, z) is for variables in different units',
        )
    return record


def _orders(m: tuple[float, ...]) -> tuple[int, ...]:
    if any(not float(v).is_integer() or not 0 <= v <= MOST_ORDER for v in m):
        raise RefusalError(f"`m` of a smooth must be whole numbers from 0 to {MOST_ORDER}, not {shown(m)}")
    return tuple(int(v) for v in m)


def _levels(by: Value) -> tuple[str, ...] | None:
    """Levels of a by factor that have a smooth: all, or all but the first of an ordered one."""
    if by is None:
        return None
    if not isinstance(by, Factor):
        return ()
    labels = tuple(str(v) for j, v in enumerate(by.levels) if (by.codes == j).any())
    return labels[1:] if by.kind == "ordered" and len(labels) > 1 else labels


def _is_centred(by: Value) -> bool:
    """Whether the intercept holds the level: not beside a number that varies."""
    if by is None or isinstance(by, Factor):
        return True
    there = by[~np.isnan(by)]
    return not len(there) or float(np.ptp(there)) <= 1e-12 * float(np.abs(there).max())


def _complete(z: Array, what: str) -> Array:
    there = z[~np.isnan(z).any(axis=1)]
    if not len(there):
        raise RefusalError(f"{what} has no row in which its variables are not missing")
    if (np.ptp(there, axis=0) == 0.0).any():
        raise RefusalError(f"a variable of {what} is constant", "leave it out of the formula")
    return there
