r"""What a posterior depends on: the prior and the likelihood raised to powers near one.

The posterior with the prior to the power a has draws of the posterior with weights ``p(theta)^(a - 1)``, smoothed (Kallioinen,
Paananen, Burkner & Vehtari 2024); with the likelihood to the power a, ``p(y | theta)^(a - 1)``. How far a parameter's
distribution moves is the cumulative Jensen-Shannon distance of its weighted from its plain distribution function (Nguyen &
Vreeken 2015), as a metric and on [0, 1], for x and for -x the larger of the two::

    CJS(P, Q) = integral P log2[P / ((P + Q) / 2)] dx + (1 / 2 ln 2) integral (Q - P) dx
    D = sqrt{ [CJS(P, Q) + CJS(Q, P)] / integral (P + Q) dx }

and the sensitivity is D per doubling of a, the mean of ``D / |log2 a|`` at a = .99 and 1 / .99. It does not depend on the units
of x.

References
----------
Kallioinen, Paananen, Burkner & Vehtari (2024), Stat. Comput. 34, 57. Nguyen & Vreeken (2015), ECML PKDD, 173-189.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.bayesian.log_prior import log_prior
from lmmformula.inference.bayesian.loo import trusted_k
from lmmformula.inference.posterior import log_likelihood
from lmmformula.numerics.pareto import pareto_smooth
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["cjs_distance", "prior_sensitivity"]

_POWERS = (0.99, 1.0 / 0.99)
_THRESHOLD = 0.05
"""Sensitivity above which it is named (their sec. 3.3): a mean moved by about .3 of its standard deviation a doubling."""


def prior_sensitivity(fit: Fitted, priors: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Power-scaling sensitivity. See :meth:`lmmformula.verbs.BayesianVerbs.prior_sensitivity`."""
    import pandas as pd

    posterior = fit.inference.draws("prior_sensitivity()")
    density = _prior_density(fit, priors)
    likelihood = log_likelihood(fit)
    likelihood = likelihood.reshape(-1, likelihood.shape[-1]).sum(axis=1)
    names = [*posterior.beta_names, *posterior.names]
    draws = np.column_stack([posterior[name].reshape(-1) for name in names])
    by_prior, k_prior = _sensitivity(draws, density)
    by_likelihood, k_likelihood = _sensitivity(draws, likelihood)
    out = pd.DataFrame(
        {
            "prior": by_prior,
            "likelihood": by_likelihood,
            "diagnosis": list(map(_verdict, by_prior, by_likelihood)),
        },
        index=names,
    )
    out.attrs["heading"] = "Sensitivity to powers of the prior and of the likelihood (distance per doubling)"
    worst = max(k_prior, k_likelihood)
    if worst > trusted_k(len(draws)):
        out.attrs["note"] = (
            f"Pareto k of the weights is {worst:.2f}: the distances are not to be trusted; take more draws."
        )
    return out


def _prior_density(fit: Fitted, priors: str | Sequence[str] | None) -> Array:
    classes = log_prior(fit)
    wanted = list(classes) if priors is None else [priors] if isinstance(priors, str) else list(priors)
    if unknown := [name for name in wanted if name not in classes]:
        raise DataError(
            f"priors={unknown[0]!r} is no class of priors of this fit; it has {', '.join(classes)}."
        )
    return np.sum([classes[name] for name in wanted], axis=0)


def _verdict(prior: float, likelihood: float) -> str:
    if prior < _THRESHOLD:
        return ""
    return "prior-data conflict" if likelihood >= _THRESHOLD else "strong prior or weak likelihood"


def _sensitivity(draws: Array, log_density: Array) -> tuple[Array, float]:
    """D per doubling of the power of a density, for each column of `draws`, and the largest Pareto k."""
    found, shapes = np.zeros(draws.shape[1]), []
    for power in _POWERS:
        log_weights, k = pareto_smooth((power - 1.0) * log_density)
        weights = np.exp(log_weights)
        distance = np.array([cjs_distance(x, weights) for x in draws.T])
        found += distance / abs(np.log2(power)) / len(_POWERS)
        shapes.append(k)
    return found, float(max(shapes))


def cjs_distance(x: Array, weights: Array) -> float:
    """Distance in [0, 1] of the distribution of `x` with `weights` from that with equal ones, (S,) each."""
    return max(_cjs(x, weights), _cjs(-x, weights))


def _cjs(x: Array, weights: Array) -> float:
    order = np.argsort(x, kind="stable")
    width = np.diff(x[order])
    p = np.arange(1, len(x)) / len(x)
    q = np.cumsum(weights[order])[:-1] / weights.sum()
    p_all, q_all = float(width @ p), float(width @ q)
    if p_all + q_all <= 0.0:
        return 0.0

    def divergence(a: Array, b: Array, more: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(a > 0.0, a * (np.log2(a) - np.log2(0.5 * (a + b))), 0.0)
        return max(float(width @ terms) + 0.5 / np.log(2.0) * more, 0.0)

    return float(
        np.sqrt((divergence(p, q, q_all - p_all) + divergence(q, p, p_all - q_all)) / (p_all + q_all))
    )
