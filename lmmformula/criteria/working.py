"""The rows of penalised quasi-likelihood: working responses, solutions of the working model, and variance updates.

The algebra, with the equation numbers used here, stands at the head of :mod:`lmmformula.criteria.pql`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from lmmformula.criteria.family_rows import family_rows
from lmmformula.criteria.laplace import Layout
from lmmformula.criteria.pql_correction import Shift, shift
from lmmformula.criteria.variance import floored, relative_factors
from lmmformula.engines.base import Prepared
from lmmformula.engines.equations import EquationsEngine, Weighted
from lmmformula.errors import FitError, PlanError
from lmmformula.ir.blocks import ROWS, Gram
from lmmformula.ir.problem import Problem
from lmmformula.numerics.tall import tall_times, tall_transposed
from lmmformula.numerics.threads import edges, in_parts
from lmmformula.typing import Array

__all__ = ["State", "WorkingModel", "WorkingSystem", "pearson", "spherical"]

MAX_HALVINGS = 12
LARGE = 30.0
"""Size of an offset, on the scale of the link, that is named as a likely cause."""
NO_DISPERSION = 1e-12
"""A dispersion below this, of a family that has none, counts as zero."""
NO_WEIGHT, NO_SCORE = 1e-100, 1e-8
"""A working weight below this, and a score, count as zero."""
AUX_STEPS = 5
"""Scoring steps for the family's own parameters in one outer iteration."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where an iteration stands: all it takes to go on.

    Attributes
    ----------
    eta : (n,) array
    rows : Rows
        The family at eta: scores, expected weights and log density, at unit dispersion.
    beta : (p,) array
    b : tuple of (m_a, k_a) arrays
        Effects of the groups.
    theta : (n_theta,) array
    phi : float
    alpha : tuple of arrays
        Coefficients of the family's own parameters; empty if it has none, or only the dispersion.
    """

    eta: Array
    rows: Any
    beta: Array
    b: tuple[Array, ...]
    theta: Array
    phi: float
    alpha: tuple[Array, ...] = ()


@dataclass(frozen=True, eq=False)
class WorkingModel:
    """The criterion of one problem: working responses, backfitting steps and variance updates.

    Attributes
    ----------
    problem : Problem
    prepared : EquationsEngine
    exact : Prepared or None
        An exact engine for the traces; None for the diagonal approximation.
    free : bool
        Whether the dispersion phi is estimated.
    scale : bool
        Whether phi is the family's own parameter, ``family.has_dispersion``.
    corrected : bool
        Whether the terms of :mod:`lmmformula.criteria.pql_correction` are added.
    """

    problem: Problem
    prepared: EquationsEngine
    exact: Prepared | None
    free: bool
    scale: bool
    corrected: bool = False

    def __post_init__(self) -> None:
        self.problem.family.one_mean("penalised quasi-likelihood")
        if self.scale and any(block.matrix.shape[1] > 1 for block in self.problem.aux):
            raise PlanError(
                "penalised quasi-likelihood has one dispersion for all rows, so dispformula= does not suit it; "
                'use method="laplace", or give the rows weights.'
            )

    # -- rows --------------------------------------------------------------------------------------------------

    def rows(self, eta: Array, alpha: tuple[Array, ...], *, derivatives: bool = False) -> Any:
        """The family at eta with expected weights; a free dispersion is set to one."""
        p = self.problem
        if self.scale:
            aux: tuple[Any, ...] = (0.0,)
        else:
            aux = tuple(block.matrix @ a for block, a in zip(p.aux, alpha, strict=True))
        return family_rows(
            p, eta, aux, information="expected", derivatives=derivatives, constant=self.constant
        )

    @cached_property
    def constant(self) -> Any:
        """The part of the log density in y alone; PQL compares at fixed y, so zero would do as well."""
        return self.problem.family.constant(self.problem.y, self.problem.weights)

    @cached_property
    def layout(self) -> Layout:
        """Positions of the parameters in one vector, for reports on the family's own ones."""
        p, at = self.problem.p, self.problem.p + self.problem.n_theta
        ends = np.cumsum([at, *(block.matrix.shape[1] for block in self.problem.aux)])
        aux = tuple(slice(int(i), int(j)) for i, j in pairwise(ends))
        return Layout(slice(0, p), slice(p, at), aux)

    @cached_property
    def offset(self) -> Any:
        return 0.0 if self.problem.offset is None else self.problem.offset

    @cached_property
    def n_rows(self) -> int:
        """Rows that carry weight."""
        w = self.problem.weights
        return self.problem.n if w is None else int((w > 0).sum())

    def predictor(self, beta: Array, b: tuple[Array, ...]) -> Array:
        """X beta + Z b + offset."""
        eta = tall_times(self.problem.X.matrix, beta)
        self.prepared.blocks.add_to(eta, b)
        eta += self.offset
        return eta

    def gram(self, weights: Array) -> Gram:
        """[Z X]'W[Z X] in blocks. O(n (p + sum k)^2), the only dear step of an outer iteration."""
        if not (np.isfinite(weights).all() and weights.min(initial=0.0) >= 0.0 and weights.max() > NO_WEIGHT):
            bad = int((~(np.isfinite(weights) & (weights > NO_WEIGHT))).sum())
            raise FitError(
                f"the working weights of {bad:,} of {len(weights):,} rows are zero or infinite: the linear predictor has run "
                f"to where the family has no information. {self._advice()}"
            )
        return self.prepared.blocks.gram(weights, self.problem.X.matrix)

    def factors(self, theta: Array) -> tuple[Array, ...]:
        """L of each group, its diagonal kept off zero."""
        own = relative_factors(self.problem.terms, self.prepared.blocks.groups, theta)
        return tuple(floored(f) for f in own)

    # -- one outer iteration -----------------------------------------------------------------------------------

    def shift(self, state: State, gram: Gram) -> Shift | None:
        """The correction at `state`; None without one."""
        return shift(self, state, gram) if self.corrected else None

    def working(self, state: State, gram: Gram, moved: Shift | None = None) -> WorkingSystem:
        """(1) at `state.eta`, for any theta."""
        rows, eta = state.rows, state.eta
        if self.problem.offset is not None:
            eta = eta - self.offset
        wz = rows.weight * eta
        wz += rows.score
        zwz = float(eta @ wz) + float(eta @ rows.score) + pearson(rows)
        sums = self.prepared.blocks.adjoint(wz)
        target = tall_transposed(self.problem.X.matrix, wz)
        return WorkingSystem(self, gram, sums, target if moved is None else target + moved.beta, zwz)

    def accepted(
        self, state: State, beta: Array, b: tuple[Array, ...], theta: Array, moved: Shift | None = None
    ) -> State:
        """The step to (beta, b) from the solution of (1) at theta, halved while it lowers the penalised likelihood.

        A correction adds its g'beta to the latter, whose slope it is.
        """
        factors, push = self.factors(theta), np.zeros(self.problem.p) if moved is None else moved.beta
        before = self._penalised(state.rows, state.b, factors) - float(push @ state.beta)
        if not state.beta.any() and not any(v.any() for v in state.b):
            before = np.inf  # the first eta is not of the form X beta + Z b
        t = 1.0
        for _ in range(MAX_HALVINGS):
            new_beta = beta if t == 1.0 else state.beta + t * (beta - state.beta)
            new_b = b if t == 1.0 else tuple(o + t * (v - o) for o, v in zip(state.b, b, strict=True))
            eta = self.predictor(new_beta, new_b)
            rows = self.rows(eta, state.alpha)
            value = self._penalised(rows, new_b, factors) - float(push @ new_beta)
            if np.isfinite(value) and value <= before + 1e-9 * abs(before):
                return replace(state, eta=eta, rows=rows, beta=new_beta, b=new_b)
            t *= 0.5
        raise FitError(
            "the working model's step does not raise the penalised likelihood, even halved many times: a linear predictor "
            f"lies at the border of the link's range. {self._advice('or use another link')}"
        )

    def _advice(self, otherwise: str = "or start from a simpler model") -> str:
        """What to do about a linear predictor that is too large."""
        return self._offset_range() or f"Centre and scale the predictors, {otherwise}."

    def _offset_range(self) -> str:
        """An offset that is a likely cause, with its range; empty if it is none."""
        if self.problem.offset is None or np.abs(self.problem.offset).max() <= LARGE:
            return ""
        low, high = float(self.problem.offset.min()), float(self.problem.offset.max())
        return f"The offset runs from {low:.4g} to {high:.4g} on the scale of the link: is it a log of exposures?"

    @staticmethod
    def _penalised(rows: Any, b: tuple[Array, ...], factors: tuple[Array, ...]) -> float:
        """-sum l + |u|^2 / 2."""
        u = (spherical(f, v) for f, v in zip(factors, b, strict=True))
        with np.errstate(invalid="ignore"):
            return -float(rows.loglik.sum()) + 0.5 * sum(float(np.vdot(v, v)) for v in u)

    # -- variances ---------------------------------------------------------------------------------------------

    def traces(self, gram: Gram, factors: tuple[Array, ...], *, exact: bool) -> tuple[Array, ...]:
        """T_a of (2)."""
        engine: Prepared = self.exact if exact and self.exact is not None else self.prepared
        return engine.factor(gram, factors).trace_blocks()

    def divisor(self, traces: tuple[Array, ...]) -> float:
        """N - sum tr A [- p]."""
        groups = self.prepared.blocks.groups
        used = sum(g.q - float(np.trace(t)) for g, t in zip(groups, traces, strict=True))
        rest = self.n_rows - used - (self.problem.p if self.exact is None else 0)
        if rest <= 0.0:
            raise FitError(
                f"the fixed effects and the random effects use up the {self.n_rows:,} rows, so the dispersion cannot be "
                'estimated. Use dispersion="fixed", or fewer random effects.'
            )
        return rest

    def spread(self, factor: Array, b: Array, moved: Array | None) -> tuple[Array, Array]:
        """u and sum u u' of a group, with the correction in it."""
        u = spherical(factor, b)
        if moved is None:
            return u, u.T @ u
        cross = u.T @ spherical(factor, moved)
        return u, u.T @ u - 0.5 * (cross + cross.T)

    def variances(
        self,
        theta: Array,
        b: tuple[Array, ...],
        gram: Gram,
        residual: float,
        *,
        exact: bool = True,
        moved: Shift | None = None,
    ) -> tuple[Array, float]:
        """theta and phi by one step of (2); `residual` is sum w (z - fit)^2."""
        factors = self.factors(theta)
        traces = self.traces(gram, factors, exact=exact)
        phi = residual / self.divisor(traces) if self.free else 1.0
        if phi == np.inf:
            raise FitError(
                "the dispersion is infinite: some rows have responses that their fitted means all but rule out. "
                f"{self._advice('look for responses that are typing errors')}"
            )
        if not phi > (0.0 if self.scale else NO_DISPERSION):
            raise FitError(
                f"the dispersion is estimated as {phi:.2g}: the model predicts every row that carries weight perfectly. "
                "The likely cause is a predictor that separates the outcomes, or a scale that gives a few rows all the "
                f'weight. Drop or rescale it, use fewer effects, or dispersion="fixed". {self._offset_range()}'
            )
        new, problem = np.array(theta), self.problem
        slices = problem.theta_slices()
        for a, group in enumerate(self.prepared.blocks.groups):
            uu = self.spread(factors[a], b[a], None if moved is None else moved.effects[a])[1] / phi
            for i, c in group.members:
                kind = problem.terms[i].covariance
                new[slices[i]] = _updated(kind, factors[a][c, c], group.m, traces[a][c, c], uu[c, c])
        return new, phi

    def own_parameters(self, state: State) -> State:
        """alpha after scoring steps of the log-likelihood at the present eta (outer-product information)."""
        if self.scale or not self.problem.aux:
            return state
        alpha, designs = state.alpha, [block.matrix for block in self.problem.aux]
        ends = np.cumsum([0, *(d.shape[1] for d in designs)])
        for _ in range(AUX_STEPS):
            rows = self.rows(state.eta, alpha, derivatives=True)
            scores = np.hstack([d * r[:, None] for d, r in zip(designs, rows.d_aux, strict=True)])
            slope, value = scores.sum(axis=0), float(rows.loglik.sum())
            step = np.linalg.lstsq(scores.T @ scores, slope, rcond=1e-12)[0]
            step = np.clip(step, -1.0, 1.0)
            for _ in range(MAX_HALVINGS):
                trial = tuple(a + step[i:j] for a, i, j in zip(alpha, ends[:-1], ends[1:], strict=True))
                if float(self.rows(state.eta, trial).loglik.sum()) >= value:
                    break
                step = 0.5 * step
            else:
                break
            alpha = trial
            if float(slope @ step) < 1e-12 * max(1.0, abs(value)):
                break
        rows = self.rows(state.eta, alpha)
        return replace(state, rows=rows, alpha=alpha)


