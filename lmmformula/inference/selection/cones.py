r"""Several variances at once: the distribution of a likelihood ratio whose alternative is a cone.

Where columns of a term are zero under the hypothesis, their covariance matrix D moves in the cone of positive semidefinite
matrices (of non-negative variances, for columns without correlations), and their covariances c with the columns that stay
are free. With I the efficient information of (c, D), that of all other variances projected out, 2 log LR is in the limit of
many independent levels ::

    T = Z'I Z - min_{t in C} (Z - t)'I (Z - t),      Z ~ N(0, I^-1),   C = {(c, D): D in its cone}                        (1)

a mixture of chi-squares (Self & Liang 1987, theorem 3; Shapiro 1985) whose weights depend on I. As C is a cone, the length
of Z is independent of its direction U: with rho = T / Z'I Z, a function of U alone, ::

    P(T >= s) = E P(chi^2_d >= s / rho),       d the number of elements of (c, D)                                          (2)

which is averaged over directions (Silvapulle & Sen 2005, sec. 3.5: weights by simulation). c leaves the minimum at once:
what is left of I is its Schur complement in D, and the projection of D is found by accelerated projected gradients in
coordinates in which Frobenius' norm is Euclid's (Beck & Teboulle 2009). I is the expected information at the estimates with
the columns taken out, as Kenward & Roger have it: ``I_rs = tr(P G_r P G_s) / 2`` (of ML V^-1 in place of P).

References
----------
Beck & Teboulle (2009), SIAM J. Imaging Sci. 2, 183-202. Self & Liang (1987), J. Am. Statist. Assoc. 82, 605-610.
Shapiro (1985), Biometrika 72, 133-144. Silvapulle & Sen (2005), Constrained Statistical Inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.kenward_roger import expected_information, level_space
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Cone", "cone_of"]

STILL = 1e-6
"""Share of the largest point that a step may move the projections by at their end."""
STEPS = 400
"""Projected gradients of each direction, whose error falls with the square of their number."""
MOST_EFFECTS = 3_000
"""Random effects up to which the information is computed, O(q^3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Cone:
    """C and I of (1).

    Attributes
    ----------
    information : (f + e, f + e) array
        Of the f free covariances, then of D's elements.
    free : int
        f.
    shapes : (e, r, r) array
        D's directions, of unit Frobenius norm and orthogonal.
    """

    information: Array
    free: int
    shapes: Array

    @property
    def df(self) -> int:
        """d."""
        return len(self.information)

    def null(self, statistic: float, n: int, rng: np.random.Generator) -> tuple[float, Array]:
        """(2) by n directions, and as many draws of (1)."""
        from scipy.special import chdtrc

        white = rng.standard_normal((n, self.df))
        share = self.shares(white)
        drawn = share * np.einsum("ni,ni->n", white, white)
        if statistic <= 0.0:
            return 1.0, drawn
        tails = np.where(share > 0.0, chdtrc(self.df, statistic / np.maximum(share, 1e-300)), 0.0)
        return float(tails.mean()), drawn

    def shares(self, white: Array) -> Array:
        """rho for Z = I^-1/2 white, (n,)."""
        f = self.free
        inner = self.information[f:, f:]
        if f:
            across = self.information[:f, f:]
            inner = inner - across.T @ np.linalg.solve(self.information[:f, :f], across)
        scale = float(np.linalg.eigvalsh(inner)[-1])
        inner = inner / scale
        z = np.linalg.solve(np.linalg.cholesky(inner).T, white[:, f:].T).T
        t = self._projected(z, inner)
        left = z - t
        whole = np.einsum("ni,ij,nj->n", z, inner, z)
        gained = whole - np.einsum("ni,ij,nj->n", left, inner, left)
        beside = np.einsum("ni,ni->n", white[:, :f], white[:, :f])
        return np.clip((beside + gained) / (beside + whole), 0.0, 1.0)

    def _projected(self, z: Array, inner: Array) -> Array:
        """The nearest points of the cone in the metric `inner`, whose largest eigenvalue is one."""
        t = ahead = self._inside(z)
        momentum = 1.0
        for _ in range(STEPS):
            new = self._inside(ahead - (ahead - z) @ inner)
            following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
            ahead = new + (momentum - 1.0) / following * (new - t)
            still = np.abs(new - t).max(initial=0.0) <= STILL * np.abs(z).max(initial=0.0)
            t, momentum = new, following
            if still:
                break
        return t

    def _inside(self, s: Array) -> Array:
        """Euclid's projection onto the cone."""
        r = self.shapes.shape[-1]
        if len(self.shapes) == r:  # variances alone
            return np.maximum(s, 0.0)
        values, vectors = np.linalg.eigh(np.tensordot(s, self.shapes, axes=1))
        kept = (vectors * np.maximum(values, 0.0)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        return np.einsum("nij,eij->ne", kept, self.shapes)


def cone_of(fit: Fitted, place: int, gone: Sequence[int]) -> Cone | None:
    """Of the columns `gone` of the term at `place` in a Gaussian fit; None where the theory or the machine has none."""
    model, kind = fit.optimum.model, fit.problem.terms[place].covariance
    problem = model.problem
    if problem.q > MOST_EFFECTS or not all(t.is_blockwise and t.covariance.linear for t in problem.terms):
        return None
    if any(t.covariance.directions is None for t in problem.terms):
        return None
    theta = np.array(fit.optimum.theta)
    where = problem.theta_slices()[place]
    units = kind.jacobian(kind.start())
    theta[where] = np.where(np.abs(units[:, list(gone)]).max(axis=(1, 2)) > 0.0, 0.0, theta[where])
    information = expected_information(level_space(model(theta, exact=True)), model.n_eff, model.reml)
    at = 1 + sum(len(t.covariance.directions or ()) for t in problem.terms[:place])
    own = [np.asarray(e) for e in kind.directions or ()]
    touched = [np.abs(e[list(gone)]).max() > 0.0 for e in own]
    inside = [np.abs(np.delete(e, list(gone), axis=0)).max(initial=0.0) == 0.0 for e in own]
    mixed = zip(touched, inside, own, strict=True)
    if any(t and not i and np.abs(e[np.ix_(gone, gone)]).max() > 0.0 for t, i, e in mixed):
        return None
    free = [at + j for j in range(len(own)) if touched[j] and not inside[j]]
    cone = [at + j for j in range(len(own)) if touched[j] and inside[j]]
    others = [j for j in range(len(information)) if j not in free and j not in cone]
    tested = [*free, *cone]
    across = information[np.ix_(others, tested)]
    efficient = (
        information[np.ix_(tested, tested)]
        - across.T @ np.linalg.pinv(information[np.ix_(others, others)], hermitian=True) @ across
    )
    shapes = np.stack([own[j - at][np.ix_(gone, gone)] for j in cone])
    sizes = np.sqrt(np.einsum("eij,eij->e", shapes, shapes))
    unit = np.concatenate([np.ones(len(free)), 1.0 / sizes])
    efficient = efficient * np.outer(unit, unit)
    if np.linalg.eigvalsh(efficient / np.sqrt(np.outer(*(np.diagonal(efficient),) * 2)))[0] < 1e-8:
        return None
    return Cone(efficient, len(free), shapes / sizes[:, None, None])
