"""Text to prior: ``normal(0, 5)``, ``half_student_t(3, 0, 2.5)``, ``lkj(2)``; read by one pattern, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Literal

from lmmformula.errors import PlanError
from lmmformula.ir.prior_complexity import Complexity
from lmmformula.ir.prior_distributions import (
    LKJ,
    Beta,
    Exponential,
    Flat,
    Gamma,
    InverseGamma,
    LogNormal,
    Normal,
    Point,
    Positive,
    Stated,
    StudentT,
    Uniform,
)
from lmmformula.ir.prior_shrinkage import R2D2, Horseshoe

__all__ = ["Role", "parse_prior", "unheld"]

Role = Literal[
    "coefficient",
    "scale",
    "correlation",
    "probability",
    "deviation",
    "length",
    "smoothness",
    "autocorrelation",
    "share",
]
"""What a prior is for: a fixed effect, a positive number, the correlations of a term, a probability; a standard deviation; of
structures across levels a range, a smoothness, a correlation of neighbours, a share."""
_AS: dict[Role, Role] = {
    "deviation": "scale",
    "length": "scale",
    "smoothness": "scale",
    "share": "probability",
}
"""Roles that take what another takes, and more."""


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a prior: names of its numbers, which of them must be positive, what it makes for each role."""

    arguments: tuple[str, ...]
    positive: tuple[str, ...]
    build: Callable[..., Stated]
    roles: tuple[Role, ...]

    def suits(self, role: Role) -> bool:
        """Whether it can be the prior of such a parameter."""
        return role in self.roles or _AS.get(role) in self.roles


def _half(build: Callable[..., Normal | StudentT]) -> Callable[..., Positive]:
    return lambda *numbers: Positive(build(*numbers))


_LARGEST = 1e100
"""Numbers of priors lie between its inverse and itself: squares of them must exist."""
_REAL: tuple[Role, ...] = ("coefficient", "scale")
_SCALE: tuple[Role, ...] = ("scale",)
_HELD: tuple[Role, ...] = (*_REAL, "probability")
_HORSESHOE = ("df", "scale_global", "df_global", "scale_slab", "df_slab")
_R2D2 = ("mean_R2", "prec_R2", "cons_D2")
_FORMS: dict[str, tuple[_Form, ...]] = {
    "normal": (_Form(("mean", "sd"), ("sd",), Normal, (*_REAL, "autocorrelation")),),
    "student_t": (_Form(("df", "location", "scale"), ("df", "scale"), StudentT, _REAL),),
    "cauchy": (_Form(("location", "scale"), ("scale",), lambda a, b: StudentT(1.0, a, b), _REAL),),
    "half_normal": (
        _Form(("sd",), ("sd",), _half(lambda s: Normal(0.0, s)), _SCALE),
        _Form(("mean", "sd"), ("sd",), _half(Normal), _SCALE),
    ),
    "half_student_t": (
        _Form(("df", "scale"), ("df", "scale"), _half(lambda df, s: StudentT(df, 0.0, s)), _SCALE),
        _Form(("df", "location", "scale"), ("df", "scale"), _half(StudentT), _SCALE),
    ),
    "half_cauchy": (
        _Form(("scale",), ("scale",), _half(lambda s: StudentT(1.0, 0.0, s)), _SCALE),
        _Form(("location", "scale"), ("scale",), _half(lambda a, b: StudentT(1.0, a, b)), _SCALE),
    ),
    "exponential": (_Form(("rate",), ("rate",), Exponential, _SCALE),),
    "gamma": (_Form(("shape", "rate"), ("shape", "rate"), Gamma, _SCALE),),
    "inv_gamma": (_Form(("shape", "scale"), ("shape", "scale"), InverseGamma, _SCALE),),
    "lognormal": (_Form(("mean_log", "sd_log"), ("sd_log",), LogNormal, _SCALE),),
    "uniform": (_Form(("low", "high"), (), Uniform, ("scale", "probability", "autocorrelation")),),
    "beta": (_Form(("a", "b"), ("a", "b"), Beta, ("probability",)),),
    "lkj": (_Form(("eta",), ("eta",), LKJ, ("correlation", "autocorrelation")),),
    "flat": (_Form((), (), Flat, ("coefficient",)),),
    "constant": (_Form(("value",), (), Point, _HELD),),
    "horseshoe": tuple(
        _Form(_HORSESHOE[:many], _HORSESHOE[:many], Horseshoe, ("coefficient",))
        for many in range(len(_HORSESHOE) + 1)
    ),
    "r2d2": tuple(
        _Form(_R2D2[:many], _R2D2[:many], R2D2, ("coefficient",)) for many in range(len(_R2D2) + 1)
    ),
    "pc": (_Form(("u", "p"), ("u", "p"), Complexity, ("deviation", "length", "autocorrelation", "share")),),
}
_ALIASES = {
    "lkj_corr": "lkj",
    "lkj_corr_cholesky": "lkj",
    "t": "student_t",
    "student": "student_t",
    "inverse_gamma": "inv_gamma",
    "half_t": "half_student_t",
    "halfnormal": "half_normal",
    "halfcauchy": "half_cauchy",
    "log_normal": "lognormal",
    "pc_prior": "pc",
}
_NOUN = {
    "coefficient": "a fixed effect",
    "scale": "a standard deviation",
    "correlation": "correlations",
    "probability": "a probability",
    "deviation": "a standard deviation",
    "length": "a range",
    "smoothness": "a smoothness",
    "autocorrelation": "a correlation of neighbours",
    "share": "a share",
}
_CALL = re.compile(r"\s*([A-Za-z_][A-Za-z_0-9]*)\s*\(([^()]*)\)\s*\Z")
_FLAT = ("flat", "improper")


