"""Bayesian fits: against exact answers, samplers against each other, and against a model with nothing integrated out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hmc_reference import FILE, PRIORS, crossed
from oracle import LAYOUTS, across_covariance, general_problem, make_problem, z_matrix
from scipy import stats
from scipy.linalg import block_diag

from lmmformula import build, load_dataset
from lmmformula.backends.posterior import effects as effects_module
from lmmformula.backends.posterior.density import variances as variances_module
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.hmc import HMC, BayesSolution
from lmmformula.backends.posterior.prior_predictive import prior_predictive
from lmmformula.backends.posterior.recovery import gaussian as recovery_module
from lmmformula.backends.posterior.recovery.gaussian import recover
from lmmformula.backends.posterior.sampling.importance import Importance, ImportanceDraws
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.ir.estimate import Status
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.methods.options import Sampled
from lmmformula.typing import Array

DYESTUFF = {"Intercept": "normal(1500, 100)", "sd": "half_normal(80)", "sigma": "half_cauchy(50)"}


def target_of(problem: Problem, user: dict[str, str] | None = None) -> VarianceDensity:
    return VarianceDensity.of(problem, BlockedEngine(), resolve_priors(problem, user))


# -- exact answers ------------------------------------------------------------------------------------------------


def test_importance_against_quadrature_over_two_variances() -> None:
    """One-way layout: density from the n x n normal on a grid of (sd, sigma), so that evidence and moments are exact."""
    problem = build("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    posterior = HMC(DYESTUFF, sampler="importance", draws=5_000, seed=1).fit(problem).posterior
    sd, sigma = np.linspace(0.02, 300, 400), np.linspace(25, 110, 200)
    y, m = problem.y - 1500.0, 6
    total, within = y.reshape(m, -1).sum(axis=1), 5
    # eigenvectors of V: contrasts within batches, among batches, and the grand mean
    among = np.sum((total - total.mean()) ** 2) / within
    inside = np.sum(y**2) - np.sum(total**2) / within
    s2, t2 = sigma[:, None] ** 2, sd[None] ** 2
    batch = s2 + within * t2
    grand = batch + m * within * 100.0**2
    log_y = -0.5 * (30 * np.log(2 * np.pi) + 24 * np.log(s2) + 5 * np.log(batch) + np.log(grand))
    log_y = log_y - 0.5 * (inside / s2 + among / batch + total.sum() ** 2 / (m * within) / grand)
    joint = log_y + stats.halfnorm.logpdf(sd, 0, 80)[None] + stats.halfcauchy.logpdf(sigma, 0, 50)[:, None]
    weight = np.exp(joint - joint.max())
    norm = np.trapezoid(np.trapezoid(weight, sd), sigma)
    assert posterior.log_evidence == pytest.approx(joint.max() + np.log(norm), abs=0.03)
    for name, grid in (("sd:Batch:Intercept", sd[None] + 0 * s2), ("sigma", sigma[:, None] + 0 * t2)):
        exact = [np.trapezoid(np.trapezoid(weight * grid**r, sd), sigma) / norm for r in (1, 2)]
        spread = np.sqrt(exact[1] - exact[0] ** 2)
        assert posterior[name].mean() == pytest.approx(exact[0], abs=0.06 * spread)
        assert posterior[name].std() == pytest.approx(spread, rel=0.06)


@pytest.mark.parametrize("layout", ["slopes", "crossed slopes", "nested, named coarse first", "structured"])
def test_recovery_in_batches_and_by_the_engine(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditional moments agree to rounding; draws have these moments."""
    target = target_of(make_problem(layout), {"b": "student_t(4, 0.1, 0.3)"})
    x = np.repeat(target.begin[None], 1_500, axis=0)
    x[:, 0] += np.linspace(-0.2, 0.2, 1_500)
    many_beta, many = recover(target, x[None], np.random.SeedSequence(1))
    batch_beta, batch = recover(target, x[None, ::5], np.random.SeedSequence(1))
    monkeypatch.setattr(variances_module, "SMALL_SIDE", -1)
    monkeypatch.setattr(recovery_module, "WITHIN_LARGE", recovery_module.WITHIN)
    monkeypatch.setattr(recovery_module, "TOGETHER", np.inf)
    monkeypatch.setattr(effects_module, "KEPT_BYTES", 1.0)
    single_beta, single = recover(target, x[None, ::5], np.random.SeedSequence(1))
    assert single.draws is None
    assert many.draws is not None
    np.testing.assert_allclose(batch_beta.mean, single_beta.mean, rtol=1e-8)
    np.testing.assert_allclose(batch_beta.cov, single_beta.cov, rtol=1e-7, atol=1e-13)
    np.testing.assert_allclose(np.cov(many_beta.draws[0].T), many_beta.cov, rtol=0.5, atol=1e-3)
    for draws, mean, sd, ours, theirs in zip(
        many.draws, many.means, many.sds, zip(batch.means, batch.sds, strict=True),
        zip(single.means, single.sds, strict=True), strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-9)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-7)
        assert np.abs((draws[0].mean(axis=0) - mean) / sd).max() < 5 / np.sqrt(1_500)
        np.testing.assert_allclose(draws[0].std(axis=0), sd, rtol=0.12)


