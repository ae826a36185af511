r"""log p(y | x) + log p(x): the posterior density of the unconstrained variance coordinates, up to the evidence.

With the marginal density's slopes in L, log sigma and log v (:mod:`lmmformula.criteria.marginal`) and the coordinates' own
(:mod:`lmmformula.backends.posterior.model.coordinates`)::

    d/dx_j = <dlogp/dL, dL/dx_j> + dlogp/dlog sigma dlog sigma/dx_j + dlogp/dlog v dlog v/dx_j + d log p(x_j)/dx_j

Second derivatives are central differences of this gradient: 2 d evaluations, d being the number of variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.criteria.marginal import Marginal, MarginalPoint
from lmmformula.typing import Array

__all__ = ["MarginalPosterior", "PosteriorPoint"]


@dataclass(frozen=True, eq=False)
class MarginalPosterior:
    """The density of x for one problem.

    Attributes
    ----------
    model : Marginal
    coordinates : Coordinates
    """

    model: Marginal
    coordinates: Coordinates

    @property
    def d(self) -> int:
        return self.coordinates.d

    def __call__(self, x: Array) -> PosteriorPoint:
        """Evaluate at one x, (d,)."""
        return PosteriorPoint(self, np.asarray(x, dtype=float))


@dataclass(frozen=True, eq=False)
class PosteriorPoint:
    """The density at one x."""

    posterior: MarginalPosterior
    x: Array

    @cached_property
    def marginal(self) -> MarginalPoint:
        """The likelihood's part."""
        own = self.posterior.coordinates
        values = own.values(self.x)
        mixing = own.log_mixing(values) if own.mixing else None
        return self.posterior.model(own.factors(values), float(values[own.sigma]), mixing)

    @cached_property
    def value(self) -> float:
        """log p(y | x) + log p(x)."""
        return self.marginal.logpdf + float(self.posterior.coordinates.log_prior(self.x))

    @cached_property
    def gradient(self) -> Array:
        """Its gradient, (d,)."""
        own, point, x = self.posterior.coordinates, self.marginal, self.x
        out = own.log_prior_gradient(x)
        for term, slopes, d_factor in zip(own.terms, own.factor_slopes(x), point.d_factors, strict=True):
            out[[*term.sds, *term.cors]] += np.tensordot(slopes, d_factor, 2)
        sigma = own.own[own.sigma]
        at = float(x[own.sigma])
        out[own.sigma] += point.d_log_sigma * sigma.slope(at) / float(sigma.value(at))
        for j, place in own.mixing:
            out[place] += point.d_log_var[j]
        return out
