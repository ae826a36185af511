r"""Means over the population of groups: random effects integrated out.

A row whose random part is ``e = z'b ~ N(0, s^2)``, ``s^2 = sum_t z_t' Sigma_t z_t`` (and sigma^2 more where a function of a
Gaussian response is fitted: the row's own with a formula for it), has the population mean ``E h(eta + e)``:

================  =====================================================================
identity          eta
log (base e^1/c)  h(eta + c s^2 / 2)
sqrt              eta^2 + s^2
probit            Phi(eta / sqrt(1 + s^2)) (Zeger, Liang & Albert 1988, eq. 3.1)
others            ``int phi(x) h(eta + s x) dx`` by the trapezoidal rule
================  =====================================================================

The trapezoidal rule with step d over the real line has an error of the order ``exp(-2 pi a / d)``, a the distance from the
real line of the nearest pole of the integrand: pi / s for the logistic function, hence below 1e-15 for s < 10 with d = 1/20;
Gauss-Hermite quadrature converges more slowly for large s (Crouch & Spiegelman 1990).

Derivatives of the mean in eta and s^2 are ``E h'`` and ``E h'' / 2`` (the heat equation), so that the standard error counts
how well the variances are known, where the covariance matrix of all parameters is there (Laplace's approximation); else they
are taken as known, and a note says so. Of a posterior the mean is taken within each draw.

References
----------
Crouch & Spiegelman (1990), JASA 85, 464-469. Trefethen & Weideman (2014), SIAM Review 56, 385-458.
Zeger, Liang & Albert (1988), Biometrics 44, 1049-1060.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor, labels_of
from lmmformula.frame.variables import column_names
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.inference.location.coefficients import has_penalised
from lmmformula.inference.location.spread import spread_of
from lmmformula.inference.looks import Look, looks
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.scales import Scale, scale_of
from lmmformula.inference.prediction_rows import Selection, of_mean, own_rows, rows_of
from lmmformula.inference.records import Part, Rows
from lmmformula.inference.uncertainty import Joint
from lmmformula.ir.structured import precision_of
from lmmformula.typing import Array, Data, Numbers, Record

if TYPE_CHECKING:
    from lmmformula.frame.design import Design
    from lmmformula.inference.fitted import Fitted

__all__ = [
    "grouped_terms",
    "mean_over",
    "population_cells",
    "random_columns",
    "rows_with_groups",
    "total_variance",
]

_NODES = np.arange(-9.0, 9.0 + 1e-9, 0.05)
_WEIGHTS = 0.05 * np.exp(-0.5 * _NODES**2) / np.sqrt(2.0 * np.pi)
_CHUNK = 20_000
"""Values of eta whose quadrature is held at a time."""


def grouped_terms(fit: Fitted) -> Selection:
    """Terms whose effects vary over a population: those with a grouping factor."""
    recipes = fit.problem.recipe.terms
    return [
        (i, np.ones(term.k, dtype=bool)) for i, term in enumerate(fit.problem.terms) if recipes[i].factors()
    ]


def random_columns(fit: Fitted) -> tuple[str, ...]:
    """Columns that the random part's predictors name, and those of a formula for the residual variance where it matters."""
    own = _columns(t.design for t in fit.problem.recipe.terms)
    return tuple(dict.fromkeys((*own, *_residual_columns(fit))))


def _residual_columns(fit: Fitted) -> tuple[str, ...]:
    if not _is_modelled(fit) or scale_of(fit).is_identity:
        return ()
    return _columns(design for design, _ in fit.problem.recipe.aux)


def _columns(designs: Iterable[Design]) -> tuple[str, ...]:
    return tuple(column_names(part.expr for d in designs for parts in d.terms for part in parts))


def _is_modelled(fit: Fitted) -> bool:
    """Whether the residual variance of a Gaussian response has a formula."""
    return fit.problem.family.is_linear and bool(fit.problem.aux)


def rows_with_groups(fit: Fitted, newdata: Data, data: Data = None) -> Rows:
    """New rows with the columns of the mean and of the random part.

    Columns that are missing have the value of the first row of the data.
    Groups of a population have no names, but a design has them: which ones does not matter.

    Raises
    ------
    DataError
        If a column is missing that the formula for the residual variance names, where the mean depends on it.
    """
    new = open_table(newdata)
    names = [record.name for record in fit.problem.recipe.columns]
    lacking = [name for name in names if name not in new]
    if absent := [name for name in _residual_columns(fit) if name in lacking]:
        raise DataError(
            f"the mean of the response depends on the residual variance, whose formula names {', '.join(absent)}: the new rows "
            "need these columns too."
        )
    try:
        look = next(iter(looks(fit, lacking, data)), None) if lacking else None
    except DataError:  # a fit that was loaded
        look = None
    columns: Record = {}
    for name in names:
        if name in new:
            columns[name] = _entries(new.column(name).at(None))
        elif look is not None and name in look.table:
            columns[name] = list(_entries(_first(look, name))) * new.n_rows
    return rows_of(fit, columns, [*of_mean(fit), *grouped_terms(fit)])


