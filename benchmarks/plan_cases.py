"""Models whose fits the planner's estimates are held against: seeded two-factor designs and data sets that ship."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

__all__ = ["CALIBRATION", "CASES", "HELD_OUT", "POSTERIORS", "Case", "Shipped", "find", "ways"]

FEW_DRAWS = 50_000
"""Rows from which a posterior is measured on few draws."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Two crossed factors (one if `second` is zero) with random intercepts, or slopes on the first, or on `both`."""

    name: str
    rows: int
    first: int
    second: int
    predictors: int = 5
    family: str = "gaussian"
    slopes: bool = False
    both: bool = False

    @property
    def formula(self) -> str:
        xs = " + ".join(f"x{j}" for j in range(1, self.predictors + 1))
        bars = f"({'1 + x1' if self.slopes else '1'} | g)"
        if self.second:
            bars += f" + ({'1 + x1' if self.both else '1'} | h)"
        return f"y ~ {xs} + {bars}"

    @property
    def levels(self) -> str:
        return f"{self.first:,}" + (f" x {self.second:,}" if self.second else "")

    def data(self) -> dict[str, Any]:
        """Columns, the same each time."""
        rng = np.random.default_rng(self.rows + self.first)
        x = rng.standard_normal((self.rows, self.predictors))
        g = rng.integers(0, self.first, self.rows)
        eta = x @ np.linspace(0.5, -0.5, self.predictors) + rng.standard_normal(self.first)[g]
        columns: dict[str, Any] = {f"x{j + 1}": x[:, j].copy() for j in range(self.predictors)} | {"g": g}
        if self.slopes:
            eta += 0.5 * rng.standard_normal(self.first)[g] * x[:, 0]
        if self.second:
            columns["h"] = rng.integers(0, self.second, self.rows)
            eta += 0.7 * rng.standard_normal(self.second)[columns["h"]]
        if self.both:
            eta += 0.4 * rng.standard_normal(self.second)[columns["h"]] * x[:, 0]
        if self.family == "gaussian":
            columns["y"] = eta + rng.standard_normal(self.rows)
        elif self.family == "poisson":
            columns["y"] = rng.poisson(np.exp(0.5 * eta))
        else:
            columns["y"] = (rng.random(self.rows) * (1.0 + np.exp(-eta)) < 1.0).astype(int)
        return columns

    def small(self) -> Case:
        """The same kind of model, small: what a process compiles and imports before it is timed."""
        rows = min(self.rows, 60_000)
        return dataclasses.replace(self, rows=rows, first=300, second=200 * bool(self.second))


@dataclasses.dataclass(frozen=True, slots=True)
class Shipped:
    """A data set of the package."""

    name: str
    dataset: str
    formula: str
    rows: int
    levels: str
    family: str = "gaussian"

    def data(self) -> dict[str, Any]:
        from lmmformula import load_dataset

        return load_dataset(self.dataset)  # pyright: ignore[reportReturnType] - a frame serves as a dict of columns

    def small(self) -> Shipped:
        return self


CALIBRATION: tuple[Case | Shipped, ...] = (
    Case("one factor", 20_000, 500, 0),
    Case("one factor, wide", 100_000, 2_000, 0, predictors=30),
    Case("one factor, long", 1_000_000, 50_000, 0),
    Case("slopes", 100_000, 5_000, 0, slopes=True),
    Case("crossed, small", 10_000, 500, 400),
    Case("crossed, uneven", 200_000, 20_000, 500),
    Case("crossed, slopes", 50_000, 2_000, 100, slopes=True),
    Case("crossed, slopes on both", 50_000, 900, 900, slopes=True, both=True),
    Case("crossed, even", 31_620, 1_581, 1_581),
    Case("crossed, large", 100_000, 5_000, 5_000),
    Case("crossed, huge", 1_000_000, 50_000, 50_000),
    Case("binary, small", 10_000, 500, 400, family="binomial"),
    Case("binary, one factor", 200_000, 20_000, 0, family="binomial"),
    Case("binary, uneven", 200_000, 20_000, 500, family="binomial"),
    Case("binary, wide", 100_000, 5_000, 300, predictors=30, family="binomial"),
    Case("binary, even", 31_620, 1_581, 1_581, family="binomial"),
    Case("binary, large", 100_000, 5_000, 5_000, family="binomial"),
    Case("binary, huge", 1_000_000, 50_000, 50_000, family="binomial"),
    Shipped(
        "InstEval",
        "InstEval",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        73_421,
        "2,972 x 1,128 x 14",
    ),
)
"""What the rates are fitted to."""

