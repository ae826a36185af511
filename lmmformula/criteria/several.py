r"""The Laplace approximation of a model with random effects in several linear predictors, with exact derivatives.

Model: ``y_r | b ~ f(eta_r1, ..., eta_rK)``, ``eta_k = X_k beta_k + Z_k Lambda u`` (+ offset), ``u ~ N(0, Q^-1)``; the first
predictor is the mean's, the others are those of auxiliary parameters (log sigma, logit of a structural zero, ...). With
``W_r = - d2l_r / deta_r deta_r'`` (K x K) at the mode u

    d(beta, theta) = - 2 sum l_r + u'Qu + log|M| - log|Q|,       M = Lambda' (sum_kl Z_k' diag(W_kl) Z_l) Lambda + Q     (1)

(Tierney & Kadane 1986; for all of eta together as in Kristensen et al. 2016, eq. 3). By (1) of :mod:`lmmformula.ir.stacked`
this is the criterion of :mod:`lmmformula.criteria.laplace` for copies of the rows with one predictor and one weight each: mode
search, engines and the gradient in theta are the same. One line of its gradient differs, since the weight of a copy moves with
all of its row's predictors. Let h be the leverages of the copies and ``sum_c h_c w_c = sum_kl L_kl W_kl`` for every W; then

    dlog|M|/deta_j = sum_kl L_kl dW_kl/deta_j                                                                            (2)

which :func:`lmmformula.families.jointly.joint_pull` gives. beta has the coefficients of all predictors; psi is (beta of
the mean, theta, those of the others), as for models with random effects in the mean alone.

Rows of several responses have the density and the predictors of their own response each; effects that responses share couple
them in M alone.

W need not be definite away from the mode, nor need M: the mode search then takes |W_r|, W_r with the absolute values of its
eigenvalues, for which every step goes downhill.

References
----------
Tierney & Kadane (1986), J. Am. Stat. Assoc. 81, 82-86. Kristensen, Nielsen, Berg, Skaug & Bell (2016), J. Stat. Softw. 70(5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np

from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.linearised import Linearised
from lmmformula.criteria.mode import Mode
from lmmformula.criteria.rowmodel import Information
from lmmformula.criteria.variance import Variances
from lmmformula.engines.base import Engine, Prepared
from lmmformula.engines.constrained import prepare
from lmmformula.families.jointly import joint_pull, joint_rows
from lmmformula.families.records import Maybe
from lmmformula.families.records import Rows as FamilyRows
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Rows, RowVector
from lmmformula.ir.stacked import Stacked
from lmmformula.typing import Array, Index

__all__ = ["SeveralLaplace", "SeveralPoint"]


@dataclass(frozen=True, eq=False)
class SeveralLaplace(Laplace):
    """The criterion for one problem, whose terms say in which predictors their columns are.

    Attributes
    ----------
    stack : Stacked
        Its rows, a copy for each predictor and each pair.
    """

    stack: Stacked | None = None

    @classmethod
    def over(cls, problem: Problem, engine: Engine, prepared: Prepared | None = None) -> SeveralLaplace:
        """The criterion of `problem`; `prepared` is of the levels of the stack."""
        stack = Stacked(problem)
        if prepared is None:
            prepared = prepare(engine, stack.rows.levels)
        return cls(problem, prepared, stack=stack)

    @property
    def copies(self) -> Stacked:
        """The stack."""
        assert self.stack is not None
        return self.stack

    @cached_property
    def data(self) -> Rows:
        """The copies of the rows."""
        return self.copies.rows

    @property
    def own_rows(self) -> Rows:
        """The rows themselves."""
        return self.problem.data

    def means_predictor(self, point: LaplacePoint) -> RowVector:
        """That of the copies which have it alone."""
        return self.copies.means(point.mode.eta)

    @cached_property
    def constants(self) -> tuple[Maybe, ...]:
        """The part of the log density in y alone, of the rows of each part."""
        stack = self.copies
        return tuple(part.family.constant(stack.y(part), stack.prior(part)) for part in stack.parts)

    @property
    def coefficients_at(self) -> Index:
        """Those of the mean, then those of the other predictors."""
        parts = (self.layout.beta, *self.layout.aux)
        return np.concatenate([np.arange(s.start, s.stop) for s in parts])

    def coefficients(self, psi: Array) -> Array:
        """The same of psi."""
        return psi[self.coefficients_at]

    def aux_predictors(self, psi: Array) -> tuple[RowVector, ...]:
        """None: all predictors are those of copies."""
        del psi
        return ()

    @property
    def curves_by_rows(self) -> bool:
        """Not so: the weights of a row are of its copies together, and their derivatives in one predictor are not kept."""
        return False

    def point(self, psi: Array, variances: Variances, aux: tuple[RowVector, ...], mode: Mode) -> SeveralPoint:
        """The criterion where the modes are known."""
        return SeveralPoint(self, psi, variances, aux, mode)

    def rows(
        self, eta: RowVector, aux: tuple[Maybe, ...], information: Information, *, derivatives: bool = True
    ) -> FamilyRows:
        """Log density, scores and weights of the copies; with "expected" the weights of |W|, by which M is definite."""
        del aux, derivatives
        stack = self.copies
        values, scores, weights = [], [], []
        for part, constant in zip(stack.parts, self.constants, strict=True):
            with np.errstate(all="ignore"):
                value, score, w = joint_rows(
                    part.family, stack.y(part), part.of_predictors(eta), stack.prior(part), constant
                )
            if information == "expected":
                w = _definite(w)
            copied = part.weights(w)
            values += [value, np.zeros(len(copied) - len(value))]
            scores.append(part.over_copies(score))
            weights.append(copied)
        return FamilyRows(np.concatenate(values), np.concatenate(scores), np.concatenate(weights))


def _definite(w: Array) -> Array:
    """|W| of each row, (K, K, n)."""
    finite = np.where(np.isfinite(w), w, 0.0)
    values, vectors = np.linalg.eigh(np.moveaxis(finite, -1, 0))
    return np.moveaxis((vectors * np.abs(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2), 0, -1)


@dataclass(frozen=True, eq=False)
class SeveralPoint(LaplacePoint):
    """The criterion at one psi; what has an entry for each row has one for each copy."""

    @property
    def _own(self) -> SeveralLaplace:
        return cast("SeveralLaplace", self.model)

    @property
    def beta(self) -> Array:
        """Coefficients of the mean."""
        return self.psi[self.model.layout.beta]

    @cached_property
    def push(self) -> RowVector:
        """(2) on the copies of single predictors."""
        stack, out = self._own.copies, []
        for part in stack.parts:
            pull = joint_pull(
                part.family,
                stack.y(part),
                part.of_predictors(self.mode.eta),
                stack.prior(part),
                part.blocks(self.leverage),
            )
            out.append(part.over_copies(pull))
        return np.concatenate(out)

    @cached_property
    def gradient(self) -> Array:
        """dd/dpsi."""
        layout = self.model.layout
        out = np.zeros(layout.size)
        out[self.model.coefficients_at] = self.d_beta
        pairs = [(1.0, self.u, self.u), (-1.0, self.u, self.adjoint_modes)]
        out[layout.theta] = self.variances.gradient(self.k_matrices, self.factor, pairs)
        return out

    @cached_property
    def linear_information(self) -> Array:
        """The Hessian's blocks for the coefficients of all predictors, zero for theta."""
        size, at = self.model.layout.size, self.model.coefficients_at
        out = np.zeros((size, size))
        out[np.ix_(at, at)] = 2.0 * self.system.information
        return out

    @property
    def fixed_information(self) -> Array:
        """Information on beta of the mean at the other coefficients and variances, (p, p)."""
        p = self.model.problem.p
        return super().fixed_information[:p, :p]

    @cached_property
    def h(self) -> tuple[Array, ...]:
        """H of the columns of the mean."""
        p = self.model.problem.p
        return tuple(s[..., :p] @ self.half for s in self.system.fixed)

    @property
    def linearised(self) -> Linearised:
        """The rows of the working linear model of the mean, the other predictors held."""
        own, stack = super().linearised, self._own.copies
        return replace(own, weights=stack.means_weights(self.system.weights), score=stack.means(own.score))
