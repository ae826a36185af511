"""Expected log predictive density: the record that leave-one-out and K-fold give, and the table that compares several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.arguments import checked
from lmmformula.arguments.kinds import anything
from lmmformula.errors import DataError
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Elpd", "loo_compare", "stacking_weights"]

_FEW = 100
"""Units below which a standard error of a difference is optimistic (Sivula, Magnusson, Matamoros & Vehtari 2025)."""
_CLOSE = 4.0
"""Difference in elpd below which the same paper finds the normal approximation poorly calibrated."""


@dataclass(frozen=True, eq=False, repr=False)
class Elpd:
    """Expected log predictive density of one fit.

    Attributes
    ----------
    kind : {"loo", "kfold"}
    formula : str
    unit : str
        "row", or the grouping factor whose levels were left out.
    pointwise : DataFrame
        A row a unit: ``elpd, p`` and, of leave-one-out, ``k`` (Pareto's shape) and ``how`` ("psis", "moments", "refit").
    draws : int
        Of the posterior.
    good_k : float
        The largest k that can be trusted with so many draws; nan of folds.
    note : str
        What else must be known.
    """

    kind: str
    formula: str
    unit: str
    pointwise: pd.DataFrame = field(repr=False)
    draws: int
    good_k: float = float("nan")
    note: str = ""

    @property
    def n(self) -> int:
        """Units."""
        return len(self.pointwise)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Estimates and standard errors of elpd, the effective number of parameters p, and -2 elpd."""
        import pandas as pd

        elpd, p = (self.pointwise[c].to_numpy() for c in ("elpd", "p"))
        names = [f"elpd_{self.kind}", f"p_{self.kind}", f"{self.kind}ic"]
        rows = [_total(elpd), _total(p), _total(-2.0 * elpd)]
        return pd.DataFrame(rows, index=names, columns=["Estimate", "SE"])

    @property
    def elpd(self) -> float:
        """Sum over units of log p(y_i | y_-i)."""
        return float(self.table.iloc[0, 0])

    @property
    def se(self) -> float:
        """Its standard error over units."""
        return float(self.table.iloc[0, 1])

    @property
    def p(self) -> float:
        """Effective number of parameters."""
        return float(self.table.iloc[1, 0])

    @property
    def bad(self) -> pd.Index:
        """Units whose k is beyond what can be trusted."""
        if "k" not in self.pointwise:
            return self.pointwise.index[:0]
        return self.pointwise.index[(self.pointwise["k"] > self.good_k).to_numpy()]

    @property
    def heading(self) -> str:
        """What was left out of which model, and how."""
        how = "Pareto-smoothed importance sampling" if self.kind == "loo" else "fits without each fold"
        return f"{self.formula}: {self.n:,} {self._units} left out, by {how} ({self.draws:,} draws)"

    def __repr__(self) -> str:
        parts = [self.heading, "", self.table.to_string(float_format=lambda v: f"{v:.1f}"), "", *self.trust()]
        return "\n".join([*parts, *([self.note] if self.note else [])]).rstrip()

    @property
    def _units(self) -> str:
        return "rows" if self.unit.startswith("row") else f"levels of {self.unit}"

    def trust(self) -> list[str]:
        """Whether importance weights can be trusted, in sentences."""
        if "k" not in self.pointwise:
            return []
        k, bad = self.pointwise["k"], self.bad
        if not len(bad):
            return [f"Every Pareto k is good (largest {k.max():.2f}, limit {self.good_k:.2f})."]
        order = np.argsort(-k.to_numpy(), kind="stable")[: min(len(bad), 5)]
        worst = ", ".join(f"{k.index[j]} (k {k.iloc[j]:.2f})" for j in order)
        return [
            f"{len(bad)} of {self.n:,} Pareto k are above {self.good_k:.2f}, so elpd is not to be trusted there: {worst}.",
            "Use loo(moment_match=True), then loo(reloo=True), or kfold().",
        ]


def _total(values: Array) -> tuple[float, float]:
    return float(values.sum()), float(np.sqrt(len(values) * values.var(ddof=1))) if len(
        values
    ) > 1 else np.nan


@checked(results=anything("results of loo() or kfold(), or a mapping from names to them"))
def loo_compare(*results: Elpd | Mapping[str, Elpd]) -> pd.DataFrame:
    """Several models by their expected log predictive density, best first.

    Parameters
    ----------
    *results : Elpd or mapping
        From ``m.loo()`` or ``m.kfold()``, named by their formula; or ``{"name": m.loo(), ...}``.

    Returns
    -------
    DataFrame
        ``elpd_diff, se_diff`` to the best (of the units' differences: paired), ``elpd, se, p``, and ``weight``, by stacking
        (Yao, Vehtari, Simpson & Gelman 2018: the mixture of predictive densities that predicts left-out units best).
        ``attrs["note"]`` says where differences are too small or units too few to be read.

    Raises
    ------
    DataError
        For fewer than two, or different units.
    """
    import pandas as pd

    models = _named(results)
    first = next(iter(models.values()))
    for name, one in models.items():
        if one.unit != first.unit or not one.pointwise.index.equals(first.pointwise.index):
            raise DataError(
                f"{name!r} left out {one.n:,} {one._units}, {next(iter(models))!r} {first.n:,} {first._units}: elpd is "
                "compared on the same units only. Fit the models on the same rows, and leave out the same."
            )
    matrix = np.column_stack([m.pointwise["elpd"].to_numpy() for m in models.values()])
    order = np.argsort(-matrix.sum(axis=0), kind="stable")
    weights = stacking_weights(matrix)
    rows = []
    for j in order:
        one = list(models.values())[j]
        total, error = _total(matrix[:, j] - matrix[:, order[0]])
        rows.append((total, error, one.elpd, one.se, one.p, weights[j]))
    columns = ["elpd_diff", "se_diff", "elpd", "se", "p", "weight"]
    out = pd.DataFrame(rows, index=[list(models)[j] for j in order], columns=columns)
    out.attrs["heading"] = f"Expected log predictive density of left-out {first._units}"
    if note := _caution(out, first.n, models):
        out.attrs["note"] = note
    return out


def _caution(table: pd.DataFrame, n: int, models: Mapping[str, Elpd]) -> str:
    said = []
    if any(len(m.bad) for m in models.values()):
        said.append("Some Pareto k are too large: look at each loo().")
    if (table["elpd_diff"].iloc[1:].abs() < _CLOSE).any():
        said.append(f"Differences below {_CLOSE:.0f} are small whatever their standard error.")
    elif n < _FEW:
        said.append(f"With {n} units se_diff is likely too small.")
    return " ".join(said)


def _named(results: Sequence[Elpd | Mapping[str, Elpd]]) -> dict[str, Elpd]:
    models: dict[str, Elpd] = {}
    given = [pair for one in results for pair in (one.items() if isinstance(one, Mapping) else [("", one)])]
    for label, one in given:
        if not isinstance(one, Elpd):
            raise DataError(
                f"results= must be what m.loo() or m.kfold() give, or a mapping from names to it, not {type(one).__name__}."
            )
        name, copies = label or one.formula, 2
        while name in models:
            name, copies = f"{one.formula} #{copies}", copies + 1
        models[name] = one
    if len(models) < 2:
        raise DataError(f"loo_compare() compares results of two models or more, and got {len(models)}.")
    return models


def stacking_weights(elpd: Array, steps: int = 200) -> Array:
    """Weights w on the simplex that maximise ``sum_i log sum_k w_k exp(elpd_ik)``; elpd (n, K).

    The objective is concave. Fixed points of EM, ``w_k <- w_k mean_i [p_ik / sum_j w_j p_ij]``, then Newton on the weights
    that are not zero, for EM's last steps are slow.
    """
    density = np.exp(elpd - elpd.max(axis=1, keepdims=True))
    w = np.full(elpd.shape[1], 1.0 / elpd.shape[1])
    for _ in range(steps):
        w = w * (density / (density @ w)[:, None]).mean(axis=0)
    from scipy.optimize import minimize

    def objective(w: Array) -> tuple[float, Array]:
        mixed = density @ w
        return -float(np.log(mixed).mean()), -(density / mixed[:, None]).mean(axis=0)

    found = minimize(
        objective,
        w,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(w),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"ftol": 1e-12},
    )
    best = np.clip(found.x, 0.0, 1.0) if found.success and found.fun <= objective(w)[0] else w
    return best / best.sum()
