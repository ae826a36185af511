r"""Estimates of many responses on one design, in the user's units, as arrays.

What :mod:`lmmformula.ir.standard` does to one estimate, done to a stack of them, and Satterthwaite's degrees of freedom of
:mod:`lmmformula.inference.wald` for all responses at once: with C(phi) the covariance matrix of beta, phi = (theta, log sigma),
and H the exact Hessian of the deviance in phi,

    df = 2 (l'Cl)^2 / (g'A g),    g_j = l' dC/dphi_j l,    A = 2 H^-1                                     (1)

The degrees of freedom of the residual variance itself follow from the same A: ``var(log sigma) = A_ss``, so
``var(sigma^2) = 4 sigma^4 A_ss`` and a scaled chi-square with that variance has ``2 sigma^4 / var(sigma^2) = 1 / (2 A_ss)`` of
them. Without random effects these are n - p (REML).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.backends.optimum import SINGULAR_BELOW
from lmmformula.errors import FitError
from lmmformula.inference.conditional import varying
from lmmformula.inference.many.placing import Estimates, placed
from lmmformula.inference.refitting import parameters, refit_drawn
from lmmformula.ir.problem import Problem
from lmmformula.ir.standard import Standard
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    from lmmformula.backends.base import Together
    from lmmformula.backends.batched import Stack
    from lmmformula.inference.fitted import Fitted

__all__ = ["Estimates", "estimates"]

NO_INFORMATION = 1e-8
"""Share of the largest curvature below which a direction of phi is left out, as for one fit."""


def _stacked(fit: Fitted, batch: Together, y: Array, start: Array | None, *, errors: bool) -> Stack:
    """Fits of responses y (rows, B) in the user's units, from `start` in those of the standardised problem."""
    return batch.fit(fit.standard.response_in(y), start, errors=errors)


