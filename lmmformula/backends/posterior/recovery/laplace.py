"""Random effects drawn back from the normal approximation around their modes, given coefficients and variances.

``u | x, y ~ N(u^(x), M^-1)``, the distribution whose integral Laplace's approximation is; b = L u. Moments are
Rao-Blackwellised over it, conditional variances on at most `WITHIN` of the draws. Modes of many draws are followed
(:mod:`lmmformula.backends.posterior.recovery.followed`); conditional variances are then mean squares of the noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.effects import Effects, evenly, kept
from lmmformula.backends.posterior.recovery.followed import FollowedModes
from lmmformula.criteria.batched.laplace import Moded
from lmmformula.numerics.threads import in_order
from lmmformula.typing import Array, Index, Numbers

__all__ = ["by_term", "recover_modes"]

FEW = 4
"""Draws to each mode that is searched for from which the others are followed from these."""
WITHIN = 100
"""Draws over which conditional variances are averaged."""


def recover_modes(target: LaplaceDensity, x: Array, seed: np.random.SeedSequence) -> Effects:
    """One draw of the random effects for each of x (chain, draw, d)."""
    chains, draws, d = x.shape
    if target.is_dear and target.follows_modes and chains * draws >= FEW * FollowedModes.needed(d):
        return _followed(target, x, seed)
    if (slabs := target.together(x.reshape(-1, d))) is not None:
        return _together(target, slabs, (chains, draws), np.random.default_rng(seed))
    flat, terms = x.reshape(-1, d), target.mean.terms
    keep = kept(len(flat), target.mean.n_inner)
    every: list[list[Array]] = [[] for _ in terms]
    centre: list[Numbers] = [0.0] * len(terms)
    square: list[Numbers] = [0.0] * len(terms)
    for modes, own in _one_by_one(target, flat, seed):
        for i in range(len(terms)):
            centre[i] = centre[i] + modes[i] / len(flat)
            square[i] = square[i] + modes[i] ** 2 / len(flat)
            if keep:
                every[i].append(own[i])
    within = list(in_order(lambda one: _variances(target, one), evenly(flat, WITHIN)))
    sds = []
    for i in range(len(terms)):
        inside = np.mean([w[i] for w in within], axis=0)
        sds.append(np.sqrt(np.maximum(inside + square[i] - centre[i] ** 2, 0.0)))
    shaped = tuple(np.stack(k).reshape(chains, draws, *k[0].shape) for k in every) if keep else None
    return Effects(shaped, tuple(centre), tuple(sds))


def _followed(target: LaplaceDensity, x: Array, seed: np.random.SeedSequence) -> Effects:
    """By modes that are followed; variances around the modes are those of the noise."""
    shape, flat = x.shape[:2], x.reshape(-1, x.shape[-1])
    groups = target.model.prepared.blocks.groups
    first = np.linspace(0, len(flat) - 1, FollowedModes.needed(target.d)).astype(int)
    keep = kept(len(flat), target.mean.n_inner)
    own, rest = seed.spawn(2)
    sums = [np.zeros((3, g.m, g.k)) for g in groups]
    every = [np.empty((len(flat), g.m, g.k)) if keep else None for g in groups]
    missed: list[Index] = []
    for piece in FollowedModes.of(target, flat[first], len(flat)).pieces(flat, own):
        missed.append(piece.places[~piece.settled])
        for a in range(len(groups)):
            known = (piece.modes[a], piece.draws[a], piece.variances[a])
            _add(sums[a], every[a], piece.places[piece.settled], [v[piece.settled] for v in known])
    lost = np.concatenate(missed)
    for place, (modes, drawn, spread) in zip(lost, _singly(target, flat[lost], rest), strict=True):
        for a in range(len(groups)):
            _add(sums[a], every[a], np.array([place]), [modes[a][None], drawn[a][None], spread[a][None]])
    means = [s[0] / len(flat) for s in sums]
    sds = [np.sqrt(s[2] / len(flat) + s[1] / len(flat) - m**2) for s, m in zip(sums, means, strict=True)]
    shaped = None
    if keep:
        kept_draws = by_term(target, [v for v in every if v is not None])
        shaped = tuple(v.reshape(*shape, *v.shape[1:]) for v in kept_draws)
    return Effects(shaped, tuple(by_term(target, means)), tuple(by_term(target, sds)))


def _add(sums: Array, every: Array | None, places: Index, known: Sequence[Array]) -> None:
    """Take in modes, draws and variances of b, (S, m, k) each: sums of modes, their squares and variances, and the draws."""
    modes, drawn, spread = known
    sums += [modes.sum(axis=0), (modes**2).sum(axis=0), spread.sum(axis=0)]
    if every is not None:
        every[places] = drawn


def _together(
    target: LaplaceDensity, slabs: Iterable[Moded], shape: tuple[int, int], rng: np.random.Generator
) -> Effects:
    """The same where levels are independent: moments over all draws."""
    keep = kept(shape[0] * shape[1], target.mean.n_inner)
    every: list[Array] = []
    count, first, second, within = shape[0] * shape[1], 0.0, 0.0, 0.0
    for slab in slabs:
        turned = np.swapaxes(slab.lower, -1, -2)[:, None]
        half = np.linalg.cholesky(slab.inverse)
        modes = (slab.u[:, :, None, :] @ turned)[:, :, 0]
        noise = (half @ rng.standard_normal(slab.u.shape)[..., None])[..., 0]
        own = ((slab.u + noise)[:, :, None, :] @ turned)[:, :, 0]
        spread = np.einsum("sij,smjl,sil->smi", slab.lower, slab.inverse, slab.lower)
        first, second = first + modes.sum(axis=0) / count, second + (modes**2).sum(axis=0) / count
        within = within + spread.sum(axis=0) / count
        if keep:
            every.append(own)
    sds = np.sqrt(np.maximum(within + second - np.square(first), 0.0))
    drawn = None
    if keep:
        joined = np.concatenate(every)
        drawn = tuple(
            joined[:, :, c].reshape(*shape, *joined.shape[1:2], -1)
            for c in (columns for _, columns in _members(target))
        )
    means, errors = by_term(target, [np.asarray(first)]), by_term(target, [sds])
    return Effects(drawn, tuple(means), tuple(errors))


def _members(target: LaplaceDensity) -> Sequence[tuple[int, slice]]:
    """Terms of the one group, in order, each with its columns."""
    groups = target.model.prepared.blocks.groups
    return sorted(groups[0].members, key=lambda pair: pair[0]) if groups else []


def by_term(target: LaplaceDensity, values: Sequence[Numbers]) -> list[Array]:
    """Values of groups, (m, k), by term."""
    out: list[Array] = [np.empty(0)] * len(target.mean.terms)
    for group, own in zip(target.model.prepared.blocks.groups, values, strict=True):
        for i, columns in group.members:
            out[i] = own[..., columns]
    return out


def _one_by_one(
    target: LaplaceDensity, flat: Array, seed: np.random.SeedSequence
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Modes and one draw, by term, for each of x (S, d)."""
    for modes, drawn, _ in _singly(target, flat, seed):
        yield by_term(target, modes), by_term(target, drawn)


def _singly(
    target: LaplaceDensity, flat: Array, seed: np.random.SeedSequence
) -> Iterator[tuple[list[Array], list[Array], list[Array]]]:
    """Modes, one draw, and its squared distance from the mode, by group, for each of x (S, d)."""

    def one(pair: tuple[Array, np.random.SeedSequence]) -> tuple[list[Array], list[Array], list[Array]]:
        x, own = pair
        point = target(x).laplace
        noise = point.factor.noise(np.random.default_rng(own))
        parts = list(zip(point.u, noise, point.factors, strict=True))
        modes: list[Array] = [u @ f.T for u, _, f in parts]
        drawn: list[Array] = [(u + z) @ f.T for u, z, f in parts]
        return modes, drawn, [(d - m) ** 2 for d, m in zip(drawn, modes, strict=True)]

    return in_order(one, zip(flat, seed.spawn(len(flat)), strict=True))


def _variances(target: LaplaceDensity, x: Array) -> list[Array]:
    """Conditional variances, by term."""
    point = target(x).laplace
    inverse = point.factor.inverse()
    own = [
        np.einsum("ij,mjl,il->mi", factor, inverse.diagonal(a), factor)
        for a, factor in enumerate(point.factors)
    ]
    return by_term(target, own)
