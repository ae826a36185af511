"""From the inner coordinates that chains move in to spherical random effects, for all predictors of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lmmformula.backends.posterior.model.whitening import Whitening

__all__ = ["spherical"]


def spherical(whitenings: Sequence[Whitening], n_outer: int, x: Any) -> tuple[Any, Any]:
    """x with u in place of v, and log|F|; traceable."""
    parts, log_det = [x[:n_outer]], 0.0
    for own in whitenings:
        u, one = own(x)
        parts.append(u)
        log_det = log_det + one
    return jnp.concatenate(parts), log_det
