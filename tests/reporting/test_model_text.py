"""A model written out: the program is run, and its log density is that of the fit, up to a constant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.engines.registry import exact_engine
from lmmformula.inference.bayesian.log_prior import log_prior

POINTS = 4


def program(m: Fit, sites: list[dict[str, Any]]) -> np.ndarray:
    """The log density of the program at values of its sites."""
    import jax
    import jax.numpy as jnp
    from numpyro.infer.util import log_density

    text, known = m.model_text(), dict[str, Any]()
    exec(text.code, known)
    with jax.enable_x64(True):
        data = {name: jnp.asarray(value) for name, value in text.data.items()}
        return np.array(
            [
                float(log_density(known["model"], (), data, {k: jnp.asarray(v) for k, v in at.items()})[0])
                for at in sites
            ]
        )


def matrix(values: np.ndarray, k: int) -> np.ndarray:
    r = np.eye(k)
    r[np.triu_indices(k, 1)] = values
    return np.triu(r) + np.triu(r, 1).T


def at_draws(m: Fit, *, effects: bool) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Values of the sites at draws, and minus half the squares of the spherical effects there."""
    posterior, priors, sites, squares = m.posterior, m.priors, [], np.zeros(POINTS)
    assert posterior is not None
    assert priors is not None

    def terms(at: dict[str, Any], own: Any, tag: str, drawn: Any, s: int) -> None:
        for j, t in enumerate(own):
            names = t.parameters
            sd = np.array([posterior[name][0, s] for name in names.sds])
            at.update(zip(names.sds, sd, strict=True))
            r = matrix(np.array([posterior[name][0, s] for name in names.cors]), names.k)
            if t.cor is not None:
                at[t.cor.name] = r
            if effects:
                lower = sd[:, None] * np.linalg.cholesky(r)
                at[f"u_{tag}{j}"] = np.linalg.solve(lower, drawn[j][0, s].T).T
                squares[s] -= 0.5 * np.sum(at[f"u_{tag}{j}"] ** 2)

    for s in range(POINTS):
        at: dict[str, Any] = {}
        if effects:
            moved = priors.contrast @ posterior.beta[0, s]
            at |= dict(zip([p.name for p in priors.coefficients], moved, strict=True))
        terms(at, priors.terms, "", posterior.effects, s)
        for j, aux in enumerate(priors.aux):
            if aux.value is not None:
                at[aux.value.name] = posterior[aux.name][0, s]
                continue
            moved = aux.contrast @ posterior.aux[j][0, s]
            at |= dict(zip([p.name for p in aux.coefficients], moved, strict=True))
            terms(at, aux.terms, f"{aux.name}_", posterior.aux_effects[j].draws, s)
        sites.append(at)
    return sites, squares


