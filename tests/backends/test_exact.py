"""Optima: boundaries, starts, structured covariances, engines that must agree."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem

from lmmformula import build, fit, load_dataset
from lmmformula.backends.exact import Exact
from lmmformula.engines.dense import DenseEngine
from lmmformula.errors import ConvergenceWarning, FitError, SingularFitWarning
from lmmformula.ir.estimate import Status


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_engines_reach_the_same_optimum(layout: str) -> None:
    problem = make_problem(layout, n=300)
    blocked, dense = Exact().fit(problem).estimate, Exact(engine=DenseEngine()).fit(problem).estimate
    assert blocked.convergence.status is Status.CONVERGED
    assert blocked.deviance == pytest.approx(dense.deviance, abs=1e-8)
    np.testing.assert_allclose(blocked.beta, dense.beta, atol=1e-5)


@pytest.mark.parametrize("reml", [True, False])
def test_a_zero_variance_is_exactly_zero(reml: bool) -> None:
    problem = build("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2"))
    estimate = Exact(reml=reml).fit(problem).estimate
    assert estimate.theta[0] == 0.0
    assert estimate.singular == ("1 | Batch",)
    assert (estimate.modes[0] == 0).all()
    # with the variance at zero this is least squares
    spread = np.sum((problem.y - problem.y.mean()) ** 2)
    assert estimate.sigma**2 == pytest.approx(spread / (problem.n - (1 if reml else 0)))


@pytest.mark.parametrize("name", ["rho", "sd", "sigma"])
@pytest.mark.parametrize("random", ["(1 + {} || g)", "(1 + {} | g)", "cs(1 + {} | g)"])
def test_a_column_may_have_the_name_of_a_parameter(name: str, random: str) -> None:
    """The zero at which a variance ends is known by what the parameter is, not by what its column is called."""
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(20), 8)
    x = np.tile(np.linspace(-1, 1, 8), 20)
    y = 1 + x + rng.normal(size=20)[g] + rng.normal(size=160)
    y -= (
        np.bincount(g, x * y)[g] * x / np.bincount(g, x * x)[g]
    )  # equal slopes: their variance is estimated as zero

    def fitted(column: str):
        with pytest.warns(SingularFitWarning):
            return fit(f"y ~ 1 + {random.format(column)}", {"y": y, column: x, "g": g.astype(str)})

    ours, plain = fitted(name), fitted("x")
    np.testing.assert_array_equal(ours.theta.to_numpy(), plain.theta.to_numpy())
    assert ours.theta.to_numpy()[-2 if random.startswith("cs") else -1] == 0.0
    assert ours.estimate.singular
    assert ours.llf == plain.llf


def test_a_perfect_correlation_is_exactly_singular() -> None:
    rng = np.random.default_rng(4)
    n, m = 400, 40
    g = rng.integers(0, m, n)
    x = rng.normal(size=n)
    u = rng.normal(size=m)
    y = 1 + x + u[g] * (1 + 0.5 * x) + 0.5 * rng.normal(size=n)
    with pytest.warns(SingularFitWarning, match=r"\(x \| g\)"):
        m1 = fit("y ~ x + (x | g)", {"y": y, "x": x, "g": g.astype(str)})
    assert m1.theta.iloc[-1] == 0.0
    assert m1.varcorr()["sdcor"].iloc[2] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "start", [(1.0, 0.0, 1.0), (10.0, 0.0, 10.0), (0.01, 0.0, 0.01), (1e-6, 0.0, 1e-6), (50.0, 40.0, 0.1)]
)
def test_the_optimum_does_not_depend_on_the_start(start) -> None:
    data = load_dataset("sleepstudy")
    m = fit("Reaction ~ Days + (Days | Subject)", data, start=np.array(start))
    assert m.converged
    assert m.deviance == pytest.approx(1743.62827195849, abs=1e-7)


def test_stopping_early_is_said_with_numbers() -> None:
    with pytest.warns(
        ConvergenceWarning, match=r"limit of evaluations \(\d+ evaluations\).*still\s+promises"
    ):
        m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), max_evaluations=2)
    assert not m.converged


@pytest.mark.parametrize(
    ("kind", "method", "deviance", "sigma"),
    [  # glmmTMB 1.1.5 in R 4.2.2: -2 * logLik(glmmTMB(score ~ Machine + kind(0 + Machine | Worker), REML = ...)), sigma()
        ("us", "ml", 216.41782731, 0.961577),
        ("us", "reml", 208.31121832, 0.961576),
        ("diag", "ml", 227.62565962, 0.961577),
        ("diag", "reml", 217.65107858, 0.961577),
        ("cs", "ml", 217.49859493, 0.962404),
        ("cs", "reml", 209.22044231, 0.962149),
        ("ar1", "ml", 225.93061320, 0.961632),
        ("ar1", "reml", 216.23911078, 0.961615),
    ],
)
def test_structured_covariances_agree_with_glmmtmb(
    kind: str, method: str, deviance: float, sigma: float
) -> None:
    m = fit(f"score ~ Machine + {kind}(0 + Machine | Worker)", load_dataset("Machines"), method=method)
    assert m.deviance == pytest.approx(deviance, abs=2e-7)
    assert m.sigma == pytest.approx(sigma, abs=2e-5)


def test_a_residual_that_vanishes_is_refused() -> None:
    """Two rows a group and a slope: the random effects reproduce the response."""
    g = np.repeat(np.arange(20), 2)
    x = np.tile([0.0, 1.0], 20)
    y = np.repeat(np.random.default_rng(1).normal(size=20), 2) * 3 + x
    with pytest.raises(FitError, match="residual"):
        fit("y ~ x + (1 | g)", {"y": y, "x": x, "g": g.astype(str)})
