"""What is predicted, as a function of the linear predictors: values, standard errors and limits on its scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.categories import category_at, share_limits
from lmmformula.inference.prediction_error import RowErrors
from lmmformula.inference.predictive import normal_limits
from lmmformula.numerics.columns import root_mean_square
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.families.family import Family


__all__ = ["Scale"]


@dataclass(frozen=True, slots=True)
class Scale:
    """What is predicted, as a function of eta and the auxiliary predictors.

    Attributes
    ----------
    name : str
        "fit", or that of the auxiliary parameter.
    value : callable
    parameter : int or None
        The auxiliary parameter that it is.
    unit_free : bool
        Whether eta has no unit, so that 1 is neither much nor little of it.
    is_share : bool
        Whether it is a probability that may rise and fall along eta: its limits are those of its logit.
    """

    name: str
    value: Callable[[Array, tuple[Array, ...]], Array]
    parameter: int | None = None
    unit_free: bool = True
    is_share: bool = False

    def slopes(self, eta: Array, aux: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """Derivatives in eta and in each auxiliary predictor, by central differences, which every family allows."""
        d_eta = self._slope(
            lambda x: self.value(x, aux),
            eta,
            1.0 if self.unit_free else root_mean_square([eta[np.isfinite(eta)]]),
        )
        d_aux = tuple(
            self._slope(lambda x, j=j: self.value(eta, (*aux[:j], x, *aux[j + 1 :])), a)
            for j, a in enumerate(aux)
        )
        return d_eta, d_aux

    @staticmethod
    def _slope(function: Callable[[Array], Array], x: Array, unit: float = 1.0) -> Array:
        step = 1e-6 * np.maximum(unit or 1.0, np.abs(x))
        return (function(x + step) - function(x - step)) / (2 * step)

    @classmethod
    def of(cls, family: Family, kind: str) -> Scale:
        """The scale called `kind` in :func:`lmmformula.inference.predict.predict`."""
        names = [a.name for a in family.auxiliaries]
        at = family.zeros_at if kind == "zprob" else names.index(kind) if kind in names else None
        if at is not None:
            return cls(names[at], lambda eta, aux: family.auxiliaries[at].value(aux[at]), at)
        if (place := category_at(family, kind)) is not None:
            return cls(
                "fit",
                lambda eta, aux: family.probabilities(eta, aux)[place],
                unit_free=family.runs_off,
                is_share=True,
            )
        if kind == "link":
            return cls("fit", lambda eta, aux: eta)
        if kind == "conditional":
            return cls("fit", lambda eta, aux: family.location(eta), unit_free=family.runs_off)
        return cls("fit", family.mean, unit_free=family.runs_off)

    def standard_errors(self, eta: Array, aux: tuple[Array, ...], errors: RowErrors) -> Array:
        """By the delta method, (n,)."""
        return np.sqrt(errors.variance(*self.slopes(eta, aux)))

    def limits(
        self, eta: Array, aux: tuple[Array, ...], errors: RowErrors, level: float
    ) -> tuple[Array, Array]:
        """Values at the ends of an interval for the predictor that this is a function of.

        Where a mean depends on auxiliary predictors too, their errors are moved to eta, along which the mean is followed: with
        a log link that is the interval of the mean's logarithm.
        """
        at = self.parameter
        if self.is_share:
            return share_limits(self.value(eta, aux), errors.variance(*self.slopes(eta, aux)), level)
        if at is not None:
            alone = tuple(np.full_like(eta, float(j == at)) for j in range(len(aux)))
            ends = normal_limits(aux[at], errors.variance(0.0, alone), level)
            low, high = (self.value(eta, (*aux[:at], e, *aux[at + 1 :])) for e in ends)
        else:
            d_eta, d_aux = self.slopes(eta, aux)
            ratios = tuple(np.divide(d, d_eta, out=np.zeros_like(eta), where=d_eta != 0.0) for d in d_aux)
            low, high = (self.value(e, aux) for e in normal_limits(eta, errors.variance(1.0, ratios), level))
        return np.minimum(low, high), np.maximum(low, high)
