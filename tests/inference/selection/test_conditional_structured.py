"""The conditional AIC of structured residuals: Stein's derivative by refits, the dense hat matrix, the AIC without effects."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit
from lmmformula.typing import Array

FORMULAS = {
    "ar": "y ~ x + (1 | g) + ar(t, gr = g)",
    "variances": "bf(y ~ x + (1 | g), sigma ~ f)",
    "unstr": "y ~ x + unstr(v, gr = h)",
}


@cache
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    groups, times = 8, 6
    g, t = np.repeat(np.arange(groups), times), np.tile(np.arange(times), groups)
    e = rng.normal(size=(groups, times))
    for j in range(1, times):
        e[:, j] = 0.4 * e[:, j - 1] + 0.9 * e[:, j]
    f = np.where(t < 3, "a", "b")
    x = rng.normal(size=g.size)
    y = 1 + 0.5 * x + 1.2 * rng.normal(size=groups)[g] + e.ravel() * np.where(f == "b", 1.4, 1.0)
    h = np.array([f"{i}{'ab'[int(j >= 3)]}" for i, j in zip(g, t, strict=True)])
    v = np.array([f"v{j % 3}" for j in t])
    return pd.DataFrame({"y": 10 * y, "x": x, "t": t, "g": g.astype(str), "f": f, "h": h, "v": v})


@cache
def fitted(name: str) -> Fit:
    return fit(FORMULAS[name], data(), method="reml", tolerance=1e-10)


def dense(m: Fit) -> tuple[Array, Array, Array]:
    """V, R and X, with sigma^2 = 1."""
    point = m.optimum
    n = m.problem.n
    v, r = np.zeros((n, n)), np.zeros((n, n))
    for block, part in zip(point.blocks, point.model.layout.parts, strict=True):
        for at, rows in zip(part.pattern, part.rows, strict=True):
            v[np.ix_(rows, rows)] = np.linalg.inv(block.inverse[at])
    r[:] = v
    for term, factor in zip(point.model.problem.terms, point.factors, strict=True):
        z = (term.codes[:, None] == np.arange(term.m)).astype(float)
        r -= z @ z.T * float((factor @ factor.T)[0, 0])
    return v, r, m.problem.X.matrix


@pytest.mark.parametrize("name", FORMULAS)
def test_effective_degrees_of_freedom_and_likelihood_are_those_of_dense_matrices(name: str) -> None:
    m = fitted(name)
    v, r, x = dense(m)
    inverse = np.linalg.inv(v)
    p = inverse - inverse @ x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    found = m.caic(variances="known")
    assert found.effective == pytest.approx(m.problem.n - np.trace(r @ p), rel=1e-8)
    e = m.problem.y - (m.problem.y - r @ p @ m.problem.y)
    _, logdet = np.linalg.slogdet(2 * np.pi * m.sigma**2 * r)
    own = -0.5 * (logdet + e @ np.linalg.solve(r, e) / m.sigma**2)
    assert found.llf == pytest.approx(own, rel=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_correction_is_the_derivative_of_fitted_values_by_refits(name: str) -> None:
    m, total = fitted(name), 0.0
    y, step = m.problem.y, 0.02
    for i in range(len(y)):
        ends = []
        for sign in (1.0, -1.0):
            moved = y.copy()
            moved[i] += sign * step
            ends.append(m.refit(moved).fittedvalues.to_numpy()[i])
        total += (ends[0] - ends[1]) / (2 * step)
    found = m.caic()
    own = 1 + len(m.optimum.omega) - m.problem.n_theta
    assert found.df - own == pytest.approx(total, rel=2e-3)


def test_without_effects_it_is_the_aic() -> None:
    m = fit(FORMULAS["unstr"], data(), method="ml")
    assert m.caic(variances="known").caic == pytest.approx(m.aic, rel=1e-9)
