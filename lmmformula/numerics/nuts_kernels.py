r"""Chains of the No-U-Turn sampler on the marginal density of variances, in one compiled loop.

The sampler of Hoffman & Gelman (2014) with multinomial choice of the next state, biased towards the newer half of a trajectory
(Betancourt 2017, app. A.3), its generalised criterion for a turn, and trees built without recursion (Phan, Pradhan & Jankowiak
2019; Lao & Dillon 2019): leaf n of a subtree is even or odd, momenta and sums of them are kept for the even ones at place
popcount(n >> 1), and an odd leaf closes as many subtrees as its number ends in ones, each of which is checked.

A chain moves in coordinates z of its own, ``x = mode + half z``, where masses are one: another mass matrix is another `half`
(Neal 2011, sec. 5.4.1). With potential U = -log p, momentum r and step e, one step is ``r <- r - e/2 dU, z <- z + e r,
r <- r - e/2 dU``. A trajectory turns where ``r_left' rho <= 0`` or ``r_right' rho <= 0``, rho the sum of its momenta less half
of the two at its ends. One whose energy rises by more than a thousand diverges.

The step size follows the dual averages of Nesterov, with target acceptance delta (Hoffman & Gelman 2014, sec. 3.2)::

    H_t = (1 - 1 / (t + t0)) H_(t-1) + (delta - alpha_t) / (t + t0),   log e_t = mu - sqrt(t) / gamma H_t,
    log m_t = t^-kappa log e_t + (1 - t^-kappa) log m_(t-1)              the step of a chain that is no longer tuned
"""

from __future__ import annotations

import numpy as np

from lmmformula.numerics.called_kernels import called_density
from lmmformula.numerics.compiled import compiled
from lmmformula.numerics.random_kernels import fill_normal, uniform

__all__ = ["nuts_iterations"]

_WORST = 1_000.0
"""Rise of the energy from which on a trajectory diverges."""
_T0, _GAMMA, _KAPPA = 10.0, 0.05, 0.75


@compiled(bare=True)
def _moved(z, mode, half, x):
    """x of z."""
    for i in range(z.shape[0]):
        x[i] = mode[i]
        for j in range(z.shape[0]):
            x[i] += half[i, j] * z[j]


@compiled(bare=True)
def _potential(value, slope, half, gradient):
    """U, infinite where a log density or its slope cannot be computed, and its gradient with respect to z."""
    total = value
    for j in range(slope.shape[0]):
        gradient[j] = 0.0
        for i in range(slope.shape[0]):
            gradient[j] -= half[i, j] * slope[i]
        total += gradient[j]
    if total - total == 0.0:
        return -value
    for j in range(slope.shape[0]):
        gradient[j] = 0.0
    return np.inf


@compiled(bare=True)
def _turning(left, right, total):
    """Whether the ends of a trajectory move towards each other; `total` is the sum of its momenta."""
    by_left = by_right = 0.0
    for i in range(left.shape[0]):
        rho = total[i] - 0.5 * (left[i] + right[i])
        by_left += left[i] * rho
        by_right += right[i] * rho
    return 1 if by_left <= 0.0 or by_right <= 0.0 else 0


@compiled(bare=True)
def _closes(leaf, momentum, total, kept, sums):
    """Whether one of the subtrees that end with a leaf turns; an even leaf is kept instead."""
    ones, count, rest = 0, leaf >> 1, leaf
    while count > 0:
        ones += count & 1
        count >>= 1
    if leaf & 1 == 0:
        for i in range(momentum.shape[0]):
            kept[ones, i], sums[ones, i] = momentum[i], total[i]
        return 0
    place = ones
    while rest & 1 == 1:
        by_left = by_right = 0.0
        for i in range(momentum.shape[0]):
            rho = total[i] - sums[place, i] + kept[place, i] - 0.5 * (kept[place, i] + momentum[i])
            by_left += kept[place, i] * rho
            by_right += momentum[i] * rho
        if by_left <= 0.0 or by_right <= 0.0:
            return 1
        place -= 1
        rest >>= 1
    return 0


@compiled(bare=True)
def _copied(source, target):
    for i in range(source.shape[0]):
        target[i] = source[i]


@compiled(bare=True)
def _tuned(tuner, target, accepted):
    """One step of the dual averages: `tuner` holds log e, log m, H, t and mu."""
    tuner[3] += 1.0
    t = tuner[3]
    tuner[2] += (target - accepted - tuner[2]) / (t + _T0)
    tuner[0] = tuner[4] - np.sqrt(t) / _GAMMA * tuner[2]
    share = t**-_KAPPA
    tuner[1] += share * (tuner[0] - tuner[1])


