"""Families sampled by NUTS: compiled densities against the families, priors, posteriors against exact answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracle import make_problem, z_matrix
from scipy import stats

from lmmformula import build
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.posterior.density.laplace import LaplaceDensity
from lmmformula.backends.posterior.hmc import HMC
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.families import FAMILIES, make_family, resolve
from lmmformula.families.family import Family
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.mcmc import ess_bulk

WHOLE = (
    "gaussian",
    "binomial",
    "poisson",
    "gamma",
    "inverse_gaussian",
    "nbinom1",
    "nbinom2",
    "beta",
    "lognormal",
    "student",
)
"""Families seen through every link: all charts that a density can be traced through."""

MADE = ("zero_inflated_", "truncated_", "hurdle_")
"""Before the names of families made of others, of which some stand for all."""

CASES = [
    *((name, link) for name in WHOLE for link in FAMILIES[name].distribution.links),
    *((name, f.link) for name, f in FAMILIES.items() if name not in WHOLE and not name.startswith(MADE)),
    *(
        (f"zero_inflated_{name}", link)
        for name in ("poisson", "nbinom1", "nbinom2")
        for link in ("log", "identity", "sqrt")
    ),
    ("zero_inflated_binomial", "logit"),
    ("truncated_nbinom2", "log"),
    ("hurdle_genpois", "log"),
    ("hurdle_lognormal", "identity"),
    ("student(df=4)", "identity"),
]


def family_of(name: str, link: str) -> Family:
    return make_family(resolve(name).distribution, link)


def rows_of(family: Family, rng: np.random.Generator, n: int = 60) -> tuple:
    """Responses, predictors inside the link's domain, and weights, spread over several orders of magnitude."""
    low, high = family.chart.domain
    eta = rng.normal(0.0, 2.0, n)
    if low == 0.0:
        eta = np.exp(rng.normal(0.0, 1.0, n))
    elif high == 0.0:
        eta = -np.exp(rng.normal(0.0, 1.0, n))
    elif family.link == "inverse":
        eta = np.where(eta < 0, -0.3, 0.3) + eta
    aux = tuple(rng.normal(0.0, 1.0, n) for _ in family.auxiliaries)
    w = np.ceil(rng.uniform(0.1, 6.0, n))
    if family.name == "beta":
        return rng.uniform(1e-4, 1 - 1e-4, n), eta, aux, w
    return family.simulate(rng, eta, aux, w), eta, aux, w


@pytest.mark.parametrize(("name", "link"), CASES)
def test_compiled_density_is_the_familys(name: str, link: str) -> None:
    """Values and slopes of every family x link at random points, with and without weights."""
    import jax
    import jax.numpy as jnp

    from lmmformula.numerics.x64 import x64

    family = family_of(name, link)
    y, eta, aux, w = rows_of(family, np.random.default_rng(3))
    if family.distribution.mean_range == "positive" and not family.is_discrete:
        y = np.clip(y, 1e-3, 1e3)
    for weights in (w, None):
        if weights is None and family.weights_are == "trials":
            y = (y > 0.5).astype(float)
        theirs = family.rows(y, eta, aux, weights)
        with x64():
            density = family.log_density(y, weights, jnp)
            ours = np.asarray(density(eta, aux))
            slope = jax.grad(lambda e, a, d=density: d(e, a).sum(), argnums=(0, 1))(eta, aux)
        np.testing.assert_allclose(ours, theirs.loglik, rtol=1e-10, atol=1e-10)
        for mine, its in zip((slope[0], *slope[1]), (theirs.score, *theirs.d_aux), strict=True):
            np.testing.assert_allclose(
                np.asarray(mine), its, rtol=1e-8, atol=1e-8 * np.abs(its).max() + 1e-13
            )


def test_compiled_density_outside_the_links_domain_is_impossible() -> None:
    import jax
    import jax.numpy as jnp

    from lmmformula.numerics.x64 import x64

    family = family_of("gamma", "inverse")
    y, eta = np.array([1.0, 2.0]), np.array([0.5, -0.5])
    with x64():
        density = family.log_density(y, None, jnp)
        value, slope = jax.value_and_grad(lambda e: density(e, (np.zeros(2),)).sum())(eta)
    assert float(value) == -np.inf
    assert np.isfinite(np.asarray(slope)).all()


# -- the sampled density ------------------------------------------------------------------------------------------