@dataclass(frozen=True, eq=False)
class _Outward:
    """A stack of estimates in the user's units."""

    problem: Problem
    standard: Standard
    stack: Stack

    @cached_property
    def beta(self) -> Array:
        return self.stack.beta @ self.standard.coefficients.T

    @cached_property
    def vcov(self) -> Array:
        c = self.standard.coefficients
        return c @ self.stack.vcov @ c.T

    @cached_property
    def moves(self) -> Array:
        c = self.standard.coefficients
        return c @ np.asarray(self.stack.moves) @ c.T

    @cached_property
    def sigma(self) -> Array:
        scale = next((j for j, a in enumerate(self.problem.family.auxiliaries) if a.is_scale), None)
        if self.problem.aux and scale is not None and self.problem.aux[scale].is_constant:
            return np.asarray(self.problem.family.auxiliaries[scale].value(self.aux[scale][:, 0]))
        return self.standard.sigma_out(1.0) * self.stack.sigma

    @cached_property
    def aux(self) -> tuple[Array, ...]:
        """Coefficients of the auxiliary predictors, (B, a_j) each."""
        if self.stack.aux is None:
            return ()
        ends = np.cumsum([0, *(len(block.names) for block in self.problem.aux)])
        own = [self.stack.aux[:, i:j] for i, j in pairwise(ends)]
        return tuple(self.standard.aux_out(j, alpha) for j, alpha in enumerate(own))

    @property
    def auxiliary(self) -> dict[str, Array]:
        """The family's other parameters by name, as :func:`lmmformula.inference.refitting.parameters` has them."""
        out: dict[str, Array] = {}
        parts = zip(self.problem.family.auxiliaries, self.problem.aux, self.aux, strict=False)
        for parameter, block, alpha in parts:
            if block.is_constant:
                out[parameter.name] = np.asarray(parameter.value(alpha[:, 0]))
            else:
                out |= {f"{parameter.name}: {n}": alpha[:, i] for i, n in enumerate(block.names)}
        return out

    @cached_property
    def spreads(self) -> dict[str, Array]:
        """Standard deviations and correlations by name."""
        out: dict[str, Array] = {}
        slices = self.problem.theta_slices()
        for i, (term, own, s) in enumerate(
            zip(self.problem.terms, self.standard.problem.terms, slices, strict=True)
        ):
            units = own.covariance.jacobian(own.covariance.start())
            lower = np.tensordot(self.stack.theta[:, s], units, axes=1) * self.stack.sigma[:, None, None]
            lower = self.standard.effects(i) @ lower
            cov = lower @ np.swapaxes(lower, -1, -2)
            sd = np.sqrt(np.maximum(np.einsum("bii->bi", cov), 0.0))
            out |= {f"sd_{c}|{term.group}": sd[:, j] for j, c in enumerate(varying(term))}
            if term.covariance.within.correlated:
                with np.errstate(divide="ignore", invalid="ignore"):
                    cor = cov / (sd[:, :, None] * sd[:, None, :])
                out |= {
                    f"cor_{term.columns[i]}.{term.columns[j]}|{term.group}": cor[:, i, j]
                    for j in range(term.k)
                    for i in range(j + 1, term.k)
                }
        return out

    @cached_property
    def singular(self) -> NDArray[np.bool_]:
        out = np.zeros(self.stack.n, dtype=bool)
        for term, s in zip(self.standard.problem.terms, self.problem.theta_slices(), strict=True):
            units = term.covariance.jacobian(term.covariance.start())
            lower = np.tensordot(self.stack.theta[:, s], units, axes=1)
            diagonals = np.abs(np.einsum("bii->bi", lower))[:, : term.covariance.within.rank]
            out |= diagonals.min(axis=1, initial=1.0) < SINGULAR_BELOW
        return out

    @cached_property
    def information(self) -> Array:
        """A of (1), (B, d + 1, d + 1), without directions of which the data say nothing."""
        h = np.nan_to_num(np.asarray(self.stack.hessian))
        values, vectors = np.linalg.eigh(h)
        keep = values > NO_INFORMATION * np.maximum(values[:, -1:], 1e-300)
        inverse = np.where(keep, 2.0 / np.where(keep, values, 1.0), 0.0)
        return (vectors * inverse[:, None, :]) @ np.swapaxes(vectors, -1, -2)

    def degrees(self, rows: Array) -> Array:
        """(1) for each row (r, p) of contrasts, (B, r)."""
        problem = self.problem
        if self.stack.hessian is None:
            return np.full((self.stack.n, len(rows)), np.inf)
        if not problem.n_theta:
            return np.full((self.stack.n, len(rows)), float(problem.n - problem.p))
        variance = np.einsum("ri,bij,rj->br", rows, self.vcov, rows, optimize=True)
        slope = np.einsum("ri,bkij,rj->brk", rows, self.moves, rows, optimize=True)
        spread = np.einsum("brk,bkl,brl->br", slope, self.information, slope, optimize=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2.0 * variance**2 / spread

    def residual_df(self) -> Array:
        """Degrees of freedom of sigma^2."""
        if self.stack.hessian is None:
            return np.full(self.stack.n, np.nan)
        if not self.problem.n_theta:
            return np.full(self.stack.n, float(self.problem.n - self.problem.p))
        with np.errstate(divide="ignore", invalid="ignore"):
            return 0.5 / self.information[:, -1, -1]


def _parameters(own: _Outward) -> dict[str, Array]:
    names = own.problem.X.names
    out = {**{n: own.beta[:, j] for j, n in enumerate(names)}, **own.spreads, **own.auxiliary}
    return {**out, "sigma": own.sigma} if own.problem.is_linear else out


def estimates(fit: Fitted, y: Array, *, start: bool = False, tests: bool = True) -> Estimates:
    """Fits of the responses y (rows, B) on the rows of `fit`: together where its kind can, else one by one.

    Parameters
    ----------
    start : bool
        Whether searches begin at the estimate of `fit`, near which they end where the responses are draws from it.
    tests : bool
        Whether degrees of freedom are wanted; they are nan if not.

    Raises
    ------
    DataError
        For responses that the family does not have.
    """
    problem = fit.problem
    if not problem.is_linear:
        for response in y.T:
            problem.family.check(response, problem.weights, "y")
    batch = fit.backend.batch(fit.optimum)
    if batch is None:
        return _one_by_one(fit, y)
    stack = _stacked(fit, batch, y, fit.optimum.theta if start else None, errors=tests)
    found = _of_stack(fit, stack, tests)
    left = np.flatnonzero(~stack.converged) if stack.hessian is None else np.zeros(0, dtype=np.intp)
    if not len(left):
        return found
    done = np.flatnonzero(stack.converged)
    alone = _one_by_one(fit, y[:, left])
    return placed([found.part(done), alone], [done, left], found.n)


def _of_stack(fit: Fitted, stack: Stack, tests: bool) -> Estimates:
    problem, restricted = fit.problem, fit.estimate.restricted
    own = _Outward(problem, fit.standard, stack)
    deviance = stack.deviance + fit.standard.deviance_shift(restricted=restricted)
    unknown = np.full(stack.n, np.nan)
    return Estimates(
        problem.X.names,
        own.beta,
        np.sqrt(np.einsum("bii->bi", own.vcov)),
        own.degrees(np.eye(problem.p)) if tests else np.full(own.beta.shape, np.nan),
        own.vcov,
        _parameters(own),
        own.sigma,
        own.residual_df() if tests else unknown,
        -0.5 * deviance,
        stack.converged,
        own.singular,
        together=True,
    )


def _one_by_one(fit: Fitted, y: Array) -> Estimates:
    names, keys = fit.problem.X.names, list(parameters(fit))
    rows: list[Record] = []
    for response in y.T:
        try:
            one = refit_drawn(fit, response)
            own = parameters(one)
            rows.append(
                {
                    "beta": one.estimate.beta,
                    "errors": one.bse.to_numpy(),
                    "degrees": one.df.to_numpy(),
                    "vcov": one.vcov,
                    "parameters": np.array([own[key] for key in keys]),
                    "sigma": one.sigma,
                    "llf": one.llf,
                    "converged": one.converged,
                    "singular": one.is_singular,
                }
            )
        except FitError:
            p = len(names)
            nan = np.full(p, np.nan)
            failed = {"beta": nan, "errors": nan, "degrees": nan, "vcov": np.full((p, p), np.nan)}
            rest = {"sigma": np.nan, "llf": np.nan, "converged": False, "singular": False}
            rows.append({**failed, **rest, "parameters": np.full(len(keys), np.nan)})
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    every = columns.pop("parameters")
    return Estimates(
        names,
        parameters={key: every[:, j] for j, key in enumerate(keys)},
        residual_df=np.full(len(rows), np.nan),
        together=False,
        **columns,
    )
