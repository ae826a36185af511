r"""From the scale of the linear predictor to that of the response, and back.

A mean eta has the response h(eta), h the inverse link or the inverse of what the formula does to the response (``log(y)``); its
standard error is ``|h'(eta)| SE(eta)``, its interval that of eta carried over. Where h is an exponential or a logistic
function, ``exp`` of a difference is a ratio or an odds ratio, with ``SE = ratio * SE``.

The mean of h(eta + e) over e with variance s^2 is larger or smaller than h(eta): to second order ``h(eta) + h''(eta) s^2 / 2``
(``bias_adjust``, as emmeans has it). Without approximation that is :mod:`lmmformula.inference.means.population`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import FormulaError
from lmmformula.families.links import LINKS
from lmmformula.families.records import Jet
from lmmformula.formula import model_spec
from lmmformula.formula.spec import Binary, Call, Expr, Number, Paren
from lmmformula.inference.residuals import auxiliary
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["IDENTITY", "SQUARE", "Scale", "scale_of", "scale_of_link"]


@dataclass(frozen=True, slots=True)
class Scale:
    """h, the way back to the response.

    Attributes
    ----------
    name : str
        Of the scale that estimates are made on: "logit", "log", "identity".
    jet : callable
        eta -> h with its derivatives.
    eta : callable
        The response -> eta.
    response : str
        What a mean on the scale of the response is called: "prob", "rate" or "response".
    ratio : str
        What exp of a difference is called; empty where it is nothing.
    base : float
        Of the logarithm.
    bias : float
        s^2 of the adjustment for bias.
    """

    name: str
    jet: Callable[[Array], Jet]
    eta: Callable[[Array], Array]
    response: str = "response"
    ratio: str = ""
    base: float = np.e
    bias: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether both scales are the same."""
        return self.name == "identity"

    def value(self, eta: Array) -> Array:
        """h(eta), adjusted for bias if there is any."""
        jet = self.jet(eta)
        return jet.value if not self.bias else jet.value + 0.5 * self.bias * jet.d2

    def slope(self, eta: Array) -> Array:
        """dh/deta."""
        jet = self.jet(eta)
        own = np.broadcast_to(jet.d1, np.shape(eta))
        return own if not self.bias else own + 0.5 * self.bias * jet.d3

    def adjusted(self, variance: float) -> Scale:
        """The same with an adjustment for bias."""
        return replace(self, bias=variance)

    def of_differences(self) -> Scale:
        """The way from a difference to a ratio; the identity where there is none."""
        if not self.ratio:
            return IDENTITY
        named = "log odds ratio" if self.ratio == "odds.ratio" else self.name
        return Scale(named, _power(self.base), _logarithm(self.base), self.ratio, self.ratio, self.base)


def _power(base: float) -> Callable[[Array], Jet]:
    c = float(np.log(base))

    def jet(eta: Array) -> Jet:
        value = np.exp(c * eta)
        return Jet(value, c * value, c**2 * value, c**3 * value)

    return jet


def _square(eta: Array) -> Jet:
    """eta^2, for negative eta too, which draws and limits may have."""
    return Jet(eta**2, 2.0 * eta, 2.0, 0.0)


SQUARE: Callable[[Array], Jet] = _square


def _logarithm(base: float) -> Callable[[Array], Array]:
    return lambda value: np.log(value) / np.log(base)


IDENTITY = Scale("identity", LINKS["identity"].mean_jet, LINKS["identity"].eta)


def scale_of_link(name: str) -> Scale:
    """The scale of a parameter's predictor, by the name of its link: "log", "logit", or "logm1", log(value - 1)."""
    if name == "logm1":
        return Scale(name, _shifted(_power(np.e), -1.0), lambda value: np.log(value - 1.0))
    link = LINKS[name]
    return Scale(name, link.mean_jet, link.eta, "response", "odds.ratio" if name == "logit" else "ratio")


def scale_of(fit: Fitted) -> Scale:
    """The scale of a fit's linear predictor."""
    family, link = fit.problem.family, fit.problem.family.link_function
    unit, discrete = family.distribution.mean_range == "unit", family.is_discrete
    word = "prob" if unit and discrete else "rate" if discrete else "response"
    if family.normal is not None and not family.is_linear:
        jet = _mean_jet(fit)
        origin = float(np.log(jet(np.zeros(1)).value[0]))
        return Scale("log", jet, lambda value: np.log(value) - origin, "response", "ratio")
    if family.outcomes:  # no mean is a function of eta alone: what it moves is the latent variable
        return Scale(f"latent ({family.link})", link.mean_jet, link.eta)
    if link.name == "sqrt":
        return Scale("sqrt", SQUARE, np.sqrt, word)
    if link.name != "identity":
        ratio = "" if not link.log_scale else "odds.ratio" if link.name == "logit" else "ratio"
        return Scale(link.name, link.mean_jet, link.eta, word, ratio)
    if not family.is_linear:
        return IDENTITY
    return _of_response(fit)


def _mean_jet(fit: Fitted) -> Callable[[Array], Jet]:
    """The mean of a response whose logarithm is normal, sigma being that of the average row: exp(eta + sigma^2 / 2)."""
    aux = tuple(np.full(1, float(np.mean(a))) for a in auxiliary(fit))
    family = fit.problem.family

    def jet(eta: Array) -> Jet:
        value = family.mean(np.asarray(eta), aux)
        return Jet(value, value, value, value)

    return jet


_FUNCTIONS = {"log": np.e, "log2": 2.0, "log10": 10.0, "log1p": np.e}


def _of_response(fit: Fitted) -> Scale:
    """What the formula does to the response: a logarithm or a root, of the response plus a constant perhaps."""
    columns = [record.name for record in fit.problem.recipe.columns]
    try:
        response = model_spec(fit.formula, columns=columns).response
    except FormulaError:
        return IDENTITY
    if response is None or len(response.parts) != 1:
        return IDENTITY
    match _bare(response.parts[0]):
        case Call(function, (only,)) if function in (*_FUNCTIONS, "sqrt"):
            shift = _shift(_bare(only.value)) + (1.0 if function == "log1p" else 0.0)
        case _:
            return IDENTITY
    if function == "sqrt":
        jet = _shifted(SQUARE, shift)
        return Scale("sqrt", jet, lambda value: np.sqrt(value + shift))
    base = _FUNCTIONS[function]
    jet, back = _shifted(_power(base), shift), _logarithm(base)
    return Scale(function, jet, lambda value: back(value + shift), ratio="" if shift else "ratio", base=base)


def _bare(expr: Expr) -> Expr:
    while isinstance(expr, Paren):
        expr = expr.inner
    return expr


def _shift(expr: Expr) -> float:
    """c of y + c."""
    match expr:
        case Binary("+", _, Number(c)) | Binary("+", Number(c), _):
            return float(c)
        case Binary("-", _, Number(c)):
            return -float(c)
    return 0.0


def _shifted(jet: Callable[[Array], Jet], shift: float) -> Callable[[Array], Jet]:
    if not shift:
        return jet

    def moved(eta: Array) -> Jet:
        own = jet(eta)
        return own._replace(value=own.value - shift)

    return moved
