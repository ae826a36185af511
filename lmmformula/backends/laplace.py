"""Maximum likelihood for generalised models: the Laplace criterion (or quadrature), an exact engine, Newton-secant steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.base import Likelihood, Optimum
from lmmformula.backends.curvature import (
    Criterion,
    joint_vcov,
    laplace_of,
    parameter_names,
    undetermined,
    undetermined_beta,
)
from lmmformula.backends.degenerate import named_failures, refuse_reproduced
from lmmformula.backends.laplace_start import Begin, nearer, start_beta, swept, with_moments
from lmmformula.backends.optimum import (
    convergence,
    modes,
    off_boundary,
    refuse_random_aux,
    settle,
    singular_terms,
)
from lmmformula.backends.schall import extrapolated, schall_step
from lmmformula.checkpoints import Ongoing, left_of, ongoing
from lmmformula.criteria.family_rows import start_aux
from lmmformula.criteria.laplace import Laplace, LaplacePoint
from lmmformula.criteria.quadrature import Quadrature, QuadraturePoint, step_scale
from lmmformula.criteria.rowmodel import Information
from lmmformula.engines.base import Engine, Prepared
from lmmformula.engines.constrained import prepare
from lmmformula.engines.registry import exact_engine
from lmmformula.errors import FitError, PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.numerics.threads import blas_held
from lmmformula.numerics.trust_region import Minimum, Nowhere, Standing, minimise
from lmmformula.progress import Report
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    from lmmformula.backends.batched_laplace import LaplaceBatch

__all__ = ["LaplaceBackend"]

ROUGH = 1e-2
"""Decrement at which a mode search on the way to the start may end."""

PASSING = 3e-4
"""The same for each effect on the way to the next theta: sums of squares of modes, which lead there, err by a few percent."""

SHARE = 1e-5
"""The same for each effect, where traces are estimated anyway: sums of squares of modes are off by a hundredth at most."""

CLOSE = 1e-10
"""The same without random effects, where Newton's steps lead to the estimate itself; not so far that weights of an estimate
that runs off to infinity vanish."""

LOOSE = 1e-10
"""The same where the deviance has a standard error anyway."""


@dataclass(frozen=True, eq=False)
class _Scaled:
    """A criterion's point in coordinates x, psi = S x."""

    point: LaplacePoint | QuadraturePoint
    scale: Array

    @property
    def value(self) -> float:
        return self.point.deviance

    @property
    def error(self) -> float:
        return self.point.error + laplace_of(self.point).variances.rounding

    @property
    def gradient(self) -> Array:
        return self.scale.T @ self.point.gradient

    @property
    def hessian(self) -> Array:
        return self.scale.T @ self.point.hessian @ self.scale


