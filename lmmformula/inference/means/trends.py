r"""Slopes of the linear predictor, or of the response, in a variable, averaged as means are.

The derivative in every cell is the difference quotient of fourth order ::

    f'(x) = [8 f(x + h) - 8 f(x - h) - f(x + 2h) + f(x - 2h)] / (12 h),      h = sd(x) / 100

which is exact for polynomials up to degree 4 (and splines between their knots). It is linear in the coefficients, and so has
the Jacobian that is the same quotient of the columns of the mean, those of smooths among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

import numpy as np

from lmmformula.errors import ExtrapolationWarning
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.means.cells import cell_estimates, transformed
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.grid import reference_grid, rows_at, spread_of
from lmmformula.inference.means.marginal import check
from lmmformula.inference.means.nesting import nested_averages, nests_of, nests_words, within
from lmmformula.inference.means.population import population_cells, random_columns, rows_with_groups
from lmmformula.inference.means.record import Means
from lmmformula.inference.means.scales import IDENTITY, scale_of
from lmmformula.inference.means.specs import read_specs
from lmmformula.typing import Arguments, Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["trends"]

STEPS = ((1.0, 8.0), (-1.0, -8.0), (2.0, -1.0), (-2.0, 1.0))
"""Steps in units of h, and their weights, 12 times those of the quotient."""
SHARE = 0.01


def trends(
    fit: Fitted,
    specs: str | Iterable[str],
    var: str,
    *,
    by: str | Iterable[str] | None = None,
    at: Arguments | None = None,
    weights: str = "equal",
    nesting: Arguments | None = None,
    kind: str = "link",
    average: str = "typical",
    ddf: str = "satterthwaite",
    vcov: str | None = None,
    cluster: Cluster = None,
    level: float = 0.95,
    data: Data = None,
    seed: int | np.random.Generator | None = 0,
) -> tuple[Means, str]:
    """Slopes, and the comparison that the text of `specs` names; see :meth:`lmmformula.Fit.emtrends`."""
    check(kind, average)
    population = average == "population"
    wanted = read_specs(specs, by)
    mean, sd = spread_of(fit, var, data)
    held = dict(at or {})
    if var not in wanted.shown and var not in held:
        held[var] = mean
    grid = reference_grid(fit, held, data, random_columns(fit) if population else ())
    grid.predictor(var)
    scale, h = scale_of(fit), SHARE * sd
    known = known_of_mean(fit, ddf, vcov, cluster)
    ends, note = [], ""
    for step, _ in STEPS:
        columns = grid.columns | {var: [float(v) + step * h for v in grid.columns[var]]}
        with (
            catch_warnings()
        ):  # a step beyond the last value is no extrapolation that the grid did not ask for
            simplefilter("ignore", ExtrapolationWarning)
            own = rows_at(fit, columns, data, len(grid.X))
            rows = rows_with_groups(fit, columns, data) if population else None
        cells = cell_estimates(fit, *own, known)
        if rows is not None:
            cells, note = population_cells(fit, cells, rows, robust=vcov is not None or cluster is not None)
        ends.append(transformed(cells, scale) if kind == "response" and not population else cells)
    slopes = _quotient(ends, [weight / (12.0 * h) for _, weight in STEPS])
    nests = nests_of(fit, grid, nesting)
    found = nested_averages(grid, wanted.shown, weights, nests)
    response = population or kind == "response"
    of = f"Slopes are those of the {'response' if response else 'linear predictor'}."
    means = Means(
        labels=found.labels or {"1": ("overall",)},
        by=within(wanted.by, nests),
        estimates=slopes.combined(found.weights),
        scale=IDENTITY,
        name=f"{var}.trend",
        level=level,
        averaged=found.averaged,
        notes=tuple(n for n in ("" if scale.is_identity else of, note, *nests_words(nests)) if n),
        errors=known.label,
        seed=seed,
    )
    return means, wanted.contrast


def _quotient(ends: list[Estimates], weights: list[float]) -> Estimates:
    """The weighted sum of estimates of the same cells."""
    draws = None
    if ends[0].draws is not None:
        draws = sum(w * e.draws for w, e in zip(weights, ends, strict=True) if e.draws is not None)
    return replace(
        ends[0],
        point=np.sum([w * e.point for w, e in zip(weights, ends, strict=True)], axis=0),
        rows=np.sum([w * e.rows for w, e in zip(weights, ends, strict=True)], axis=0),
        excess=np.sum([w * e.excess for w, e in zip(weights, ends, strict=True)], axis=0),
        draws=draws,
    )
