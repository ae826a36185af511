r"""The distribution of a likelihood ratio where variances are zero under the hypothesis.

A variance of zero lies on the edge of what is possible, so half of the time, or more, the larger model fits no better, and
the usual chi-square is too large: its p-values are twice what they should be, or more.

**Mixtures** (Self & Liang 1987; Stram & Lee 1994). One further column of random effects beside k of them,
with its variance and its k covariances: 2 log LR is in the limit of many independent levels ::

    1/2 chi^2_k + 1/2 chi^2_{k+1}                                                                             (1)

for k = 0 (one variance alone) 1/2 at zero and 1/2 chi^2_1. Several columns at once have weights that depend on the design.

**One variance in a Gaussian model, exactly** (Crainiceanu & Ruppert 2004). ``y = X beta + Z b + e``, Var(b) =
lambda sigma^2 Q^-1, hypothesis lambda = 0. Let mu_s be the K positive eigenvalues of ``Q^-1/2 Z'M Z Q^-1/2``, M the
projection off X, xi_s those of the same without M (all weighted by W). Under the hypothesis ::

    RLR = sup_lambda  (n - p) log(T / D(lambda)) - sum_s log(1 + lambda mu_s)                                 (2)
    LR  = sup_lambda   n      log(T / D(lambda)) - sum_s log(1 + lambda xi_s)
    D(lambda) = sum_s w_s^2 / (1 + lambda mu_s) + r,     T = D(0),     w_s ~ N(0, 1),   r ~ chi^2_{n-p-K}

which is drawn from: eigenvalues once, O(m^3), then a chi-square for each different one. The supremum is that of a grid of log
lambda and the parabola through its best three points. With further random effects in both models their variances are taken as
known, and (2) is an approximation that holds the level well (Greven, Crainiceanu, Kuechenhoff & Peters 2008).

References
----------
Crainiceanu & Ruppert (2004), J. R. Statist. Soc. B 66, 165-185.
Greven, Crainiceanu, Kuechenhoff & Peters (2008), J. Comput. Graph. Statist. 17, 870-891.
Self & Liang (1987), J. Am. Statist. Assoc. 82, 605-610.
Stram & Lee (1994), Biometrics 50, 1171-1177.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmmformula.ir.design import GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

__all__ = ["Null", "Spectrum", "chi_bar", "p_of_draws"]

GRID = 200
"""Values of lambda at which (2) is evaluated."""
REACH = (-10.0, 8.0)
"""Their ends, as log(lambda mu), mu the largest eigenvalue."""
SAME = 1e-9
"""Eigenvalues that differ by less, relative to the largest, are one of higher multiplicity; a smaller one is zero."""
AT_ONCE = 2_000
"""Draws whose criterion is held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Null:
    """A p-value and the distribution that it is of.

    Attributes
    ----------
    p_value : float
        nan if there is none.
    words : str
        What the distribution is, or why there is none.
    drawn : (n,) array or None
        Draws from it, where it is drawn.
    chi_squares : tuple of int
        Degrees of freedom of the chi-squares that it mixes with equal weights, 0 for a point at zero.
    """

    p_value: float
    words: str
    drawn: Array | None = None
    chi_squares: tuple[int, ...] = ()


def chi_bar(statistic: float, covariances: int) -> float:
    """P(T >= statistic) under (1), for one further variance with that number of covariances."""
    from scipy.special import chdtrc

    if statistic <= 0.0:
        return 1.0
    inside = float(chdtrc(covariances, statistic)) if covariances else 0.0
    return 0.5 * inside + 0.5 * float(chdtrc(covariances + 1, statistic))


def p_of_draws(drawn: Array, statistic: float) -> float:
    """The share of draws that are as large, counting the observed one (Davison & Hinkley 1997)."""
    if statistic <= 0.0:
        return 1.0
    return (1.0 + float(np.count_nonzero(drawn >= statistic))) / (1.0 + len(drawn))


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """What (2) needs of a design.

    Attributes
    ----------
    n, p : int
    mu, xi : (m,) arrays
        Eigenvalues with and without the projection off X, over the largest of mu.
    """

    n: int
    p: int
    mu: Array
    xi: Array

    @classmethod
    def of(cls, problem: Problem, term: GroupBlock) -> Spectrum:
        """Of one term of one column and independent levels, (1 | g) or (0 + x | g); O(n p^2 + m^2 p + m^3)."""
        problem.refuse_elsewhere("the distribution of a test of a variance")
        root = np.ones(problem.n) if problem.weights is None else np.sqrt(problem.weights)
        z = root if term.basis is None else root * term.basis[:, 0]
        own = np.bincount(term.codes, z * z, term.m)
        q, _ = np.linalg.qr(root[:, None] * problem.X.matrix)
        met = np.stack([np.bincount(term.codes, z * column, term.m) for column in q.T]) if q.size else None
        inner = np.diag(own) if met is None else np.diag(own) - met.T @ met
        mu = np.maximum(np.linalg.eigvalsh(inner), 0.0)
        largest = float(mu.max(initial=0.0)) or 1.0
        return cls(problem.n, problem.p, mu / largest, own / largest)

    def draws(self, n: int, rng: np.random.Generator, *, restricted: bool) -> Array:
        """`n` draws of (2), of the restricted likelihood ratio or of the likelihood ratio."""
        mu, times = _distinct(self.mu)
        lam = np.exp(np.linspace(*REACH, GRID))
        shrunk = 1.0 / (1.0 + np.outer(mu, lam))
        kappa = self.mu if restricted else self.xi
        penalty = np.log1p(np.outer(lam, kappa)).sum(axis=1)
        factor = self.n - self.p if restricted else self.n
        left = self.n - self.p - int(times.sum())
        out = np.empty(n)
        for start in range(0, n, AT_ONCE):
            size = min(AT_ONCE, n - start)
            w = rng.chisquare(times, (size, len(times)))
            rest = rng.chisquare(left, size) if left > 0 else np.zeros(size)
            total = w.sum(axis=1) + rest
            value = factor * np.log(total[:, None] / (w @ shrunk + rest[:, None])) - penalty
            out[start : start + size] = np.maximum(_peaks(value), 0.0)
        return out


def _distinct(values: Array) -> tuple[Array, Array]:
    """Different positive eigenvalues and how often each occurs."""
    kept = np.sort(values[values > SAME * values.max(initial=0.0)])
    if not kept.size:
        return np.zeros(0), np.zeros(0)
    first = np.concatenate([[True], np.diff(kept) > SAME * kept[-1]])
    which = np.cumsum(first) - 1
    times = np.bincount(which).astype(float)
    return np.bincount(which, kept) / times, times


def _peaks(value: Array) -> Array:
    """The largest of each row, by the parabola through it and its neighbours."""
    at = np.argmax(value, axis=1)
    rows = np.arange(len(value))
    middle = value[rows, at]
    inside = (at > 0) & (at < value.shape[1] - 1)
    low, high = value[rows, np.maximum(at - 1, 0)], value[rows, np.minimum(at + 1, value.shape[1] - 1)]
    bend = low - 2.0 * middle + high
    with np.errstate(divide="ignore", invalid="ignore"):
        raised = middle - (high - low) ** 2 / (8.0 * bend)
    return np.where(inside & (bend < 0.0), raised, middle)
