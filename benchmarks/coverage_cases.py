"""Seeded models of random-effect structures with known parameters, for ``benchmarks/coverage.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.structures_data import herd

__all__ = ["CASES", "Case", "Drawn"]

Rng = np.random.Generator
Found = dict[str, list[float]]
"""Parameter -> [truth, estimate, low, high]."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A simulated table.

    Attributes
    ----------
    table : DataFrame
    truth : mapping
        ``term``, or ``group|term`` of a standard deviation, correlation or length, as ``tidy()`` has them -> its value.
    data2 : mapping or None
    """

    table: pd.DataFrame
    truth: Mapping[str, float]
    data2: Mapping[str, Any] | None = None


def tidied(m: Any, drawn: Drawn) -> Found:
    """By the table of all coefficients and variance parameters."""
    table = m.tidy(effects="all", conf_int=True)
    out: Found = {}
    for row in table.to_dict("records"):
        group = row["group"] if isinstance(row["group"], str) else ""
        part = f"{row['component']}:" if row.get("component") == "zi" else ""
        name = f"{group}|{row['term']}" if group else part + row["term"]
        if name in drawn.truth:
            numbers = (drawn.truth[name], row["estimate"], row["conf_low"], row["conf_high"])
            out[name] = [float(v) for v in numbers]
    return out


def curve(m: Any, drawn: Drawn) -> Found:
    """The share of a curve that its pointwise band holds, with the rest of the table."""
    band = m.smooth("s(x)").frame
    x = band["x"].to_numpy()
    rows = _wave(drawn.table["x"].to_numpy())
    truth = _wave(x) - rows.mean()
    inside = float(np.mean((band["lower"] <= truth) & (truth <= band["upper"])))
    error = float(np.mean(band["fit"] - truth))
    return {"s(x)": [0.0, error, inside, inside], **tidied(m, drawn)}


def monotonic(m: Any, drawn: Drawn) -> Found:
    """The average step, with the rest of the table."""
    row = m.monotonic().iloc[0]
    step, error = float(row["Estimate"]), float(row["Std. Error"])
    average = [drawn.truth["average step of o"], step, step - 1.96 * error, step + 1.96 * error]
    return {"average step of o": average, **tidied(m, drawn)}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A model, what it is simulated from, and how its estimates are read."""

    name: str
    formula: str
    draw: Callable[[Rng], Drawn]
    options: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Any, Drawn], Found] = tidied
    words: str = ""


def _wave(x: Any) -> Any:
    return np.sin(6.0 * x)


def _labels(codes: Any, letter: str) -> list[str]:
    return [f"{letter}{v:03d}" for v in codes]


def _smooth(rng: Rng) -> Drawn:
    n, g = 400, np.repeat(np.arange(40), 10)
    x = rng.uniform(size=n)
    y = 1 + _wave(x) + 0.5 * rng.normal(size=40)[g] + 0.6 * rng.normal(size=n)
    truth = {"g|sd__(Intercept)": 0.5, "Residual|sd__Observation": 0.6}
    return Drawn(pd.DataFrame({"y": y, "x": x, "g": _labels(g, "g")}), truth)


def _membership(rng: Rng) -> Drawn:
    n, m = 400, 40
    one, other = rng.integers(0, m, n), rng.integers(0, m, n)
    b, x = 0.8 * rng.normal(size=m), rng.normal(size=n)
    y = 1 + 0.5 * x + (b[one] + b[other]) / 2 + 0.7 * rng.normal(size=n)
    truth = {"x": 0.5, "mm(g1, g2)|sd__(Intercept)": 0.8, "Residual|sd__Observation": 0.7}
    return Drawn(pd.DataFrame({"y": y, "x": x, "g1": _labels(one, "g"), "g2": _labels(other, "g")}), truth)


