r"""How the modes of the random effects move with the parameters of a generalised model.

The mode solves ``u = Lambda'Z's(eta, a)``, ``eta = X beta + Z Lambda u + offset``, s the score of the rows. Differentiated,
with M_o of the observed weights (:mod:`lmmformula.criteria.laplace`)::

    du/dbeta    = - M_o^-1 Lambda'Z'W_o X
    du/dtheta_j =   M_o^-1 x_j - A_j u,      A_j = L^-1 dL_j,  x_j = (A_j + A_j')u
    du/dalpha   =   M_o^-1 Lambda'Z' diag(ds/da) A

and since ``db = dL u + L du`` the effects themselves move by ``Lambda`` times a column that has no A_j u::

    db = Lambda S dpsi,       S = M_o^-1 [ - Lambda'Z'W_o X | x | Lambda'Z' diag(ds/da) A ]                            (1)
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
    for part in point.derivatives:
        moved = point.u[part.group][:, part.columns] @ part.rate
        at = slice(layout.theta.start + part.index.start, layout.theta.start + part.index.stop)
        right[part.group][:, part.columns, at] = np.moveaxis(moved, 0, 2)
    for block, where, bend in zip(model.problem.aux, layout.aux, point.observed.score_aux, strict=True):
        columns = block.matrix * np.broadcast_to(bend, model.problem.n)[:, None]
        for out, own in zip(right, model.to_effects(point.factors, columns), strict=True):
            out[..., where] = own
    solved = point.curvature.solve(right)
    for out, fixed in zip(solved, point.system.fixed, strict=True):
        out[..., layout.beta] = -fixed
    return solved
