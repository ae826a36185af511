"""What draws of sampled linear predictors mean: coefficients, variances and dispersions under their names, b = L u."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.backends.posterior.effects import Coefficients, Effects, kept
from lmmformula.backends.posterior.model.predictor import Predictor
from lmmformula.backends.posterior.record import Recovered
from lmmformula.typing import Array, Numbers

__all__ = ["read", "sampled_effects"]


def read(predictors: Sequence[Predictor], x: Array, effects: Sequence[Effects]) -> Recovered:
    """Names and values for draws x (chain, draw, d), with the random effects of each predictor.

    Variances of the mean's terms come first, then for each auxiliary predictor its numbers and the variances of its terms.
    """
    mean, *further = predictors
    names, parts = list(mean.variance_names), [mean.variances(x)]
    for p in further:
        names += [*p.aux_names, *p.variance_names]
        parts += [p.aux_values(x), p.variances(x)]
    return Recovered(
        x[..., : max(p.outer.stop for p in predictors)],
        tuple(names),
        np.concatenate(parts, axis=-1),
        Coefficients.of(mean.beta(x)),
        effects[0],
        tuple(p.beta(x) for p in further),
        tuple(effects[1:]),
    )


def sampled_effects(predictor: Predictor, x: Array) -> Effects:
    """b of the predictor's terms for draws x (chain, draw, d) with u as inner coordinates."""
    chains, draws = x.shape[:2]
    if kept(chains * draws, predictor.n_inner):
        every = tuple(predictor.effects(x))
        means = tuple(b.mean(axis=(0, 1)) for b in every)
        return Effects(every, means, tuple(b.std(axis=(0, 1)) for b in every))
    first: list[Numbers] = [0.0] * len(predictor.terms)
    second: list[Numbers] = [0.0] * len(predictor.terms)
    flat = x.reshape(chains * draws, -1)
    for part in np.array_split(flat, max(1, len(flat) // 50)):
        for i, b in enumerate(predictor.effects(part)):
            first[i], second[i] = first[i] + b.sum(axis=0), second[i] + (b**2).sum(axis=0)
    means = tuple(s / len(flat) for s in first)
    spread = zip(second, means, strict=True)
    return Effects(None, means, tuple(np.sqrt(np.maximum(s / len(flat) - m**2, 0.0)) for s, m in spread))
