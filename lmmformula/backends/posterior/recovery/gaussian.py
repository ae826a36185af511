r"""Exact draws of everything that was integrated out, and their conditional means and variances.

Given the variances of a draw, (beta, b) is Gaussian. With F and its Cholesky factor C of
:mod:`lmmformula.backends.posterior.density.bordered` (its leading part C_1, the last row c'), the effects of the dense part and
delta are ``C_1^-T (c + sigma z)``, z standard normal. Given those, level l of the eliminated group has mean ``G_l^-1
r_l`` and variance ``sigma^2 G_l^-1``, G_l = I + L'A_l L, and the noise of that variance is had by perturbing the
right-hand side: ``G_l^-1 (z_1 + L'A_l^(1/2) z_2)`` has covariance G_l^-1 G_l G_l^-1 (Papandreou & Yuille 2010). The
root of A_l is taken once. The loops over draws are compiled (:mod:`lmmformula.numerics.recovery_kernels`), or, where that takes
longer than they do, run over all draws in NumPy (:mod:`lmmformula.backends.posterior.recovery.batches`).

Large problems solve for many draws together (:mod:`lmmformula.backends.posterior.recovery.perturbed`), or do the same through
the engine's factor, one draw at a time: delta from its marginal, then ``u = M^-1 rhs + sigma F^-T z``.

Rao-Blackwell. E(b) is the average of the conditional means, Var(b) that of the conditional variances plus the variance of the
conditional means. The variances vary little from draw to draw and are averaged over at most `WITHIN` evenly spaced draws;
over `WITHIN_LARGE` where each needs an inverse of the engine's. Where draws are solved for together they are mean squares of
the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.effects import Coefficients, Effects, evenly, kept
from lmmformula.backends.posterior.recovery.batches import draws_of_batch, variances_of_batch
from lmmformula.backends.posterior.recovery.perturbed import Perturbed, suits_perturbation
from lmmformula.errors import FitError
from lmmformula.numerics.threads import in_order
from lmmformula.typing import Array, Numbers

__all__ = ["recover"]

WITHIN = 200
"""Draws over which conditional variances are averaged."""
_CHUNK = 200_000
"""Levels times draws that are recovered at once."""
TOGETHER = 100
"""Draws from which solving for many together pays beside one factorisation for each."""
WITHIN_LARGE = 40
"""The same where each takes an inverse of the engine's."""


@dataclass(slots=True)
class _Piece:
    """Conditional moments and draws of a run of posterior draws; groups in the engine's order.

    `within`, where it is known, is the conditional covariance of beta and the variances of each group, averaged over the run.
    """

    beta: Array
    beta_mean: Array
    draws: list[Array]
    means: list[Array]
    within: list[Array] | None = None


