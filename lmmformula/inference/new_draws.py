r"""Draws of the effects at positions where a fit has none: in each draw of a posterior, given that draw's effects and phi.

Given b at the old positions, effects at new ones are normal (:mod:`lmmformula.inference.new_positions`)::

    E(b_n | b) = -Q_nn^-1 Q_no b,        Var(b_n | b) = Q_nn^-1 (x) Sigma

with Q of all positions at the phi of the draw and Sigma of the draw. A field has that mean and variance from correlations of
each new point with the old ones, R_no R_oo^-1 b and ``1 - diag(R_no R_oo^-1 R_on)``: predictions of a row are of one position,
so that what new points have in common beyond the old ones is not drawn. O(m^3 + r m^2) for each draw.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.posterior import effect_draws, term_spreads
from lmmformula.ir.across import Kernel, Placed, Precision
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.frame.locating import Located
    from lmmformula.inference.fitted import Fitted

__all__ = ["drawn_at", "with_effects"]


def drawn_at(
    fit: Fitted, i: int, across: Placed, found: Located, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draws of the effects of term `i` at new positions, (S, r, k), and the averages of their conditional means, (r, k)."""
    from lmmformula.backends.posterior.structures import phi_draws

    b, phis, roots = effect_draws(fit, i), phi_draws(fit.inference.draws())[i], term_spreads(fit, i).roots
    larger = None if isinstance(across, Kernel) else across.beside(found.points, found.groups)
    count, k = len(found.points), b.shape[2]
    draws, mean = np.empty((len(b), count, k)), np.zeros((count, k))
    for s, (own, phi, root) in enumerate(zip(b, phis, roots, strict=True)):
        z = rng.standard_normal((count, k))
        if larger is None:
            centre, noise = _of_field(across, phi, own, found, z)  # type: ignore[arg-type]
        else:
            centre, noise = _of_all(larger, phi, own, z)
        mean += centre / len(b)
        draws[s] = centre + noise @ root.T
    return draws, mean


def _of_field(across: Kernel, phi: Array, b: Array, found: Located, z: Array) -> tuple[Array, Array]:
    """Conditional mean, and noise of the conditional variance of each point by itself, from z (r, k)."""
    r, q = across.between(phi, found.points, found.groups), across.precision(phi)
    held = q.times(r.T)
    left = np.maximum(1.0 - np.einsum("rm,mr->r", r, held), 0.0)
    return held.T @ b, np.sqrt(left)[:, None] * z


def _of_all(larger: Placed, phi: Array, b: Array, z: Array) -> tuple[Array, Array]:
    """The same of all new positions together."""
    from scipy.sparse import csr_array

    q, m = larger.precision(phi).matrix.tocsr(), len(b)
    inside = Precision(csr_array(q[m:, m:]), np.nan)
    return inside.solve(-(q[m:, :m] @ b)), inside.drawn(z)


def with_effects(posterior: Posterior, i: int, draws: Array) -> Posterior:
    """The posterior with further effects of term `i`, draws (S, r, k)."""
    shaped = draws.reshape(posterior.chains, posterior.draws, *draws.shape[1:])

    def longer(arrays: tuple[Array, ...], more: Array, axis: int) -> tuple[Array, ...]:
        return (*arrays[:i], np.concatenate([arrays[i], more], axis=axis), *arrays[i + 1 :])

    assert posterior.effects is not None  # where draws came from
    return replace(
        posterior,
        effects=longer(posterior.effects, shaped, 2),
        effect_means=longer(posterior.effect_means, draws.mean(axis=0), 0),
        effect_sds=longer(posterior.effect_sds, draws.std(axis=0), 0),
    )