def _first(look: Look, name: str) -> Data:
    """The first value of a column."""
    at = np.arange(1) if look.rows is None else look.rows[:1]
    return look.table.column(name).at(at)


def _entries(values: Data) -> Data:
    """A column as new data hold it."""
    if not isinstance(values, Factor):
        return values
    labels = labels_of(values)
    return [None if v is None else v == "TRUE" for v in labels] if values.kind == "logical" else labels


def row_variances(fit: Fitted, parts: Sequence[Part], covariances: Sequence[Array], theta: Array) -> Array:
    """s^2 of each row, (n,), of the parts that vary over groups.

    Covariances (..., k, k) may have leading axes, which the result then has too.
    """
    out: Numbers = 0.0
    where = fit.problem.theta_slices()
    for part in parts:
        if fit.problem.terms[part.term].of_mean:
            continue
        q = precision_of(fit.problem.terms[part.term].covariance, theta[where[part.term]])
        own = np.einsum("ni,...ij,nj->...n", part.basis, covariances[part.term], part.basis)
        out = out + (own if q is None else own * float(np.mean(q.variances)))
    return out


def total_variance(fit: Fitted) -> float:
    """s^2 of the average row of the fit, with sigma^2 where the response is a function of a Gaussian one."""
    covariances, theta, total = covariance_matrices(fit), fit.estimate.theta, 0.0
    for (_, rows), chunk in zip(own_rows(fit, grouped_terms(fit)), fit.problem.data.chunks(), strict=True):
        variance = row_variances(fit, rows.parts, covariances, theta) + _residual(fit, rows.aux)
        times = chunk.weights if fit.problem.n_rows_used is not None else None
        every = variance + np.zeros(rows.n)
        total += float(np.sum(every if times is None else times * every))
    return total / fit.problem.n_used


def _residual(fit: Fitted, aux: Sequence[Array]) -> Array | float:
    """sigma^2 of rows, where a mean of h(y) is one over residuals too."""
    family = fit.problem.family
    if _is_modelled(fit):
        return np.asarray(family.dispersion(tuple(aux)), dtype=float) * family.unit_variance(
            np.zeros(1), tuple(aux)
        )
    return fit.inference.residual_variance() if family.is_linear else 0.0


def _residual_slopes(fit: Fitted, rows: Rows) -> Array:
    """dsigma^2/dalpha' of the formula for it, (n, a)."""
    (a, *others), step = rows.aux, 1e-5  # of a logarithm, which has no unit
    ends = [_residual(fit, (a + sign * step, *others)) for sign in (1.0, -1.0)]
    return ((ends[0] - ends[1]) / (2.0 * step) + np.zeros(rows.n))[:, None] * rows.aux_columns[0]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """``E h(eta + e)`` with its derivatives in eta and s^2."""

    value: Array
    d_eta: Array
    d_variance: Array


def mean_over(scale: Scale, eta: Array, variance: Array) -> Moments:
    """``E h(eta + e)``, e ~ N(0, variance)."""
    eta, variance = np.broadcast_arrays(np.asarray(eta, dtype=float), np.asarray(variance, dtype=float))
    if scale.is_identity:
        return Moments(eta, np.ones_like(eta), np.zeros_like(eta))
    if scale.name.startswith("log") and scale.name != "logit":
        c = float(np.log(scale.base))
        jet = scale.jet(eta + 0.5 * c * variance)
        slope = np.broadcast_to(jet.d1, eta.shape)
        return Moments(jet.value, slope, 0.5 * c * slope)
    if scale.name == "probit":
        root = np.sqrt(1.0 + variance)
        jet = scale.jet(eta / root)
        slope = np.broadcast_to(jet.d1, eta.shape) / root
        return Moments(jet.value, slope, -0.5 * slope * eta / (1.0 + variance))
    if scale.name == "sqrt":
        jet = scale.jet(eta)
        return Moments(jet.value + variance, np.broadcast_to(jet.d1, eta.shape), np.ones_like(eta))
    flat = [_quadrature(scale, e, v) for e, v in _chunks(eta.ravel(), variance.ravel())]
    value, slope, bend = (np.concatenate(column).reshape(eta.shape) for column in zip(*flat, strict=True))
    return Moments(value, slope, 0.5 * bend)