def counts(n: int = 120, seed: int = 5) -> dict[str, np.ndarray]:
    """Counts, proportions and positive numbers on levels of two nested factors and one crossed with them."""
    rng = np.random.default_rng(seed)
    fine, other = rng.integers(0, 12, n), rng.integers(0, 5, n)
    x, exposure = rng.normal(size=n), rng.uniform(0.5, 3.0, n)
    eta = 0.4 + 0.5 * x + rng.normal(0, 0.5, 12)[fine] + rng.normal(0, 0.4, 5)[other]
    trials = rng.integers(1, 8, n)
    return {
        "count": rng.poisson(exposure * np.exp(eta)).astype(float),
        "success": rng.binomial(trials, 1 / (1 + np.exp(-eta))).astype(float),
        "trials": trials.astype(float),
        "positive": rng.gamma(2.0, np.exp(eta) / 2.0),
        "weight": rng.uniform(0.5, 2.0, n),
        "exposure": exposure,
        "x": x,
        "fine": fine.astype(str),
        "coarse": (fine // 3).astype(str),
        "other": other.astype(str),
    }


MODELS = {
    "trials": ("success | trials(trials) ~ x + (x | fine) + (1 | other)", {"family": "binomial"}),
    "offset and dispersion": (
        "count ~ x + offset(log(exposure)) + (1 | fine) + (1 | coarse)",
        {"family": "nbinom2", "dispformula": "~ x"},
    ),
    "zeros": ("count ~ x + (1 | fine)", {"family": "nbinom1", "ziformula": "~ 1"}),
    "weights": ("positive ~ x + cs(1 + x | fine)", {"family": "gamma", "weights": "weight"}),
    "normal": ("positive ~ x + (1 | fine) + (1 | other)", {"family": "gaussian", "weights": "weight"}),
    "degrees of freedom": ("positive ~ x + (1 | fine)", {"family": "student"}),
}


def problem_of(name: str) -> Problem:
    formula, arguments = MODELS[name]
    given: dict[str, Any] = dict(arguments)
    return build(formula, counts(), **given)


def target_of(name: str) -> tuple:
    problem = problem_of(name)
    priors = resolve_priors(problem)
    return problem, LaplaceDensity.of(problem, BlockedEngine(), priors)


@pytest.mark.parametrize("name", list(MODELS))
def test_laplace_density_has_its_gradient(name: str) -> None:
    """Central differences of the value, in every coordinate."""
    _, target = target_of(name)
    x = target.begin + 0.1
    value, gradient = target.value_and_gradient(x)
    assert np.isfinite(value)
    h = 1e-5
    slope = [(target(x + h * e).value - target(x - h * e).value) / (2 * h) for e in np.eye(target.d)]
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("name", list(MODELS))
def test_sampled_density_is_likelihood_times_priors(name: str) -> None:
    """In u: the family's rows at numpy's predictors, priors, and |u|^2 / 2; in v the Jacobian besides."""
    from lmmformula.backends.posterior.density.joint import JointDensity
    from lmmformula.numerics.programs import quick

    problem, target = target_of(name)
    general = JointDensity.of(target)
    rng = np.random.default_rng(2)
    x = np.concatenate([target.begin, np.zeros(general.d - target.d)]) + 0.1 * rng.normal(size=general.d)
    density = general.traced()
    value, u, log_det = quick(lambda at: (density(at), *general.spherical(at)), general.d)(x)
    eta, *aux = (p.eta(u) for p in general.predictors)
    inner = u[general.n_outer :]
    expected = problem.family.rows(problem.y, eta, tuple(aux), problem.weights).loglik.sum()
    expected += sum(p.log_prior(u) for p in general.predictors) - 0.5 * inner @ inner - log_det
    assert float(value) == pytest.approx(float(expected), rel=1e-10)


AUX_EFFECTS = {
    "nbinom2": "bf(count ~ x + (1 | fine), phi ~ x + (1 | other))",
    "student": "bf(positive ~ x + (1 | fine) + (1 | other), sigma ~ (x | fine))",
    "gamma": "bf(positive ~ x + (1 | fine), sigma ~ x + (1 | other))",
    "zero_inflated_poisson": "bf(count ~ x + (1 | fine), zi ~ (1 | other))",
}


@pytest.mark.parametrize("family", list(AUX_EFFECTS))
def test_density_with_random_effects_of_auxiliary_parameters(family: str) -> None:
    """In u: the family's rows at predictors from the matrices, priors of each parameter under its name, and |u|^2 / 2."""
    from lmmformula.backends.posterior.density.joint_aux import joint_with_aux
    from lmmformula.numerics.programs import quick

    problem = build(AUX_EFFECTS[family], counts(), family=family)
    priors = resolve_priors(problem)
    general = joint_with_aux(problem, BlockedEngine(), priors)
    x = general.begin + 0.1 * np.random.default_rng(2).normal(size=general.d)
    density = general.traced()
    value, u, log_det = quick(lambda at: (density(at), *general.spherical(at)), general.d)(x)
    predictors = []
    for j, own in enumerate(general.predictors):
        terms = problem.aux_terms[j - 1] if j else problem.terms
        block = problem.aux[j - 1] if j else problem.X
        effects = zip(terms, own.effects(u), strict=True)
        predictors.append(block.matrix @ own.beta(u) + sum(z_matrix(t) @ b.ravel() for t, b in effects))
    eta, *aux = predictors
    inner = u[general.n_outer :]
    expected = problem.family.rows(problem.y, eta, tuple(aux), problem.weights).loglik.sum()
    expected += sum(p.log_prior(u) for p in general.predictors) - 0.5 * inner @ inner - log_det
    assert float(value) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("layout", ["nested, named coarse first", "chain and crossed", "same factor twice"])
def test_whitening_is_the_conditional_normal(layout: str) -> None:
    """u = M^-1 L'Z'r + F^-T v for each chain of nested groups, from the dense matrices, and log|F| = log|M| / 2."""
    from lmmformula.backends.posterior.model.predictor import laid_out, mean_predictor
    from lmmformula.backends.posterior.model.whitening import Whitening
    from lmmformula.numerics.programs import quick

    problem, rng = make_problem(layout), np.random.default_rng(4)
    w, score = rng.uniform(0.2, 2.0, problem.n), rng.normal(size=problem.n)
    priors = resolve_priors(problem)
    (predictor,), outer, d = laid_out([mean_predictor(problem, priors, np.array([900.0, 0.2]), w)])
    at, x = rng.normal(size=d), rng.normal(size=d)
    whitening = Whitening.of(predictor, w, score, at)
    u, log_det = quick(whitening, d)(x)
    effects = predictor.effects(at)
    chains = [[whitening.blocks.groups[a] for a in own.chain.groups] for own in whitening.chains]
    starts = np.cumsum([0, *(t.q for t in problem.terms)])
    total = 0.0
    for groups in chains:
        terms = [i for g in groups for i, _ in g.members]
        own = [z_matrix(problem.terms[i]) for i in terms]
        lower = [np.kron(np.eye(problem.terms[i].m), predictor.factors(x)[i]) for i in terms]
        zl = np.hstack([z @ low for z, low in zip(own, lower, strict=True)])
        m = zl.T @ (w[:, None] * zl) + np.eye(zl.shape[1])
        fitted = sum(z @ effects[i].ravel() for z, i in zip(own, terms, strict=True))
        r = w * (fitted - problem.X.matrix @ (predictor.beta(x) - predictor.beta(at))) + score
        places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in terms])
        away, v = u[places] - np.linalg.solve(m, zl.T @ r), x[outer:][places]
        assert away @ m @ away == pytest.approx(v @ v, rel=1e-9)
        total += 0.5 * np.linalg.slogdet(m)[1]
    assert float(log_det) == pytest.approx(total, rel=1e-10)


