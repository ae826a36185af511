"""Monotonic effects by likelihood: estimates against the criterion maximised over (b, zeta), and what does not change them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import gammaln

from lmmformula import build, fit
from lmmformula.backends.monotonic import nearest
from lmmformula.errors import BoundaryWarning
from lmmformula.result import Fit
from lmmformula.typing import Argument, Array

LEVELS = ["none", "low", "middle", "high", "most"]


def table(seed: int, mean: list[float], n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x, g = rng.integers(0, len(mean), n), rng.integers(0, 12, n)
    z = rng.normal(size=n)
    eta = np.array(mean)[x] + 0.4 * z + 0.6 * rng.normal(size=12)[g]
    ordered = pd.Categorical.from_codes(x, LEVELS[: len(mean)], ordered=True)
    y, count = eta + rng.normal(size=n), rng.poisson(np.exp(0.5 * eta))
    return pd.DataFrame({"x": x, "o": ordered, "g": g.astype(str), "z": z, "y": y, "count": count})


def quietly(formula: str, data: pd.DataFrame, **arguments: Argument) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BoundaryWarning)
        return fit(formula, data, **arguments)


def steps(d: pd.DataFrame) -> Array:
    return (d.x.to_numpy()[:, None] >= np.arange(1, d.x.max() + 1)).astype(float)


def least(deviance: Callable[[Array], float], signs: Array) -> tuple[float, Array]:
    """The least deviance over parameters with these signs, 0 for a free one."""
    bounds = [(None if s <= 0 else 0.0, None if s >= 0 else 0.0) for s in signs]
    value, at = np.inf, 0.1 * signs
    for _ in range(3):
        out = minimize(deviance, at, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-8})
        value, at = float(out.fun), out.x
    return value, at


def best(deviance: Callable[[Array], float], p: int, count: int) -> tuple[float, Array]:
    """The least over p parameters, of which elements 1 to `count` have one sign."""
    own = np.zeros(p)
    own[1 : 1 + count] = 1.0
    return min((least(deviance, sign * own) for sign in (1.0, -1.0)), key=lambda found: found[0])


def gaussian(d: pd.DataFrame, x: Array) -> Callable[[Array], float]:
    """-2 log likelihood of a random intercept in (beta, log sd, log sigma), from V itself."""
    z = (d.g.to_numpy()[:, None] == np.unique(d.g)).astype(float)
    y = d.y.to_numpy()

    def deviance(p: Array) -> float:
        v = np.exp(2 * p[-2]) * z @ z.T + np.exp(2 * p[-1]) * np.eye(len(y))
        root = np.linalg.cholesky(v)
        r = np.linalg.solve(root, y - x @ p[:-2])
        return float(len(y) * np.log(2 * np.pi) + 2 * np.log(np.diag(root)).sum() + r @ r)

    return deviance


CASES = {
    "one step flat": (1, [0.0, 1.0, 0.8, 1.2, 3.0]),
    "decreasing": (2, [3.0, 2.0, 2.4, 0.5, 0.0]),
    "strict": (3, [0.0, 1.5, 3.0, 4.5, 6.0]),
    "none": (4, [0.0, 0.0, 0.0, 0.0, 0.0]),
    "back and forth": (5, [0.0, 1.0, 0.0, 1.0, 0.5]),
}


@pytest.mark.parametrize("case", CASES)
def test_maximum_of_the_likelihood_over_signs(case: str) -> None:
    d = table(*CASES[case])
    m = quietly("y ~ mo(x) + z + (1 | g)", d, method="ml")
    x = np.column_stack([np.ones(len(d)), steps(d), d.z])
    lowest, at = best(gaussian(d, x), 8, 4)
    assert m.deviance == pytest.approx(lowest, abs=1e-6)
    mine = m.params.to_dict()
    for j, gamma in enumerate(at[1:5], 1):
        assert mine.get(f"mox[{j}]", 0.0) == pytest.approx(gamma, abs=2e-4)


def test_an_interaction_has_signs_of_its_own() -> None:
    d = table(6, [0.0, 1.0, 1.0, 2.0, 2.5])
    d["y"] = d.y - 0.5 * d.z * d.x
    m = quietly("y ~ mo(x) * z + (1 | g)", d, method="ml")
    e = steps(d)
    x = np.column_stack([np.ones(len(d)), e, d.z, e * d.z.to_numpy()[:, None]])
    deviance, ones = gaussian(d, x), np.ones(4)
    found = [
        least(deviance, np.r_[0, main * ones, 0, other * ones, 0, 0])[0]
        for main in (1.0, -1.0)
        for other in (1.0, -1.0)
    ]
    assert m.deviance == pytest.approx(min(found), abs=1e-6)
    assert m.problem.monotonic is not None
    assert [e.label for e in m.problem.monotonic.effects] == ["mox", "mox:z"]


def test_laplace() -> None:
    """Poisson counts with a random intercept: Laplace's approximation written out."""
    d = table(7, [0.0, 1.0, 0.7, 1.0, 2.0])
    m = quietly("count ~ mo(x) + (1 | g)", d, family="poisson")
    x, y = np.column_stack([np.ones(len(d)), steps(d)]), d.filter(["count"]).to_numpy(float)[:, 0]
    codes = np.unique(d.g, return_inverse=True)[1]

    def deviance(p: Array) -> float:
        sd, fixed, u = np.exp(p[-1]), x @ p[:-1], np.zeros(12)
        for _ in range(60):
            mu = np.exp(fixed + sd * u[codes])
            slope = sd * np.bincount(codes, y - mu, 12) - u
            curvature = sd**2 * np.bincount(codes, mu, 12) + 1.0
            u = u + slope / curvature
        mu = np.exp(fixed + sd * u[codes])
        log_f = (y * np.log(mu) - mu - gammaln(y + 1)).sum() - 0.5 * (u**2).sum()
        return float(-2 * log_f + np.log(sd**2 * np.bincount(codes, mu, 12) + 1.0).sum())

    lowest, at = best(deviance, 6, 4)
    assert m.deviance == pytest.approx(lowest, abs=1e-6)
    assert m.params.to_dict()["mox[1]"] == pytest.approx(float(at[1]), abs=1e-4)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_without_random_effects(family: str) -> None:
    d = table(8, [0.0, 0.4, 0.2, 0.9, 1.0])
    response = "y" if family == "gaussian" else "count"
    m = quietly(f"{response} ~ mo(x)", d, family=family, method="ml")
    x, y = np.column_stack([np.ones(len(d)), steps(d)]), np.asarray(d[response], dtype=float)

    def deviance(p: Array) -> float:
        if family == "gaussian":
            return float(len(y) * (1 + np.log(2 * np.pi * ((y - x @ p) ** 2).mean())))
        return float(-2 * (y * (x @ p) - np.exp(x @ p) - gammaln(y + 1)).sum())

    lowest, _ = best(deviance, 5, 4)
    assert m.deviance == pytest.approx(lowest, abs=1e-6)


