r"""Draws of Laplace's approximation weighted to the exact posterior, random effects with them.

x comes from Laplace's posterior and u from the normal approximation around its mode, N(u^, M^-1). With h of
:mod:`lmmformula.criteria.mode` the exact joint density of (x, u) is to theirs as

    log w = h(u^) - h(u) + (u - u^)'M (u - u^) / 2 = sum_r [l_r(eta_r + e_r) - l_r(eta_r) - s_r e_r + W_r e_r^2 / 2],

e = Z Lambda (u - u^): |M| is in both, and ``Q u^ = Lambda'Z's`` at the mode leaves of the penalty nothing. That is what the
series of second order of the log likelihood at the mode leaves of it.

The mean of w over K draws of u is an unbiased estimate of the exact density of x over Laplace's, so that x with that mean as
its weight and one of its u, picked in proportion to w, is a weighted draw from the exact posterior whatever K is (Andrieu &
Roberts 2009; of importance sampling Tran, Scharth, Pitt & Kohn 2013). Where levels are independent given x, as with one
grouping factor, w is a product over levels: K draws of each level count as K^m, the weight is the product of m means, and each
level picks its own. Draws come in pairs u^ + d and u^ - d, in whose mean the terms of odd order are gone. So many pairs are
taken that the variance which they leave in log weights, had from a first few, is about `NOISE`.

Weights are Pareto-smoothed, and the draws of each chain resampled by them in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.effects import Effects, evenly, kept
from lmmformula.backends.posterior.record import Correction
from lmmformula.backends.posterior.recovery.laplace import by_term
from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import Stacked
from lmmformula.errors import FitError, PlanError
from lmmformula.ir.rows import total
from lmmformula.numerics.pareto import log_sum, pareto_smooth, stratified, weights_ess
from lmmformula.numerics.threads import in_order
from lmmformula.typing import Array, Index

__all__ = ["recover_exactly", "weighted_draws"]

FEW, MOST = 4, 64
"""Pairs of draws of u by which the spread of w is judged, and pairs at most."""
NOISE = 0.1
"""Variance of the logarithm of a draw's weight that the mean over its pairs may leave: a tenth of the draws, about."""
LOOKS = 16
"""Draws of x at which the spread is judged where modes are searched for one by one."""


def recover_exactly(
    target: LaplaceDensity, x: Array, seed: np.random.SeedSequence
) -> tuple[Array, Effects, Correction]:
    """The draws x (chain, draw, d) resampled, the random effects of each, and what the weights say.

    Raises
    ------
    PlanError
        If draws of the random effects do not fit in memory.
    FitError
        If no weight can be computed.
    """
    chains, draws, d = x.shape
    if not kept(chains * draws, target.mean.n_inner):
        raise PlanError(
            f"correct=True weights draws with their random effects, and {chains * draws:,} draws of "
            f"{target.mean.n_inner:,} effects are more than are kept. Ask for fewer draws, or leave it out."
        )
    own, last = seed.spawn(2)
    pieces = list(weighted_draws(target, x.reshape(-1, d), own))
    log_weights = np.concatenate([one for one, _ in pieces])
    if not np.isfinite(log_weights).any():
        raise FitError(
            "correct=True: the likelihood is zero at every draw of the random effects, so that there are no weights: Laplace's "
            "approximation is far from the posterior. Use marginalize='none', which samples the effects."
        )
    smooth, k = pareto_smooth(log_weights)
    rng = np.random.default_rng(last)
    places = [stratified(np.exp(w), draws, rng) for w in smooth.reshape(chains, draws)]
    every = []
    for of_term in zip(*(b for _, b in pieces), strict=True):
        b = np.concatenate(of_term)
        b = b.reshape(chains, draws, *b.shape[1:])
        every.append(np.stack([chain[at] for chain, at in zip(b, places, strict=True)]))
    effects = Effects(
        tuple(every), tuple(b.mean(axis=(0, 1)) for b in every), tuple(b.std(axis=(0, 1)) for b in every)
    )
    count = len(log_weights)
    log_mean = log_sum(log_weights) - float(np.log(count))
    resampled = np.stack([chain[at] for chain, at in zip(x, places, strict=True)])
    return resampled, effects, Correction(k, weights_ess(smooth) / count, log_mean)


def weighted_draws(
    target: LaplaceDensity, flat: Array, seed: np.random.SeedSequence
) -> Iterator[tuple[Array, list[Array]]]:
    """Log weights (S,) and random effects by term (S, m, k), of a run of rows of x after another."""
    if target.together(flat[:0]) is not None:
        return _by_levels(target, flat, np.random.default_rng(seed))
    return _jointly(target, flat, seed)


# -- independent levels ----------------------------------------------------------------------------------------------