HELD_OUT: tuple[Case | Shipped, ...] = (
    Shipped("sleepstudy", "sleepstudy", "Reaction ~ Days + (Days | Subject)", 180, "18"),
    Shipped(
        "VerbAgg",
        "VerbAgg",
        "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
        7_584,
        "316 x 24",
        "binomial",
    ),
    Case("counts", 50_000, 3_000, 800, predictors=8, family="poisson"),
    Case("slopes, crossed", 60_000, 3_000, 150, predictors=2, slopes=True),
    Case("wide", 300_000, 10_000, 0, predictors=25),
    Case("crossed, wide", 400_000, 30_000, 12_000, predictors=12),
    Shipped(
        "grouseticks",
        "grouseticks",
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)",
        403,
        "118 x 403 x 63",
        "poisson",
    ),
    Case("counts, one factor", 80_000, 4_000, 0, predictors=4, family="poisson"),
    Case("binary, slopes", 40_000, 1_000, 200, predictors=3, family="binomial", slopes=True),
    Case("binary, half a million", 500_000, 40_000, 25_000, predictors=3, family="binomial"),
)
"""What no rate has seen."""

CASES: tuple[Case | Shipped, ...] = (*CALIBRATION, *HELD_OUT)

POSTERIORS: tuple[Case | Shipped, ...] = (
    Shipped("sleepstudy, posterior", "sleepstudy", "Reaction ~ Days + (Days | Subject)", 180, "18"),
    Case("one factor, posterior", 2_000, 100, 0, predictors=2),
    Case("crossed, posterior", 3_000, 150, 60, predictors=3),
    Case("crossed slopes, posterior", 3_000, 100, 40, predictors=2, slopes=True),
    Case("crossed, large, posterior", 50_000, 2_000, 500, predictors=3),
    Case("binary, posterior", 2_000, 60, 0, predictors=2, family="binomial"),
    Case("binary, crossed, posterior", 4_000, 200, 50, predictors=3, family="binomial"),
)
"""Posteriors, by chains and by importance sampling where that is offered."""


def ways(case: Case | Shipped) -> dict[str, dict[str, Any]]:
    """Ways to fit a case by their names in the record: arguments of ``fit``."""
    if case in POSTERIORS:
        few = {"draws": 50} if case.rows >= FEW_DRAWS else {}
        own = {} if case.family == "gaussian" else {"marginalize": "laplace"}
        return {
            "nuts": {"method": "hmc", "sampler": "nuts", "seed": 1, **few},
            "importance": {"method": "hmc", "sampler": "importance", "seed": 1, **few, **own},
        }
    method = "ml" if case.family == "gaussian" else "laplace"
    out: dict[str, dict[str, Any]] = {"blocked": {"method": method, "engine": "blocked"}}
    if "x" in case.levels:
        out["krylov"] = {"method": method, "engine": "krylov"}
    if case.family != "gaussian":
        out["pql"] = {"method": "pql", "traces": "diagonal"}
        out["corrected"] = {"method": "pql", "traces": "diagonal", "correction": "laplace"}
    return out


def find(name: str) -> Case | Shipped:
    """The case of that name."""
    return next(c for c in (*CASES, *POSTERIORS) if c.name == name)
