"""The Hessian of a profiled Gaussian deviance in its variance parameters, from exact gradients."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lmmformula.criteria.quadrature import step_scale
from lmmformula.typing import Array

__all__ = ["hessian_in_log_sigma"]


class _Model(Protocol):
    @property
    def n_eff(self) -> float: ...

    def __call__(self, x: Array, /) -> _Point: ...


class _Point(Protocol):
    """A criterion at one x, beta profiled out."""

    @property
    def model(self) -> _Model: ...
    @property
    def sigma2(self) -> float: ...
    @property
    def hessian(self) -> Array: ...

    def gradient_at(self, sigma2: float, /) -> Array: ...


def hessian_in_log_sigma(point: _Point, x: Array, *, known: bool = False) -> Array:
    """Hessian of the deviance in (x, log sigma) at the optimum `point`: central differences of the gradient in x.

    The gradient is ``a - b / s`` in ``s = sigma^2``, and ``ds/dlog sigma = 2 s``, so the mixed derivative is ``2 b / s``. Where
    sigma is `known` its row and column are zero.
    """
    sigma2, d = point.sigma2, len(x)
    out = np.zeros((d + 1, d + 1))
    out[d, d] = 0.0 if known else 4.0 * point.model.n_eff
    if not d:  # sigma alone
        return out
    steps = 2e-3 * np.minimum(step_scale(point.hessian), np.maximum(1.0, np.abs(x)))
    for j, step in enumerate(steps):
        high, low = x.copy(), x.copy()
        high[j], low[j] = high[j] + step, low[j] - step
        rise = point.model(high).gradient_at(sigma2) - point.model(low).gradient_at(sigma2)
        out[:d, j] = rise / (2.0 * step)
    out[:d, :d] = 0.5 * (out[:d, :d] + out[:d, :d].T)
    if not known:
        out[:d, d] = out[d, :d] = 4.0 * (point.gradient_at(2.0 * sigma2) - point.gradient_at(sigma2))
    return out
