"""The rows of penalised quasi-likelihood: working responses, solutions of the working model, and variance updates.

The algebra, with the equation numbers used here, stands at the head of :mod:`lmmformula.criteria.pql`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from lmmformula.criteria.family_rows import family_constant, family_rows
from lmmformula.criteria.layout import Layout
from lmmformula.criteria.variance import floored, relative_factors
from lmmformula.criteria.working_rows import (
    NO_WEIGHT,
    Accepted,
    Shift,
    State,
    Step,
    Summed,
    moves_of,
    pearson_sum,
    square,
    weighted_response,
)
from lmmformula.engines.base import Prepared
from lmmformula.engines.equations import EquationsEngine, Weighted
from lmmformula.errors import FitError, PlanError
from lmmformula.families.records import Aux, Maybe
from lmmformula.families.records import Rows as FamilyRows
from lmmformula.ir.blocks import Gram
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Rows, RowVector, range_of, total
from lmmformula.ir.streamed.apart import LevelArray
from lmmformula.ir.sums import (
    AdjointOf,
    GramOf,
    Reduced,
    Share,
    Sum,
    TransposedOf,
    least_of,
    most_of,
    total_of,
)
from lmmformula.typing import Array

__all__ = ["WorkingModel", "WorkingSystem", "spherical"]

MAX_HALVINGS = 12
LARGE = 30.0
"""Size of an offset, on the scale of the link, that is named as a likely cause."""
NO_DISPERSION = 1e-12
"""A dispersion below this, of a family that has none, counts as zero."""
AUX_STEPS = 5
"""Scoring steps for the family's own parameters in one outer iteration."""


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
        if self.scale and any(not block.is_constant for block in self.problem.aux):
            raise PlanError(
                "penalised quasi-likelihood has one dispersion for all rows, so dispformula= does not suit it; "
                'use method="laplace", or give the rows weights.'
            )

    # -- rows --------------------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> Rows:
        """The problem's rows."""
        return self.problem.data.over(self.prepared.blocks)

    def rows(self, eta: RowVector, alpha: tuple[Array, ...], *, derivatives: bool = False) -> FamilyRows:
        """The family at eta with expected weights; a free dispersion is set to one."""
        aux: Aux = (0.0,)
        if not self.scale:
            aux = tuple(block.times(a) for block, a in zip(self.data.aux, alpha, strict=True))
        return family_rows(
            self.problem.family,
            self.data,
            eta,
            aux,
            information="expected",
            derivatives=derivatives,
            constant=self.constant,
        )

    @cached_property
    def constant(self) -> Maybe:
        """The part of the log density in y alone; PQL compares at fixed y, so zero would do as well."""
        return family_constant(self.problem.family, self.data)

    @cached_property
    def layout(self) -> Layout:
        """Positions of the parameters in one vector, for reports on the family's own ones."""
        p, at = self.problem.p, self.problem.p + self.problem.n_theta
        ends = np.cumsum([at, *(len(block.names) for block in self.problem.aux)])
        aux = tuple(slice(int(i), int(j)) for i, j in pairwise(ends))
        return Layout(slice(0, p), slice(p, at), aux)

    @cached_property
    def n_rows(self) -> int:
        """Rows that carry weight."""
        w = self.data.weights
        return self.data.n if w is None else self.data.reduce(lambda chunk, w: int((w > 0).sum()), w)

    def summed(self, state: State, *more: Sum[Share]) -> tuple[Summed, tuple[Share, ...]]:
        """All sums over rows that an outer iteration takes at a state, and `more`, in one pass. O(n (p + sum k)^2)."""
        eta, score, weight = state.eta, state.rows.score, state.rows.weight
        apart = (
            self.exact is None and not self.corrected
        )  # who has levels to themselves may keep what is of them
        with np.errstate(all="ignore"):  # a state may turn out to be none
            (wz,) = self.data.map(weighted_response, eta, weight, score)
            low, high, loglik, gram, sums, target, zwz, squares, *others = self.data.together(
                least_of(weight),
                most_of(weight),
                total_of(state.rows.loglik),
                GramOf(weight, fixed=True, apart=apart),
                AdjointOf(wz, apart),
                TransposedOf(wz),
                Reduced(square, (eta, wz, score)),
                pearson_sum(state.rows),
                *more,
            )
        found = Summed(float(low), float(high), loglik, gram, sums, target, zwz + squares, squares)
        return found, tuple(others)

    def refuse_weightless(self, summed: Summed, weights: RowVector) -> None:
        """Refuse working weights that say nothing."""
        if summed.low >= 0.0 and NO_WEIGHT < summed.high < np.inf:
            return
        bad = self.data.reduce(lambda chunk, w: int((~(np.isfinite(w) & (w > NO_WEIGHT))).sum()), weights)
        raise FitError(
            f"the working weights of {bad:,} of {self.data.n:,} rows are zero or infinite: the linear predictor has run "
            f"to where the family has no information. {self._advice()}"
        )

    def factors(self, theta: Array) -> tuple[Array, ...]:
        """L of each group, its diagonal kept off zero."""
        own = relative_factors(self.problem.terms, self.prepared.blocks.groups, theta)
        return tuple(floored(f) for f in own)

    # -- one outer iteration -----------------------------------------------------------------------------------

    def working(self, summed: Summed, moved: Shift | None = None) -> WorkingSystem:
        """(1) at the state of these sums, for any theta."""
        target = summed.target if moved is None else summed.target + moved.beta
        return WorkingSystem(self, summed.gram, summed.sums, target, summed.zwz)

    def accepted(self, state: State, loglik: float, step: Step, *, again: bool, weighted: bool) -> Accepted:
        """The step to the solution of (1), halved while it lowers the penalised likelihood.

        A correction adds its g'beta to the latter, whose slope it is. One pass for each trial, which takes what the next
        iteration needs along if `again`; `loglik` is that of the state, and `weighted` says how the change is measured.
        """
        factors = self.factors(step.theta)
        push = np.zeros(self.problem.p) if step.moved is None else step.moved.beta
        before = self._penalised(loglik, state.b, factors) - float(push @ state.beta)
        if not state.beta.any() and not any(v.any() for v in state.b):
            before = np.inf  # the first eta is not of the form X beta + Z b
        t = 1.0
        for _ in range(MAX_HALVINGS):
            new_beta = step.beta if t == 1.0 else state.beta + t * (step.beta - state.beta)
            new_b = (
                step.b if t == 1.0 else tuple(o + t * (v - o) for o, v in zip(state.b, step.b, strict=True))
            )
            eta = self.data.apply(new_beta, new_b)
            new = replace(state, eta=eta, rows=self.rows(eta, state.alpha), beta=new_beta, b=new_b)
            change = moves_of(state, new, weighted=weighted)
            if again:
                summed, (moves,) = self.summed(new, change)
                reached = summed.loglik
            else:
                summed = None
                reached, moves = self.data.together(total_of(new.rows.loglik), change)
            value = self._penalised(reached, new_b, factors) - float(push @ new_beta)
            if np.isfinite(value) and value <= before + 1e-9 * abs(before):
                moved, size = np.sqrt(moves)
                return Accepted(new, reached, summed, float(moved) / max(float(size), 1e-300))
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
        if self.data.offset is None:
            return ""
        low, high = range_of(self.data, self.data.offset)
        if max(-low, high) <= LARGE:
            return ""
        return f"The offset runs from {low:.4g} to {high:.4g} on the scale of the link: is it a log of exposures?"

    def _penalised(self, loglik: float, b: tuple[Array, ...], factors: tuple[Array, ...]) -> float:
        """-sum l + |u|^2 / 2."""
        u = (spherical(f, v) for f, v in zip(factors, b, strict=True))
        return -float(loglik) + 0.5 * sum(float(np.vdot(v, v)) for v in u)

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
                own = factors[a][c, c], group.m, traces[a][c, c], uu[c, c]
                new[slices[i]] = problem.terms[i].covariance.updated(theta[slices[i]], *own)
        return new, phi

    @property
    def has_own(self) -> bool:
        """Whether the family has parameters of its own, which move between outer iterations."""
        return bool(self.problem.aux) and not self.scale

    def own_parameters(self, state: State) -> State:
        """alpha after scoring steps of the log-likelihood at the present eta (outer-product information)."""
        if not self.has_own:
            return state
        alpha, ends = state.alpha, np.cumsum([0, *(block.p for block in self.data.aux)])
        for _ in range(AUX_STEPS):
            rows = self.rows(state.eta, alpha, derivatives=True)
            value, (slope, information) = total(self.data, rows.loglik), self._aux_scores(rows)
            step = np.linalg.lstsq(information, slope, rcond=1e-12)[0]
            step = np.clip(step, -1.0, 1.0)
            for _ in range(MAX_HALVINGS):
                trial = tuple(a + step[i:j] for a, i, j in zip(alpha, ends[:-1], ends[1:], strict=True))
                if total(self.data, self.rows(state.eta, trial).loglik) >= value:
                    break
                step = 0.5 * step
            else:
                break
            alpha = trial
            if float(slope @ step) < 1e-12 * max(1.0, abs(value)):
                break
        rows = self.rows(state.eta, alpha)
        return replace(state, rows=rows, alpha=alpha)

    def _aux_scores(self, rows: FamilyRows) -> tuple[Array, Array]:
        """Scores of alpha, and the sum of their outer products over rows."""
        data, aux = self.data, self.data.aux
        blocks = [
            [
                a.products(b, data.map(lambda chunk, r, s: (r * s,), d, e)[0])
                for b, e in zip(aux, rows.d_aux, strict=True)
            ]
            for a, d in zip(aux, rows.d_aux, strict=True)
        ]
        slopes = [a.transposed(d) for a, d in zip(aux, rows.d_aux, strict=True)]
        return np.concatenate(slopes), np.block(blocks)


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
    if isinstance(b, LevelArray):
        return b.with_inverse(factor)  # type: ignore[return-value]
    return np.linalg.solve(factor, b.T).T
