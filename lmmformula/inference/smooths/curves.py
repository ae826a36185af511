r"""Curves of smooths with pointwise and simultaneous bands.

At points x the curve is ``f = D(x) g``, g the coefficients of the smooth and V their covariance. Pointwise limits are
``f -+ z sqrt(diag(D V D'))``. The simultaneous band takes in place of z the quantile of ``max_x |D(x) (g* - g)| / se(x)``
over draws g* from N(g, V), of a posterior over its own draws (Ruppert, Wand & Carroll 2003, sec. 6.5): it holds the whole
curve with the probability that the other limits hold one point. Both are about f without the intercept, which is centred
over the rows of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.table import open_table
from lmmformula.inference.smooths.coefficients import Coefficients, coefficients
from lmmformula.inference.smooths.places import Places, places_of, points_in_range
from lmmformula.inference.student import critical
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Curve", "curve_of"]

DRAWS = 10_000
"""Draws of the coefficients behind a simultaneous band."""
POINTS = {1: 100, 2: 40}
"""Points along each of so many variables."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A smooth on a grid.

    Attributes
    ----------
    label : str
    variables : tuple of str
    frame : DataFrame
        The variables, ``by`` and the factor of the levels where there are any, ``fit, se``, the limits of each point
        ``lower, upper`` and those of the whole curve ``lower_all, upper_all``.
    level : float
    factor : float
        What the standard errors are multiplied by for the whole curve, the largest of its parts.
    of : str
        The factor whose levels have a curve each; empty without.
    """

    label: str
    variables: tuple[str, ...]
    frame: pd.DataFrame = field(repr=False)
    level: float
    factor: float
    of: str


def curve_of(
    fit: Fitted,
    name: str,
    newdata: Data = None,
    points: int | None = None,
    level: float = 0.95,
    seed: int | np.random.Generator | None = None,
) -> Curve:
    """The smooth of a name, or the curves of all levels of its factor, on a grid or at `newdata`.

    Raises
    ------
    DataError
        For a name that no smooth has, or new data without its variables.
    PlanError
        For a fit without smooths.
    """
    import pandas as pd

    found = places_of(fit, name)
    rng = np.random.default_rng(0 if seed is None else seed)
    frames, factor = [], 0.0
    for places in found:
        x = _points(places, newdata, points)
        design = places.design(x)
        for j, own in enumerate(places.levels or (None,)):
            frame, needed = _band(coefficients(fit, places, j), design, level, rng)
            factor = max(factor, needed)
            columns = dict(zip(places.variables, x.T, strict=True))
            if places.record.level is not None:
                columns[places.record.by] = np.full(len(x), places.record.level, dtype=object)
            if own is not None:
                columns[places.record.group] = np.full(len(x), own, dtype=object)
            frames.append(pd.DataFrame(columns | frame))
    first = found[0].record
    of = first.group or (first.by if first.level is not None and len(found) > 1 else "")
    label = first.label if len(found) == 1 else first.label.partition("):")[0] + ")"
    return Curve(label, first.variables, pd.concat(frames, ignore_index=True), level, factor, of)


def _points(places: Places, newdata: Data, points: int | None) -> Array:
    if newdata is None:
        d = len(places.variables)
        return points_in_range(places, POINTS.get(d, 12) if points is None else points)
    table = open_table(newdata)
    if absent := [v for v in places.variables if v not in table]:
        raise DataError(
            f"the new data have no column {absent[0]!r}, of which {places.record.label} is a function."
        )
    return np.column_stack([np.asarray(table.column(v).at(None), dtype=float) for v in places.variables])


def _band(
    own: Coefficients, design: Array, level: float, rng: np.random.Generator
) -> tuple[dict[str, Array], float]:
    """Columns of the frame, and the factor of the simultaneous band."""
    fit = design @ own.values
    se = np.sqrt(np.maximum(np.einsum("nk,kl,nl->n", design, own.covariance, design), 0.0))
    if own.draws is None:
        values, vectors = np.linalg.eigh(own.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        errors = rng.standard_normal((DRAWS, len(values))) @ root.T
    else:
        errors = own.draws - own.values
    apart = np.abs(errors @ design.T) / np.where(se > 0.0, se, np.inf)
    whole = float(np.quantile(apart.max(axis=1), level)) if len(design) else 0.0
    z = float(critical(level, np.inf))
    limits = {"lower": fit - z * se, "upper": fit + z * se}
    if own.draws is not None:
        curves = own.draws @ design.T
        tails = np.quantile(curves, [0.5 * (1.0 - level), 0.5 * (1.0 + level)], axis=0)
        limits = {"lower": tails[0], "upper": tails[1]}
    return {
        "fit": fit,
        "se": se,
        **limits,
        "lower_all": fit - whole * se,
        "upper_all": fit + whole * se,
    }, whole