def test_an_ordered_factor_is_its_codes() -> None:
    d = table(1, CASES["one step flat"][1])
    by_numbers, by_factor = (quietly(f"y ~ mo({name}) + (1 | g)", d) for name in ("x", "o"))
    assert by_factor.llf == pytest.approx(by_numbers.llf, abs=1e-9)
    assert [n for n in by_factor.params.index if n != "(Intercept)"] == ["moo[low]", "moo[most]"]
    shifted = quietly("y ~ mo(x) + (1 | g)", d.assign(x=d.x + 7))
    assert shifted.params.to_numpy() == pytest.approx(by_numbers.params.to_numpy(), rel=1e-9)


def test_units_of_the_response_change_nothing() -> None:
    d = table(1, CASES["one step flat"][1])
    small, large = (quietly("y ~ mo(x) + z + (1 | g)", d.assign(y=c * d.y)) for c in (1.0, 1e5))
    assert small.params.index.equals(large.params.index)
    assert 1e5 * small.params.to_numpy() == pytest.approx(large.params.to_numpy(), rel=1e-6)


def test_restricted_likelihood_of_the_steps_that_maximum_likelihood_finds() -> None:
    d = table(1, CASES["one step flat"][1])
    m = quietly("y ~ mo(x) + z + (1 | g)", d)
    kept = d.assign(a=(d.x >= 1).astype(float), b=(d.x >= 4).astype(float))
    plain = fit("y ~ a + b + z + (1 | g)", kept)
    assert m.method == "REML"
    assert m.llf == pytest.approx(plain.llf, abs=1e-9)
    assert m.bse.to_numpy() == pytest.approx(plain.bse.to_numpy(), rel=1e-8)


def test_steps_of_zero_are_said() -> None:
    d = table(1, CASES["one step flat"][1])
    with pytest.warns(
        BoundaryWarning, match=r"2 of 4 steps of monotonic effects are zero: mox\[2\], mox\[3\]"
    ):
        m = fit("y ~ mo(x) + (1 | g)", d)
    assert "2 of 4 steps of monotonic effects are zero" in str(m.summary())


def test_whole_numbers_that_do_not_occur_widen_a_step() -> None:
    d = table(3, CASES["strict"][1])
    problem = build("y ~ mo(x)", d.assign(x=np.where(d.x == 4, 9, d.x)))
    assert problem.monotonic is not None
    (effect,) = problem.monotonic.effects
    assert effect.levels == ("1", "2", "3", "9")
    assert effect.widths == (1, 1, 1, 6)
    assert effect.size == 9


def test_recovery() -> None:
    d = table(11, [0.0, 1.0, 1.0, 1.0, 3.0], n=4_000)
    m = quietly("y ~ mo(x) + z + (1 | g)", d)
    gamma = [m.params.to_dict().get(f"mox[{j}]", 0.0) for j in (1, 2, 3, 4)]
    assert gamma == pytest.approx([1.0, 0.0, 0.0, 2.0], abs=0.15)


def test_the_nearest_point_of_a_cone() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(4, 4))
    c, gamma, signs = root @ root.T + np.eye(4), rng.normal(size=4), np.array([1, -1, 1, 1])
    distance, positive = nearest(gamma, c, signs)
    bounds = [(0.0, None) if s > 0 else (None, 0.0) for s in signs]
    precision = np.linalg.inv(c)
    found = minimize(
        lambda t: (t - gamma) @ precision @ (t - gamma), np.zeros(4), bounds=bounds, options={"ftol": 1e-14}
    )
    assert distance == pytest.approx(found.fun, abs=1e-6)
    assert (positive == (np.abs(found.x) > 1e-5)).all()