def _animal(rng: Rng) -> Drawn:
    made = herd(600, 5)
    place = {name: i for i, name in enumerate(made.pedigree["animal"])}
    value = np.zeros(len(place))
    parents = made.pedigree[["sire", "dam"]].to_numpy()
    for i, z in enumerate(rng.normal(size=len(place))):
        known = [place[p] for p in parents[i] if isinstance(p, str)]
        value[i] = sum(value[p] for p in known) / 2 + z * np.sqrt(1 - len(known) / 4)
    x = rng.normal(size=len(place))
    y = 1 + 0.5 * x + 0.7 * value + 0.8 * rng.normal(size=len(place))
    truth = {"x": 0.5, "animal|sd__(Intercept)": 0.7, "Residual|sd__Observation": 0.8}
    table = pd.DataFrame({"y": y, "x": x, "animal": made.pedigree["animal"]})
    return Drawn(table, truth, {"A": made.pedigree})


def _series(rng: Rng, groups: int, times: int, rho: float) -> Any:
    """Stationary autoregressions of unit variance, (groups, times)."""
    out = rng.normal(size=(groups, times))
    for t in range(1, times):
        out[:, t] = rho * out[:, t - 1] + np.sqrt(1 - rho**2) * out[:, t]
    return out


def _ar1(rng: Rng) -> Drawn:
    groups, times = 30, 15
    g, t = np.repeat(np.arange(groups), times), np.tile(np.arange(float(times)), groups)
    x = rng.normal(size=g.size)
    y = 1 + 0.5 * x + _series(rng, groups, times, 0.7).ravel() + 0.5 * rng.normal(size=g.size)
    truth = {"x": 0.5, "g|sd__ar1(t)": 1.0, "g|rho": 0.7, "Residual|sd__Observation": 0.5}
    return Drawn(pd.DataFrame({"y": y, "x": x, "t": t, "g": _labels(g, "g")}), truth)


def _residual(rng: Rng) -> Drawn:
    groups, times = 40, 10
    g, t = np.repeat(np.arange(groups), times), np.tile(np.arange(float(times)), groups)
    x = rng.normal(size=g.size)
    y = 1 + 0.5 * x + 0.6 * rng.normal(size=groups)[g] + _series(rng, groups, times, 0.5).ravel()
    truth = {"x": 0.5, "g|sd__(Intercept)": 0.6, "Residual|sd__Observation": 1.0, "ar(t, gr = g)|rho": 0.5}
    return Drawn(pd.DataFrame({"y": y, "x": x, "t": t, "g": _labels(g, "g")}), truth)


def _visits(rng: Rng) -> Drawn:
    subjects, times = 80, 3
    sd, cor = np.array([1.0, 1.3, 1.6]), np.array([[1.0, 0.6, 0.4], [0.6, 1.0, 0.6], [0.4, 0.6, 1.0]])
    e = rng.multivariate_normal(np.zeros(times), cor * np.outer(sd, sd), size=subjects)
    arm = np.repeat(np.arange(subjects) % 2, times)
    visit = np.tile(np.arange(times), subjects)
    table = pd.DataFrame(
        {
            "y": 1 + 0.5 * arm + e.ravel(),
            "arm": np.where(arm, "b", "a"),
            "visit": _labels(visit, "v"),
            "s": _labels(np.repeat(np.arange(subjects), times), "s"),
        }
    )
    table = table.loc[rng.uniform(size=len(table)) > 0.1]
    own = "unstr(visit, gr = s)"
    truth = {
        "armb": 0.5,
        f"{own}|sd(v001)": 1.3,
        f"{own}|cor(v000, v001)": 0.6,
        f"{own}|cor(v000, v002)": 0.4,
    }
    return Drawn(table, truth)


def _field(kernel: Callable[[Any], Any], name: str) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        n = 150
        at = rng.uniform(0, 10, (n, 2)).round(4)
        distance = np.sqrt(((at[:, None] - at[None]) ** 2).sum(axis=2))
        b = np.linalg.cholesky(kernel(distance) + 1e-10 * np.eye(n)) @ rng.normal(size=n)
        x = rng.normal(size=n)
        table = pd.DataFrame(
            {"y": 1 + 0.5 * x + b + 0.5 * rng.normal(size=n), "x": x, "cx": at[:, 0], "cy": at[:, 1]}
        )
        truth = {"x": 0.5, f"one|sd__{name}(cx, cy)": 1.0, "one|range": 1.0, "Residual|sd__Observation": 0.5}
        truth |= {"one|nu": 1.5} if name == "mat" else {}
        return Drawn(table.assign(one="a"), truth)

    return draw


