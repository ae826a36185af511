r"""The marginal density of small problems and its gradient, by compiled kernels on arrays laid out for them.

The quantity of :mod:`lmmformula.backends.posterior.density.bordered`; mathematics and cost stand in
:mod:`lmmformula.numerics.bordered_kernels`. With f of that module, pi = 1 / sigma^2 and w_j = sigma^2 / v_j::

    log p(y | x) = constant - (n - p) log sigma - (f(Lambda, w, pi) + sum log v) / 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.backends.posterior.density.bordered import Bordered
from lmmformula.backends.posterior.model.coordinates import Coordinates
from lmmformula.ir.groups import joined
from lmmformula.typing import Array, Entries, Namespace, Numbers

__all__ = ["Fused"]


@dataclass(frozen=True, eq=False)
class Fused:
    """A problem's cross-products in the kernels' order.

    Attributes
    ----------
    bordered : Bordered
    arrays : tuple of arrays
        ``places, a, counts, b, outer, g, border`` of the kernels.
    """

    bordered: Bordered
    arrays: tuple[Entries, ...]

    @classmethod
    def of(cls, bordered: Bordered) -> Fused:
        """Lay out; nothing is computed, but for classes that were merged."""
        c, k = len(bordered.g), bordered.b.shape[1]
        groups = [bordered.model.groups[a] for a in bordered.dense]
        rows = [(s, g.m, g.k) for s, g in zip(bordered.offsets, groups, strict=True)]
        places = np.array(rows, dtype=np.int64).reshape(-1, 3)
        if bordered.counts is None:
            counts, outer = np.ones(len(bordered.a)), np.zeros((1, 1, 1, 1, 1))
        else:
            counts, outer = bordered.counts, bordered.outer.reshape(-1, k, k, c, c)
        border = np.column_stack([bordered.model.shape, -bordered.model.shift])
        parts = (places, bordered.merged_a, counts, bordered.b, outer, bordered.g, border)
        return cls(bordered, tuple(np.ascontiguousarray(part) for part in parts))

    @property
    def merged(self) -> int:
        """1 if levels were merged into classes, else 0, as the kernels take it."""
        return int(self.bordered.counts is not None)

    def inputs(self, coordinates: Coordinates, x: Numbers, xp: Namespace = np) -> tuple[Numbers, ...]:
        """What f depends on, and log p(y, x) + f / 2, for x (..., d).

        Lambda_e (..., k, k), the Lambda_a of the dense groups end to end (...,), w (..., p), pi (...), and the rest (...).
        """
        values = coordinates.values(x, xp)
        sigma, model = values[coordinates.sigma], self.bordered.model
        log_var = model.log_var0 + coordinates.log_mixing(values, xp)
        factors = joined(self.bordered.model.groups, coordinates.factors(values, xp), xp)
        relative = [f / sigma[..., None, None] for f in factors]
        own = relative[self.bordered.eliminated]
        flat = [relative[a].reshape(*relative[a].shape[:-2], -1) for a in self.bordered.dense]
        dense = xp.concatenate(flat, axis=-1) if flat else xp.zeros((*sigma.shape, 0))
        weights = xp.exp(-log_var) * (sigma**2)[..., None]
        n, p = model.problem.n_observed, model.log_var0.shape[0]
        rest = model.constant - (n - p) * xp.log(sigma) - 0.5 * log_var.sum(-1)
        return own, dense, weights, 1.0 / sigma**2, rest + coordinates.log_prior(x, xp)

    def log_posteriors(self, coordinates: Coordinates, x: Array) -> Array:
        """Log density of each row of x (S, d); -inf where it overflows."""
        from lmmformula.numerics.bordered_kernels import bordered_values

        with np.errstate(all="ignore"):
            *inputs, rest = self.inputs(coordinates, x)
        places, a, counts, b, outer, g, border = self.arrays
        f = np.empty(len(x))
        own, dense, weights, precision = (np.ascontiguousarray(part) for part in inputs)
        bordered_values(
            own, dense, weights, precision, places, a, counts, self.merged, b, outer, g, border, f
        )
        out = rest - 0.5 * f
        return np.where(np.isfinite(out), out, -np.inf)

    def slopes(self, own: Array, dense: Array, weights: Array, precision: float) -> tuple[Array, ...]:
        """f, df/dLambda_e, df/dLambda_D, df/dw and df/dpi at one draw."""
        from lmmformula.numerics.bordered_slope_kernels import bordered_slopes

        places, a, counts, b, outer, g, border = self.arrays
        out = np.empty_like(own), np.empty_like(dense), np.empty_like(weights)
        both = np.empty(2)
        bordered_slopes(
            own, dense, weights, precision, places, a, counts, self.merged, b, outer, g, border, *out, both
        )
        return both[0], *out, both[1]

    def value_and_gradient(self, coordinates: Coordinates, x: Array) -> tuple[float, Array]:
        """log p(y | x) + log p(x) and its gradient at one x (d,)."""
        own, dense, weights, precision, rest = self.inputs(coordinates, x)
        f, d_own, d_dense, d_weights, pivot = self.slopes(
            np.ascontiguousarray(own), dense, weights, float(precision)
        )
        gradient = coordinates.log_prior_gradient(x)
        sigma, at = coordinates.own[coordinates.sigma], float(x[coordinates.sigma])
        scale = float(sigma.value(at))
        moved = 0.0
        for term, inner, slope, factor in zip(
            coordinates.terms,
            coordinates.factor_slopes(x),
            *self._by_term(d_own, d_dense, own, dense),
            strict=True,
        ):
            moved += float(np.sum(slope * factor))
            gradient[[*term.sds, *term.cors]] += np.tensordot(inner, slope, 2) * (-0.5 / scale)
        model = self.bordered.model
        n, p = model.problem.n_observed, len(weights)
        change = -(n - p) + 0.5 * moved - float(d_weights @ weights) + pivot * float(precision)
        gradient[coordinates.sigma] += change * sigma.slope(at) / scale
        for j, place, slope in coordinates.mixing_slopes(x):
            gradient[place] += 0.5 * slope * (d_weights[j] * weights[j] - 1.0)
        return float(rest - 0.5 * f), gradient

    def _by_term(
        self, d_own: Array, d_dense: Array, own: Array, dense: Array
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        """df/dLambda and Lambda of each term, (k, k)."""
        groups, count = (
            self.bordered.model.groups,
            len(self.bordered.model.problem.terms),
        )
        slopes: list[Array] = [np.empty(0)] * count
        factors = list(slopes)
        at = 0
        for a in (self.bordered.eliminated, *self.bordered.dense):
            group, k = groups[a], groups[a].k
            d, f = d_own, own
            if a != self.bordered.eliminated:
                d, f = (v[at : at + k * k].reshape(k, k) for v in (d_dense, dense))
                at += k * k
            for i, columns in group.members:
                slopes[i], factors[i] = d[columns, columns], f[columns, columns]
        return slopes, factors
