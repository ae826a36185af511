r"""The Laplace approximation of a generalised mixed model, with exact derivatives.

Model: ``y_r | b ~ family(eta_r, a_r)``, ``eta = X beta + Z Lambda u + offset``, ``u ~ N(0, Q^-1)``; a are the auxiliary
linear predictors (log dispersion, logit of zero-inflation), a_j = A_j alpha_j.
With the mode u of h (see :mod:`lmmformula.criteria.mode`)::

    d(beta, theta, alpha) = - 2 sum l_r(eta_r, a_r) + u'Qu + log|M| - log|Q|,        M = Lambda'Z'WZ Lambda + Q    (1)

is -2 times the Laplace log-likelihood (Tierney & Kadane 1986; Bates et al. 2015), W the observed weights ``-d2l/deta2``, or
their expectation (``information="expected"``, lme4's choice for links that are not canonical).

Gradient. At the mode dh/du = 0, so u moves (1) only through log|M|. Let lev = diag(Z Lambda M^-1 Lambda'Z') (leverages) and
w' = dW/deta. Then ``dlog|M|/du = Lambda'Z'(lev w') =: c``. With M_o the M of the *observed* weights, which governs how the mode
moves, and the adjoint ``v = M_o^-1 c`` (Skaug & Fournier 2006)::

    row vector   t = -2 s + lev w' - W_o (Z Lambda v),              dd/dbeta  = X't
    per group    K = m I - T - <u, u>_Q + (<u, v>_Q + <v, u>_Q)/2,  dd/dtheta by :mod:`lmmformula.criteria.variance`  (2)
    row vector   -2 dl/da + lev dW/da + (ds/da)(Z Lambda v),        dd/dalpha = A' of it

K is the K of the Gaussian criterion with sigma = 1 and one more term; deriving it uses ``Lambda'Z'W_o Z Lambda v = c - Qv``.
If beta is profiled with u (nAGQ = 0), (v, v_beta) solves the joint system and Z Lambda v becomes Z Lambda v + X v_beta.

Curvature. The optimiser gets the average information of the working linear model at the mode: 2 X'V^-1X for beta, (3) of
:mod:`lmmformula.criteria.profiled` with kappa = 1 for theta, the observed information given u for alpha. It refines
that by secant updates. Standard errors use the exact second derivatives (:mod:`lmmformula.criteria.exact_curvature`) where the
engine has their traces, else differences of the exact gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lmmformula.criteria.by_cluster import gradients_by_cluster
from lmmformula.criteria.joint import FixedPart, JointSystem
from lmmformula.criteria.layout import Layout
from lmmformula.criteria.leverage import leverage
from lmmformula.criteria.linearised import Linearised
from lmmformula.criteria.mode import TOLERANCE, Mode, find_mode, follow_mode
from lmmformula.criteria.rowmodel import Information, RowModel
from lmmformula.criteria.variance import Variances, inner
from lmmformula.engines.base import Engine, Factor, Prepared, Stacked
from lmmformula.engines.constrained import prepare
from lmmformula.families.records import Rows as FamilyRows
from lmmformula.ir.frozen import computed_once, evolved, is_computed
from lmmformula.ir.groups import merge_terms
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Rows, RowVector
from lmmformula.ir.structured import at_phi
from lmmformula.typing import Array, Index

__all__ = ["Laplace", "LaplacePoint"]

FAR = 0.5
"""Relative change of L beyond which a mode is not predicted from another."""


@dataclass(frozen=True, eq=False)
class Laplace(RowModel):
    """The criterion for one problem.

    Attributes
    ----------
    information : {"observed", "expected"}
        Weights in log|M|.
    profile_beta : bool
        Find beta together with the mode (nAGQ = 0); psi is then (theta, alpha).
    """

    information: Information = "observed"
    profile_beta: bool = False

    @classmethod
    def of(
        cls,
        problem: Problem,
        engine: Engine,
        *,
        information: Information = "observed",
        profile_beta: bool = False,
        prepared: Prepared | None = None,
    ) -> Self:
        if prepared is None:
            prepared = prepare(engine, problem.data.levels)
        return cls(problem, prepared, information, profile_beta)

    @property
    def own_rows(self) -> Rows:
        """The rows of the problem, with the columns of each linear predictor."""
        return self.data

    def means_predictor(self, point: LaplacePoint) -> RowVector:
        """The mean's linear predictor on :attr:`own_rows`."""
        return point.mode.eta

    @property
    def coefficients_at(self) -> Index:
        """Where the coefficients of all columns of :attr:`data` stand in psi."""
        return np.arange(self.layout.beta.start, self.layout.beta.stop)

    def coefficients(self, psi: Array) -> Array:
        """The coefficients that the mode search holds, of all columns of :attr:`data`."""
        return psi[self.layout.beta]

    def aux_predictors(self, psi: Array) -> tuple[RowVector, ...]:
        """a_j = A_j alpha_j."""
        return tuple(a.times(psi[s]) for a, s in zip(self.data.aux, self.layout.aux, strict=True))

    # -- psi ---------------------------------------------------------------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        """Positions in psi."""
        problem = self.problem
        return Layout.of(0 if self.profile_beta else problem.p, problem.n_theta, problem.aux)

    def __call__(
        self,
        psi: Array,
        *,
        u: tuple[Array, ...] | None = None,
        beta: Array | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        near: FixedPart | None = None,
        passing: bool = False,
    ) -> LaplacePoint:
        """Evaluate at psi, the mode search started from `u` (and `beta` if profiled) and ended at `tolerance`.

        Where the point only leads to another, its information on beta may be that of a system nearby (`near`, `passing`).
        """
        psi = np.asarray(psi, dtype=float)
        variances = self.variances(psi[self.layout.theta], exact=exact)
        aux = self.aux_predictors(psi)
        start = self.zero_modes() if u is None else u
        if self.profile_beta:
            fixed = np.zeros(self.problem.p) if beta is None else beta
        else:
            fixed = self.coefficients(psi)
        joint = self.profile_beta
        mode = find_mode(
            self, variances, fixed, aux, start, joint=joint, tolerance=tolerance, passing=passing
        )
        point = self.point(psi, variances, aux, mode)
        return point if joint or near is None else replace(point, near=near)

    def beside(self, psi: Array, near: LaplacePoint, u: tuple[Array, ...]) -> LaplacePoint:
        """The point at a `psi` that is a small step from `near`, its mode followed from `u`; it has derivatives, no value."""
        variances, aux = self.variances(psi[self.layout.theta]), self.aux_predictors(psi)
        mode = follow_mode(self, variances, self.coefficients(psi), aux, u, near.system)
        return self.point(psi, variances, aux, mode)

    def point(self, psi: Array, variances: Variances, aux: tuple[RowVector, ...], mode: Mode) -> LaplacePoint:
        """The criterion where the modes are known."""
        return LaplacePoint(self, psi, variances, aux, mode)

    @property
    def curves_by_rows(self) -> bool:
        """Whether its curvature in beta is that of the rows and modes alone."""
        return True

    def at(
        self,
        beta: Array,
        factors: Sequence[Array],
        aux: tuple[RowVector, ...],
        u: tuple[Array, ...] | None = None,
        phis: Sequence[Array] | None = None,
    ) -> LaplacePoint:
        """Evaluate at coefficients, any factors L of the groups, and auxiliary predictors on the rows, without a psi.

        Of the derivatives only those in beta, L, phi and the rows exist: `d_beta`, `d_factors`, `d_phi`, `d_aux_rows`.
        """
        nowhere, theta = np.full(self.layout.size, np.nan), np.zeros(self.problem.n_theta)
        if phis is not None:
            theta = at_phi(self.problem, theta, phis)
        variances = self.variances(theta).with_factors(factors)
        start = self.zero_modes() if u is None else u
        mode = find_mode(self, variances, beta, aux, start, joint=False)
        return LaplacePoint(self, nowhere, variances, aux, mode)


