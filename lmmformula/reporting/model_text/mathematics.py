"""A fit's model as mathematics in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.reporting.equations import Effects, Predictor, Summand, equations_of

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["mathematics_of"]

_INTEGRATED = {
    "all": (
        "Integrated out exactly: beta and every b, which are normal given the rest:",
        "    y ~ normal(X T^-1 m + offset, sigma^2 W^-1 + Z S Z' + X T^-1 V T^-T X')",
        "with T beta ~ normal(m, V) a priori and S the covariance matrix of b. The sampler moves in the standard deviations,",
        "correlations and sigma; beta and b are drawn back from their exact conditional distributions.",
    ),
    "none": (
        "Nothing is integrated out: the sampler moves in all parameters, b = L u with u independent standard normal.",
    ),
    "laplace": (
        "Every b is integrated out by Laplace's approximation: with h(b) = -log p(y, b | rest) and its mode b*,",
        "    log p(y | rest) ~ -h(b*) - log|h''(b*)| / 2 + q log(2 pi) / 2",
        "The sampler moves in the rest; b is drawn from the normal approximation at its mode.",
    ),
}

_WEIGHTED = (
    "Draws are then weighted by the exact joint density of parameters and b over that from which they were drawn.",
)


def mathematics_of(fit: Fitted) -> str:
    """The model, its priors, and what was integrated out or maximised."""
    problem, family = fit.problem, fit.problem.family
    own, lines = equations_of(problem), [fit.formula, ""]
    parameters = "".join(f", {a.name}" for a in family.auxiliaries)
    if problem.is_linear:
        lines.append(f"y_i ~ normal(mu_i, sigma^2{' / w_i' if own.are_weighted else ''})")
    else:
        lines.append(f"y_i ~ {family.distribution.name}(mu_i{parameters})")
    linked = "mu_i" if family.link == "identity" else f"{family.link}(mu_i)"
    lines.append(f"{linked} = {_predictor(own.mean)}")
    lines += [f"{a.linked(f'{a.name}_i')} = {_predictor(predictor)}" for a, predictor in own.auxiliaries]
    lines += ["", *map(_effects, own.effects)]
    priors = fit.inference.priors
    if priors is not None:
        lines += ["", "Priors"]
        lines += [f"    {name} ~ {text}" for name, text, _ in priors.table() if text != "flat()"]
        if any(text == "flat()" for _, text, _ in priors.table()):
            lines.append("    of every other parameter: constant")
        if "Intercept" in {name for name, _, _ in priors.table()}:
            lines.append("Intercept is that of centred columns: (T beta)_1 = beta_1 + mean(x)'beta.")
    return "\n".join([*lines, "", *_criterion(fit)])


def _predictor(own: Predictor) -> str:
    symbol = f"beta_{own.of}" if own.of else "beta"
    parts = [_product(f"{symbol}[{one.column}]", one) for one in own.fixed]
    for effects in own.random:
        group = f"{effects.term.group}_i"
        parts += [_product(f"{_symbol(effects)}[{group}, {one.column}]", one) for one in effects.summands]
    if own.has_offset:
        parts.append("offset_i")
    return " + ".join(parts) or "0"


def _product(coefficient: str, own: Summand) -> str:
    return coefficient if own.is_constant else f"{coefficient} {own.column}_i"


def _symbol(own: Effects) -> str:
    return f"b_{own.of}" if own.of else "b"


def _effects(own: Effects) -> str:
    term, names = own.term, own.parameters
    levels = "independent for each" if names.across is None else f"coupled by {names.across.name} across"
    of = f"{_symbol(own)}[{term.group}]"
    if term.k == 1:
        return f"{of} ~ normal(0, {names.sds[0]}^2), {levels} of {term.m:,} levels"
    correlated = "R of its correlations" if names.cors else "R = I"
    return f"{of} ~ normal(0, D R D), D = diag({', '.join(names.sds)}), {correlated}; {levels} of {term.m:,} levels"


def _criterion(fit: Fitted) -> tuple[str, ...]:
    if fit.inference.sampler:
        posterior = fit.inference.draws()
        label = posterior.marginalized
        if posterior.of_priors:
            return ("Draws are from the priors alone.",)
        partly = (
            f"Integrated out exactly: beta and b of {label}, normal given the rest, which the sampler moves in.",
        )
        weighted = () if np.isnan(posterior.correction_k) else _WEIGHTED
        return (*_INTEGRATED.get(label, partly), *weighted)
    if np.isnan(fit.deviance):
        return (
            "Estimated by penalised quasi-likelihood: no likelihood is maximised, but its working model's at each step.",
        )
    penalty = () if fit.estimate.log_prior is None else ("less twice the log density of the priors above.",)
    if not fit.problem.is_linear:
        return (
            "Minimised, with h(b) = -log p(y, b) and its mode b*:",
            "    d = 2 h(b*) + log|h''(b*)| - q log(2 pi)",
            *penalty,
        )
    extra = " + log|X' V^-1 X / sigma^2| - p log(2 pi)" if fit.estimate.restricted else ""
    return (
        "Minimised, with V = W^-1 + Z S Z' / sigma^2:",
        f"    d = n log(2 pi sigma^2) + log|V| + (y - X beta)' V^-1 (y - X beta) / sigma^2{extra}",
        *penalty,
    )
