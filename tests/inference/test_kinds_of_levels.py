"""Levels that are related, shared or of another predictor, and steps of one sign: every verb answers or refuses by name."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from test_kinds_of_fit import DRAWN, INSTEAD, VERBS
from test_kinds_of_residuals import SLOW

from lmmformula import Fit, fit
from lmmformula.errors import ArgumentError, DataError, FitError, FormulaError, PlanError


def _data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n, g, t = 48, np.repeat(np.arange(8), 6), np.tile(np.arange(6.0), 8)
    x, b = rng.normal(size=n), rng.normal(size=8)
    f = np.array(["low", "mid", "high"])[rng.integers(0, 3, n)]
    y, h = 0.5 + 0.6 * x + 1.2 * b[g] + rng.normal(size=n), rng.integers(0, 8, n)
    zero = rng.uniform(size=n) < 1 / (1 + np.exp(0.7 - 1.5 * b[g]))
    k = np.where(zero, 0, rng.poisson(np.exp(1 + 0.3 * x)))
    o = rng.integers(0, 4, n)
    out = pd.DataFrame({"y": y, "y2": y + 0.4 * o, "k": k, "x": x, "f": f, "g": g, "h": h, "t": t})
    out["o"] = pd.Categorical.from_codes(o, list("abcd"), ordered=True)
    return out


DATA = _data()
PATH = pd.DataFrame({"a": [str(i) for i in range(7)], "b": [str(i + 1) for i in range(7)]})
LEVELS: dict[str, Callable[[], Fit]] = {
    "zi": lambda: fit("k ~ x + f", DATA, family="zero_inflated_poisson", ziformula="~ (1 | g)"),
    "car": lambda: fit("y ~ x + f + car(W, gr = g)", DATA, data2={"W": PATH}),
    "mm": lambda: fit("y ~ x + f + (1 | mm(g, h))", DATA),
    "ar1": lambda: fit("y ~ x + f + ar1(0 + t | g)", DATA),
    "mo": lambda: fit("y2 ~ x + f + mo(o) + (1 | g)", DATA),
}
CLUSTERS = {verb for verb in VERBS if verb.endswith((", clusters", ", scores"))}
COUPLED = CLUSTERS | {
    "anova, Kenward-Roger",
    "summary, Kenward-Roger",
    "naivete",
    "plot_naivete",
    "overdispersion",
}
ELSEWHERE = {"predict", "predict, sample"}
"""New rows of these verbs lack a column of the model."""
INFLUENCE = {"influence", "influence, rows", "influence, refit"}
REFUSED = {
    "zi": COUPLED - {"overdispersion"} | INFLUENCE | {"caic", "caic, known", "icc", "r2", "ratio"},
    "car": COUPLED,
    "mm": COUPLED | ELSEWHERE | {"ratio"},
    "ar1": COUPLED | ELSEWHERE | {"ratio"},
    "mo": INFLUENCE
    | ELSEWHERE
    | {
        "anova",
        "anova, Kenward-Roger",
        "anova, clusters",
        "joint_tests",
        "caic",
        "caic, known",
        "overdispersion",
    }
    | {"conf_int, profile", "profile", "pool", "refit_many"},
}
WORDS = re.compile(
    f"{INSTEAD}|fit a model with|The fit has|no column|cluster=|pool fits with|ask it of|there is no parameter",
    re.IGNORECASE,
)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", LEVELS)
def test_every_verb_answers_or_refuses_by_name(name: str) -> None:
    """What is refused says why, and what to use instead."""
    m, told = LEVELS[name](), {}
    asked = set(VERBS) - SLOW - DRAWN
    for verb in asked:
        try:
            assert VERBS[verb](m) is not None, verb
        except (FitError, PlanError, DataError, FormulaError, ArgumentError) as error:
            told[verb] = str(error)
    assert set(told) == REFUSED[name] & asked
    assert [verb for verb, text in told.items() if not WORDS.search(text)] == []
