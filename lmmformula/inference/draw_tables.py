"""A posterior in a summary: brms' tables, how the draws were made, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import quantiles
from lmmformula.inference.records import PosteriorPart
from lmmformula.ir.variance_parameters import plain, term_parameters
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.inference.fitted import Fitted

__all__ = [
    "fixed_table",
    "posterior_diagnostics",
    "posterior_notes",
    "posterior_parts",
    "worst",
]


_CHECKED = ("Rhat", "Bulk_ESS", "Tail_ESS")
"""Columns that say whether the draws suffice."""


def fixed_table(fit: Fitted, level: float = 0.95) -> pd.DataFrame:
    """The fixed effects; mean and standard deviation without sampling error."""
    posterior = fit.inference.draws()
    names = posterior.beta_names
    table = _table(fit, names, [str(n) for n in names], level)
    table["Estimate"], table["Est.Error"] = fit.params.to_numpy(), fit.bse.to_numpy()
    return table


def posterior_parts(fit: Fitted, level: float = 0.95) -> tuple[PosteriorPart, ...]:
    """Random effects of each grouping factor, fixed effects, and what is left."""
    posterior = fit.inference.draws()
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for own, term in zip(term_parameters(fit.problem), fit.problem.terms, strict=True):
        names, labels = groups.setdefault(term.group, ([], []))
        names += own.sds
        labels += [f"sd({_columns(name, own.group, term.columns)})" for name in own.sds]
        names += own.cors
        labels += [f"cor({_columns(name, own.group, term.columns)})" for name in own.cors]
        names += own.phis
        labels += [_structure(name, own.group, term.columns) for name in own.phis]
    parts = [
        PosteriorPart(f"Random effects, {group} ({fit.ngroups[group]:,} levels)", _table(fit, *named, level))
        for group, named in groups.items()
    ]
    if fit.problem.p:
        parts.append(PosteriorPart("Fixed effects", fixed_table(fit, level)))
    known = {name for names, _ in groups.values() for name in names}
    if further := [name for name in posterior.names if name not in known]:
        parts.append(PosteriorPart("Further parameters", _table(fit, further, further, level)))
    if posterior.of_priors:  # independent draws, of which nothing need be said
        parts = [replace(part, table=part.table.drop(columns=list(_CHECKED))) for part in parts]
    return tuple(parts)


def _structure(name: str, group: str, columns: tuple[str, ...]) -> str:
    """``range`` of ``range:field``; with the column of a further one, ``range(exp(x, y))``."""
    kind, _, rest = name.partition(":")
    return kind if rest == group else f"{kind}({','.join(plain(c) for c in columns)})"


def _columns(name: str, group: str, columns: tuple[str, ...]) -> str:
    """``Intercept,Days`` of ``cor:Subject:Intercept:Days``, as brms writes it; all columns where they share one."""
    inside, _, number = name.split(":", 1)[1].removeprefix(group).removeprefix(":").partition("#")
    own = [plain(c) for c in columns]
    pairs = {f"{a}:{b}": f"{a},{b}" for a, b in combinations(own, 2)}
    found = pairs.get(inside, inside) or ",".join(own)
    return f"{found}#{number}" if number else found


def _table(fit: Fitted, names: Iterable[str], labels: list[str], level: float) -> pd.DataFrame:
    import pandas as pd

    posterior = fit.inference.draws()
    own = posterior.diagnostics
    at = [own.names.index(name) for name in names]
    draws = np.stack([posterior[name].reshape(-1) for name in names], axis=-1) if at else np.empty((1, 0))
    low, high = quantiles(draws, level)
    percent = f"{100 * level:.4g}%"
    return pd.DataFrame(
        {
            "Estimate": draws.mean(axis=0),
            "Est.Error": draws.std(axis=0, ddof=1) if len(draws) > 1 else np.zeros(0),
            f"l-{percent} CI": low,
            f"u-{percent} CI": high,
            **dict(zip(_CHECKED, (own.rhat[at], own.ess_bulk[at], own.ess_tail[at]), strict=True)),
        },
        index=labels,
    )


# -- what sampling was like -------------------------------------------------------------------------------------------


def worst(posterior: Posterior) -> dict[str, float]:
    """Numbers of draws, and the worst diagnostics over coefficients and variances."""
    own = posterior.diagnostics
    out: dict[str, float] = {"chains": posterior.chains, "draws": posterior.draws}
    if posterior.of_priors:
        return out
    out |= {
        "max Rhat": float(np.nanmax(own.rhat)) if np.isfinite(own.rhat).any() else float("nan"),
        "min Bulk_ESS": float(np.nanmin(own.ess_bulk)) if np.isfinite(own.ess_bulk).any() else float("nan"),
        "min Tail_ESS": float(np.nanmin(own.ess_tail)) if np.isfinite(own.ess_tail).any() else float("nan"),
    }
    if posterior.statistics:
        return out | {"divergences": own.divergences}
    return out | {"Pareto k": own.pareto_k}


def posterior_notes(fit: Fitted) -> list[str]:
    """How the draws were made, what the columns mean, and advice."""
    posterior = fit.inference.draws()
    if posterior.of_priors:
        total = posterior.chains * posterior.draws
        return [
            f"{total:,} draws from the priors alone, whatever the response is; seed {posterior.seed}.",
            "Estimate and Est.Error are their mean and standard deviation, CI the interval of equal tails. Priors: m.priors.",
        ]
    count = f"{posterior.chains} chains of {posterior.draws:,} draws"
    if posterior.statistics:
        how = f"NUTS, {count} after {posterior.warmup:,} of warm-up"
        if np.isfinite(posterior.pareto_k):
            how += f" (Pareto k of importance sampling was {posterior.pareto_k:.2f}, too high)"
    else:
        how = (
            f"importance sampling, {posterior.chains * posterior.draws:,} draws, Pareto k {posterior.pareto_k:.2f}, "
            f"efficiency {posterior.efficiency:.0%}"
        )
        if np.isfinite(posterior.interpolation_error):
            how += f", log densities interpolated with errors of {posterior.interpolation_error:.1g}"
    if not np.isnan(posterior.correction_k):
        how += (
            f"; weighted from Laplace's approximation to the exact posterior, Pareto k {posterior.correction_k:.2f}, "
            f"efficiency {posterior.correction_efficiency:.0%}"
        )
    notes = [
        f"Sampler: {how}; seed {posterior.seed}; {fit.estimate.convergence.status.value}.",
        "Estimate and Est.Error are posterior mean and standard deviation, CI the interval of equal tails. Bulk_ESS and "
        "Tail_ESS are effective draws, Rhat is 1 at convergence. Priors: m.priors.",
    ]
    return [*notes, *(f"Advice: {text}" for text in posterior.diagnostics.advice)]


def posterior_diagnostics(posterior: Posterior) -> Record:
    """Further entries of :func:`lmmformula.reporting.summary.diagnostics`."""
    own = posterior.diagnostics

    def named(values: Array) -> dict[str, float]:
        return dict(zip(own.names, map(float, values), strict=True))

    return {
        "sampler": posterior.sampler,
        "chains": posterior.chains,
        "draws": posterior.draws,
        "warmup": posterior.warmup,
        "seed": posterior.seed,
        "complete": posterior.complete,
        "rhat": named(own.rhat),
        "ess_bulk": named(own.ess_bulk),
        "ess_tail": named(own.ess_tail),
        "bfmi": own.bfmi.tolist(),
        "divergences": own.divergences,
        "warmup_divergences": own.warmup_divergences,
        "depth_limited": own.depth_limited,
        "pareto_k": posterior.pareto_k,
        "efficiency": posterior.efficiency,
        "log_evidence": posterior.log_evidence,
        "interpolation_error": posterior.interpolation_error,
        "correction_k": posterior.correction_k,
        "correction_efficiency": posterior.correction_efficiency,
        "advice": own.advice,
    }
