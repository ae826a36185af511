"""What priors may be besides distributions, and brms' and R's ways to name parameters: against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lmmformula import build, fit, load_dataset, prior
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.marginal import Marginal
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import ArgumentError, PlanError
from lmmformula.ir.prior_defaults import resolve_priors

SLEEP = "Reaction ~ Days + (1 | Subject)"


def test_flat_coefficients_are_those_of_reml() -> None:
    problem, engine = build(SLEEP, load_dataset("sleepstudy")), exact_engine()
    priors = resolve_priors(problem, {"Intercept": "flat", "b": "flat()"})
    ours, theirs = Marginal.of(problem, engine, priors), Profiled.of(problem, engine, reml=True)
    values = [ours([np.array([[sd]])], sigma).logpdf for sd, sigma in ((30.0, 31.0), (50.0, 25.0))]
    deviances = [theirs(np.array([r / s])).deviance_at(s**2) for r, s in ((30.0, 31.0), (50.0, 25.0))]
    np.testing.assert_allclose(values[1] - values[0], 0.5 * (deviances[0] - deviances[1]), rtol=1e-10)
    assert not priors.proper


def test_known_variances_leave_the_closed_form() -> None:
    data = load_dataset("sleepstudy")
    priors = {"Intercept": "flat", "b": "flat", "sd": "constant(37)", "sigma": "constant(31)"}
    m = fit(SLEEP, data, method="hmc", sampler="importance", draws=250, priors=priors, seed=1)
    problem = build(SLEEP, data)
    z = np.eye(problem.terms[0].m)[problem.terms[0].codes]
    v = 31.0**2 * np.eye(problem.n) + 37.0**2 * z @ z.T
    x, weighed = problem.X.matrix, np.linalg.solve(v, problem.X.matrix)
    cov = np.linalg.inv(x.T @ weighed)
    np.testing.assert_allclose(m.params, cov @ weighed.T @ problem.y, rtol=1e-8)
    assert m.posterior is not None
    np.testing.assert_allclose(m.posterior.beta_cov, cov, rtol=1e-8)
    assert (m.posterior["sigma"] == 31.0).all()
    assert (m.posterior["sd:Subject:Intercept"] == 37.0).all()
    assert np.isnan(m.posterior.log_evidence)
    assert m.converged
    assert "sigma                 constant(31)  user" in str(m.priors)


def test_a_known_parameter_of_the_family_does_not_move() -> None:
    problem = build("incidence ~ period + (1 | herd)", load_dataset("cbpp"), family="nbinom2")
    priors = resolve_priors(problem, {"phi": "constant(2.5)"})
    density = LaplaceDensity.of(problem, exact_engine(), priors)
    rng = np.random.default_rng(3)
    x = density.begin + 0.1 * rng.standard_normal(density.d)
    value, gradient = density.value_and_gradient(x)
    steps = 1e-5 * np.eye(density.d)
    numeric = [(density(x + e).value - density(x - e).value) / 2e-5 for e in steps]
    np.testing.assert_allclose(gradient, numeric, atol=2e-5)
    mean, model = density.mean, Laplace.of(density.model.problem, exact_engine())
    sd = abs(float(mean.values(x)[0]))
    at = model(np.concatenate([mean.beta(x), [sd], [np.log(2.5)]]))
    own = sum(float(p.log_prior(x)) for p in density.predictors)
    np.testing.assert_allclose(value - own, -0.5 * at.deviance, rtol=1e-10)


def test_keys_with_the_name_of_a_parameter() -> None:
    problem = build("bf(Reaction ~ Days + (1 | Subject), sigma ~ Days)", load_dataset("sleepstudy"))
    (aux,) = resolve_priors(problem, {"sigma:b:(Intercept)": "normal(3, 1)"}).aux
    np.testing.assert_array_equal(aux.contrast, np.eye(2))
    assert str(aux.coefficients[0]) == "normal(3, 1)"
    assert aux.coefficients[0].name == "sigma:b:(Intercept)"
    (aux,) = resolve_priors(problem, {"sigma:Intercept": "normal(3, 1)"}).aux
    np.testing.assert_allclose(aux.contrast, [[1.0, 4.5], [0.0, 1.0]])
    with pytest.raises(
        PlanError, match=r"'sigma:Intercept'.*'sigma:b:\(Intercept\)'.*They are one parameter"
    ):
        resolve_priors(problem, {"sigma:b:Intercept": "normal(0, 1)", "sigma:Intercept": "normal(0, 1)"})


def test_other_names_of_a_parameter_stand_before_keys_too() -> None:
    problem = build("bf(incidence ~ 1, shape ~ period)", load_dataset("cbpp"), family="nbinom2")
    (aux,) = resolve_priors(problem, {"shape:b:period2": "normal(3, 1)", "phi:b": "normal(0, 2)"}).aux
    assert list(map(str, aux.coefficients[1:])) == ["normal(3, 1)", "normal(0, 2)", "normal(0, 2)"]


def test_priors_by_class_coefficient_and_group() -> None:
    own = [
        prior("normal(0, 1)", class_="b", coef="Days"),
        prior("exponential(0.1)", class_="sd", group="Subject", coef="Intercept"),
        prior("lkj(2)", class_="cor"),
        prior("exponential(0.2)", class_="sigma"),
    ]
    keys = {"b:Days", "sd:Subject:Intercept", "cor", "sigma"}
    assert {key for one in own for key in one} == keys
    formula, data = "Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")
    m = fit(formula, data, method="hmc", sampler="importance", draws=250, priors=own, seed=1)
    assert m.priors is not None
    assert [source for _, _, source in m.priors.table()].count("user") == 4
    assert prior("normal(0, 1)", dpar="sigma", class_="Intercept") == {"sigma:Intercept": "normal(0, 1)"}
    with pytest.raises(ArgumentError, match="group='Subject'"):
        prior("normal(0, 1)", class_="sd", coef="Days")
    with pytest.raises(ArgumentError, match="a list of prior"):
        fit(formula, data, method="hmc", priors=[own[0], own[0]])


def test_draws_from_the_priors_alone() -> None:
    priors = {"sd": "exponential(0.1)", "cor": "lkj(1)", "sigma": "half_normal(5)", "b:Days": "normal(3, 2)"}
    data = load_dataset("sleepstudy")
    m = fit(
        "Reaction ~ Days + (Days | Subject)", data, method="hmc", sample_prior="only", priors=priors, seed=1
    )
    posterior = m.posterior
    assert posterior is not None
    assert posterior.effects is not None
    for name, theirs in (
        ("sd:Subject:Days", stats.expon(scale=10)),
        ("sigma", stats.halfnorm(0, 5)),
        ("Days", stats.norm(3, 2)),
        ("cor:Subject:Intercept:Days", stats.uniform(-1, 2)),
    ):
        assert stats.kstest(posterior[name].reshape(-1), theirs.cdf).pvalue > 1e-3, name
    scaled = posterior.effects[0][..., 1] / posterior["sd:Subject:Days"][..., None]
    assert stats.kstest(scaled[:, ::7].reshape(-1), stats.norm.cdf).pvalue > 1e-3
    assert "draws from the priors" in str(m.summary()).splitlines()[0]
    with pytest.raises(PlanError, match="are independent: fit again with more draws"):
        m.extend(draws=10)
    with pytest.raises(PlanError, match="has no draws, since it has no total probability"):
        fit("Reaction ~ Days + (1 | Subject)", data, method="hmc", sample_prior="only", priors={"b": "flat"})


@pytest.mark.parametrize("formula", ["incidence ~ period", "bf(incidence ~ period, shape ~ (1 | herd))"])
def test_draws_from_priors_of_other_models(formula: str) -> None:
    m = fit(
        formula, load_dataset("cbpp"), family="nbinom2", method="hmc", sample_prior="only", draws=200, seed=1
    )
    assert np.isfinite(m.params).all()
    assert m.posterior is not None
    name = "phi:sd:herd:Intercept" if "bf" in formula else "phi"
    assert m.posterior[name].shape == (4, 200)