# -- priors -------------------------------------------------------------------------------------------------------


def test_priors_of_other_families() -> None:
    problem = build(*((MODELS["offset and dispersion"][0], counts())), family="nbinom2")
    table = {name: text for name, text, _ in resolve_priors(problem).table()}
    assert table["phi"] == "inv_gamma(0.4, 0.3)"
    assert table["sd:fine:Intercept"] == "half_student_t(3, 0, 2.5)"
    assert problem.offset is not None
    centre = np.log(problem.y.mean()) - problem.offset.mean()
    assert table["Intercept"] == f"normal({centre:.3g}, 2.5)"
    user = {"shape": "gamma(2, 0.1)", "b": "normal(0, 1)"}
    assert {r.name: str(r.distribution) for r in resolve_priors(problem, user).rows}["phi"] == "gamma(2, 0.1)"
    inflated = build(MODELS["zeros"][0], counts(), family="nbinom1", ziformula="~ 1")
    assert {r.name: str(r.distribution) for r in resolve_priors(inflated).rows}["zi"] == "beta(1, 1)"
    uniform = resolve_priors(inflated, {"zi": "uniform(0, 0.5)"})
    assert uniform.aux[-1].value is not None
    with pytest.raises(PlanError, match="half_normal cannot be the prior of a probability"):
        resolve_priors(inflated, {"zi": "half_normal(1)"})
    with pytest.raises(PlanError, match="high <= 1"):
        resolve_priors(inflated, {"zi": "uniform(0, 2)"})
    with pytest.raises(PlanError, match=r"'sigma' is no parameter.*phi"):
        resolve_priors(problem, {"sigma": "half_normal(1)"})
    sloped = problem_of("offset and dispersion")
    names = [r.name for r in resolve_priors(sloped, {"phi:b": "normal(0, 1)"}).rows]
    assert names[-2:] == ["phi:Intercept", "phi:b:x"]