@dataclass(frozen=True, eq=False)
class WorkingSystem:
    """The working linear mixed model (1) at one eta: everything that does not depend on theta.

    Attributes
    ----------
    model : WorkingModel
    gram : Gram
    sums : tuple of (m_a, k_a) arrays
        Z'Wz.
    target : (p,) array
        X'Wz.
    zwz : float
        z'Wz.
    """

    model: WorkingModel
    gram: Gram
    sums: tuple[Array, ...]
    target: Array
    zwz: float

    @cached_property
    def weighted(self) -> Weighted:
        """The engine at this W."""
        return self.model.prepared.weighted(self.gram)

    def solve(
        self, theta: Array, beta: Array, b: tuple[Array, ...], relative: float, inexact: float
    ) -> tuple[Array, tuple[Array, ...], float, int]:
        """beta, b, sum w (z - fit)^2 and the sweeps it took, at theta, from a start (beta, b)."""
        factors = self.model.factors(theta)
        system = self.weighted.factor(factors).equations()
        rhs = tuple((s @ f)[..., None] for s, f in zip(self.sums, factors, strict=True))
        begin = tuple(spherical(f, v)[..., None] for f, v in zip(factors, b, strict=True))
        target = self.target[:, None]
        column, u, sweeps = system.solve(
            rhs, target, (beta[:, None], begin), relative=relative, inexact=inexact
        )
        residual = max(self.zwz + system.quadratic(rhs, target, column, u), 0.0)
        effects = tuple(v[..., 0] @ f.T for v, f in zip(u, factors, strict=True))
        return column[:, 0], effects, residual, sweeps


