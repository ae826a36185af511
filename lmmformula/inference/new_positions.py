r"""Predictions at positions where a fit has no effect: the fit with further levels, at the same estimate.

Levels without rows change neither the likelihood nor the modes of the others. Given the effects b at the old positions of a
group, those at new ones are normal (kriging; Cressie 1993, sec. 3.4.5)::

    E(b_n | b) = R_no R_oo^-1 b = -Q_nn^-1 Q_no b,        Var(b_n | b) = s^2 (R_nn - R_no R_oo^-1 R_on) = s^2 Q_nn^-1

with Q the precision of all. A prediction is that mean at the modes of b. Its error holds both parts, as the mixed-model
equations of all levels give them: their M has the rows of the old levels and the Q of all. Of a posterior every draw has such
effects given its own phi (:mod:`lmmformula.inference.new_draws`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.frame.locating import Located, unseen_positions, with_levels
from lmmformula.inference.new_draws import drawn_at, with_effects
from lmmformula.ir.across import Kernel, Placed
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.structured import Structured, phi_of
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.frame.table import Table
    from lmmformula.inference.fitted import FittedT
    from lmmformula.inference.prediction_rows import Selection

__all__ = ["with_new_positions"]

AT_ONCE = 1_000
"""New points of a field whose correlations with the old ones are held at a time."""
MOST = 6_000
"""Old and new points of a field for standard errors: M of all is dense."""


def with_new_positions(
    fit: FittedT,
    table: Table,
    chosen: Selection,
    *,
    errors: bool,
    rng: np.random.Generator,
) -> FittedT:
    """The fit with an effect at each position of new rows within its groups; itself where it has all of them.

    Parameters
    ----------
    fit : Fit
        A structure without parameters, of a known matrix, is left as it is: levels beyond those of the rows are new.
    table : Table
        The new rows.
    chosen : Selection
        Terms that are used.
    errors : bool
        Whether standard errors will be asked for.
    rng : Generator
        For the effects of each draw of a posterior, whose average conditional means stand for its modes.

    Raises
    ------
    PlanError
        For standard errors at more points of a field than a dense matrix is formed of.
    """
    recipe = fit.problem.recipe
    if recipe is None or not any(t.coordinates for t in recipe.terms):
        return fit
    problem, modes = fit.problem, list(fit.estimate.modes)
    terms, slices, posterior = list(problem.terms), problem.theta_slices(), fit.posterior
    for i, _ in chosen:
        own = terms[i].covariance.across
        found = None if own is None or not own.roles else unseen_positions(recipe, i, terms[i], table)
        if found is None:
            continue
        term, kind = terms[i], terms[i].covariance
        assert isinstance(kind, Structured)
        across: Placed = kind.across  # type: ignore[assignment]
        if posterior is None and errors and isinstance(across, Kernel) and term.m + len(found.points) > MOST:
            raise PlanError(
                f"standard errors at {len(found.points):,} new points beside {term.m:,} old ones take a dense matrix of all of "
                f"them (at most {MOST:,}). Predict fewer at a time, or leave se= and interval= out."
            )
        theta = fit.estimate.theta[slices[i]]
        if posterior is None:
            more = _kriged(across, theta[phi_of(kind, theta)], modes[i], found)
        else:
            drawn, more = drawn_at(fit, i, across, found, rng)
            posterior = with_effects(posterior, i, drawn)
        modes[i] = np.concatenate([modes[i], more])
        recipe, labels = with_levels(recipe, i, found)
        terms[i] = _extended(term, replace(kind, across=across.beside(found.points, found.groups)), labels)
    if all(a is b for a, b in zip(terms, problem.terms, strict=True)):
        return fit
    larger = replace(problem, terms=tuple(terms), recipe=recipe)
    estimate = replace(fit.estimate, modes=tuple(modes))
    return replace(fit, problem=larger, estimate=estimate, point=None, twin=None, posterior=posterior)


def _extended(term: GroupBlock, kind: Structured, labels: NDArray[np.object_]) -> GroupBlock:
    return replace(term, levels=np.concatenate([term.levels, labels]), covariance=kind)


def _kriged(across: Placed, phi: Array, b: Array, found: Located) -> Array:
    """E(b_n | b), (r, k)."""
    if isinstance(across, Kernel):
        weights, count = across.precision(phi).times(b), len(found.points)
        parts = [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]
        return np.concatenate(
            [across.between(phi, found.points[p], found.groups[p]) @ weights for p in parts]
        )
    from scipy.sparse.linalg import spsolve

    q, m = across.beside(found.points, found.groups).precision(phi).matrix.tocsc(), len(b)
    right = -(q[m:, :m] @ b)
    return np.asarray(spsolve(q[m:, m:], right)).reshape(right.shape)