def _matern(distance: Any) -> Any:
    """Smoothness 3/2, as glmmTMB scales it: (1 + d) exp(-d)."""
    return (1.0 + distance) * np.exp(-distance)


def _responses(rng: Rng) -> Drawn:
    groups, each = 50, 6
    g = np.repeat(np.arange(groups), each)
    b = rng.multivariate_normal([0, 0], [[0.64, 0.32], [0.32, 1.0]], size=groups)
    e = rng.multivariate_normal([0, 0], [[1.0, 0.3], [0.3, 0.49]], size=g.size)
    x = rng.normal(size=g.size)
    table = pd.DataFrame({"y": 1 + 0.5 * x + b[g, 0] + e[:, 0], "z": 2 - 0.3 * x + b[g, 1] + e[:, 1], "x": x})
    truth = {
        "y:x": 0.5,
        "z:x": -0.3,
        "g|sd__y:(Intercept)": 0.8,
        "g|sd__z:(Intercept)": 1.0,
        "g|cor__y:(Intercept).z:(Intercept)": 0.4,
        "Residual|sd(y)": 1.0,
        "Residual|sd(z)": 0.7,
        "Residual|cor(y, z)": 0.3 / 0.7,
    }
    return Drawn(table.assign(g=_labels(g, "g")), truth)


def _zeros(rng: Rng) -> Drawn:
    groups, each = 50, 12
    g = np.repeat(np.arange(groups), each)
    x = rng.normal(size=g.size)
    zero = rng.uniform(size=g.size) < 1 / (1 + np.exp(0.5 - rng.normal(size=groups)[g]))
    y = np.where(zero, 0, rng.poisson(np.exp(1.0 + 0.4 * x)))
    truth = {"(Intercept)": 1.0, "x": 0.4, "zi:(Intercept)": -0.5, "g|sd__zi:(Intercept)": 1.0}
    return Drawn(pd.DataFrame({"y": y, "x": x, "g": _labels(g, "g")}), truth)


def _steps(rng: Rng) -> Drawn:
    groups, each = 30, 12
    g = np.repeat(np.arange(groups), each)
    o = rng.integers(0, 4, g.size)
    y = (
        1
        + np.array([0.0, 0.6, 0.9, 1.5])[o]
        + 0.6 * rng.normal(size=groups)[g]
        + 0.8 * rng.normal(size=g.size)
    )
    table = pd.DataFrame({"y": y, "g": _labels(g, "g")})
    table["o"] = pd.Categorical.from_codes(o, ["a", "b", "c", "d"], ordered=True)
    truth = {"average step of o": 0.5, "g|sd__(Intercept)": 0.6, "Residual|sd__Observation": 0.8}
    return Drawn(table, truth)


_REML, _ML = {"method": "reml"}, {"method": "ml"}
CASES = {
    case.name: case
    for case in (
        Case("smooth", "y ~ s(x) + (1 | g)", _smooth, _REML, curve),
        Case("membership", "y ~ x + (1 | mm(g1, g2))", _membership, _REML),
        Case("animal", "y ~ x + (1 | gr(animal, cov = A))", _animal, _REML),
        Case("ar1", "y ~ x + ar1(0 + t | g)", _ar1, _REML),
        Case("exp", "y ~ x + exp(0 + pos(cx, cy) | one)", _field(lambda d: np.exp(-d), "exp"), _ML),
        Case("mat", "y ~ x + mat(0 + pos(cx, cy) | one)", _field(_matern, "mat"), _ML),
        Case("residual", "y ~ x + (1 | g) + ar(t, gr = g)", _residual, _REML),
        Case("unstr", "y ~ arm + unstr(visit, gr = s)", _visits, _REML),
        Case("responses", "bf(mvbind(y, z) ~ x + (1 |p| g)) + set_rescor(TRUE)", _responses, _REML),
        Case(
            "zeros",
            "y ~ x",
            _zeros,
            {"family": "zero_inflated_poisson", "ziformula": "~ (1 | g)"},
            words=", zero inflation `~ (1 | g)`",
        ),
        Case("mo", "y ~ mo(o) + (1 | g)", _steps, _REML, monotonic),
    )
}
