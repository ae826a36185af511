r"""A dear density of few coordinates, computed at few places and interpolated between them.

In z = half^-1 (x - mode) the logarithm of a posterior density is about -|z|^2 / 2 and smooth, so that a polynomial of low
degree gives it to any accuracy that sampling can see. It is fitted to values at draws of its own, first normal ones, then from
the posterior by the last fit, and to those that a sampler asks for and that are computed, with weights that fall where the
density is negligible,

    w = 1 where log p > max log p - t,   exp((log p - max log p + t) / 2) below,      t = d/2 + sqrt(d/2)

t being the mean and one standard deviation of what a Gaussian's logarithm is below its maximum by. Its error e is the root
mean square, over its draws from the posterior, of the residuals of leaving each out. Once e is below a tolerance, values are
the polynomial's, at places where those that were computed determine it: ``w^4 l <= 4`` with w of an upper bound of the
value and l of :mod:`lmmformula.numerics.polynomial`, so that what the density is off by there is to its usual size as a
standard error twice that of the values. Elsewhere the density is computed, and adds to the fit; so are a few
places of each request, which tell when the fit no longer holds.

With errors of root mean square e over the posterior no posterior mean moves by more than about e of its standard deviations
(Cauchy & Schwarz), so e = 1 / sqrt(draws) is one Monte Carlo standard error at most; since residuals are orthogonal to
polynomials of low degree, means and variances move by much less. The same idea, with a fixed design, carries INLA (Rue,
Martino & Chopin 2009, sec. 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.posterior.density.base import Sloped
from lmmformula.backends.posterior.density.scale import Scale
from lmmformula.numerics.pareto import stratified
from lmmformula.numerics.polynomial import Degrees, Polynomial, degrees, fit_polynomial
from lmmformula.typing import Array

__all__ = ["Interpolated"]

LADDER = ((2, 2), (2, 4), (3, 3), (3, 4), (3, 6), (4, 4), (4, 6), (5, 5), (6, 6), (7, 7), (8, 8))
"""Total degrees of all products, and of products of two variables, of the bases that are tried."""
SPARE = 1.5
"""Values and slopes to each coefficient at least."""
WITH_SLOPES = 4
"""Coordinates from which on a density is computed with its gradient: so many numbers more in two to three times the time."""
BLOCK = 48
"""Places whose densities are computed between two fits at least."""
PROBES = 16
"""Places of each further request that are computed, whatever the fit says of them."""
MOST = 500
"""Coefficients at most: a fit takes values times their square."""
TRIED = 2
"""Bases of one fit at most."""
GROWN, SURPRISE = 1.25, 3.0
"""Growth of the places, and error at new ones over the tolerance, from which they are fitted to again."""
SPREAD = 1.2
"""Standard deviations of z among its own draws."""
LIKELY, DRAWN = 32, 2_000
"""Draws from the posterior at least, picked from so many whose values are the last fit's."""
SLOWER = 400
"""Places without a polynomial below the tolerance after which its own draws end."""
FARTHEST = 4.0
"""Largest w^4 l at which a value is interpolated."""
DF = 5.0
"""Degrees of freedom of draws among which those from the posterior are picked."""
NEGLIGIBLE = 1e-6
"""Weight below which a value is left out."""


