"""Compiled draws and distribution functions of Conway-Maxwell-Poisson counts of given means, each with a rate of its own.

Terms ``exp(k eta - nu log k!)`` are taken relative to that of the mode m, outwards from it by the ratios
``exp(eta - nu log k)``, while they are above `NOTHING` of their sum. Newton's steps for eta end at a step of `NEAR`, whose
square is the error then; a draw is the first place in that order at which the cumulated terms exceed a uniform share of
their sum.
"""

from __future__ import annotations

import math

import numpy as np

from lmmformula.numerics.compiled import compiled

__all__ = ["compois_draws", "compois_shares"]

NEAR, THERE = 1e-6, 1e-9
NOTHING = 1e-17
STEPS = 60
LOGS = np.log(np.maximum(np.arange(1024.0), 1.0))


@compiled(fast=False)
def _log(k, logs):
    return logs[k] if k < len(logs) else math.log(k)


@compiled(fast=False)
def _sums(eta, nu, mode, logs):
    """Sum of the terms, and of them times k - m and (k - m)^2."""
    total, first, second = 1.0, 0.0, 0.0
    p, k = 1.0, mode
    while True:
        k += 1
        p *= math.exp(eta - nu * _log(k, logs))
        d = float(k - mode)
        total, first, second = total + p, first + p * d, second + p * d * d
        if p * d * d <= NOTHING * total:
            break
    p, k = 1.0, mode
    while k > 0:
        p *= math.exp(nu * _log(k, logs) - eta)
        k -= 1
        d = float(k - mode)
        total, first, second = total + p, first + p * d, second + p * d * d
        if p * d * d <= NOTHING * total:
            break
    return total, first, second


@compiled(fast=False)
def _place(eta, nu, mode, target, logs):
    """Where the cumulated terms exceed the target: the mode, above it, then below it."""
    reached, p, k = 1.0, 1.0, mode
    if target < reached:
        return k
    while p > 0.0:
        k += 1
        p *= math.exp(eta - nu * _log(k, logs))
        reached += p
        if target < reached:
            return k
        if p <= 1e-3 * NOTHING * reached:
            break
    p, k = 1.0, mode
    while k > 0:
        p *= math.exp(nu * _log(k, logs) - eta)
        k -= 1
        reached += p
        if target < reached:
            return k
    return mode


@compiled(fast=False)
def _rate(t, nu, logs):
    """eta of a mean e^t, the mode, and the sum of the terms; bounds and start as in :mod:`lmmformula.families.compois_sums`."""
    rise = math.log1p(math.exp(t))
    first = t + (nu - 1.0) * rise
    low, high = (first, min(t, nu * rise)) if nu < 1.0 else (t, first)
    shifted = math.exp(t) + (nu - 1.0) / (2.0 * nu)
    eta = nu * math.log(shifted) if shifted > 0.0 else first
    if not low <= eta <= high:
        eta = min(max(first, low), high)
    total, mode = 1.0, 0
    for _ in range(STEPS):
        mode = int(math.exp(eta / nu))
        total, one, two = _sums(eta, nu, mode, logs)
        one, two = one / total, two / total
        gap = t - math.log(mode + one)
        if gap > 0.0:
            low = max(low, eta)
        else:
            high = min(high, eta)
        variance = two - one * one
        moved = eta + gap * (mode + one) / variance if variance > 0.0 else low
        if not low < moved < high:
            moved = 0.5 * (low + high)
        step = abs(moved - eta)
        if step <= THERE:
            break
        eta = moved
        if step <= NEAR:
            mode = int(math.exp(eta / nu))
            total = _sums(eta, nu, mode, logs)[0]
            break
    return eta, mode, total


@compiled(fast=False)
def compois_draws(t, nu, u, logs, out):
    """Counts with log means `t` and exponents `nu` from uniform numbers `u`, into `out`; `logs` of 0 (read as 1), 1, 2, ..."""
    for i in range(len(t)):
        eta, mode, total = _rate(t[i], nu[i], logs)
        out[i] = _place(eta, nu[i], mode, u[i] * total, logs)


@compiled(fast=False)
def compois_shares(t, nu, y, logs, out):
    """P(Y <= y) into `out`, with y a whole number, below 0 too."""
    for i in range(len(t)):
        if y[i] < 0.0:
            out[i] = 0.0
            continue
        eta, mode, total = _rate(t[i], nu[i], logs)
        k, p = mode, 1.0
        if y[i] < mode:
            reached = 0.0
            while k > 0 and p > 0.0:
                p *= math.exp(nu[i] * _log(k, logs) - eta)
                k -= 1
                if k <= y[i]:
                    reached += p
            out[i] = reached / total
        else:
            beyond = 0.0
            while k <= y[i] or p > NOTHING * (beyond + NOTHING):
                k += 1
                p *= math.exp(eta - nu[i] * _log(k, logs))
                if k > y[i]:
                    beyond += p
                if p == 0.0:
                    break
            out[i] = 1.0 - beyond / total
