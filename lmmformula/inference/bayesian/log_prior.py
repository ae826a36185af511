r"""The log prior density at draws of a posterior, by class of parameter: b, sd, cor, sigma and the family's others.

Parameters of structures across levels have a class by their name: range, rho.
In the user's units, up to constants that no draw moves. Of correlations, ``(eta - 1) log|R|`` (LKJ; Lewandowski, Kurowicka &
Joe 2009), or ``(eta - 1) log[(c - lo)(hi - c)]`` for a kind with one on (lo, hi).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import flat
from lmmformula.ir.prior_distributions import LKJ
from lmmformula.ir.priors import Prior, SimplexPrior, TermPriors
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.inference.fitted import Fitted

__all__ = ["coefficients_log_prior", "density_of", "log_prior"]


def density_of(prior: Prior, values: Array) -> Array:
    """Log density of a parameter's prior in the user's units."""
    stated = prior.distribution if prior.stated is None else prior.stated
    return stated.logpdf(values)


def structure_density(prior: Prior, values: Array) -> Array:
    """Log density of a parameter of a structure across levels; lkj(eta) is Beta(eta, eta) between -1 and 1."""
    own = prior.distribution
    if isinstance(own, LKJ):
        return (own.eta - 1.0) * np.log1p(-(values**2))
    return own.logpdf(values)


def coefficients_log_prior(
    priors: Sequence[Prior], contrast: Array, beta: Array, simplexes: Sequence[SimplexPrior] = ()
) -> Array:
    """Sum over coefficients, (S,); beta (S, p). Steps of a monotonic effect have their average step's."""
    stated = beta @ contrast.T
    for own in simplexes:
        stated[:, own.columns[0]] = beta[:, list(own.columns)].sum(axis=1) / own.size
    later = {column for own in simplexes for column in own.columns[1:]}
    return sum(
        (density_of(p, stated[:, j]) for j, p in enumerate(priors) if j not in later), np.zeros(len(beta))
    )


def log_prior(fit: Fitted) -> dict[str, Array]:
    """Class of parameters -> log prior density at every draw, (S,)."""
    posterior = fit.inference.draws()
    priors = posterior.priors
    beta = flat(posterior.beta)
    out = {"b": coefficients_log_prior(priors.coefficients, priors.contrast, beta, priors.simplexes)}
    for simplex in priors.simplexes:
        steps = beta[:, list(simplex.columns)]
        shares = simplex.prior.distribution.logpdf(steps / steps.sum(axis=1, keepdims=True))
        out["simo"] = out.get("simo", 0.0) + shares
    _add_terms(out, posterior, priors.terms)
    for j, aux in enumerate(priors.aux):
        if aux.value is not None:
            out[aux.name] = density_of(aux.value, posterior[aux.name].reshape(-1))
            continue
        own = coefficients_log_prior(aux.coefficients, aux.contrast, flat(posterior.aux[j]))
        out[aux.name] = own
        _add_terms(out, posterior, aux.terms)
    if not priors.aux and priors.sigma is not None:
        out["sigma"] = density_of(priors.sigma, posterior["sigma"].reshape(-1))
    return out


def _add_terms(out: dict[str, Array], posterior: Posterior, terms: Sequence[TermPriors]) -> None:
    for term in terms:
        own = term.parameters
        sds = [posterior[name].reshape(-1) for name in own.sds]
        for prior, sd in zip(term.sds, sds, strict=True):
            out["sd"] = out.get("sd", 0.0) + density_of(prior, sd)
        for prior, name in zip(term.phis, own.phis, strict=True):
            kind = name.split(":")[0]
            out[kind] = out.get(kind, 0.0) + structure_density(prior, posterior[name].reshape(-1))
        if term.cor is not None:
            cors = np.stack([posterior[name].reshape(-1) for name in own.cors], axis=-1)
            out["cor"] = out.get("cor", 0.0) + _correlations(term, term.cor.distribution, cors)


def _correlations(term: TermPriors, prior: LKJ, cors: Array) -> Array:
    if prior.eta == 1.0:
        return np.zeros(len(cors))
    kind = term.parameters.kind
    if kind.one_correlation:
        low, high, _ = kind.prior_shapes(prior.eta)[0]
        return (prior.eta - 1.0) * np.log((cors[:, 0] - low) * (high - cors[:, 0]))
    return (prior.eta - 1.0) * np.linalg.slogdet(kind.filled(cors))[1]