PREDICTIVE = {
    "poisson": ("count ~ x + (1 | fine)", {"Intercept": "normal(1, 0.5)", "sd": "half_normal(0.5)"}),
    "nbinom2": ("bf(count ~ x + (1 | fine), phi ~ 1 + (1 | other))", {"phi:Intercept": "normal(1, 0.5)"}),
    "student": ("positive ~ x + (1 | fine)", {"sigma": "exponential(1)"}),
    "beta": ("share ~ x + (1 | fine)", {"phi": "gamma(4, 0.5)"}),
    "binomial": ("success | trials(trials) ~ x + (1 | fine)", {"sd": "half_normal(1)"}),
}


LEVELS = (0.1, 0.25, 0.5, 0.75)


@pytest.mark.parametrize("family", list(PREDICTIVE))
def test_prior_predictive_of_other_families(family: str) -> None:
    """Draws follow the priors they are named after, and responses the family's mean given the coefficients."""
    from lmmformula.backends.posterior.prior_predictive import prior_predictive

    data = counts()
    data["share"] = data["positive"] / (1.0 + data["positive"])
    formula, user = PREDICTIVE[family]
    user = {"Intercept": "normal(0.5, 0.4)", "b": "normal(0, 0.3)", "sd": "half_normal(0.3)"} | user
    user |= {"phi:sd": "half_normal(0.5)"} if family == "nbinom2" else {}
    problem = build(formula, data, family=family)
    priors = resolve_priors(problem, user)
    drawn = prior_predictive(problem, priors, 2_000, seed=3)
    assert np.isfinite(drawn.y).all()
    problem.family.check(drawn.y[0], problem.weights)
    for prior in (*priors.coefficients[1:], priors.terms[0].sds[0], *(r for a in priors.aux for r in a.rows)):
        name = prior.name.removeprefix("b:").replace("phi:Intercept", "phi:(Intercept)")
        if prior.name == "df":
            assert drawn["df"].min() > 1.0
            continue
        theirs = prior.distribution.sample(np.random.default_rng(4), 20_000)
        distance = np.abs(np.quantile(drawn[name], LEVELS) - np.quantile(theirs, LEVELS))
        assert (distance < 0.12 * theirs.std()).all()
    steep = drawn["x"] > 0.2
    low, high = (problem.X.matrix[:, 1] < -1).nonzero()[0], (problem.X.matrix[:, 1] > 1).nonzero()[0]
    assert drawn.y[steep][:, high].mean() > drawn.y[steep][:, low].mean()


def test_prior_predictive_beyond_all_numbers() -> None:
    """A rate that no number can be is infinite, not an error; one that no whole number of 64 bits can be is its own draw."""
    from lmmformula.backends.posterior.prior_predictive import prior_predictive

    problem = build("count ~ x + (1 | fine)", counts(), family="poisson")
    wide = resolve_priors(problem, {"Intercept": "normal(400, 400)"})
    drawn = prior_predictive(problem, wide, 50, seed=1)
    assert not np.isnan(drawn.y).any()
    assert 0 < np.isinf(drawn.y).mean() < 1


# -- posteriors ---------------------------------------------------------------------------------------------------


