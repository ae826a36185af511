"""method="krylov" end to end: the exact estimates within a small share of their standard errors, and errors that are said."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from lmmformula import anova, fit, load, load_dataset, plan
from lmmformula.errors import LmmformulaWarning

CASES = {
    "InstEval": ("y ~ service + (1|s) + (1|d) + (1|dept)", {}),
    "Penicillin": ("diameter ~ 1 + (1|plate) + (1|sample)", {}),
    "sleepstudy": ("Reaction ~ Days + (Days|Subject)", {}),
    "VerbAgg": ("r2 ~ Anger + Gender + btype + situ + (1|id) + (1|item)", {"family": "binomial"}),
    "cbpp": (
        "incidence / size ~ period + (1|herd)",
        {"family": "binomial", "weights": "size"},
    ),
    "grouseticks": ("TICKS ~ YEAR + cHEIGHT + (1|BROOD) + (1|INDEX) + (1|LOCATION)", {"family": "poisson"}),
    "Salamanders": ("count ~ spp * mined + (1|site)", {"family": "nbinom2"}),
}


def both(name: str):
    formula, arguments = CASES[name]
    data = load_dataset(name)
    likelihood = "laplace" if arguments else "ml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        exact = fit(formula, data, method=likelihood, **arguments)
        return exact, fit(formula, data, method="krylov", **arguments)


@pytest.mark.parametrize("name", CASES)
def test_estimates_are_the_exact_ones(name: str) -> None:
    """Fixed effects within 0.05 standard errors, most within 0.001; likelihood within its stated error."""
    exact, ours = both(name)
    assert ours.estimate.engine == "krylov"
    assert ours.converged
    assert ((ours.params - exact.params).abs() / exact.bse).max() < 0.05
    np.testing.assert_allclose(ours.bse, exact.bse, rtol=0.03)
    error = exact.theta.abs() / np.sqrt(2.0 * min(exact.ngroups.values()))
    assert ((ours.theta - exact.theta).abs() / error.clip(lower=1e-3)).max() < 0.05
    assert abs(ours.llf - exact.llf) < 5.0 * ours.llf_stderr + 1e-4


def test_the_seed_decides() -> None:
    formula, _ = CASES["Penicillin"]
    data = load_dataset("Penicillin")
    values = [fit(formula, data, method="krylov", seed=seed, probes=4).llf for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    generator = [fit(formula, data, method="krylov", seed=np.random.default_rng(3)).llf for _ in range(2)]
    assert generator[0] == generator[1]


def test_results_print_the_error(tmp_path) -> None:
    formula, _ = CASES["InstEval"]
    data = load_dataset("InstEval")
    m = fit(formula, data, method="krylov")
    smaller = fit(formula.replace("service", "1"), data, method="krylov")
    assert 0.0 < m.llf_stderr < 0.01
    text = str(m.summary())
    assert "SE(logLik)" in text
    assert "The log-likelihood is an estimate with a standard error of" in text
    assert m.glance()["logLik_se"].item() == m.llf_stderr
    assert m.diagnostics["loglik_stderr"] == m.llf_stderr
    table = anova(m, smaller)
    assert bool((table["SE(logLik)"].to_numpy() > 0).all())
    assert "standard error of up to" in table.attrs["note"]
    exact = anova(*(fit(f, data, method="ml") for f in (formula, formula.replace("service", "1"))))
    assert table["Chisq"].iloc[1] == pytest.approx(exact["Chisq"].iloc[1], abs=0.02)
    m.save(tmp_path / "m.fit")
    again = load(tmp_path / "m.fit")
    pd.testing.assert_frame_equal(again.ranef(condsd=True), m.ranef(condsd=True), rtol=1e-4)


def test_conditional_variances_and_predictions_agree() -> None:
    exact, ours = both("InstEval")
    a, b = exact.ranef(condsd=True), ours.ranef(condsd=True)
    mode, sd = (np.array([f[c] for f in (a, b)]) for c in ("condval", "condsd"))
    assert (np.abs(mode[0] - mode[1]) / sd[0]).max() < 0.01
    np.testing.assert_allclose(sd[1], sd[0], rtol=0.01)
    new = load_dataset("InstEval").iloc[:50]
    p, q = (m.predict(new, interval="confidence") for m in (exact, ours))
    np.testing.assert_allclose(q, p, atol=2e-3)


def test_the_plan_takes_it_where_a_factorisation_is_dear() -> None:
    rng = np.random.default_rng(0)
    n = 60_000
    data = {"y": rng.normal(size=n), "a": rng.integers(0, 9_000, n), "b": rng.integers(0, 9_000, n)}
    chosen = plan("y ~ 1 + (1 | a) + (1 | b)", data)
    assert chosen.engine == "krylov"
    assert "an exact factorisation would take about" in chosen.reasons[1]
    assert plan("y ~ 1 + (1 | a) + (1 | b)", data, engine="blocked").engine == "blocked"
    data["b"] = rng.integers(0, 500, n)
    assert plan("y ~ 1 + (1 | a) + (1 | b)", data).engine == "blocked"


def test_a_variance_of_zero() -> None:
    rng = np.random.default_rng(5)
    n = 3000
    data = {"g": rng.integers(0, 120, n), "h": rng.integers(0, 100, n), "x": rng.normal(size=n)}
    data["y"] = data["x"] + rng.normal(size=120)[data["g"]] + rng.normal(size=n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        exact, ours = (fit("y ~ x + (1|g) + (1|h)", data, method=m) for m in ("ml", "krylov"))
    np.testing.assert_allclose(ours.theta, exact.theta, atol=5e-3)
    assert ours.llf == pytest.approx(exact.llf, abs=5.0 * ours.llf_stderr + 1e-3)