def parse_prior(text: object, name: str, role: Role, *, improper: bool = False) -> Stated:
    """The distribution that `text` means as the prior of `name`.

    Parameters
    ----------
    text : str
        For example ``"normal(0, 5)"``; numbers may be named, ``"normal(mean=0, sd=5)"``.
    name : str
        The parameter or class it was given for, for messages.
    role : Role
    improper : bool
        Whether any parameter may have a flat prior, as where a penalty is meant; else coefficients alone.

    Raises
    ------
    PlanError
        Shows the accepted forms.
    """
    what = f"priors[{name!r}] = {text!r}"
    if not isinstance(text, str):
        raise PlanError(f"{what} must be text. {_accepted(role)}")
    found = _CALL.match(text)
    function = (found.group(1) if found else text.strip().rstrip("()")).lower()
    function = _ALIASES.get(function, function)
    if function == "" or (function in _FLAT and not (improper or role == "coefficient")):
        raise PlanError(
            f"{what} is improper: it has no total probability, so a posterior need not exist. Use a wide proper prior "
            f"in the units of the response. {_accepted(role)}"
        )
    if function in _FLAT and (found is None or not found.group(2).strip()):
        return Flat()
    if found is None:
        raise PlanError(f"{what} cannot be read as name(number, ...). {_accepted(role)}")
    if function not in _FORMS:
        near = get_close_matches(function, _FORMS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"{what}: {function!r} is not a known distribution.{hint} {_accepted(role)}")
    if not _FORMS[function][0].suits(role):
        raise PlanError(f"{what}: {function} cannot be the prior of {_NOUN[role]}. {_accepted(role)}")
    form, numbers = _arguments(found.group(2), function, what)
    distribution = form.build(*numbers)
    if "scale" in (role, _AS.get(role)) and isinstance(distribution, Normal | StudentT):
        distribution = Positive(distribution)
    if isinstance(distribution, Complexity):
        if not distribution.p < 1.0:
            raise PlanError(f"{what}: p is a probability between 0 and 1, not {distribution.p:g}.")
        return distribution.deviation if role == "deviation" else distribution
    if role == "autocorrelation":
        return distribution
    if isinstance(distribution, Point):
        return _held(distribution, role, what)
    if isinstance(distribution, R2D2) and not distribution.mean_r2 < 1.0:
        raise PlanError(f"{what}: mean_R2 lies between 0 and 1, and is {distribution.mean_r2:g}.")
    _check_range(distribution, what)
    if (
        "probability" in (role, _AS.get(role))
        and isinstance(distribution, Uniform)
        and distribution.high > 1.0
    ):
        raise PlanError(f"{what}: a probability needs uniform(low, high) with 0 <= low < high <= 1.")
    return distribution


