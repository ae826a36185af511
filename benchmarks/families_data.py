"""Rows for `benchmarks/families.py`: responses of ten families and of ordered categories, one factor or two crossed ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmmformula.families import resolve

__all__ = ["CASES", "Case", "rows_of"]


@dataclass(frozen=True, slots=True)
class Case:
    """A model: the family in both languages and the size of the data.

    Attributes
    ----------
    rows, groups, items : int
        Rows, levels of `g` and of `h`; no level of h where one factor is enough.
    theirs, zeros : str
        The family and `ziformula` of glmmTMB; of another program the call.
    peer : str
        The program.
    bar : float
        The share of its time that ours should not exceed.
    intercept : float
        Of the link.
    auxiliary : tuple of float
        Predictors of the other parameters of the responses; of categories their thresholds.
    trials : int
        Of a proportion, 0 elsewhere.
    """

    rows: int
    groups: int
    items: int
    theirs: str
    zeros: str = "~0"
    intercept: float = 0.7
    auxiliary: tuple[float, ...] = ()
    trials: int = 0
    peer: str = "glmmTMB"
    bar: float = 1 / 3

    @property
    def formula(self) -> str:
        """The formula that both take."""
        left = "cbind(y, n - y)" if self.trials else "y"
        return f"{left} ~ x + f + (1 | g)" + (" + (1 | h)" if self.items else "")


CASES = {
    "betabinomial": Case(4_000, 100, 40, "betabinomial()", intercept=-0.5, auxiliary=(1.6,), trials=10),
    "genpois": Case(5_000, 100, 0, "genpois()", auxiliary=(0.7,)),
    "compois": Case(300, 15, 0, "compois()", auxiliary=(-0.35,)),
    "tweedie": Case(4_000, 100, 40, "tweedie()", auxiliary=(0.4, 0.0)),
    "ordbeta": Case(4_000, 100, 40, "ordbeta()", intercept=0.0, auxiliary=(1.6, -1.5, 1.1)),
    "truncated_poisson": Case(10_000, 250, 50, "truncated_poisson()"),
    "truncated_nbinom2": Case(10_000, 250, 0, "truncated_nbinom2()", auxiliary=(0.4,)),
    "hurdle_gamma": Case(8_000, 200, 50, "ziGamma(link = 'log')", "~1", auxiliary=(-0.35, -0.85)),
    "hurdle_nbinom2": Case(4_000, 100, 40, "truncated_nbinom2()", "~1", auxiliary=(0.4, -0.4)),
    "zero_inflated_genpois": Case(4_000, 100, 0, "genpois()", "~1", auxiliary=(0.7, -1.4)),
    "cumulative": Case(
        5_000, 200, 50, "clmm", intercept=0.0, auxiliary=(-2.0, -0.6, 0.7, 2.2), peer="ordinal", bar=1 / 5
    ),
}
"""By our name of the family."""


def rows_of(name: str, seed: int = 20261127) -> pd.DataFrame:
    """The table of a case: x is normal, f has three levels, effects have standard deviations 0.5 and 0.3."""
    case = CASES[name]
    rng = np.random.default_rng(seed)
    n = case.rows
    g, x, f = rng.integers(case.groups, size=n), rng.normal(size=n), rng.choice(["u", "v", "w"], n)
    eta = case.intercept + 0.3 * x + 0.2 * (f == "v") - 0.3 * (f == "w")
    eta += 0.5 * rng.normal(size=case.groups)[g]
    table = pd.DataFrame({"x": x, "f": f, "g": g})
    if case.items:
        h = rng.integers(case.items, size=n)
        eta += 0.3 * rng.normal(size=case.items)[h]
        table["h"] = h
    family = resolve(f"{name}(link='log')" if "gamma" in name else name)
    if family.distribution.support == "categories":
        family = family.of_response([np.arange(len(case.auxiliary) + 1)])
    trials = np.full(n, float(case.trials)) if case.trials else None
    y = family.simulate(rng, eta, case.auxiliary, trials)
    table["y"] = np.rint(y * case.trials) if case.trials else y
    if case.trials:
        table["n"] = case.trials
    return table
