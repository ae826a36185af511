r"""The model of a posterior as a NumPyro program.

Sites have the names of priors, ``m.priors``; priors are of T beta, so a centred intercept is sampled as such. Where all effects
are integrated out, so are they here: y is normal with the covariance matrix ``F F' + sigma^2 W^-1``, F = (Z L, X T^-1 V^(1/2)).
A coefficient with a t prior is normal given its mixing variance, ``InverseGamma(df / 2, df / 2)``, as the sampler has it.
Else u are standard normal and b = L u.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.conditional import group_names
from lmmformula.ir import prior_distributions as known
from lmmformula.ir.priors import AuxPriors, Prior, Priors, TermPriors
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    from lmmformula.families.auxiliary import Auxiliary
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.design import GroupBlock

__all__ = ["numpyro_of"]

_FAMILIES = {
    "gaussian": "dist.Normal(mu, sigma / jnp.sqrt(weights))",
    "lognormal": "dist.LogNormal(mu, sigma / jnp.sqrt(weights))",
    "student": "dist.StudentT(df, mu, sigma)",
    "binomial": "dist.Binomial(weights, mu)",
    "poisson": "dist.Poisson(mu)",
    "nbinom2": "dist.NegativeBinomial2(mu, phi)",
    "nbinom1": "dist.GammaPoisson(mu / phi, 1 / phi)",
    "gamma": "dist.Gamma(1 / sigma**2, 1 / (sigma**2 * mu))",
    "beta": "dist.Beta(mu * phi, (1 - mu) * phi)",
}
"""Distribution -> the same of NumPyro."""
_SEEN = {"binomial": "jnp.round(y * weights)"}
"""What is observed, where it is not y."""
_INVERSE = {
    "identity": "eta",
    "log": "jnp.exp(eta)",
    "logit": "jax.nn.sigmoid(eta)",
    "probit": "jax.scipy.special.ndtr(eta)",
    "cloglog": "-jnp.expm1(-jnp.exp(eta))",
    "inverse": "1 / eta",
    "sqrt": "eta**2",
}
_OF_LINK = {"identity": "{}", "log": "jnp.exp({})", "logm1": "1 + jnp.exp({})", "logit": "jax.nn.sigmoid({})"}


def numpyro_of(fit: Fitted) -> tuple[str, dict[str, Array], str]:
    """The program, its arguments, and why there is none."""
    posterior = fit.inference.draws("model_text()")
    if lacks := _lacks(fit):
        return "", {}, lacks
    marginal = posterior.marginalized == "all" and bool(fit.problem.terms) and not posterior.of_priors
    data = _data(fit)
    body = _body(fit, posterior.priors, marginal)
    head = [
        "import jax",
        "import jax.numpy as jnp",
        "import numpyro",
        "import numpyro.distributions as dist",
        "",
        "",
        f"def model({', '.join(data)}):",
        f'    """{fit.formula}: {fit.problem.family.distribution.name}."""',
    ]
    return "\n".join([*head, *(f"    {line}" for line in body), ""]), data, ""


def _lacks(fit: Fitted) -> str:
    problem, priors = fit.problem, fit.inference.draws().priors
    family = problem.family
    if family.distribution.name not in _FAMILIES or family.link not in _INVERSE:
        return f"NumPyro has no distribution that {family} is known to be"
    if priors.shrunk:
        return "slopes that are shrunk together have variances with priors, whose program is not written"
    if problem.monotonic is not None:
        return "monotonic effects have simplexes, whose program is not written"
    takes_weights = "weights" in _FAMILIES[family.distribution.name]
    if family.repeated or (problem.data.weights is not None and not takes_weights):
        return "weights of this family repeat rows"
    for own, term in _all_terms(fit, priors):
        pairs = term.k * (term.k - 1) // 2
        if own.parameters.across is not None or term.codes.ndim > 1:
            return f"levels of {term.group} depend on each other, or have several for a row"
        if own.parameters.kind.rank < term.k or len(own.parameters.cors) not in (0, pairs):
            return f"the correlations of ({term.label}) are not free"
    return ""


def _all_terms(fit: Fitted, priors: Priors) -> list[tuple[TermPriors, GroupBlock]]:
    out = list(zip(priors.terms, fit.problem.terms, strict=True))
    for own, terms in zip(priors.aux, fit.problem.aux_terms, strict=False):
        out += zip(own.terms, terms, strict=True)
    return out


def _data(fit: Fitted) -> dict[str, Array]:
    problem = fit.problem
    n = problem.n
    out: dict[str, Array] = {"y": problem.y}
    if problem.p:
        out |= {"X": problem.X.matrix, "T": fit.inference.draws().priors.contrast}
    out["offset"] = np.zeros(n) if problem.offset is None else problem.offset
    out["weights"] = np.ones(n) if problem.weights is None else problem.weights
    for j, term in enumerate(problem.terms):
        out |= _columns(f"{j}", term)
    for j, block in enumerate(problem.aux):
        own = fit.inference.draws().priors.aux[j]
        if own.value is None and block.names:
            out |= {f"X_{own.name}": block.matrix, f"T_{own.name}": own.contrast}
        for i, term in enumerate(problem.aux_terms[j] if problem.aux_terms else ()):
            out |= _columns(f"{own.name}_{i}", term)
    return out


def _columns(tag: str, term: GroupBlock) -> Record:
    basis = np.ones((len(term.codes), 1)) if term.basis is None else term.basis
    return {f"Z_{tag}": np.asarray(basis), f"level_{tag}": term.codes}


def _body(fit: Fitted, priors: Priors, marginal: bool) -> list[str]:
    problem, lines = fit.problem, ["n = len(y)"]
    names = group_names(fit)
    for j, (own, term) in enumerate(zip(priors.terms, problem.terms, strict=True)):
        lines += [f"# random effects of {names[j]}", *_factor(f"{j}", own, term.k)]
    for j, own in enumerate(priors.aux):
        terms = problem.aux_terms[j] if problem.aux_terms else ()
        lines += _auxiliary(problem.family.auxiliaries[j], own, terms)
    if not priors.aux and priors.sigma is not None:
        lines.append(f"sigma = {_site(priors.sigma)}")
    if marginal:
        return lines + _marginal(fit, priors)
    lines += _coefficients(priors.coefficients, "beta", "T")
    lines.append("eta = offset + X @ beta" if problem.p else "eta = offset")
    lines += [line for j, term in enumerate(problem.terms) for line in _added("eta", f"{j}", term)]
    name = problem.family.distribution.name
    lines.append(f"mu = {_INVERSE[problem.family.link]}")
    lines.append(f'numpyro.sample("y", {_FAMILIES[name]}, obs={_SEEN.get(name, "y")})')
    return lines


def _factor(tag: str, own: TermPriors, k: int) -> list[str]:
    sds = ", ".join(_site(prior) for prior in own.sds)
    lines = [f"sd_{tag} = jnp.stack([{sds}]) * jnp.ones({k})"]
    if own.cor is None:
        return [*lines, f"L_{tag} = jnp.diag(sd_{tag})"]
    return [
        *lines,
        f"R_{tag} = {_site(own.cor, k)}",
        f"L_{tag} = sd_{tag}[:, None] * jnp.linalg.cholesky(R_{tag})",
    ]


def _added(what: str, tag: str, term: GroupBlock) -> list[str]:
    return [
        f'u_{tag} = numpyro.sample("u_{tag}", dist.Normal(0.0, 1.0).expand([{term.m}, {term.k}]).to_event(2))',
        f"{what} = {what} + ((u_{tag} @ L_{tag}.T)[level_{tag}] * Z_{tag}).sum(axis=1)",
    ]


def _coefficients(priors: Sequence[Prior], name: str, contrast: str) -> list[str]:
    if not priors:
        return []
    sites = ", ".join(_site(prior) for prior in priors)
    return [f"{name} = jnp.linalg.solve({contrast}, jnp.stack([{sites}]))  # priors are of {contrast} {name}"]


def _auxiliary(parameter: Auxiliary, own: AuxPriors, terms: Sequence[GroupBlock]) -> list[str]:
    if own.value is not None:
        return [f"{parameter.name} = {_site(own.value)}"]
    name, lines = parameter.name, []
    for i, (term_priors, term) in enumerate(zip(own.terms, terms, strict=True)):
        lines += _factor(f"{name}_{i}", term_priors, term.k)
    lines += _coefficients(own.coefficients, f"alpha_{name}", f"T_{name}")
    lines.append(f"a_{name} = X_{name} @ alpha_{name}" if own.coefficients else f"a_{name} = jnp.zeros(n)")
    lines += [line for i, term in enumerate(terms) for line in _added(f"a_{name}", f"{name}_{i}", term)]
    return [*lines, f"{name} = {_OF_LINK[parameter.link].format(f'a_{name}')}"]


def _marginal(fit: Fitted, priors: Priors) -> list[str]:
    problem, parts = fit.problem, []
    lines = ["# beta and random effects integrated out: y is normal, with these factors of its covariance"]
    for j, term in enumerate(problem.terms):
        lines.append(
            f"F_{j} = (jax.nn.one_hot(level_{j}, {term.m})[:, :, None] * (Z_{j} @ L_{j})[:, None, :]).reshape(n, -1)"
        )
        parts.append(f"F_{j}")
    lines.append("mean = offset")
    if problem.p:
        means, sds = [], []
        for prior in priors.coefficients:
            own = prior.distribution
            if isinstance(own, known.Flat):
                means.append(_site(prior))
                sds.append("0.0")
                continue
            means.append(repr(float(own.mean)))
            sds.append(_spread(prior))
        lines.append(
            f"centre, spread = jnp.stack([{', '.join(_stacked(means))}]), jnp.stack([{', '.join(_stacked(sds))}])"
        )
        lines += [
            "half = jnp.linalg.solve(T, jnp.diag(spread))",
            "mean = mean + X @ jnp.linalg.solve(T, centre)",
        ]
        parts.append("X @ half")
    lines.append(f"factor = jnp.concatenate([{', '.join(parts)}], axis=1)")
    normal = problem.family.normal
    seen = "y" if normal is not None and normal.itself else "jnp.log(y)"
    lines.append(
        f'numpyro.sample("y", dist.LowRankMultivariateNormal(mean, factor, sigma**2 / weights), obs={seen})'
    )
    return lines


def _stacked(parts: Sequence[str]) -> list[str]:
    return [part if "(" in part else f"jnp.array({part})" for part in parts]


def _spread(prior: Prior) -> str:
    own = prior.distribution
    if isinstance(own, known.StudentT):
        half = repr(0.5 * own.df)
        return f'{own.scale!r} * jnp.sqrt(numpyro.sample("lambda:{prior.name}", dist.InverseGamma({half}, {half})))'
    return repr(float(own.sd))


def _site(prior: Prior, k: int = 0) -> str:
    """The value of a parameter: a site, or a number that is known."""
    own = prior.distribution if prior.stated is None else prior.stated
    if isinstance(own, known.Point):
        return f"jnp.array({own.value!r})"
    return f'numpyro.sample("{prior.name}", {_distribution(own, k)})'


def _distribution(own: known.Stated, k: int) -> str:
    numbers = {
        known.Normal: lambda d: f"dist.Normal({d.mean!r}, {d.sd!r})",
        known.StudentT: lambda d: f"dist.StudentT({d.df!r}, {d.location!r}, {d.scale!r})",
        known.Positive: _positive,
        known.Exponential: lambda d: f"dist.Exponential({d.rate!r})",
        known.Gamma: lambda d: f"dist.Gamma({d.shape!r}, {d.rate!r})",
        known.InverseGamma: lambda d: f"dist.InverseGamma({d.shape!r}, {d.scale!r})",
        known.LogNormal: lambda d: f"dist.LogNormal({d.mean_log!r}, {d.sd_log!r})",
        known.Uniform: lambda d: f"dist.Uniform({d.low!r}, {d.high!r})",
        known.Beta: lambda d: f"dist.Beta({d.a!r}, {d.b!r})",
        known.LKJ: lambda d: f"dist.LKJ({k}, {d.eta!r})",
        known.Flat: lambda d: "dist.ImproperUniform(dist.constraints.real, (), ())",
    }
    return numbers[type(own)](own)


def _positive(own: known.Positive) -> str:
    """Half of a distribution around zero by its size, of which draws can be taken too."""
    base = _distribution(own.base, 1)
    return (
        f"dist.TruncatedDistribution({base}, low=0.0)"
        if own.base.mean
        else f"dist.FoldedDistribution({base})"
    )
