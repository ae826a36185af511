"""Laplace's approximations of many responses against that of one, at the same parameters, and their estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.criteria.batched.laplace import LaplaceMany
from lmmformula.inference.many.estimates import estimates
from lmmformula.inference.refitting import parameters, refit


def table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    g, x = rng.integers(0, 20, 160), rng.normal(size=160)
    eta = 0.3 + 0.5 * x + (0.8 + 0.2 * x) * rng.normal(size=20)[g]
    return pd.DataFrame(
        {"g": g, "x": x, "o": 0.1 * x**2, "count": rng.poisson(np.exp(eta)), "hit": rng.random(160) < eta}
    ).assign(
        hit=lambda d: d["hit"].astype(int),
        size=np.exp(eta) * rng.gamma(3.0, 1.0 / 3.0, 160),
        spread=rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, 160)),
        share=rng.beta(2.0, 3.0 * np.exp(-0.3 * eta)),
    )


MODELS: dict[str, Callable[[], Fit]] = {
    "binary": lambda: fit("hit ~ x + (1 | g)", table(), family="binomial"),
    "trials": lambda: fit(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial"
    ),
    "slopes": lambda: fit("count ~ x + (x | g)", table(), family="poisson", offset="o"),
    "probit": lambda: fit("hit ~ x + (1 | g)", table(), family="binomial(link='probit')"),
    "cloglog": lambda: fit("hit ~ x + (1 | g)", table(), family="binomial(link='cloglog')"),
    "gamma": lambda: fit("size ~ x + (1 | g)", table(), family="gamma(link='log')"),
    "nbinom2": lambda: fit("spread ~ x + (x | g)", table(), family="nbinom2"),
    "nbinom1": lambda: fit("spread ~ x + (1 | g)", table(), family="nbinom1"),
    "dispersion formula": lambda: fit("spread ~ x + (1 | g)", table(), family="nbinom2", dispformula="~ x"),
    "beta": lambda: fit("share ~ x + (1 | g)", table(), family="beta"),
    "no random effects": lambda: fit("count ~ x", table(), family="poisson"),
    "uncorrelated": lambda: fit("count ~ 1 + (1 | g) + (0 + x | g)", table(), family="poisson"),
}


@cache
def model(name: str) -> Fit:
    return MODELS[name]()


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_at_the_same_parameters(name: str) -> None:
    m = model(name)
    one = m.optimum.model
    y = m.simulate(4, seed=1).to_numpy()
    own = one.prepared.blocks.own
    together = LaplaceMany.of_responses(one.problem, own[0] if own else None, m.standard.response_in(y))
    psi = m.optimum.psi + 0.1 * np.random.default_rng(0).normal(size=(4, len(m.optimum.psi)))
    found = together.at(psi, np.arange(4))
    again = together.at(psi[[2]], np.array([2]))
    assert again.value[0] == pytest.approx(found.value[2], rel=1e-13)
    for j in range(4):
        point = replace(one, problem=replace(one.problem, y=m.standard.response_in(y[:, j])))(
            psi[j], tolerance=1e-24
        )
        assert found.value[j] == pytest.approx(point.deviance, rel=1e-10)
        np.testing.assert_allclose(
            found.gradient[j], point.gradient, atol=1e-6 * np.abs(point.gradient).max()
        )


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_those_of_single_refits(name: str) -> None:
    m = model(name)
    sharp = replace(m, backend=replace(m.backend, tolerance=1e-14))
    y = m.simulate(6, seed=2).to_numpy()
    found = estimates(m, y, start=True)
    assert found.together
    for j, response in enumerate(y.T):
        one = refit(sharp, response)
        assert found.llf[j] > one.llf - 1e-9 * abs(one.llf)
        assert found.llf[j] == pytest.approx(one.llf, rel=1e-8)
        np.testing.assert_allclose(found.beta[j], one.params, atol=1e-5 * float(one.bse.max()))
        np.testing.assert_allclose(found.errors[j], one.bse, rtol=1e-4)
        assert np.isinf(found.degrees[j]).all()
        assert found.sigma[j] == pytest.approx(one.sigma, rel=1e-5)
        assert list(found.parameters) == list(parameters(one))
        for key, value in parameters(one).items():
            assert found.parameters[key][j] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True)
        assert bool(found.singular[j]) == one.is_singular


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", MODELS)
def test_searches_end_at_the_optimum(name: str) -> None:
    """What a Newton step from the estimates would still move by the criterion of one fit, in standard errors."""
    m = model(name)
    y = m.standard.response_in(m.simulate(4, seed=2).to_numpy())
    batch = m.backend.batch(m.optimum)
    fine, rough = batch.fit(y, m.optimum.theta), batch.fit(y, m.optimum.theta, errors=False)
    one = m.optimum.model
    covariance = np.nan_to_num(m.backend.joint_vcov(m.estimate, m.optimum), posinf=0.0)
    size = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    for stack, far in ((fine, 1e-8), (rough, 2e-6)):
        for j in range(4):
            psi = np.concatenate([stack.beta[j], stack.theta[j], stack.aux[j]])
            point = replace(one, problem=replace(one.problem, y=y[:, j]))(psi, tolerance=1e-24)
            assert np.abs(0.5 * covariance @ point.gradient / size).max() < far


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def test_what_runs_off_is_left_to_single_fits() -> None:
    """A response that a factor separates: the one-by-one fit says which coefficient the data do not determine."""
    data = table().assign(f=np.arange(160) % 2)
    m = fit("hit ~ f + (1 | g)", data, family="binomial")
    y = m.simulate(3, seed=3).to_numpy().copy()
    y[:, 1] = np.where(data["f"] == 1, 1.0, y[:, 1])
    found = estimates(m, y, start=True)
    one = refit(m, y[:, 1])
    np.testing.assert_allclose(found.errors[1], one.bse)
    assert np.isinf(found.errors[1][1])
    assert np.isfinite(found.errors[[0, 2]]).all()


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def test_what_is_not_fitted_together() -> None:
    data = table().assign(h=np.arange(160) % 7)
    crossed = fit("count ~ x + (1 | g) + (1 | h)", data, family="poisson")
    expected = fit("hit ~ x + (1 | g)", data, family="binomial(link='probit')", information="expected")
    quadrature = fit("hit ~ x + (1 | g)", data, family="binomial", nagq=5)
    for m in (crossed, expected, quadrature):
        assert m.backend.batch(m.optimum) is None


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
def test_bootstrap_of_counts() -> None:
    m = model("uncorrelated")
    together, single = m.bootstrap(5, seed=8), m.bootstrap(5, seed=8, statistic=parameters)
    np.testing.assert_allclose(together, single, atol=2e-3)
    np.testing.assert_allclose(together["(Intercept)"], single["(Intercept)"], atol=1e-4)
