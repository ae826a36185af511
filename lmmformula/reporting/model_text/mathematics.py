"""A fit's model as mathematics in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmmformula.ir.variance_parameters import term_parameters

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.ir.design import FixedBlock, GroupBlock

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


def mathematics_of(fit: Fitted) -> str:
    """The model, its priors, and what was integrated out or maximised."""
    problem, family = fit.problem, fit.problem.family
    lines = [fit.formula, ""]
    parameters = "".join(f", {a.name}" for a in family.auxiliaries)
    if problem.is_linear:
        lines.append("y_i ~ normal(mu_i, sigma^2 / w_i)" if _weighted(fit) else "y_i ~ normal(mu_i, sigma^2)")
    else:
        lines.append(f"y_i ~ {family.distribution.name}(mu_i{parameters})")
    lines.append(
        f"{_linked(family.link, 'mu_i')} = {_predictor(problem.X, problem.terms, problem.offset is not None)}"
    )
    for j, (own, block) in enumerate(zip(family.auxiliaries, problem.aux, strict=False)):
        terms = problem.aux_terms[j] if problem.aux_terms else ()
        if terms or not block.is_constant:
            lines.append(f"{own.linked(own.name + '_i')} = {_predictor(block, terms, False)}")
    lines += ["", *_effects(fit)]
    priors = fit.inference.priors
    if priors is not None:
        lines += ["", "Priors"]
        lines += [f"    {name} ~ {text}" for name, text, _ in priors.table() if text != "flat()"]
        if any(text == "flat()" for _, text, _ in priors.table()):
            lines.append("    of every other parameter: constant")
        if "Intercept" in {name for name, _, _ in priors.table()}:
            lines.append("Intercept is that of centred columns: (T beta)_1 = beta_1 + mean(x)'beta.")
    return "\n".join([*lines, "", *_criterion(fit)])


def _weighted(fit: Fitted) -> bool:
    return fit.problem.data.weights is not None


def _linked(link: str, what: str) -> str:
    return what if link == "identity" else f"{link}({what})"


def _predictor(block: FixedBlock, terms: tuple[GroupBlock, ...], offset: bool) -> str:
    parts = [f"beta[{name}]" + ("" if name == "(Intercept)" else f" {name}_i") for name in block.names]
    for term in terms:
        parts += [
            f"b[{term.group}_i, {column}]" + ("" if column == "(Intercept)" else f" {column}_i")
            for column in term.columns
        ]
    if offset:
        parts.append("offset_i")
    return " + ".join(parts) or "0"


def _effects(fit: Fitted) -> list[str]:
    out = []
    for own, term in zip(term_parameters(fit.problem), fit.problem.terms, strict=True):
        levels = (
            "independent for each" if own.across is None else f"coupled by {type(own.across).__name__} across"
        )
        if term.k == 1:
            out.append(f"b[{term.group}] ~ normal(0, {own.sds[0]}^2), {levels} of {term.m:,} levels")
            continue
        correlated = "R of its correlations" if own.cors else "R = I"
        out.append(
            f"b[{term.group}] ~ normal(0, D R D), D = diag({', '.join(own.sds)}), {correlated}; {levels} of {term.m:,} levels"
        )
    return out


def _criterion(fit: Fitted) -> tuple[str, ...]:
    if fit.inference.sampler:
        posterior = fit.inference.draws()
        label = posterior.marginalized
        if posterior.of_priors:
            return ("Draws are from the priors alone.",)
        partly = (
            f"Integrated out exactly: beta and b of {label}, normal given the rest, which the sampler moves in.",
        )
        return _INTEGRATED.get(label, partly)
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
