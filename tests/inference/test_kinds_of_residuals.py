"""Structures of residuals: every public verb of a fit answers or refuses by name, for each structure."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from test_kinds_of_fit import DRAWN, INSTEAD, VERBS

from lmmformula import DataError, Fit, FitError, FormulaError, PlanError, fit


def _data() -> pd.DataFrame:
    """Eight groups of six times, in pairs of times, with correlated residuals."""
    rng = np.random.default_rng(11)
    g, t = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    e = rng.normal(size=(8, 6))
    e[:, 1:] += 0.5 * e[:, :-1]
    x, f = rng.normal(size=48), np.array(["low", "mid", "high"])[rng.integers(0, 3, 48)]
    y = 0.5 + 0.6 * x + 0.4 * (f == "high") + np.sin(2.0 * x) + e.ravel() + 1.5 * rng.normal(size=8)[g]
    rows = {
        "y": y,
        "z": y + rng.normal(size=48),
        "x": x,
        "f": f,
        "g": g,
        "t": t,
        "v": t % 2,
        "h": 3 * g + t // 2,
    }
    return pd.DataFrame(rows)


DATA = _data()
KNOWN = 0.7 * np.eye(48) + 0.3 * np.equal.outer(DATA["g"].to_numpy(), DATA["g"].to_numpy())
RESIDUALS: dict[str, Callable[[], Fit]] = {
    "ar": lambda: fit("y ~ x + f + (1 | g) + ar(t, gr = g)", DATA),
    "cosy": lambda: fit("y ~ x + f + cosy(gr = g)", DATA, method="ml"),
    "unstr": lambda: fit("y ~ x + f + (1 | g) + unstr(v, gr = h)", DATA),
    "arma": lambda: fit("y ~ x + f + arma(t, gr = g)", DATA),
    "sp_exp": lambda: fit("y ~ x + f + sp_exp(t, gr = g)", DATA),
    "fcor": lambda: fit("y ~ x + f + fcor(M)", DATA, data2={"M": KNOWN}),
    "sigma": lambda: fit("bf(y ~ x + f + (1 | g), sigma ~ f)", DATA, method="reml"),
    "smooth": lambda: fit("y ~ x + f + s(t, k = 4) + (1 | g) + ar(t, gr = g)", DATA),
    "responses": lambda: fit("bf(mvbind(y, z) ~ x + f + (1 | g)) + set_rescor(TRUE)", DATA),
}

SLOW = {"allfit", "power", "permutation_test", "cross_validate", "check", "step", "conf_int, bootstrap"}
"""Asked of one structure, which stands for the others."""
EVERY = DRAWN | {"overdispersion"}
"""What no structure has: draws, and what rests on independent residuals."""
NO_EFFECTS = {"ratio", "naivete", "plot_naivete", "ranova", "repca"}
OF_FIXED = {verb for verb in VERBS if verb.endswith(", clusters")}
ONE_FORMULA = {
    "caic",
    "caic, known",
    "conditional_effects",
    "drop1",
    "drop1, chisq",
    "emmeans, population",
    "icc",
}
ONE_FORMULA |= {"influence, refit", "naivete", "plot_naivete", "r2", "ranova"}
NAMED = {"conf_int, profile", "profile", "ratio", "hypothesis", "t_test", "f_test", "wald_test"}
"""They name a coefficient, a component or columns that this model does not have."""
REFUSED: dict[str, set[str]] = {
    "cosy": NO_EFFECTS | {"anova, Kenward-Roger", "summary, Kenward-Roger"},  # by ML
    "arma": NO_EFFECTS,
    "sp_exp": NO_EFFECTS,
    "fcor": NO_EFFECTS
    | OF_FIXED - {"cov_params, clusters"},  # there is no grouping factor that a default could be
    "smooth": OF_FIXED | {"cov_params, scores", "summary, scores", "predict", "predict, sample"},
    "responses": ONE_FORMULA
    | NAMED
    | {f"{verb}, clusters" for verb in ("hypothesis", "t_test", "f_test", "wald_test")},
}
MORE = "fit a model with|varcorr[(][)] has|ask it of|there is no parameter|the fit has|no column|has none: name|cluster="
WORDS = re.compile(f"{INSTEAD}|{MORE}", re.IGNORECASE)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", RESIDUALS)
def test_every_verb_answers_or_refuses_by_name(name: str) -> None:
    """What is refused says why, and what to use instead."""
    m, told = RESIDUALS[name](), {}
    asked = {verb for verb in VERBS if name == "ar" or verb not in SLOW}
    for verb in asked:
        try:
            assert VERBS[verb](m) is not None, verb
        except (FitError, PlanError, DataError, FormulaError) as error:
            told[verb] = str(error)
    assert set(told) == (EVERY | REFUSED.get(name, set())) & asked
    assert [verb for verb, text in told.items() if not WORDS.search(text)] == []


def test_errors_by_clusters_of_rows_that_are_correlated_name_the_factor() -> None:
    m = RESIDUALS["arma"]()
    np.testing.assert_allclose(m.cov_params("CR2"), m.cov_params("CR2", "g"))
    with pytest.raises(PlanError, match="cluster='g'"):
        m.cov_params("CR2", "h")
