"""Marginal means of a fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.means.cells import linked, transformed
from lmmformula.inference.means.component import (
    component_at,
    component_cells,
    component_scale,
    component_words,
    refuse_with_component,
)
from lmmformula.inference.means.grid import reference_grid
from lmmformula.inference.means.nesting import nested_averages, nests_of, nests_words, within
from lmmformula.inference.means.population import (
    population_cells,
    random_columns,
    rows_with_groups,
    total_variance,
)
from lmmformula.inference.means.record import Means
from lmmformula.inference.means.scales import IDENTITY, Scale
from lmmformula.inference.means.specs import read_specs
from lmmformula.typing import Arguments, Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["bias_adjusted", "conditional_words", "marginal_means"]

KINDS = ("link", "response")


def marginal_means(
    fit: Fitted,
    specs: str | Iterable[str],
    *,
    by: str | Iterable[str] | None = None,
    at: Arguments | None = None,
    weights: str = "equal",
    nesting: Arguments | None = None,
    component: str | None = None,
    kind: str | None = None,
    regrid: bool = False,
    bias_adjust: bool | float = False,
    average: str = "typical",
    offset: float | None = None,
    ddf: str = "satterthwaite",
    vcov: str | None = None,
    cluster: Cluster = None,
    level: float = 0.95,
    data: Data = None,
    seed: int | np.random.Generator | None = 0,
) -> tuple[Means, str]:
    """Means over the reference grid, and the comparison that the text of `specs` names; see :meth:`lmmformula.Fit.emmeans`."""
    population = average == "population"
    kind = kind or ("response" if population else "link")
    check(kind, average)
    wanted = read_specs(specs, by)
    part = component_at(fit, component)
    refuse_with_component(part, bias_adjust=bias_adjust, vcov=vcov, cluster=cluster, average=population)
    grid = reference_grid(fit, at, data, random_columns(fit) if population else (), part)
    shift = grid.offset if offset is None else np.full(len(grid.X), float(offset))
    known = known_of_mean(fit, ddf, vcov, cluster)
    cells = component_cells(fit, part, grid, shift, known)
    scale = bias_adjusted(fit, component_scale(fit, part), bias_adjust)
    nests = nests_of(fit, grid, nesting, part)
    notes, name, grouped = nests_words(nests), "emmean", nested_averages(grid, wanted.shown, weights, nests)
    if population:
        rows = rows_with_groups(fit, grid.columns or {"(none)": [0.0]}, data)
        cells, how = population_cells(fit, cells, rows, robust=vcov is not None or cluster is not None)
        notes = (how, *notes)
        estimates = linked(cells.combined(grouped.weights), scale)
        if regrid:
            estimates = transformed(estimates, scale)
    else:
        estimates = (transformed(cells, scale) if regrid else cells).combined(grouped.weights)
    if regrid:
        name, scale, kind = scale.response if not scale.is_identity else name, IDENTITY, "link"
    means = Means(
        labels=grouped.labels or {"1": ("overall",)},
        by=within(wanted.by, nests),
        estimates=estimates,
        scale=scale,
        name=name,
        kind=kind,
        level=level,
        averaged=grouped.averaged,
        notes=(*notes, *(conditional_words(fit) if part is None else component_words(fit, part))),
        errors=cells.known.label,
        seed=seed,
    )
    return means, wanted.contrast


def check(kind: str, average: str = "typical") -> None:
    """Refuse unknown words.

    Raises
    ------
    DataError
    """
    if kind not in KINDS:
        raise DataError(f"kind={kind!r} is unknown; use 'link' or 'response'.")
    if average not in ("typical", "population"):
        raise DataError(
            f"average={average!r} is unknown; use 'typical' (random effects zero) or 'population'."
        )


def bias_adjusted(fit: Fitted, scale: Scale, bias_adjust: bool | float) -> Scale:
    """The scale with the adjustment for bias that was asked for: True takes the fit's own variance, a number is its root."""
    if bias_adjust is False or scale.is_identity:
        return scale
    if bias_adjust is True:
        return scale.adjusted(total_variance(fit))
    return scale.adjusted(float(bias_adjust) ** 2)


def conditional_words(fit: Fitted) -> tuple[str, ...]:
    """What must be said of means of a zero-inflated fit."""
    if fit.problem.family.zeros_at is not None:
        return ("These are of the conditional part: without structural zeros.",)
    return ()
