r"""How the modes of the random effects move with the parameters of a generalised model.

The mode solves ``Q u = Lambda'Z's(eta, a)``, ``eta = X beta + Z Lambda u + offset``, s the score of the rows. Differentiated,
with M_o of the observed weights (:mod:`lmmformula.criteria.laplace`)::

    du/dbeta    = - M_o^-1 Lambda'Z'W_o X
    du/dtheta_j =   M_o^-1 z_j - A_j u,      z_j of :mod:`lmmformula.criteria.variance`
    du/dalpha   =   M_o^-1 Lambda'Z' diag(ds/da) A

and since ``db = dL u + L du`` the effects themselves move by ``Lambda`` times a column that has no A_j u::

    db = Lambda S dpsi,       S = M_o^-1 [ - Lambda'Z'W_o X | z | Lambda'Z' diag(ds/da) A ]                            (1)
"""

from __future__ import annotations

import numpy as np

from lmmformula.criteria.laplace import LaplacePoint
from lmmformula.engines.base import Stacked

__all__ = ["mode_sensitivity"]


def mode_sensitivity(point: LaplacePoint) -> Stacked:
    """S of (1).

    Parameters
    ----------
    point : LaplacePoint
        At which beta is an element of psi; its `factors` are inverted, so none of them may be singular.

    Returns
    -------
    tuple of (m, k, len(psi)) arrays
        For each group; the columns in the order of psi.
    """
    model, layout = point.model, point.model.layout
    right = tuple(np.zeros((*u.shape, layout.size)) for u in point.u)
    for out, z in zip(right, point.variances.moves(point.u)[1], strict=True):
        out[..., layout.theta] = z
    # with several predictors the fixed columns are those of all of them, and none is left
    for block, where, bend in zip(model.data.aux, layout.aux, point.observed.score_aux, strict=False):
        for j, column in enumerate(block.columns(bend)):
            for out, own in zip(right, model.to_effects(point.factors, column), strict=True):
                out[..., where.start + j] = own
    solved = point.curvature.solve(right)
    for out, fixed in zip(solved, point.system.fixed, strict=True):
        out[..., model.coefficients_at] = -fixed
    return solved