SLEEP, CBPP = "Reaction ~ Days + (Days | Subject)", "incidence ~ period + (1 | herd)"
TIGHT = {"Intercept": "normal(0, 1)", "b": "normal(0, 0.5)", "sd": "gamma(3, 9)"}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gaussian": (SLEEP, "sleepstudy", {"priors": {"cor": "lkj(2)", "sigma": "lognormal(3, 0.2)"}}),
    "sigma": (
        "bf(Reaction ~ Days + (1 | Subject), sigma ~ Days + (1 | Subject))",
        "sleepstudy",
        {
            "priors": {
                "sigma:b": "normal(0, 0.1)",
                "sigma:sd": "half_normal(0.3)",
                "b:Days": "student_t(4, 10, 2)",
            }
        },
    ),
    "poisson": (CBPP, "cbpp", {"family": "poisson", "priors": TIGHT}),
    "nbinom2": (CBPP, "cbpp", {"family": "nbinom2", "priors": {**TIGHT, "phi": "inv_gamma(4, 8)"}}),
    "nbinom1": (CBPP, "cbpp", {"family": "nbinom1", "priors": {**TIGHT, "phi": "exponential(1)"}}),
    "gamma": ("size ~ period + (1 | herd)", "cbpp", {"family": "gamma(link='log')", "priors": TIGHT}),
    "binomial": (
        "incidence / size ~ period + (1 | herd)",
        "cbpp",
        {"family": "binomial(link='probit')", "weights": "size", "priors": TIGHT},
    ),
    "student": (
        "Reaction ~ Days + (1 | Subject)",
        "sleepstudy",
        {"family": "student", "priors": {"df": "gamma(4, 0.5)", "sigma": "lognormal(3, 0.2)"}},
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_the_program_has_the_density_of_the_model(name: str) -> None:
    formula, data, arguments = MODELS[name]
    m = fit(
        formula,
        load_dataset(data),
        method="hmc",
        sample_prior="only",
        chains=1,
        draws=500,
        seed=1,
        **arguments,
    )
    sites, squares = at_draws(m, effects=True)
    priors = np.sum([value[:POINTS] for value in log_prior(m).values()], axis=0)
    ours = m.log_likelihood()[0, :POINTS].sum(axis=1) + priors + squares
    theirs = program(m, sites)
    assert np.isfinite(ours).all()
    np.testing.assert_allclose(theirs - theirs[0], ours - ours[0], rtol=1e-6, atol=1e-6)


def test_the_program_integrates_out_what_the_sampler_does() -> None:
    arguments: dict[str, Any] = {"method": "hmc", "sampler": "importance", "draws": 250, "seed": 1}
    m = fit(SLEEP, load_dataset("sleepstudy"), priors={"cor": "lkj(2)"}, **arguments)
    text = m.model_text()
    assert "Integrated out exactly: beta and every b" in text.mathematics
    assert "cor:Subject ~ lkj(2)" in text.mathematics
    assert m.posterior is not None
    density = VarianceDensity.of(m.standard.problem, exact_engine(), m.posterior.priors)
    own = log_prior(m)
    priors = np.sum([own[name][:POINTS] for name in ("sd", "cor", "sigma")], axis=0)
    ours = np.array([density(x).marginal.logpdf for x in m.posterior.x[0, :POINTS]]) + priors
    theirs = program(m, at_draws(m, effects=False)[0])
    np.testing.assert_allclose(theirs - theirs[0], ours - ours[0], rtol=1e-7, atol=1e-6)


def test_fits_by_likelihood_have_their_criterion() -> None:
    data = load_dataset("sleepstudy")
    reml = fit(SLEEP, data).model_text()
    assert "log|X' V^-1 X / sigma^2| - p log(2 pi)" in reml.mathematics
    assert reml.code == ""
    penalised = fit(SLEEP, data, method="ml", priors={"cor": "lkj(2)"}).model_text()
    assert "less twice the log density of the priors" in str(penalised)
    # the formula itself, at the estimate
    m = fit(SLEEP, data)
    problem = m.problem
    basis = problem.terms[0].basis
    assert basis is not None
    z = basis[:, :, None] * np.eye(18)[problem.terms[0].codes][:, None, :]
    cov = m.varcorr()
    sd = cov["sdcor"].to_numpy()
    s = np.array([[sd[0] ** 2, sd[2] * sd[0] * sd[1]], [sd[2] * sd[0] * sd[1], sd[1] ** 2]])
    v = np.eye(180) + np.einsum("nkm,kl,rlm->nr", z, s, z) / m.sigma**2
    x, e = problem.X.matrix, problem.y - problem.X.matrix @ m.params.to_numpy()
    solved = np.linalg.solve(v, np.column_stack([x, e]))
    d = 180 * np.log(2 * np.pi * m.sigma**2) + np.linalg.slogdet(v)[1] + e @ solved[:, 2] / m.sigma**2
    d += np.linalg.slogdet(x.T @ solved[:, :2] / m.sigma**2)[1] - 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(m.deviance, d, rtol=1e-10)


def test_what_has_no_program_says_so() -> None:
    m = fit(
        "Reaction ~ Days + ar1(0 + factor(Days) | Subject)",
        load_dataset("sleepstudy"),
        method="hmc",
        sample_prior="only",
        seed=1,
    )
    assert "No program: the correlations of" in str(m.model_text())


def test_random_effects_of_another_parameter_have_symbols_of_their_own() -> None:
    from lmmformula.reporting.html_report.mathematics import equations

    data = load_dataset("sleepstudy")
    formula = "bf(Reaction ~ Days + (1 | Subject), sigma ~ Days + (1 | Subject))"
    m = fit(formula, data, method="hmc", sample_prior="only", seed=1, draws=100)
    text = m.model_text().mathematics
    assert (
        "log(sigma_i) = beta_sigma[(Intercept)] + beta_sigma[Days] Days_i + b_sigma[Subject_i, (Intercept)]"
        in text
    )
    assert "b[Subject] ~ normal(0, sd:Subject:Intercept^2), independent for each of 18 levels" in text
    assert "b_sigma[Subject] ~ normal(0, sigma:sd:Subject:Intercept^2)" in text
    assert equations(m).count("<sub>sigma,0,") == 3


def test_levels_are_coupled_by_what_users_wrote() -> None:
    data = load_dataset("sleepstudy")
    m = fit('Reaction ~ 1 + (1 | gr(Days, cov = "ou"))', data, method="ml")
    assert (
        "b[Days] ~ normal(0, sd:Days:Intercept^2), coupled by ou across of 10 levels"
        in m.model_text().mathematics
    )