@compiled(bare=True)
def nuts_iterations(
    tuned,
    target,
    depth,
    z,
    gradient,
    energy,
    words,
    tuner,
    mode,
    half,
    density,
    table,
    terms,
    mixing,
    numbers,
    log_var0,
    places,
    a,
    counts,
    merged,
    b,
    outer,
    g,
    border,
    draws,
    records,
):
    """As many iterations as `draws` (n, d) has rows; where the chain stands is changed in place.

    Parameters
    ----------
    tuned : int
        Iterations, from the first, after which the step size is tuned; the averaged one is taken after them.
    target, depth : float, int
        Acceptance to tune for; doublings at most.
    z, gradient : (d,) arrays
    energy : (1,) array
        U at z.
    words, tuner : (4,), (5,) arrays
        Of :func:`uniform` and :func:`_tuned`.
    mode, half : (d,), (d, d) arrays
    density : int
        The address of :func:`lmmformula.numerics.variance_kernels.variance_slopes`.
    table, ..., border
        Its numbers.
    draws : (n, d) array
        z after each iteration.
    records : (n, 5) array
        Divergence, steps, mean acceptance, energy and step size of each.
    """
    d = z.shape[0]
    x, slope, r = np.empty(d), np.empty(d), np.empty(d)
    ends, momenta, slopes = np.empty((2, d)), np.empty((2, d)), np.empty((2, d))
    chosen, chosen_slope, near, near_slope = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    at, force, total, branch = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    kept, sums = np.empty((depth + 1, d)), np.empty((depth + 1, d))
    for n in range(draws.shape[0]):
        step = np.exp(tuner[0] if n < tuned else tuner[1])
        fill_normal(words, r)
        start = energy[0]
        for i in range(d):
            start += 0.5 * r[i] * r[i]
        for e in range(2):
            _copied(z, ends[e])
            _copied(r, momenta[e])
            _copied(gradient, slopes[e])
        _copied(z, chosen)
        _copied(gradient, chosen_slope)
        _copied(r, total)
        chosen_value, chosen_energy = energy[0], start
        weight, accepted, steps = 0.0, 0.0, 0  # of the trajectory, as log of the sum of exp(start - energy)
        ended = diverged = 0
        for level in range(depth):
            e = 1 if uniform(words) < 0.5 else 0
            move = step if e == 1 else -step
            _copied(ends[e], at)
            _copied(momenta[e], r)
            _copied(slopes[e], force)
            for i in range(d):
                branch[i] = 0.0
            near_value = near_energy = 0.0
            branch_weight = -np.inf
            for leaf in range(1 << level):
                for i in range(d):
                    r[i] -= 0.5 * move * force[i]
                    at[i] += move * r[i]
                _moved(at, mode, half, x)
                value = called_density(
                    density,
                    x,
                    table,
                    terms,
                    mixing,
                    numbers,
                    log_var0,
                    places,
                    a,
                    counts,
                    merged,
                    b,
                    outer,
                    g,
                    border,
                    slope,
                )
                value = _potential(value, slope, half, force)
                now = value
                for i in range(d):
                    r[i] -= 0.5 * move * force[i]
                    branch[i] += r[i]
                    now += 0.5 * r[i] * r[i]
                steps += 1
                rise = now - start
                accepted += min(1.0, np.exp(-rise))
                if not rise < _WORST:
                    diverged = 1
                    break
                if leaf == 0:
                    branch_weight, take = -rise, 1.0
                else:
                    high = max(branch_weight, -rise)
                    branch_weight = high + np.log(np.exp(branch_weight - high) + np.exp(-rise - high))
                    take = np.exp(-rise - branch_weight)
                if leaf == 0 or uniform(words) < take:
                    _copied(at, near)
                    _copied(force, near_slope)
                    near_value, near_energy = value, now
                if _closes(leaf, r, branch, kept, sums):
                    ended = 1
                    break
            if ended or diverged:
                break
            if uniform(words) < np.exp(branch_weight - weight):
                _copied(near, chosen)
                _copied(near_slope, chosen_slope)
                chosen_value, chosen_energy = near_value, near_energy
            _copied(at, ends[e])
            _copied(r, momenta[e])
            _copied(force, slopes[e])
            for i in range(d):
                total[i] += branch[i]
            high = max(weight, branch_weight)
            weight = high + np.log(np.exp(weight - high) + np.exp(branch_weight - high))
            if _turning(momenta[0], momenta[1], total):
                break
        _copied(chosen, z)
        _copied(chosen_slope, gradient)
        energy[0] = chosen_value
        rate = accepted / steps
        if n < tuned:
            _tuned(tuner, target, rate)
        for i in range(d):
            draws[n, i] = z[i]
        records[n, 0], records[n, 1], records[n, 2] = diverged, steps, rate
        records[n, 3], records[n, 4] = chosen_energy, step