def _arguments(inside: str, function: str, what: str) -> tuple[_Form, list[float]]:
    """The form whose numbers these are, and the numbers in its order."""
    parts = [part.strip() for part in inside.split(",")] if inside.strip() else []
    shapes = " or ".join(f"{function}({', '.join(f.arguments)})" for f in _FORMS[function])
    form = next((f for f in _FORMS[function] if len(f.arguments) == len(parts)), None)
    if form is None:
        raise PlanError(f"{what} has {len(parts)} numbers; write {shapes}.")
    values: dict[str, float] = {}
    for position, part in enumerate(parts):
        key, _, number = part.rpartition("=")
        key = key.strip() or form.arguments[position]
        if key not in form.arguments or key in values:
            raise PlanError(f"{what}: {part!r} does not fit; write {shapes}.")
        values[key] = _number(number, what, shapes)
        if key in form.positive and values[key] <= 0:
            raise PlanError(f"{what}: {key} must be positive, not {values[key]:g}.")
        if abs(values[key]) > _LARGEST or (key in form.positive and values[key] < 1 / _LARGEST):
            raise PlanError(
                f"{what}: {key} = {values[key]:g} is beyond what can be computed with ({1 / _LARGEST:g} to {_LARGEST:g}). "
                "Write the prior, or measure the variable, in other units."
            )
    return form, [values[key] for key in form.arguments]


def _number(text: str, what: str, shapes: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise PlanError(f"{what}: {text.strip()!r} is not a finite number; write {shapes}.")
    return value


def _held(point: Point, role: Role, what: str) -> Point:
    """A value that a parameter of this role may be held at."""
    if role == "coefficient":
        return point
    unit = "probability" in (role, _AS.get(role))
    if not 0.0 < point.value < (1.0 if unit else _LARGEST):
        least = " between 0 and 1" if unit else " above 0; leave a term out whose standard deviation is 0"
        raise PlanError(f"{what}: {_NOUN[role]} needs a value{least}.")
    return point


def unheld(distribution: Stated, name: str) -> None:
    """Refuse to hold a coefficient, which is what an offset does."""
    if isinstance(distribution, Point):
        column = name.rpartition("b:")[2]
        raise PlanError(
            f"priors[{name!r}] = '{distribution}': a coefficient is held at a value by an offset: leave the column out of "
            f"the formula and write offset({distribution.value:g} * {column}) there."
        )


def _check_range(distribution: object, what: str) -> None:
    """Priors of standard deviations must leave something positive."""
    if isinstance(distribution, Uniform) and not 0.0 <= distribution.low < distribution.high:
        raise PlanError(f"{what}: a standard deviation needs uniform(low, high) with 0 <= low < high.")
    if isinstance(distribution, Positive) and distribution.base.below(0.0) > 1.0 - 1e-10:
        raise PlanError(
            f"{what} has practically no probability above zero, where a standard deviation is. Move its centre up."
        )


def _accepted(role: Role) -> str:
    """The forms for `role`, as a sentence."""
    forms = [
        f"{n}({', '.join(f.arguments)})"
        for n, several in _FORMS.items()
        for f in (several[-1:] if n in ("horseshoe", "r2d2") else several)
        if f.suits(role)
    ]
    return f"Accepted for {_NOUN[role]}: {', '.join(forms)}."