def test_poisson_posterior_against_quadrature() -> None:
    """One variance and one coefficient on a grid, the effects of the levels by Gauss-Hermite quadrature."""
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(5), 4)
    y = rng.poisson(np.exp(0.3 + rng.normal(0, 0.8, 5)[g])).astype(float)
    problem = build("y ~ 1 + (1 | g)", {"y": y, "g": g.astype(str)}, family="poisson")
    user = {"Intercept": "normal(0, 1)", "sd": "half_normal(1)"}
    posterior = HMC(user, seed=4, chains=2, draws=1_500, warmup=300).fit(problem).posterior
    assert posterior.marginalized == "none"
    assert posterior.diagnostics.divergences < 0.005 * posterior.chains * posterior.draws
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    beta, sd = np.linspace(-3, 3, 121), np.linspace(0.01, 4, 120)
    eta = beta[:, None, None] + sd[None, :, None] * nodes
    log_p = stats.norm.logpdf(beta)[:, None] + stats.halfnorm.logpdf(sd)[None]
    for level in range(5):
        own = y[g == level]
        terms = own.sum() * eta - 4 * np.exp(eta)
        top = terms.max(axis=-1)
        log_p = log_p + top + np.log(np.exp(terms - top[..., None]) @ weights)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for name, grid in (("(Intercept)", beta[:, None] + 0 * sd), ("sd:g:Intercept", sd + 0 * beta[:, None])):
        mean = float((p * grid).sum())
        spread = float(np.sqrt((p * grid**2).sum() - mean**2))
        error = spread / np.sqrt(ess_bulk(posterior[name]))
        assert abs(posterior[name].mean() - mean) < 4 * error
        assert abs(posterior[name].std() - spread) < 4 * error


def test_random_effects_of_a_dispersion() -> None:
    """Counts whose size varies between groups: effects near the truth, the record complete, and chains that go on."""
    rng, m, k = np.random.default_rng(1), 16, 40
    g, x = np.repeat(np.arange(m), k), rng.normal(size=m * k)
    log_phi = 0.8 + rng.normal(0, 1.0, m)
    mu, phi = np.exp(1.5 + 0.4 * x + rng.normal(0, 0.4, m)[g]), np.exp(log_phi)[g]
    y = rng.negative_binomial(phi, phi / (phi + mu)).astype(float)
    columns = {"y": y, "x": x, "g": [f"g{i:02d}" for i in g]}
    problem = build("bf(y ~ x + (1 | g), phi ~ 1 + (1 | g))", columns, family="nbinom2")
    recipe = HMC(seed=2, chains=2, draws=250, warmup=250)
    solution = recipe.fit(problem)
    posterior = solution.posterior
    assert posterior.names == ("sd:g:Intercept", "phi:(Intercept)", "phi:sd:g:Intercept")
    assert posterior.diagnostics.divergences == 0
    own = posterior.aux_effects[0]
    known = posterior["phi:(Intercept)"].mean() + own.means[0][:, 0]
    assert np.abs((known - log_phi) / own.sds[0][:, 0]).max() < 4
    assert np.corrcoef(known, log_phi)[0, 1] > 0.8
    assert own.draws is not None
    predictor = posterior["phi:(Intercept)"][..., None] + own.draws[0][..., 0]
    np.testing.assert_allclose(predictor.mean(axis=(0, 1)), known)
    psi = solution.point.model.problem.aux[0].matrix @ np.append(solution.estimate.aux[0], 1.0)
    np.testing.assert_allclose(psi, known[g])
    plain = HMC(marginalize="laplace", sampler="importance", seed=1, chains=1, draws=100)
    constant = plain.fit(build("y ~ x + (1 | g)", columns, family="nbinom2"))
    assert solution.estimate.deviance < constant.estimate.deviance - 10
    more = replace(recipe, draws=20).extend(problem, posterior)
    kept = more.posterior.aux_effects[0].draws
    assert kept is not None
    assert kept[0].shape == (2, 270, m, 1)


def test_a_model_with_a_dispersion_and_its_record() -> None:
    """Names, estimate and criterion of a family with an auxiliary parameter, and going on with its chains."""
    problem = problem_of("weights")
    recipe = HMC(seed=2, chains=2, draws=200, warmup=200)
    solution = recipe.fit(problem)
    posterior, estimate = solution.posterior, solution.estimate
    assert posterior.names[-1] == "sigma"
    np.testing.assert_allclose(np.log(posterior["sigma"]), posterior.aux[0][..., 0])
    assert estimate.sigma == 1.0
    assert estimate.aux[0][0] == pytest.approx(posterior.aux[0].mean())
    assert recipe.evaluate(problem, estimate).deviance == pytest.approx(estimate.deviance)
    ml = LaplaceBackend().fit(problem).estimate
    assert ml.deviance < estimate.deviance < ml.deviance + 8
    assert np.abs(estimate.beta - ml.beta).max() < np.sqrt(np.diagonal(estimate.vcov)).max()
    assert [e.draws for e in posterior.aux_effects] == [()]
    more = replace(recipe, draws=60).extend(problem, posterior)
    assert more.posterior.aux[0].shape == (2, 260, 1)
    np.testing.assert_array_equal(more.posterior.beta[:, :200], posterior.beta)
    assert more.posterior.draws == 260