@pytest.mark.parametrize("layout", ["crossed", "known slopes and crossed", "members"])
def test_recovery_at_fixed_variances_is_the_conditional_normal(layout: str) -> None:
    """E and Var of (beta, b) from the joint normal of (beta, b, y), dense."""
    problem = make_problem(layout) if layout in LAYOUTS else general_problem(layout)
    priors = resolve_priors(problem, {"b": "normal(0.1, 0.3)"})
    target = VarianceDensity.of(problem, BlockedEngine(), priors)
    beta, own = recover(target, target.begin[None, None], np.random.SeedSequence(1))
    values = target.coordinates.values(target.begin)
    sigma = float(values[-1])
    z = np.hstack([z_matrix(t) for t in problem.terms])
    prior = np.asarray(
        block_diag(
            *(
                np.kron(across_covariance(t, t.covariance.start()), f @ f.T)
                for t, f in zip(problem.terms, target.coordinates.factors(values), strict=True)
            )
        )
    )
    t, design = priors.contrast, np.hstack([problem.X.matrix, z])
    prior_sd = np.array([c.distribution.sd for c in priors.coefficients])
    assert problem.weights is not None
    assert problem.offset is not None
    w = problem.weights / sigma**2
    precision = np.zeros((design.shape[1],) * 2)
    precision[:2, :2] = t.T @ np.diag(prior_sd**-2.0) @ t
    precision[2:, 2:] = np.linalg.inv(prior)
    centre = np.zeros(design.shape[1])
    centre[:2] = np.linalg.solve(t, [c.distribution.mean for c in priors.coefficients])
    cov = np.linalg.inv(precision + design.T @ (w[:, None] * design))
    mean = cov @ (precision @ centre + design.T @ (w * (problem.y - problem.offset)))
    np.testing.assert_allclose(beta.mean, mean[:2], rtol=1e-8)
    np.testing.assert_allclose(beta.cov, cov[:2, :2], rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([m.ravel() for m in own.means]), mean[2:], atol=1e-8)
    np.testing.assert_allclose(
        np.concatenate([s.ravel() for s in own.sds]), np.sqrt(np.diagonal(cov)[2:]), rtol=1e-7
    )


