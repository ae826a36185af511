r"""How far draws of Markov chains can be trusted: split R-hat, effective sample sizes, energy.

Draws are arrays (chain, draw, ...); every function answers for each trailing element at once.

* Each chain is cut in two, so that a drift shows as a difference between chains (Gelman et al. 2013).
* R-hat is the root of total over within variance, for ranks turned into normal scores and for the scores of |x -
  median|, whichever is larger (Vehtari et al. 2021, eqs. 1-4 and 14).
* The effective sample size is ``S / tau``, ``tau = -1 + 2 sum_t P_t`` with the pair sums ``P_t = rho_2t + rho_2t+1``
  of the autocorrelations over all chains, up to the first negative pair and made non-increasing (Geyer 1992; Vehtari
  et al. 2021, eqs. 10-13). Of the normal scores it is the bulk ESS; of the indicators of the 5% and 95% quantiles,
  the smaller is the tail ESS.
* BFMI is the mean squared change of the energy over its variance (Betancourt 2016); below 0.3 the sampler moves along
  energy levels too slowly.

A constant has no R-hat and no ESS: nan.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from lmmformula.numerics.order_statistics import mean_ranks
from lmmformula.typing import Array

__all__ = ["bfmi", "ess", "ess_bulk", "ess_tail", "rhat"]

TABLED = 20_000
"""Draws up to which scores are read from a table of all ranks."""
_COLUMNS = 256
"""Elements handled at once: the transform of 4 x 1,000 draws of so many fits in a core's cache."""


def split_chains(draws: Array) -> Array:
    """Halves of each chain as chains of their own; a middle draw of an odd number is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]], axis=0)


def normal_scores(draws: Array) -> Array:
    """Ranks over all chains as quantiles of the normal, ``(rank - 3/8) / (S + 1/4)``; ties share their mean rank."""
    shape = draws.shape
    flat = draws.reshape(shape[0] * shape[1], -1)
    ranks = mean_ranks(flat)
    if len(flat) <= TABLED:
        return _scores_of_ranks(len(flat))[np.rint(2.0 * ranks).astype(np.intp) - 2].reshape(shape)
    from scipy.special import ndtri

    return ndtri((ranks - 0.375) / (len(flat) + 0.25)).reshape(shape)


@lru_cache(maxsize=4)
def _scores_of_ranks(count: int) -> Array:
    """Scores of the ranks 1, 3/2, 2, ... of so many draws, without a package to load."""
    quantile = NormalDist().inv_cdf
    ranks = np.arange(2, 2 * count + 1) / 2.0
    return np.array([quantile(p) for p in (ranks - 0.375) / (count + 0.25)])


def _by_columns(function: Callable[[Array], Array], draws: Array) -> Array:
    """Apply a function of (chain, draw, column) to slices of columns; the trailing shape is kept."""
    flat = np.asarray(draws, dtype=float).reshape(*draws.shape[:2], -1)
    parts = [function(flat[:, :, i : i + _COLUMNS]) for i in range(0, flat.shape[2], _COLUMNS)]
    return np.concatenate(parts).reshape(draws.shape[2:]) if parts else np.zeros(draws.shape[2:])


def _plain_rhat(chains: Array) -> Array:
    n = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = n * chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n - 1) / n + between / (n * within))


def rhat(draws: Array) -> Array:
    """Rank-normalised split R-hat; at 1 the chains agree, above 1.01 they have not mixed."""

    def own(x: Array) -> Array:
        folded = np.abs(x - np.median(x, axis=(0, 1)))
        both = [_plain_rhat(normal_scores(split_chains(v))) for v in (x, folded)]
        return np.fmax(*both)

    return _by_columns(own, draws)


def autocovariance(chains: Array) -> Array:
    """Autocovariances (divided by n) of each chain along axis 1, by FFT."""
    n = chains.shape[1]
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(chains - chains.mean(axis=1, keepdims=True), size, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.fft.irfft(power, size, axis=1)[:, :n] / n


def _plain_ess(chains: Array) -> Array:
    m, n, _ = chains.shape
    acov = autocovariance(chains)
    within = acov[:, 0].mean(axis=0) * n / (n - 1.0)
    total = within * (n - 1.0) / n
    if m > 1:
        total = total + chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1.0 - (within - acov.mean(axis=0)) / total
    rho[0] = 1.0
    even = 2 * (n // 2)
    pairs = rho[0:even:2] + rho[1:even:2]
    running = np.cumprod(pairs > 0, axis=0).astype(bool)
    running[max((n - 3) // 2, 1) :] = False
    last = running.sum(axis=0)  # first pair left out
    monotone = np.minimum.accumulate(np.where(running, pairs, np.inf), axis=0)
    tau = -1.0 + 2.0 * np.where(running, monotone, 0.0).sum(axis=0)
    tau = tau + np.maximum(np.take_along_axis(rho, (2 * last)[None], axis=0)[0], 0.0)
    out = m * n / np.maximum(tau, 1.0 / np.log10(m * n))
    return np.where(total > 0, out, np.nan)


def ess(draws: Array) -> Array:
    """Effective number of draws for the mean."""
    return _by_columns(lambda x: _plain_ess(split_chains(x)), draws)


def ess_bulk(draws: Array) -> Array:
    """Effective number of draws for the centre of the distribution."""
    return _by_columns(lambda x: _plain_ess(normal_scores(split_chains(x))), draws)


def ess_tail(draws: Array) -> Array:
    """Effective number of draws for the 5% and 95% quantiles, the smaller."""

    def own(x: Array) -> Array:
        bounds = np.quantile(x, [0.05, 0.95], axis=(0, 1))
        return np.fmin(*(_plain_ess(split_chains((x <= b).astype(float))) for b in bounds))

    return _by_columns(own, draws)


def bfmi(energy: Array) -> Array:
    """Bayesian fraction of missing information of each chain, from energies (chain, draw)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(np.diff(energy, axis=1) ** 2, axis=1) / energy.var(axis=1, ddof=1)