def recover(density: VarianceDensity, x: Array, seed: np.random.SeedSequence) -> tuple[Coefficients, Effects]:
    """Draw (beta, b) once for each of x (chain, draw, d), in units of the (working) response.

    Draws of the random effects are kept if there is memory for them; their means and standard deviations come in any case.
    """
    shape, x = x.shape[:2], x.reshape(-1, x.shape[-1])
    if not density.is_small and len(x) >= TOGETHER and suits_perturbation(density):
        return _assembled(density, _perturbed(density, x, seed), None, shape)
    most = WITHIN if density.is_small else WITHIN_LARGE
    thin = evenly(x, most)
    if density.is_small:
        step = max(1, _CHUNK // density.bordered.a.shape[0])
        slices = [slice(start, start + step) for start in range(0, len(x), step)]
        rngs = [np.random.default_rng(s) for s in seed.spawn(len(slices))]
        pieces = (_batch(density, x[s], rng) for s, rng in zip(slices, rngs, strict=True))
        return _assembled(density, pieces, _within_of(density, thin), shape)
    rngs = [np.random.default_rng(s) for s in seed.spawn(len(x))]
    within = _mean_of(list(in_order(lambda one: _single_within(density, one), thin)))
    drawn = in_order(lambda pair: _single(density, *pair), zip(x, rngs, strict=True))
    return _assembled(density, drawn, within, shape)


@dataclass(slots=True)
class _Moments:
    """Running mean and variance over draws (Chan, Golub & LeVeque 1983)."""

    count: int = 0
    mean: Numbers = 0.0
    square: Numbers = 0.0

    def add(self, values: Array) -> None:
        """Take in values (S, ...)."""
        size, own = len(values), values.mean(axis=0)
        gap, total = own - self.mean, self.count + size
        self.square = self.square + ((values - own) ** 2).sum(axis=0) + gap**2 * (self.count * size / total)
        self.mean = self.mean + gap * (size / total)
        self.count = total


def _assembled(
    density: VarianceDensity, pieces: Iterable[_Piece], within: list[Array] | None, shape: tuple[int, ...]
) -> tuple[Coefficients, Effects]:
    """Put pieces together as they come: coefficients, then random effects by term; pieces have `within` where it is None."""
    model = density.model
    keep = kept(int(np.prod(shape)), model.problem.q)
    groups, terms = model.groups, model.problem.terms
    moments = [_Moments() for _ in groups]
    betas, centres, every = [], [], [[] for _ in groups]
    inside: list[Numbers] = [0.0] * (1 + len(groups))
    for piece in pieces:
        betas.append(piece.beta)
        if piece.within is not None:
            share = len(piece.beta) / int(np.prod(shape))
            inside = [known + share * own for known, own in zip(inside, piece.within, strict=True)]
        centres.append(piece.beta_mean)
        for a in range(len(groups)):
            moments[a].add(piece.means[a])
            if keep:
                every[a].append(piece.draws[a])
    within = inside if within is None else within
    centre = np.concatenate(centres)
    spread = centre - centre.mean(axis=0)
    blank: list[Array] = [np.empty(0)] * len(terms)
    effects, means, sds = list(blank), list(blank), list(blank)
    for a, group in enumerate(groups):
        sd = np.sqrt(within[1 + a] + moments[a].square / moments[a].count)
        joined = np.concatenate(every[a]) if keep else None
        for i, columns in group.members:
            means[i], sds[i] = moments[a].mean[:, columns], sd[:, columns]
            if joined is not None:
                effects[i] = joined[..., columns].reshape(*shape, group.m, -1)
    cov = within[0] + spread.T @ spread / len(centre)
    beta = Coefficients(np.concatenate(betas).reshape(*shape, -1), centre.mean(axis=0), cov)
    return beta, Effects(tuple(effects) if keep else None, tuple(means), tuple(sds))


def _mean_of(parts: Sequence[list[Array]]) -> list[Array]:
    return [np.mean(np.stack(arrays), axis=0) for arrays in zip(*parts, strict=True)]


# -- batches ------------------------------------------------------------------------------------------------------


def _inputs(density: VarianceDensity, x: Array) -> tuple[Array, Numbers]:
    """sigma (S,), and what the kernels want of rows of x and of the problem."""
    fused = density.fused
    own, dense, weights, precision, _ = fused.inputs(density.coordinates, x)
    sigma = precision**-0.5
    places, a, counts, b, outer, g, border = fused.arrays
    per_draw = tuple(np.ascontiguousarray(part) for part in (own, dense, weights, sigma))
    levels = np.ascontiguousarray(density.bordered.a)
    return sigma, (*per_draw, places, a, counts, fused.merged, b, outer, g, border, levels)


def _batch(density: VarianceDensity, x: Array, rng: np.random.Generator) -> _Piece:
    """Draws for rows of x at once."""
    bordered, size = density.bordered, len(x)
    (m, k, c), q = bordered.b.shape, bordered.q_dense
    noise, z = rng.standard_normal((size, c - 1)), rng.standard_normal((2, size, m, k, 1))

    def kick(own: Array, sigma: Array) -> Array:
        turned = np.swapaxes(own, -1, -2)[:, None]
        return sigma[:, None, None] * (z[0] + turned @ (_roots(bordered.a) @ z[1]))[..., 0]

    with np.errstate(all="ignore"):
        v, own = (_drawn if density.is_tiny else _drawn_compiled)(density, x, noise, kick)
    if not np.isfinite(v).all():
        raise FitError(
            "the random effects of a draw could not be recovered: the covariance matrix of its variances is singular in "
            "floating point. Give the standard deviations narrower priors, or rescale the columns."
        )
    draws: list[Array] = [np.empty(0)] * (len(bordered.dense) + 1)
    means = list(draws)
    means[bordered.eliminated], draws[bordered.eliminated] = own[:, 0], own[:, 1]
    for a, start in zip(bordered.dense, bordered.offsets, strict=True):
        group = density.model.groups[a]
        both = v[:, :, start : start + group.q].reshape(size, 2, group.m, group.k)
        means[a], draws[a] = both[:, 0], both[:, 1]
    ols = density.model.base.ols
    delta = v[:, :, q:].reshape(2 * size, -1)
    beta = (ols.coefficients[:, None] + ols.from_orthonormal(delta.T)).T.reshape(size, 2, -1)
    return _Piece(beta[:, 1], beta[:, 0], draws, means)


def _roots(a: Array) -> Array:
    """Symmetric roots of positive semidefinite (m, k, k)."""
    values, vectors = np.linalg.eigh(a)
    return (vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ np.swapaxes(vectors, -1, -2)


_Kick = Callable[[Array, Array], Array]
"""(Lambda_e, sigma) of draws -> what is added to the right-hand sides of the eliminated levels, (S, m, k)."""


def _drawn(density: VarianceDensity, x: Array, noise: Array, kick: _Kick) -> tuple[Array, Array]:
    try:
        return draws_of_batch(density.bordered, density.coordinates, x, noise, kick)
    except np.linalg.LinAlgError:
        return np.full(1, np.nan), np.empty(0)


def _drawn_compiled(density: VarianceDensity, x: Array, noise: Array, kick: _Kick) -> tuple[Array, Array]:
    from lmmformula.numerics.recovery_kernels import conditional_draws

    m, k, c = density.bordered.b.shape
    sigma, inputs = _inputs(density, x)
    v, own = np.empty((len(x), 2, c - 1)), np.empty((len(x), 2, m, k))
    arguments: list[Numbers] = [*inputs, noise, kick(inputs[0], sigma), v, own]
    conditional_draws(*arguments)
    return v, own


def _variances(density: VarianceDensity, x: Array) -> tuple[Array, Array, Array]:
    """Of dense effects, delta and eliminated effects, averaged over rows of x."""
    bordered = density.bordered
    if density.is_tiny:
        return variances_of_batch(bordered, density.coordinates, x)
    from lmmformula.numerics.recovery_kernels import conditional_variances

    (m, k, c), q = bordered.b.shape, bordered.q_dense
    others, fixed, own = np.empty(q), np.empty((c - 1 - q, c - 1 - q)), np.empty((m, k))
    arguments: list[Numbers] = [*_inputs(density, x)[1], q, others, fixed, own]
    conditional_variances(*arguments)
    return others, fixed, own


def _within_of(density: VarianceDensity, x: Array) -> list[Array]:
    """Conditional covariance of beta and variances of the effects of each group, averaged over rows of x."""
    bordered = density.bordered
    others, fixed, own = _variances(density, x)
    variances: list[Array] = [np.empty(0)] * (len(bordered.dense) + 1)
    variances[bordered.eliminated] = own
    for a, start in zip(bordered.dense, bordered.offsets, strict=True):
        group = density.model.groups[a]
        variances[a] = others[start : start + group.q].reshape(group.m, group.k)
    ols = density.model.base.ols
    half = ols.from_orthonormal(fixed)
    return [ols.from_orthonormal(half.T), *variances]


# -- many draws by perturbed equations -----------------------------------------------------------------------------


def _perturbed(density: VarianceDensity, x: Array, seed: np.random.SeedSequence) -> Iterator[_Piece]:
    """Slabs of draws; those that were not solved for by the engine. Variances are those of the noise."""
    own, rest = seed.spawn(2)
    ols = density.model.base.ols
    for piece in Perturbed(density, x.mean(axis=0)).pieces(x, own):
        lost = np.flatnonzero(~piece.solved)
        rngs = map(np.random.default_rng, rest.spawn(len(lost)))
        singly = [_single(density, x[piece.places[i]], rng) for i, rng in zip(lost, rngs, strict=True)]
        beta_mean = ols.coefficients + piece.delta @ ols.r_inverse.T
        beta_noise = piece.delta_noise @ ols.r_inverse.T
        means, noise = piece.means, piece.noise
        for i, one in zip(lost, singly, strict=True):
            beta_mean[i], beta_noise[i] = one.beta_mean[0], one.beta[0] - one.beta_mean[0]
            for a in range(len(means)):
                means[a][i], noise[a][i] = one.means[a][0], one.draws[a][0] - one.means[a][0]
        within = [beta_noise.T @ beta_noise / len(beta_noise), *((v**2).mean(axis=0) for v in noise)]
        drawn: list[Array] = [m + v for m, v in zip(means, noise, strict=True)]
        yield _Piece(beta_mean + beta_noise, beta_mean, drawn, means, within)


# -- one draw at a time -------------------------------------------------------------------------------------------


def _single(density: VarianceDensity, x: Array, rng: np.random.Generator) -> _Piece:
    """The engine's way for one draw."""
    point, ols = density(x).marginal, density.model.base.ols
    z = point.sigma * rng.standard_normal(len(point.log_var))
    noise = point.factor.noise(rng)
    draws, means = [], []
    for u, h, own, factor in zip(point.u, point.h, noise, point.factors, strict=True):
        drawn = u - h @ z + point.sigma * own
        draws.append((drawn @ factor.T)[None])
        means.append((u @ factor.T)[None])
    beta = ols.coefficients + ols.from_orthonormal(point.beta_orthonormal + point.r_inverse @ z)
    return _Piece(beta[None], point.beta[None], draws, means)


def _single_within(density: VarianceDensity, x: Array) -> list[Array]:
    """Conditional variances for one draw by the engine's selected inverse."""
    point = density(x).marginal
    inverse = point.factor.inverse()
    out: list[Array] = [point.beta_half @ point.beta_half.T]
    for a, (h, factor) in enumerate(zip(point.h, point.factors, strict=True)):
        block = inverse.diagonal(a) + np.einsum("mip,mjp->mij", h, h)
        out.append(point.sigma**2 * np.einsum("ij,mjl,il->mi", factor, block, factor))
    return out