def test_simulation_based_calibration() -> None:
    """Talts et al. 2018: the rank of a parameter drawn from its prior among its posterior draws is uniform."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(8), 6)
    x = np.tile(np.linspace(-1, 1, 6), 8)
    columns = {"y": rng.normal(size=48), "x": x, "g": g.astype(str)}
    user = {
        "b:(Intercept)": "normal(0, 2)",
        "b": "normal(0, 1)",
        "sd": "half_normal(1)",
        "cor": "lkj(2)",
        "sigma": "lognormal(-0.5, 0.3)",
    }
    problem = build("y ~ x + (x | g)", columns)
    own = target_of(problem, user).coordinates
    ranks = []
    for truth in own.sample_prior(rng, 250):
        values = own.values(truth)
        beta = rng.normal(size=2) * [2.0, 1.0]
        b = rng.normal(size=(8, 2)) @ own.factors(values)[0].T
        y = beta[0] + b[g, 0] + (beta[1] + b[g, 1]) * x + values[own.sigma] * rng.normal(size=48)
        target = target_of(replace(problem, y=y), user)
        drawn = Importance(draws=99, pilot=300, rounds=2).sample(target, target.scale(), rng)
        coefficients, effects = recover(
            target, drawn.x[None], np.random.SeedSequence(int(rng.integers(2**31)))
        )
        assert effects.draws is not None
        drawn_back = (coefficients.draws[0], effects.draws[0][0, :, 0])
        posterior = np.column_stack([target.coordinates.parameters(drawn.x), *drawn_back])
        ranks.append((posterior < np.concatenate([own.parameters(truth), beta, b[0]])).sum(axis=0))
    counts = np.apply_along_axis(lambda r: np.histogram(r, 10, (-0.5, 99.5))[0], 0, np.array(ranks))
    statistic = np.sum((counts - 25.0) ** 2, axis=0) / 25.0
    assert statistic.max() < stats.chi2.ppf(1 - 2e-4, 9)
    assert statistic.sum() < stats.chi2.ppf(0.999, 9 * len(statistic))


# -- samplers against each other ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_nuts() -> BayesSolution:
    return HMC(PRIORS, sampler="nuts", seed=3, chains=2, draws=1_500).fit(crossed())


@pytest.fixture(scope="module")
def by_importance() -> BayesSolution:
    return HMC(PRIORS, sampler="importance", seed=3).fit(crossed())


def agree(a: Array, b: Array, ess_a: float, ess_b: float) -> None:
    """Means and standard deviations of two samples of one parameter, within 4.5 Monte Carlo errors."""
    sd = np.sqrt(0.5 * (a.var() + b.var()))
    error = sd * np.sqrt(1 / ess_a + 1 / ess_b)
    assert abs(a.mean() - b.mean()) < 4.5 * error
    assert (
        abs(a.std() - b.std())
        < 4.5 * error * np.sqrt(stats.kurtosis(a.ravel(), fisher=False) - 1) / 2 + 0.01 * sd
    )


def test_nuts_and_importance_agree(by_nuts: BayesSolution, by_importance: BayesSolution) -> None:
    ours, theirs = by_nuts.posterior, by_importance.posterior
    assert theirs.sampler == "importance"
    assert ours.sampler == "nuts"
    assert ours.diagnostics.divergences == 0
    for j, name in enumerate((*ours.beta_names, *ours.names)):
        agree(ours[name], theirs[name], ours.diagnostics.ess_bulk[j], 0.5 * theirs.diagnostics.ess_bulk[j])
    for a, b, sd in zip(ours.effect_means, theirs.effect_means, ours.effect_sds, strict=True):
        assert np.abs((a - b) / sd).max() < 0.15


@pytest.mark.parametrize("sampler", ["by_nuts", "by_importance"])
def test_agreement_with_nothing_integrated_out(sampler: str, request: pytest.FixtureRequest) -> None:
    """Means and standard deviations of NumPyro's NUTS on all of beta, b and the variances; see `hmc_reference.py`."""
    posterior = request.getfixturevalue(sampler).posterior
    reference = json.loads(FILE.read_text())
    for j, name in enumerate((*posterior.beta_names, *posterior.names)):
        ours, fact = posterior[name], reference["parameters"][name]
        error = fact["sd"] * np.sqrt(1 / (0.5 * posterior.diagnostics.ess_bulk[j]) + 1 / fact["ess"])
        assert abs(ours.mean() - fact["mean"]) < 4 * error
        assert abs(ours.std() - fact["sd"]) < 4 * error
    gap = (posterior.effect_means[0] - reference["b"]["mean"]) / reference["b"]["sd"]
    assert np.abs(gap).max() < 0.1
    np.testing.assert_allclose(posterior.effect_sds[0], reference["b"]["sd"], rtol=0.05)


