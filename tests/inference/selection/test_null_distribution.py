"""The distribution of a likelihood ratio at a variance of zero: exact cases, RLRsim's draws, brute force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from lmmformula import build, fit, load_dataset
from lmmformula.inference.selection.null_distribution import Spectrum, chi_bar, p_of_draws

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/selection.json").read_text(encoding="utf-8"))


def spectrum(formula: str, data: pd.DataFrame, **more: Any) -> Spectrum:
    problem = build(formula, data, **more)
    return Spectrum.of(problem, problem.terms[0])


def test_of_a_balanced_classification_it_is_the_f_test() -> None:
    """RLR is then an increasing function of F where it is above zero, so its p-value is that of F."""
    data = load_dataset("Dyestuff")
    batches = [own["Yield"].to_numpy() for _, own in data.groupby("Batch", observed=True)]
    exact = float(stats.f_oneway(*batches).pvalue)
    restricted, full = (fit("Yield ~ 1 + (1 | Batch)", data, method=m) for m in ("reml", "ml"))
    n = 100_000
    for model in (restricted, full):
        found = model.ranova(seed=3, n=n)["p_value"].iloc[1]
        assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / n))


@pytest.mark.parametrize(
    ("name", "formula", "data", "restricted"),
    [
        ("sleep_int", "Reaction ~ Days + (1 | Subject)", "sleepstudy", True),
        ("sleep_int_lrt", "Reaction ~ Days + (1 | Subject)", "sleepstudy", False),
        ("dyestuff", "Yield ~ 1 + (1 | Batch)", "Dyestuff", True),
        ("dyestuff_lrt", "Yield ~ 1 + (1 | Batch)", "Dyestuff", False),
        ("pastes_batch", "strength ~ 1 + (1 | batch)", "Pastes", True),
    ],
)
def test_draws_are_those_of_rlrsim(name: str, formula: str, data: str, restricted: bool) -> None:
    """Probabilities at RLRsim's quantiles of 100,000 draws, and the mass at zero, within four standard errors of both."""
    ref, n = REFERENCE["rlrsim"][name], 100_000
    drawn = spectrum(formula, load_dataset(data)).draws(n, np.random.default_rng(5), restricted=restricted)
    assert (drawn == 0.0).mean() == pytest.approx(ref["zero"], abs=4 * np.sqrt(0.5 / n))
    for p, q in zip((0.75, 0.9, 0.95, 0.99), ref["q"][1:], strict=True):
        if q > 0.0:
            assert (drawn <= q).mean() == pytest.approx(p, abs=4 * np.sqrt(2 * p * (1 - p) / n))


def test_the_spectrum_is_that_of_dense_matrices() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.normal(size=40), "x": rng.normal(size=40), "g": rng.integers(0, 7, 40)})
    data["w"] = rng.uniform(0.5, 2.0, 40)
    problem = build("y ~ x + (0 + x | g)", data, weights="w")
    found = Spectrum.of(problem, problem.terms[0])
    root = np.sqrt(data["w"].to_numpy())
    z = (root * data["x"].to_numpy())[:, None] * (
        problem.terms[0].codes[:, None] == np.arange(problem.terms[0].m)
    )
    x = root[:, None] * problem.X.matrix
    off = np.eye(40) - x @ np.linalg.pinv(x)
    mu = np.linalg.eigvalsh(z.T @ off @ z)
    np.testing.assert_allclose(np.sort(found.mu), np.sort(mu) / mu.max(), atol=1e-12)
    np.testing.assert_allclose(np.sort(found.xi), np.sort(np.linalg.eigvalsh(z.T @ z)) / mu.max(), atol=1e-12)


@pytest.mark.parametrize("restricted", [True, False])
def test_a_draw_is_the_supremum_over_lambda(restricted: bool) -> None:
    """The same normal numbers, and a scalar search in place of the grid."""
    own = spectrum("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    drawn = own.draws(40, np.random.default_rng(8), restricted=restricted)
    kept = own.mu[own.mu > 1e-9]
    rng = np.random.default_rng(8)
    times = np.array([len(kept)])  # balanced: one eigenvalue, of multiplicity 18
    w = rng.chisquare(times, (40, 1))
    rest = rng.chisquare(own.n - own.p - len(kept), 40)
    kappa, factor = (own.mu, own.n - own.p) if restricted else (own.xi, own.n)
    for value, ws, r in zip(drawn, w[:, 0], rest, strict=True):

        def lacks(t: float, ws: float = ws, r: float = r) -> float:
            lam = np.exp(t)
            return -factor * np.log((ws + r) / (ws / (1 + lam * kept[0]) + r)) + np.log1p(lam * kappa).sum()

        found: Any = minimize_scalar(lacks, bounds=(-12, 8), method="bounded", options={"xatol": 1e-10})
        best = max(0.0, -found.fun)
        assert value == pytest.approx(best, abs=2e-4)


def test_mixtures() -> None:
    for t in (0.5, 2.7, 9.0):
        assert chi_bar(t, 0) == pytest.approx(0.5 * stats.chi2.sf(t, 1))
        assert chi_bar(t, 1) == pytest.approx(0.5 * stats.chi2.sf(t, 1) + 0.5 * stats.chi2.sf(t, 2))
    assert chi_bar(0.0, 0) == chi_bar(0.0, 2) == 1.0
    assert p_of_draws(np.array([0.0, 1.0, 2.0]), 1.5) == 0.5
    assert p_of_draws(np.zeros(3), 0.0) == 1.0


def test_many_levels_lead_to_the_mixture() -> None:
    """With 400 groups the exact distribution is near its limit, which few groups are not."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": rng.normal(size=1600), "g": np.repeat(np.arange(400), 4)})
    own = spectrum("y ~ 1 + (1 | g)", data)
    drawn = own.draws(20_000, np.random.default_rng(4), restricted=True)
    assert (drawn == 0.0).mean() == pytest.approx(0.5, abs=0.025)
    assert p_of_draws(drawn, 2.706) == pytest.approx(chi_bar(2.706, 0), abs=0.006)