def _by_levels(
    target: LaplaceDensity, flat: Array, rng: np.random.Generator
) -> Iterator[tuple[Array, list[Array]]]:
    """A slab after the other, each level with a mean of its own."""
    pairs, at = 0, 0
    for slab in target.together(flat) or ():
        own = flat[at : at + len(slab.u)]
        at += len(own)
        half = np.linalg.cholesky(slab.inverse)

        def steps(count: int, half: Array = half) -> Array:
            d = (half @ rng.standard_normal((count, *half.shape[:-1], 1)))[..., 0]
            return np.concatenate([d, -d])

        if not pairs:
            pairs = _needed(target.remainders(own, slab, steps(FEW)))
        taken = steps(pairs)
        log_weights, pick = _picked(target.remainders(own, slab, taken), rng)
        u = slab.u + np.take_along_axis(taken, pick[None, :, :, None], axis=0)[0]
        yield log_weights, by_term(target, [u @ np.swapaxes(slab.lower, -1, -2)])


# -- levels that depend on each other ----------------------------------------------------------------------------------


def _jointly(
    target: LaplaceDensity, flat: Array, seed: np.random.SeedSequence
) -> Iterator[tuple[Array, list[Array]]]:
    """One draw of x after the other, all levels together."""
    looks, rest = seed.spawn(2)
    some = evenly(flat, LOOKS)

    def spread(job: tuple[Array, np.random.SeedSequence]) -> Array:
        point, rng = target(job[0]).laplace, np.random.default_rng(job[1])
        return _remainders(point, [point.factor.noise(rng) for _ in range(FEW)])

    def one(job: tuple[Array, np.random.SeedSequence]) -> tuple[Array, list[Array]]:
        point, rng = target(job[0]).laplace, np.random.default_rng(job[1])
        steps = [point.factor.noise(rng) for _ in range(pairs)]
        log_weights, pick = _picked(_remainders(point, steps)[:, None, None], rng)
        sign, step = (1.0 if pick[0, 0] < pairs else -1.0), steps[int(pick[0, 0]) % pairs]
        parts = zip(point.u, step, point.factors, strict=True)
        return log_weights, by_term(target, [((u + sign * v) @ f.T)[None] for u, v, f in parts])

    first = np.stack(list(in_order(spread, zip(some, looks.spawn(len(some)), strict=True))), axis=1)
    pairs = _needed(first[..., None])
    return in_order(one, zip(flat, rest.spawn(len(flat)), strict=True))


def _remainders(point: LaplacePoint, steps: Sequence[Stacked]) -> Array:
    """log w at the mode plus and minus each step, (2 K,)."""
    model, eta = point.model, point.mode.eta
    here = model.rows(eta, point.aux, "observed", derivatives=False)
    out = np.empty((2, len(steps)))
    for k, step in enumerate(steps):
        e = model.predictor(None, point.factors, step)
        for own, sign in zip(out, (1.0, -1.0), strict=True):
            (moved,) = model.data.map(lambda chunk, a, b, by: (a + by * b,), eta, e, sign)
            (rest,) = model.data.map(
                lambda chunk, there, before, s, w, b, by: (there - before - by * s * b + 0.5 * w * b**2,),
                model.rows(moved, point.aux, "observed", derivatives=False).loglik,
                here.loglik,
                here.score,
                here.weight,
                e,
                sign,
            )
            own[k] = total(model.data, rest)
    return out.ravel()


# -- means -----------------------------------------------------------------------------------------------------------


def _needed(log_w: Array) -> int:
    """Pairs after which the mean of w (2 K, S, m), pairs k and K + k, varies by `NOISE`, the levels of a draw together."""
    plus, minus = np.split(np.where(np.isnan(log_w), -np.inf, log_w), 2)
    both = np.logaddexp(plus, minus)
    w = np.exp(both - both.max(axis=0))
    spread = (w.var(axis=0, ddof=1) / w.mean(axis=0) ** 2).sum(axis=-1)
    usual = float(np.median(spread)) if np.isfinite(spread).any() else np.inf
    return int(np.clip(np.ceil(usual / NOISE), 1, MOST)) if np.isfinite(usual) else MOST


def _picked(log_w: Array, rng: np.random.Generator) -> tuple[Array, Index]:
    """Logarithms of products over levels of means over the K draws of w (K, S, m), (S,), and the draw picked, (S, m)."""
    log_w = np.where(np.isnan(log_w), -np.inf, log_w)
    top = log_w.max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.cumsum(np.exp(log_w - np.where(np.isfinite(top), top, 0.0)), axis=0)
        log_weights = (np.log(sums[-1] / len(log_w)) + top).sum(axis=-1)
    pick = (sums < rng.uniform(size=top.shape) * sums[-1]).sum(axis=0)
    return np.where(np.isnan(log_weights), -np.inf, log_weights), np.minimum(pick, len(log_w) - 1)