def test_seeds_and_continuation(by_nuts: BayesSolution) -> None:
    """The same seed gives the same draws; going on keeps them and adds more."""
    recipe, problem = HMC(PRIORS, sampler="nuts", seed=3, chains=2, draws=1_500), crossed()
    first = by_nuts.posterior
    more = replace(recipe, draws=200).extend(problem, first).posterior
    assert more.x.shape == (2, 1_700, first.x.shape[-1])
    np.testing.assert_array_equal(more.x[:, :1_500], first.x)
    np.testing.assert_array_equal(more.beta[:, :1_500], first.beta)
    assert np.abs(np.diff(more.x[:, 1_499:1_501], axis=1)).max() < 8
    assert more.diagnostics.rhat.max() < 1.02
    assert more.statistics["diverging"].shape == (2, 1_700)


def test_large_problems_call_back_into_the_engine(
    by_importance: BayesSolution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variances_module, "SMALL_SIDE", -1)
    ours = HMC(PRIORS, sampler="nuts", seed=1, chains=2, draws=150, warmup=40).fit(crossed()).posterior
    theirs = by_importance.posterior
    for j, name in enumerate((*ours.beta_names, *ours.names)):
        agree(ours[name], theirs[name], 0.7 * ours.diagnostics.ess_bulk[j], theirs.diagnostics.ess_bulk[j])


def test_compiled_density_and_gradient_agree_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    from lmmformula.backends.posterior.density.traced import potential
    from lmmformula.numerics.x64 import x64

    user = {"b": "student_t(4, 0.1, 0.3)"}
    for layout in ("slopes", "crossed"):
        target = target_of(make_problem(layout), user)
        scale = target.scale()
        z = np.random.default_rng(1).normal(size=target.d)
        point = target(scale.mode + scale.half @ z)
        value, gradient = point.value, point.gradient
        looped = target.looped()
        assert looped is not None
        v, g = looped(scale.mode + scale.half @ z)
        assert v == pytest.approx(value, rel=1e-11)
        np.testing.assert_allclose(g, gradient, atol=1e-7)
        with x64():
            for side in (-1, 250):
                monkeypatch.setattr(variances_module, "SMALL_SIDE", side)
                assert target.is_small == (side > 0)
                v, g = jax.jit(jax.value_and_grad(potential(target, scale)))(z)
                assert float(v) == pytest.approx(-value, rel=1e-11)
                np.testing.assert_allclose(np.asarray(g), -(scale.half.T @ gradient), atol=1e-7)


# -- records and refusals -----------------------------------------------------------------------------------------


def test_the_estimate_is_the_posterior_mean(by_importance: BayesSolution) -> None:
    estimate, posterior = by_importance.estimate, by_importance.posterior
    assert estimate.method == "HMC"
    assert estimate.convergence.status is Status.CONVERGED
    sd = np.sqrt(np.diagonal(estimate.vcov))
    assert np.abs(posterior.beta.mean(axis=(0, 1)) - estimate.beta).max() < 0.1 * sd.max()
    np.testing.assert_allclose(posterior.beta.std(axis=(0, 1)), sd, rtol=0.06)
    assert [m.shape for m in estimate.modes] == [(10, 2), (6, 1)]
    again = HMC(PRIORS).evaluate(crossed(), estimate)
    np.testing.assert_array_equal(again.theta, estimate.theta)
    ml = again.deviance_at(estimate.sigma**2)
    assert ml <= estimate.deviance < ml + 2.0
    with pytest.raises(KeyError, match="is none of"):
        posterior["nothing"]


def test_a_variance_that_may_be_zero_has_its_mass_there() -> None:
    """Dyestuff2 has no variation between batches: the posterior of the sd is highest at zero."""
    posterior = (
        HMC(sampler="importance", seed=1)
        .fit(build("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2")))
        .posterior
    )
    counts = np.histogram(posterior["sd:Batch:Intercept"], 8, (0, 4))[0]
    assert counts[0] == counts.max()
    assert posterior.pareto_k < 0.5


