"""The linear mixed model that a criterion is, or is approximated by, at one point: what diagnostics of rows ask for.

``z = X beta + Z Lambda u + e`` with ``Var(e) = phi W^-1`` and ``Var(u) = phi Q^-1``: the model itself if it is Gaussian, the
working model of the last step of Newton's or of Fisher's scoring elsewhere. z and W^-1 are never formed: with
``V = W^-1 + Z Lambda Q^-1 Lambda'Z'``, the residual enters as ``W (z - X beta - Z Lambda u) = V^-1 (z - X beta)``, which is
the score of a row, so that weights of zero are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.engines.base import Across, Factor, Prepared
from lmmformula.ir.rows import RowVector

__all__ = ["Linearised"]


@dataclass(frozen=True, slots=True, eq=False)
class Linearised:
    """Rows of the working model.

    Attributes
    ----------
    weights : RowVector or None
        Diagonal of W; None for ones.
    score : RowVector
        V^-1 (z - X beta).
    factor : Factor
        M of these weights.
    prepared : Prepared
        The engine that makes it.
    across : sequence of Precision or None
        Q_a of each group; empty where all are the identity.
    is_exact : bool
        Whether `factor` has M^-1 without error.
    """

    weights: RowVector | None
    score: RowVector
    factor: Factor
    prepared: Prepared
    across: Across
    is_exact: bool