def _chunks(eta: Array, variance: Array) -> list[tuple[Array, Array]]:
    starts = range(0, max(len(eta), 1), _CHUNK)
    return [(eta[i : i + _CHUNK], variance[i : i + _CHUNK]) for i in starts]


def _quadrature(scale: Scale, eta: Array, variance: Array) -> tuple[Array, Array, Array]:
    """E h, E h' and E h''."""
    jet = scale.jet(eta[:, None] + np.sqrt(variance)[:, None] * _NODES)
    shape = (len(eta), len(_NODES))
    value, slope, bend = (np.broadcast_to(v, shape) @ _WEIGHTS for v in jet[:3])
    return value, slope, bend


def population_cells(
    fit: Fitted, cells: Estimates, rows: Rows, *, robust: bool = False
) -> tuple[Estimates, str]:
    """Population means of rows, and how they were found.

    Parameters
    ----------
    cells : Estimates
        The linear predictors, random effects zero.
    rows : Rows
        With the columns of the random part, as :func:`rows_with_groups` gives them.
    robust : bool
        Whether the covariance matrix of beta is one by clusters, of which the variances have none.
    """
    scale, n = scale_of(fit), len(cells)
    theta, residual = fit.estimate.theta, 0.0 if scale.is_identity else _residual(fit, rows.aux)
    variance = row_variances(fit, rows.parts, covariance_matrices(fit), theta) + residual + np.zeros(n)
    own = mean_over(scale, cells.point, variance)
    how = f"Random effects are integrated out ({_way(scale)})"
    drawn = fit.inference.covariance_draws()
    if cells.draws is not None and drawn is not None:
        within = row_variances(fit, rows.parts, drawn, theta)
        draws = mean_over(scale, cells.draws, within + residual).value
        return replace(
            cells, point=own.value, rows=own.d_eta[:, None] * cells.rows, draws=draws
        ), f"{how}, in each draw."
    if scale.is_identity:
        return cells, f"{how}: with the identity link that is the mean of a typical group."
    joint = None if robust else fit.joint_vcov
    if joint is None:
        note = f"{how}; standard errors take the variances as known."
        return replace(cells, point=own.value, rows=own.d_eta[:, None] * cells.rows), note
    if has_penalised(fit):
        joint = spread_of(fit).joint()
    slopes = _variance_slopes(fit, rows.parts, theta)
    jacobian = np.zeros((n, len(joint)))
    p, q = cells.rows.shape[1], len(theta)
    jacobian[:, :p] = own.d_eta[:, None] * cells.rows
    jacobian[:, p : p + q] = own.d_variance[:, None] * slopes
    if _is_modelled(fit):
        beside = fit.optimum.model.layout.aux[0]
        where = slice(beside.start + p - fit.problem.p, beside.stop + p - fit.problem.p)
        jacobian[:, where] = own.d_variance[:, None] * _residual_slopes(fit, rows)
    psi = np.zeros(len(joint))
    known = Joint(joint, psi)
    return Estimates(
        own.value, jacobian, cells.excess, known, psi
    ), f"{how}, with the uncertainty of their variances."


def _way(scale: Scale) -> str:
    if (
        scale.is_identity
        or scale.name in ("probit", "sqrt")
        or (scale.name.startswith("log") and scale.name != "logit")
    ):
        return "exactly"
    return "by quadrature"


def _variance_slopes(fit: Fitted, parts: Sequence[Part], theta: Array) -> Array:
    """ds^2/dtheta', (n, n_theta), by central differences: s^2 is quadratic in most elements, for which they are exact."""
    out = []
    for j in range(len(theta)):
        step = 1e-4 * max(abs(float(theta[j])), 1e-2)
        ends = []
        for sign in (1.0, -1.0):
            moved = theta.copy()
            moved[j] += sign * step
            ends.append(row_variances(fit, parts, _covariances(fit, moved), moved))
        out.append((ends[0] - ends[1]) / (2.0 * step))
    return np.stack(out, axis=-1) if out else np.zeros((len(parts[0].basis) if parts else 1, 0))


def _covariances(fit: Fitted, theta: Array) -> list[Array]:
    out = []
    for term, s in zip(fit.problem.terms, fit.problem.theta_slices(), strict=True):
        lower = fit.estimate.sigma * term.covariance.cholesky(theta[s])
        out.append(lower @ lower.T)
    return out