@dataclass(frozen=True, eq=False)
class LaplacePoint:
    """The criterion at one psi; what is not asked for is not computed. Names as in the module's head."""

    model: Laplace
    psi: Array
    variances: Variances
    aux: tuple[RowVector, ...]
    mode: Mode
    near: FixedPart | None = None

    @property
    def factors(self) -> tuple[Array, ...]:
        """L of each group, kept off zero unless evaluated exactly."""
        return self.variances.factors

    @property
    def theta(self) -> Array:
        return self.psi[self.model.layout.theta]

    @property
    def beta(self) -> Array:
        return self.mode.beta

    @property
    def u(self) -> tuple[Array, ...]:
        return self.mode.u

    @cached_property
    def observed(self) -> FamilyRows:
        """Rows at the mode with the observed weights."""
        return self.model.rows(self.mode.eta, self.aux, "observed")

    @cached_property
    def weighted(self) -> FamilyRows:
        """Rows at the mode with the weights of log|M|."""
        if self.model.information == "observed":
            return self.observed
        return self.model.rows(self.mode.eta, self.aux, self.model.information)

    @cached_property
    def system(self) -> JointSystem:
        """The Newton system at the mode, with the observed weights."""
        met = self.mode.system
        own = self.model.system(self.variances, self.observed.weight) if met is None else met
        return own if self.near is None else replace(own, near=self.near)

    @property
    def curvature(self) -> Factor:
        """M_o: how the mode moves."""
        return self.system.factor

    @computed_once
    def factor(self) -> Factor:
        """M of log|M|."""
        if self.model.information == "observed":
            return self.curvature
        return self.model.factor(self.variances, self.weighted.weight)

    @cached_property
    def deviance(self) -> float:
        """Equation (1)."""
        return 2.0 * self.mode.objective + self.factor.logdet - self.variances.logdet

    @property
    def error(self) -> float:
        """Standard error of the deviance; zero unless the engine is stochastic."""
        return self.factor.logdet_stderr

    def sharpened(self) -> LaplacePoint:
        """The same point with as small an error as the engine was asked for."""
        better = self.factor.sharpened()
        known = {"factor": better.factor}
        if better.factor is self.factor:
            return self
        if better.prepared is None:
            return evolved(self, ("deviance",), known)
        model, met_again = replace(self.model, prepared=better.prepared), replace(self.mode, system=None)
        return evolved(self, vars(self), known, model=model, mode=met_again)

    def with_own_columns(self) -> LaplacePoint:
        """The same with information on beta of its own."""
        if self.near is None:
            return self
        known = {"system": replace(self.system, near=None)}
        return evolved(self, ("system", "half", "h", "hessian", "linear_information"), known, near=None)

    @cached_property
    def leverage(self) -> RowVector:
        """diag(Z Lambda M^-1 Lambda'Z')."""
        return leverage(self.model.data, self.factors, self.factor.inverse())

    @cached_property
    def push(self) -> RowVector:
        """dlog|M|/deta of each row at fixed L."""
        return self.model.data.map(
            lambda chunk, h, bend: (h * bend,), self.leverage, self.weighted.weight_eta
        )[0]

    @cached_property
    def _adjoint(self) -> tuple[Stacked, RowVector]:
        """v per group, and Z Lambda v (+ X v_beta) on the rows."""
        data, push = self.model.data, self.push
        c = self.model.to_effects(self.factors, push)
        v, v_beta = self.system.solve(
            c, data.fixed.transposed(push) if self.model.profile_beta else np.zeros(0)
        )
        effects = [x @ f.T for x, f in zip(v, self.factors, strict=True)]
        return v, data.apply(v_beta, effects, offset=False)

    @cached_property
    def k_matrices(self) -> tuple[Array, ...]:
        """K of (2)."""
        out = []
        parts = zip(
            self.factor.trace_blocks(), self.u, self.variances.times(self.u), self._adjoint[0], strict=True
        )
        for trace, u, qu, v in parts:
            cross = qu.T @ v
            out.append(len(u) * np.eye(u.shape[1]) - trace - inner(u, qu) + 0.5 * (cross + cross.T))
        return tuple(out)

    @cached_property
    def gradient(self) -> Array:
        """dd/dpsi by (2)."""
        model, layout = self.model, self.model.layout
        out = np.zeros(layout.size)
        if not model.profile_beta:
            out[layout.beta] = self.d_beta
        out[layout.theta] = self.variances.gradient(self.k_matrices, self.factor, self._pairs)
        for j, (block, where) in enumerate(zip(model.data.aux, layout.aux, strict=True)):
            out[where] = block.transposed(self.d_aux_rows(j))
        return out

    @property
    def _pairs(self) -> list[tuple[float, Stacked, Stacked]]:
        """The sums that K subtracts."""
        return [(1.0, self.u, self.u), (-1.0, self.u, self._adjoint[0])]

    @cached_property
    def d_phi(self) -> Array:
        """dd/dphi at fixed L in the places of theta, zero elsewhere, (n_theta,)."""
        return self.variances.gradient_across(self.factor, self._pairs)

    @cached_property
    def d_beta(self) -> Array:
        """dd/dbeta at fixed L, (p,)."""
        return self.model.data.fixed.transposed(self.d_eta)

    @property
    def adjoint_modes(self) -> Stacked:
        """v of (2), per group (m, k)."""
        return self._adjoint[0]

    @cached_property
    def d_eta(self) -> RowVector:
        """t of (2): dd/deta of each row, the modes moving along."""
        observed, (_, zv) = self.observed, self._adjoint
        (t,) = self.model.data.map(
            lambda chunk, s, push, w, z: (-2.0 * s + push - w * z,),
            observed.score,
            self.push,
            observed.weight,
            zv,
        )
        return t

    def gradient_by(self, codes: NDArray[np.intp], count: int) -> Array:
        """Gradient in psi of the deviance of each of `count` clusters of rows, which share no random effect, (count, d)."""
        return gradients_by_cluster(self, merge_terms(self.model.problem.terms), codes, count)

    @cached_property
    def d_factors(self) -> tuple[Array, ...]:
        """dd/dL of each group, (k, k), of which the lower triangle is meant."""
        return self.variances.slopes(self.k_matrices)

    def d_aux_rows(self, j: int) -> RowVector:
        """dd/da_j of each row."""
        rows, observed, (_, zv) = self.weighted, self.observed, self._adjoint
        return self.model.data.map(
            lambda chunk, d, h, w, s, z: (-2.0 * d + h * w + s * z,),
            observed.d_aux[j],
            self.leverage,
            rows.weight_aux[j],
            observed.score_aux[j],
            zv,
        )[0]

    @property
    def fixed_information(self) -> Array:
        """X'V^-1X of the working linear model, (p, p)."""
        return self.system.information

    @cached_property
    def half(self) -> Array:
        """R^-1 with R'R = X'V^-1X of the working linear model, (p, p)."""
        return np.linalg.inv(np.linalg.cholesky(self.fixed_information).T)

    @cached_property
    def h(self) -> tuple[Array, ...]:
        """H = Lambda'Z'V^-1X R^-1 of the working linear model, per group (m, k, p)."""
        return tuple(s @ self.half for s in self.system.fixed)

    @property
    def linearised(self) -> Linearised:
        """The rows of the working linear model."""
        engine, across = self.model.prepared, self.variances.across
        weights, score = self.system.weights, self.observed.score
        return Linearised(weights, score, self.curvature, engine, across, engine.is_exact)

    @cached_property
    def hessian(self) -> Array:
        """Approximate Hessian in psi: average information of the working model, see the module's head."""
        out = np.array(self.linear_information)
        if self.theta.size:
            out[self.model.layout.theta, self.model.layout.theta] = self._theta_information()
        return out

    @cached_property
    def linear_information(self) -> Array:
        """The Hessian's blocks for beta and alpha, zero for theta; exists also where L is singular."""
        layout, blocks = self.model.layout, self.model.data.aux
        out = np.zeros((layout.size, layout.size))
        if not self.model.profile_beta:
            out[layout.beta, layout.beta] = 2.0 * self.fixed_information
        for j, (block, where) in enumerate(zip(blocks, layout.aux, strict=True)):
            for k, bend in enumerate(self._aux_curvature(j)):
                out[where, layout.aux[k]] = -2.0 * block.products(blocks[k], bend)
        return 0.5 * (out + out.T)

    def _aux_curvature(self, j: int) -> tuple[RowVector, ...]:
        """d2l / da_j da_k of every row for each k, by central differences of the family's dl/da_k."""
        step, data, sides = 1e-4, self.model.data, []
        for move in (step, -step):
            aux = list(self.aux)
            (aux[j],) = data.map(lambda chunk, a, by: (a + by,), aux[j], move)
            sides.append(self.model.rows(self.mode.eta, tuple(aux), "observed").d_aux)
        pairs = zip(*sides, strict=True)
        return tuple(data.map(lambda chunk, h, v: ((h - v) / (2 * step),), *pair)[0] for pair in pairs)

    @cached_property
    def _moves(self) -> tuple[Stacked, Stacked, Stacked]:
        """x_j, z_j = Q x_j and M_o^-1 z_j for every element j of theta, per group (m, k, n_theta)."""
        x, z = self.variances.moves(self.u)
        return x, z, self.curvature.solve(z)

    @property
    def theta_moves(self) -> Stacked:
        """M_o^-1 z_j for every element j of theta, per group (m, k, n_theta): how b = Lambda u moves, times L^-1."""
        return self._moves[2]

    def _theta_information(self) -> Array:
        info = self.variances.information(*self._moves)
        self.variances.bend(info, self.k_matrices)
        if self.variances.across:
            self.variances.bend_across(info, self.gradient[self.model.layout.theta])
        return info

    def predicted_mode(self, psi: Array) -> tuple[Array, ...]:
        """Where to start the search for the mode at a `psi` near this one: the mode moved along with beta and theta.

        Differentiating ``Q u = Lambda'Z's(X beta + Z Lambda u)`` gives ``du/dbeta = - M_o^-1 Lambda'Z'WX`` and
        ``du/dtheta_j = M_o^-1 z_j - A_j u``, both at hand once the Hessian has been asked for. The mode as it is
        if that has not been, if beta is profiled, or if L changes by more than first order can follow.
        """
        layout = self.model.layout
        if not is_computed(self, "_moves") or self.model.profile_beta:
            return self.u
        step = psi[layout.theta] - self.theta
        out = [v @ step for v in self._moves[2]]
        for part in self.variances.derivatives:
            inverse = self.variances.inverse_factors[part.group][part.columns, part.columns]
            change = inverse @ np.tensordot(step[part.index], part.d_factor, 1)
            if np.abs(change).max(initial=0.0) > FAR:
                return self.u
            out[part.group][:, part.columns] -= self.u[part.group][:, part.columns] @ change.T
        shift = self.model.coefficients(psi) - self.mode.beta
        return tuple(u + v - s @ shift for u, v, s in zip(self.u, out, self.system.fixed, strict=True))