class Interpolated:
    """The density, whose values are computed or interpolated.

    Parameters
    ----------
    density : Sloped
    scale : Scale
        Where it is about normal.
    draws : int
        Draws that its values are for: the error of a mean by interpolation is at most their Monte Carlo error.
    """

    def __init__(self, density: Sloped, scale: Scale, draws: int) -> None:
        self._density, self._scale = density, scale
        self._tolerance = draws**-0.5
        self._z, self._values = np.zeros((0, density.d)), np.zeros(0)
        self._slopes = np.zeros((0, density.d)) if density.d >= WITH_SLOPES else None
        self._likely = np.zeros(0, dtype=bool)  # own draws from the posterior
        self._fit: Polynomial | None = None
        self._fitted_to, self._error = 0, float("nan")
        self._top = self._fitted_top = 0.0  # largest value, now and at the last fit
        half = 0.5 * density.d
        self._usual = half + np.sqrt(half)

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return self._density.d

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Places of folded standard deviations, each with the partial correlations that change sign with it."""
        return self._density.folded

    @property
    def computed(self) -> int:
        """Densities computed so far."""
        return len(self._values)

    @property
    def error(self) -> float:
        """Root mean square of the errors of interpolated log densities, of the worst fit; nan where none was interpolated."""
        return self._error

    def holds(self) -> bool:
        """Whether a polynomial follows the density: computed at draws of its own, as many as that takes."""
        rng, best = np.random.default_rng(0), None
        while self._fit is None and self.computed < SLOWER:
            if best is None:
                z = SPREAD * rng.standard_normal((BLOCK, self.d))
            else:
                z = self._drawn(best, max(LIKELY, self.computed // 2), rng)
            self._evaluate(self._scale.mode + z @ self._scale.half.T, z, likely=best is not None)
            best = self._best()
            self._take(best)
        return self._fit is not None

    def _drawn(self, fit: Polynomial, size: int, rng: np.random.Generator) -> Array:
        """About so many draws z from the posterior by a fit, where that is sure."""
        z = SPREAD * rng.standard_normal((DRAWN, self.d)) / np.sqrt(rng.chisquare(DF, (DRAWN, 1)) / DF)
        values, sure = self._trusted(fit, z)
        below = np.where(sure, values, -np.inf) + 0.5 * (DF + self.d) * np.log1p(
            (z**2).sum(axis=1) / (DF * SPREAD**2)
        )
        return z[np.unique(stratified(np.exp(below - below.max()), size, rng))]

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it cannot be computed."""
        if not self.computed:
            self.holds()
        out, left = np.empty(len(x)), np.arange(len(x))
        z = np.linalg.solve(self._scale.half, (x - self._scale.mode).T).T
        first = min(len(x), BLOCK if self._fit is None else PROBES)
        while len(left):
            now, left = left[:first], left[first:]
            out[now] = self._compute(x[now], z[now])
            first = max(BLOCK, self.computed // 4)  # so that there are few fits
            if self._fit is not None and len(left):
                values, sure = self._interpolate(z[left])
                out[left[sure]], left = values[sure], left[~sure]
        return out

    def _compute(self, x: Array, z: Array) -> Array:
        values = self._evaluate(x, z)
        missed = self._missed(z, values)
        if (
            self._fit is None
            or missed > SURPRISE * self._tolerance
            or self.computed > GROWN * self._fitted_to
        ):
            self._take(self._best())
        return values

    def _evaluate(self, x: Array, z: Array, *, likely: bool = False) -> Array:
        """Values that are computed and kept."""
        if self._slopes is None:
            values = self._density.log_densities(x)
        else:
            values, slopes = self._density.values_and_gradients(x)
            self._slopes = np.concatenate([self._slopes, slopes @ self._scale.half])
        self._z, self._values = np.concatenate([self._z, z]), np.concatenate([self._values, values])
        self._likely = np.append(self._likely, np.full(len(z), likely))
        self._top = float(self._values.max())
        return values

    def _missed(self, z: Array, values: Array) -> float:
        """Root mean weighted square of the errors of the fit at places that it has not seen."""
        if self._fit is None:
            return 0.0
        below = values - self._fitted_top
        weights = self._weight(below)
        found, spread = self._fit(z)
        use = (weights > NEGLIGIBLE) & (weights**4 * spread <= FARTHEST)
        if not use.any():
            return 0.0
        return float(np.sqrt(np.average((found[use] - below[use]) ** 2, weights=weights[use])))

    def _interpolate(self, z: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Values at z, and where they may stand for the density's."""
        assert self._fit is not None
        self._error = float(np.fmax(self._error, self._fit.error))
        values, sure = self._trusted(self._fit, z)
        return values + self._fitted_top, sure

    def _trusted(self, fit: Polynomial, z: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Values of a fit at z, and where the values that were computed determine it."""
        values, spread = fit(z)
        upper = values + 3.0 * fit.error * np.sqrt(spread)
        return values, np.isfinite(upper) & (self._weight(upper) ** 4 * spread <= FARTHEST)

    def _weight(self, below: Array) -> Array:
        """w of log density less its maximum."""
        return np.exp(0.5 * np.minimum(below + self._usual, 0.0))

    def _take(self, best: Polynomial | None) -> None:
        """Go on with a fit if its error is known to be below the tolerance, else without one."""
        sharp = best is not None and best.error <= self._tolerance and self._known
        self._fit, self._fitted_to = best if sharp else None, self.computed

    def _best(self) -> Polynomial | None:
        """On the smallest of the bases that the values determine with an error below the tolerance, or with the least error."""
        self._fitted_top = top = self._top
        if not np.isfinite(top):
            return None
        weights = self._weight(self._values - top)
        use, best = weights > NEGLIGIBLE, None
        z, values, weights = self._z[use], self._values[use] - top, weights[use]
        slopes = None if self._slopes is None else self._slopes[use]
        counts = self._likely[use].astype(float) if self._known else None
        numbers = float(weights.sum()) * (1 if slopes is None else 1 + self.d)
        for basis in self._bases(numbers):
            found = fit_polynomial(z, values, weights, basis, slopes, counts)
            if found is not None and (best is None or found.error < best.error):
                best = found
            if best is not None and best.error <= self._tolerance:
                break
        return best

    @property
    def _known(self) -> bool:
        """Whether draws from the posterior tell the error."""
        return int(self._likely.sum()) >= LIKELY // 2

    def _bases(self, numbers: float) -> list[Degrees]:
        """Bases that so many values and slopes determine: the largest, or from that of the last fit on."""
        least = 0 if self._fit is None else len(self._fit.basis)
        sizes = [degrees(self.d, *step) for step in LADDER if _size(self.d, step[0]) <= MOST]
        usable = sorted((b for b in sizes if least <= len(b) <= MOST and SPARE * len(b) <= numbers), key=len)
        return usable[:TRIED] if least else usable[-TRIED:]


def _size(d: int, total: int) -> int:
    """Products of so many variables up to a total degree."""
    out = 1
    for k in range(1, total + 1):
        out = out * (d + k) // k
    return out