@dataclass(frozen=True, slots=True)
class LaplaceBackend(Likelihood):
    """ML by the Laplace approximation or adaptive quadrature.

    Parameters
    ----------
    information : {"observed", "expected"}
        Weights in log|M|.
    nagq : int
        Quadrature nodes; 1 is Laplace, 0 finds beta together with the modes.
    engine : Engine
    tolerance : float
        Newton decrement of the deviance at which the search ends.
    max_evaluations : int
    start : array, optional
        theta to start from.
    """

    information: Information = "observed"
    nagq: int = 1
    engine: Engine = field(default_factory=exact_engine)
    tolerance: float = 1e-9
    max_evaluations: int = 200
    start: Array | None = None

    @property
    def probed(self) -> int | None:
        """That of an engine that draws."""
        return None if self.engine.is_exact else getattr(self.engine, "seed", None)

    @property
    def resumes(self) -> bool:
        """True."""
        return True

    @property
    def approximation(self) -> str:
        """The information that its weights are, where links are not canonical."""
        return self.information

    def profiled(self, point: LaplacePoint) -> Criterion:
        """The criterion; refused where beta goes with the modes."""
        if self.nagq == 0:
            raise PlanError(
                "a profile needs a likelihood of all parameters, and the fast mode, nagq=0, finds the fixed effects together "
                "with the modes: fit with nagq=1, or more nodes."
            )
        return self.criterion(point.model)

    def afresh(self) -> Self:
        """Without where a search was told to begin."""
        return replace(self, start=None)

    @property
    def trust(self) -> str:
        """That of the approximation, by an engine that is exact."""
        if not self.engine.is_exact:
            return "krylov"
        return {0: "fast", 1: "laplace"}.get(self.nagq, "quadrature")

    def describe(self) -> tuple[str, ...]:
        """What lme4's fast mode leaves out of the standard errors."""
        if self.nagq:
            return ()
        return ("Standard errors take the covariance parameters as known, as nAGQ = 0 does.",)

    def fit(
        self,
        problem: Problem,
        prepared: Prepared | None = None,
        progress: Report | None = None,
    ) -> Optimum[LaplacePoint]:
        """Estimate `problem`."""
        refuse_random_aux(problem)
        if prepared is None:
            prepared = prepare(self.engine, problem.data.levels)
        with blas_held(prepared.dense_side), named_failures():
            return self._fit(problem, prepared, progress)

    def _fit(
        self,
        problem: Problem,
        prepared: Prepared,
        progress: Report | None,
        near: LaplacePoint | None = None,
    ) -> Optimum[LaplacePoint]:
        """The search from a plain GLM, or from `near` with its beta, theta, alpha and modes."""
        model = self.model(problem, prepared)
        here = ongoing("search")
        begin = self._begin(model, left_of(here), near)
        criterion = self.criterion(model)
        found = self._search(criterion, begin, progress, here)
        if not np.isfinite(found.point.value):
            raise FitError(
                "the likelihood is not finite where the search begins. The likely cause is a response that is all but "
                "constant, or predictors on a very large scale; centre and scale them, or use another family."
            )
        self._refuse_reproduced(model, laplace_of(found.point.point))
        at_end = found.point.point.sharpened()
        if self.nagq <= 1 and at_end.model is not model:
            criterion = model = at_end.model
            here = ongoing("sharper search")
            left = left_of(here)
            begin = Begin(at_end.psi, at_end.u, at_end.beta) if left is None else left["begin"]
            found = self._search(model, begin, progress, here)
            at_end = found.point.point
        psi = self._settled(criterion, at_end.psi, found.point)
        if (psi != at_end.psi).any():
            at_end = criterion(psi, u=laplace_of(at_end).u, beta=laplace_of(at_end).beta, exact=True)
        final = laplace_of(at_end).with_own_columns()
        return Optimum(self._estimate(model, final, float(at_end.deviance), found), final)

    def _refuse_reproduced(self, model: Laplace, point: LaplacePoint) -> None:
        refuse_reproduced(model.problem.family, model.own_rows, model.means_predictor(point))

    def model(self, problem: Problem, prepared: Prepared | None) -> Laplace:
        """The criterion of a problem, before quadrature."""
        information, profiled = self.information, self.nagq == 0
        return Laplace.of(
            problem, self.engine, information=information, profile_beta=profiled, prepared=prepared
        )

    def evaluate(self, problem: Problem, estimate: Estimate) -> LaplacePoint:
        """The Laplace criterion at an estimate, for a fit that was loaded."""
        model = self.model(problem, None)
        psi = np.concatenate([estimate.theta, *estimate.aux])
        if self.nagq != 0:
            psi = np.concatenate([estimate.beta, psi])
        return model(psi, beta=estimate.beta, exact=True)

    def joint_vcov(self, estimate: Estimate, point: LaplacePoint) -> Array | None:
        """Covariance matrix of psi, see :func:`joint_vcov`; None for nAGQ = 0, whose beta is no element of psi."""
        if self.nagq == 0:
            return None
        criterion = self.criterion(point.model)
        with blas_held(point.model.prepared.dense_side):
            return joint_vcov(criterion, point, exact=point.error == 0.0)

    def batch(self, point: LaplacePoint) -> LaplaceBatch | None:
        """By :mod:`lmmformula.backends.batched_laplace`, for one grouping factor or none."""
        from lmmformula.backends.batched_laplace import LaplaceBatch, unbatched_laplace

        if self.nagq != 1 or not self.engine.is_exact or unbatched_laplace(point.model):
            return None
        smooth = point.model(point.psi, u=point.u)
        layout = point.model.layout
        return LaplaceBatch(point, round_scale(smooth.hessian, (layout.beta, *layout.aux)), self.tolerance)

    def criterion(self, model: Laplace) -> Criterion:
        """What is minimised: Laplace's approximation itself, or quadrature with its modes."""
        return model if self.nagq <= 1 else Quadrature(model, self.nagq)

    def refit(self, problem: Problem, estimate: Estimate, point: LaplacePoint) -> Optimum[LaplacePoint]:
        """The same model on another response of the same rows, from where the search of the earlier one ended."""
        for chunk in problem.data.chunks():
            problem.family.check(chunk.y, chunk.weights, "y")
        prepared = point.model.prepared
        try:
            with blas_held(prepared.dense_side), named_failures():
                found = self._fit(problem, prepared, None, near=point)
            if found.estimate.convergence.status.good:
                return found
        except FitError:
            pass  # a response far from the earlier one: from the start
        return replace(self, start=off_boundary(estimate.theta)).fit(problem, prepared)

    def _begin(self, model: Laplace, left: Record | None, near: LaplacePoint | None) -> Begin:
        """Where an earlier run stood, or at a point, off the boundary, or near the optimum."""
        if left is not None:
            return left["begin"]
        if near is not None:
            psi = near.psi.copy()
            psi[model.layout.theta] = off_boundary(near.theta)
            return Begin(psi, near.u, near.beta)
        if self.start is None and self.nagq and (begin := swept(model)) is not None:
            return begin
        first = self._first(replace(model, prepared=model.prepared.rough, profile_beta=True))
        psi = with_moments(first)
        psi = psi if self.nagq == 0 else np.concatenate([first.beta, psi])
        begin = Begin(psi, first.u, first.beta, near=first.mode.columns)
        return nearer(model, begin) if self.start is None else begin

    def _first(self, joint: Laplace) -> LaplacePoint:
        """beta, theta and alpha near the optimum: a plain GLM, then Schall's iteration on the working model."""
        problem, layout = joint.problem, joint.layout
        psi = np.zeros(layout.size)
        beta = start_beta(problem)
        eta = joint.predictor(beta, (), ())
        refuse_reproduced(problem.family, joint.data, eta)
        scales = start_aux(problem.family, joint.data, eta)
        for where, value in zip(layout.aux, scales, strict=True):
            psi[where.start] = value  # the intercept of the auxiliary predictor
        starts = [t.covariance.start() for t in problem.terms]
        theta = (
            np.concatenate([np.zeros(0), *starts])
            if self.start is None
            else np.asarray(self.start, dtype=float)
        )
        psi[layout.theta] = theta
        if not theta.size:
            point = joint(psi, beta=beta, tolerance=CLOSE)
            return point if undetermined_beta(point).any() else joint(psi, beta=point.beta)
        tolerance = ROUGH if joint.prepared.is_exact else max(ROUGH, SHARE * problem.q)
        if self.start is not None:
            return joint(psi, beta=beta, tolerance=tolerance)
        passes: Record = {"tolerance": max(tolerance, PASSING * problem.q)}
        passes["passing"] = not joint.prepared.is_exact
        point = joint(psi, beta=beta, **passes)
        thetas = [theta]
        for _ in range(2):
            thetas.append(schall_step(point))
            psi[layout.theta] = thetas[-1] if len(thetas) < 3 else extrapolated(*thetas)
            point = joint(psi, u=point.u, beta=point.beta, **passes)
        return point

    def _search(
        self,
        criterion: Criterion,
        first: Begin,
        progress: Report | None,
        here: Ongoing | None,
    ) -> Any:
        """The minimum from `first`; in independent coordinates of unit standard error, so that the trust region is round.

        Starting values are off by a share of a parameter, which is the more standard errors the more rows there are.
        """
        loose: Record = {} if self.engine.is_exact else {"tolerance": LOOSE}
        near: Record = {} if first.near is None else {"near": first.near}
        begin = criterion(first.psi, u=first.u, beta=first.beta, **loose, **near)
        last, standing = laplace_of(begin), first.standing
        scale = first.scale
        if scale is None:
            scale = round_scale(begin.hessian, (last.model.layout.beta, *last.model.layout.aux))
        start = np.linalg.solve(scale, first.psi) if standing is None else standing.x

        def evaluate(x: Array) -> _Scaled | Nowhere:
            nonlocal last
            if (x == start).all():
                return _Scaled(begin, scale)
            try:
                there = scale @ x
                point = criterion(there, u=last.predicted_mode(there), beta=last.beta, **loose)
                value = point.deviance
            except (FitError, np.linalg.LinAlgError):
                return Nowhere()
            if np.isfinite(value):
                last = laplace_of(point)
            return _Scaled(point, scale)

        def keep(standing: Standing, ended: bool) -> None:
            there = Begin(scale @ standing.x, last.u, last.beta, scale, standing)
            if here is not None:
                here.offer(lambda: {"begin": there}, at_once=ended)

        return minimise(
            evaluate,
            start,
            tolerance=self.tolerance,
            max_evaluations=self.max_evaluations,
            radius=10.0 * max(1.0, np.sqrt(last.model.problem.n / 1e4)),
            noise=1e-11,
            secants=3,
            callback=progress,
            standing=standing,
            keep=None if here is None else keep,
        )

    def _settled(self, criterion: Criterion, psi: Array, point: _Scaled) -> Array:
        """psi with variances of zero exactly there, see :func:`lmmformula.backends.optimum.settle`."""
        laplace = laplace_of(point.point)
        problem, where = laplace.model.problem, laplace.model.layout.theta

        def placed(theta: Array) -> Array:
            return np.concatenate([psi[: where.start], theta, psi[where.stop :]])

        def evaluate(theta: Array) -> float:
            return criterion(placed(theta), u=laplace.u, beta=laplace.beta, exact=True).deviance

        return placed(settle(problem, psi[where], point.value, evaluate, 1e-9))

    def _criterion(self, problem: Problem) -> str:
        """What was maximised; without random effects there is nothing to approximate."""
        if not problem.terms:
            return "ML"
        known = {0: "Laplace (nAGQ = 0)", 1: "Laplace"}
        return known.get(self.nagq, f"adaptive quadrature, {self.nagq} nodes")

    def _estimate(self, model: Laplace, point: LaplacePoint, deviance: float, found: Minimum) -> Estimate:
        problem, layout = model.problem, model.layout
        loose = undetermined_beta(point)
        names = list(problem.X.names) if model.profile_beta else []
        names = [name for name, out in zip(names, loose, strict=False) if out]
        return Estimate(
            method=self._criterion(problem),
            engine=self.engine.name,
            beta=point.beta,
            vcov=_vcov(point, loose),
            theta=point.theta,
            sigma=1.0,
            deviance=deviance,
            modes=modes(point),
            convergence=convergence(found, found.evaluations, self.max_evaluations, self.tolerance),
            singular=singular_terms(problem, point.theta),
            deviance_stderr=point.error if self.nagq <= 1 else 0.0,
            aux=tuple(point.psi[s] for s in layout.aux),
            undetermined=(*names, *np.array(parameter_names(model))[undetermined(point)].tolist()),
        )


def _vcov(point: LaplacePoint, loose: NDArray[np.bool_]) -> Array:
    """(X'V^-1X)^-1 of the working model, with infinite variances of coefficients that the data do not determine."""
    if not loose.any():
        return point.half @ point.half.T
    out = np.diag(np.where(loose, np.inf, 0.0))
    both = np.ix_(~loose, ~loose)
    out[both] = np.linalg.inv(point.fixed_information[both])
    return out


def round_scale(hessian: Array, blocks: Sequence[slice]) -> Array:
    """S such that 2 I stands in the place of the `blocks` of S'HS, and about 2 on the rest of its diagonal, (d, d).

    The blocks are those of coefficients, whose columns a model may have in any units and from any origin: with L L' = H / 2
    and S = L^-T, columns X C in the place of X, C upper triangular, give the same coordinates.
    """
    out = np.diag(step_scale(hessian))
    for where in blocks:
        if where.stop - where.start > 1:
            try:
                lower = np.linalg.cholesky(0.5 * hessian[where, where])
            except np.linalg.LinAlgError:
                continue
            out[where, where] = np.linalg.inv(lower).T
    return out