def spherical(factor: Array, b: Array) -> Array:
    """u = L^-1 b for each level."""
    if len(factor) == 1:
        return b / factor[0, 0]
    return np.linalg.solve(factor, b.T).T


def _updated(kind: Any, lower: Array, m: int, trace: Array, spread: Array) -> Array:
    """theta of one term from its blocks of A = m I - T and B / phi."""
    left = m * np.eye(len(lower)) - trace
    floor = 1e-12 * m
    if kind.name == "iid":
        sigma = lower @ lower.T * np.trace(spread) / max(float(np.trace(left)), floor)
        return kind.from_covariance(sigma)
    if kind.name == "diag":
        ratio = np.diagonal(spread) / np.maximum(np.diagonal(left), floor)
        return kind.from_covariance(lower @ np.diag(ratio) @ lower.T)
    if kind.name == "us":
        values, vectors = np.linalg.eigh(left)
        root = vectors / np.sqrt(np.maximum(values, floor)) @ vectors.T
        half = lower @ root
        return kind.from_covariance(half @ spread @ half.T)
    return _expectation_maximisation(kind, lower @ (spread + trace) @ lower.T / m)


def _expectation_maximisation(kind: Any, target: Array) -> Array:
    """The member of `kind` that minimises log|Sigma| + tr(Sigma^-1 target)."""
    from scipy.optimize import minimize

    def objective(theta: Array) -> tuple[float, Array]:
        lower = kind.cholesky(theta)
        inverse = np.linalg.inv(lower)
        scaled = inverse @ target @ inverse.T
        value = 2.0 * float(np.log(np.abs(np.diagonal(lower))).sum()) + float(np.trace(scaled))
        core = inverse.T @ (np.eye(len(lower)) - scaled)
        return value, 2.0 * np.einsum("jab,ab->j", kind.jacobian(theta), core)

    start = kind.from_covariance(target)
    return kind.canonical(minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x)


def pearson(rows: Any) -> float:
    """sum s^2 / w over rows that carry weight; infinite if a row has lost its weight but not its score."""
    w = rows.weight
    if w.min(initial=1.0) > NO_WEIGHT:
        s = rows.score
        return sum(in_parts(lambda i, j: float((s[i:j] / w[i:j]) @ s[i:j]), edges(len(w), ROWS)))
    ok = w > NO_WEIGHT
    if np.abs(rows.score[~ok]).max(initial=0.0) > NO_SCORE:
        return float("inf")
    with np.errstate(over="ignore"):
        return float((rows.score[ok] / w[ok]) @ rows.score[ok])