def test_importance_gives_way_to_nuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImportanceDraws, "trusted", property(lambda own: False))
    problem = build("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    posterior = HMC(DYESTUFF, sampler="importance", seed=1, chains=2, draws=400).fit(problem).posterior
    assert posterior.sampler == "nuts"
    assert np.isfinite(posterior.pareto_k)
    assert np.isnan(posterior.log_evidence)


def test_lognormal_is_the_gaussian_of_the_logarithm() -> None:
    data = load_dataset("sleepstudy")
    raw = build("Reaction ~ Days + (Days | Subject)", data, family="lognormal")
    logged = build("log(Reaction) ~ Days + (Days | Subject)", data)
    fits = [HMC(sampler="importance", seed=5, draws=300).fit(p) for p in (raw, logged)]
    np.testing.assert_allclose(fits[0].estimate.beta, fits[1].estimate.beta, rtol=1e-10)
    jacobian = -float(np.log(raw.y).sum())
    gap = fits[0].posterior.log_evidence - fits[1].posterior.log_evidence
    assert gap == pytest.approx(jacobian, abs=1e-6)
    assert fits[0].estimate.deviance - fits[1].estimate.deviance == pytest.approx(-2 * jacobian, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampler": "gibbs"}, "must be 'auto', 'nuts' or 'importance'"),
        ({"draws": 0}, "draws=0 must be a whole number"),
        ({"chains": 1.5}, "chains=1.5 must be"),
        ({"warmup": 3}, "warmup=3"),
        ({"target_accept": 1.0}, "target_accept=1.0"),
    ],
)
def test_options_are_checked(options: dict, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Sampled(**options)


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(PlanError, match="no parameter of this model"):
        HMC({"sd:nobody": "half_normal(1)"}).fit(crossed())


def test_advice_names_the_parameter(by_nuts: BayesSolution) -> None:
    posterior = by_nuts.posterior
    assert posterior.diagnostics.good
    stuck = posterior.beta.copy()
    stuck[0, :, 1] += 10
    diverged = dict(posterior.statistics)
    diverged["diverging"] = diverged["diverging"].copy()
    diverged["diverging"][0, :7] = True
    advice = replace(posterior, beta=stuck, statistics=diverged).diagnostics.advice
    assert advice[0].startswith("7 draws diverged")
    assert advice[1].startswith("R-hat of x is")


def test_prior_predictive_has_the_moments_of_the_model() -> None:
    """Normal priors and one variance: E y = X mu, Var y = X V0 X' + E sd^2 + E sigma^2."""
    problem = build("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    priors = resolve_priors(
        problem, {"Intercept": "normal(1500, 100)", "sd": "half_normal(80)", "sigma": "half_normal(50)"}
    )
    drawn = prior_predictive(problem, priors, 20_000, seed=1)
    assert drawn.names == ("sd:Batch:Intercept", "sigma")
    assert drawn.y.shape == (20_000, 30)
    variance = 100.0**2 + 80.0**2 + 50.0**2
    assert drawn.y[:, 3].mean() == pytest.approx(1500, abs=4 * np.sqrt(variance / 20_000))
    assert drawn.y[:, 3].var() == pytest.approx(variance, rel=0.05)
    assert np.cov(drawn.y[:, 0], drawn.y[:, 1])[0, 1] == pytest.approx(100.0**2 + 80.0**2, rel=0.05)


def test_an_interrupted_run_keeps_its_draws_and_goes_on() -> None:
    import _thread

    problem, seen = build("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff")), []

    def progress(iteration: int, value: float, change: float) -> None:
        seen.append(iteration)
        if len(seen) == 30:
            _thread.interrupt_main()

    solution = HMC(DYESTUFF, sampler="nuts", seed=1, chains=2, draws=200_000).fit(problem, None, progress)
    before = solution.posterior
    assert not before.complete
    assert solution.estimate.convergence.status is Status.INTERRUPTED
    assert 0 < before.draws < 200_000
    after = HMC(DYESTUFF, draws=100).extend(problem, before).posterior
    assert after.draws == before.draws + 100
    assert after.complete
