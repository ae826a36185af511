r"""The Krylov engine: conjugate gradients and stochastic Lanczos quadrature on the Schur complement of the largest group.

All answers come from products with I - K of :mod:`lmmformula.engines.krylov.schur`, which cost O(nnz).

Solutions. Conjugate gradients on I - K. In a crossed design its spectrum is a cluster around one and a few outliers near zero
(a constant moved from one group to another), so that a handful of steps suffices.

Log-determinant. By (3) there, ``log|M|`` is exact apart from tr log(I - K). K has zero diagonal blocks, and tr K^2 is a sum
over its nonzeros, so two moments are exact and only the rest is estimated::

    tr log(I - K) = - tr K^2 / 2 + tr g(K),        g(x) = log(1 - x) + x + x^2 / 2 = - x^3 / 3 - x^4 / 4 - ...        (1)

With Q an orthonormal basis of the outlying eigenvectors (by subspace iteration), P = I - QQ', and signs z (Hutchinson 1990)::

    tr g(K) = tr Q'g(K)Q + E z'P g(K) P z                                                                            (2)

which is unbiased for any Q (Meyer et al. 2021, Hutch++), and exact with Q = I once as many probes are asked for as D has
effects. Each quadratic form is a Gauss quadrature from the coefficients of the very conjugate gradients that solve
(I - K) w = P z (Ubaru, Chen & Saad 2017; Golub & Meurant 2010). The standard error is that of the mean over probes. The
probes are fixed by the seed, so that the criterion is a smooth function of theta.

Blocks of M^-1 and their sums: :mod:`lmmformula.engines.krylov.stochastic`, from the same solutions.

Where products are dear, solutions are deflated: ``(I - K)^-1 b = (I - K)^-1 Q Q'b + (I - K)^-1 P b`` has the first part from
the quadratic forms, and the second, which meets the cluster alone, takes half the steps.

Other preconditioners of M, which eliminate nothing, take the place of the Schur complement on request; what is exact for
each is derived in :mod:`lmmformula.engines.krylov.splitting`.

References
----------
Kuendig & Sigrist (2025), Scalable Krylov subspace methods for generalized mixed-effects models with crossed random effects.
Ubaru, Chen & Saad (2017), Fast estimation of tr(f(A)) via stochastic Lanczos quadrature, SIAM J. Matrix Anal. Appl. 38.
Meyer, Musco, Musco & Woodruff (2021), Hutch++: optimal stochastic trace estimation, SOSA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from lmmformula.engines.base import (
    Across,
    Drawless,
    Estimating,
    Sharpened,
    Stacked,
    Survey,
    is_constrained,
    refuse,
)
from lmmformula.engines.krylov.complement import Complement, Pattern, ProbedInverse
from lmmformula.engines.krylov.cost import survey
from lmmformula.engines.krylov.deflation import outliers, shifts
from lmmformula.engines.krylov.device import DEVICES, OnDevice, OnProcessor, placed
from lmmformula.engines.krylov.lean import LeanPattern, is_lean
from lmmformula.engines.krylov.moments import Moments
from lmmformula.engines.krylov.schur_pattern import SchurPattern
from lmmformula.engines.krylov.splitting import SPLITTINGS, SplitPattern
from lmmformula.engines.krylov.stochastic import Probed
from lmmformula.errors import ConvergenceWarning, warn
from lmmformula.ir.blocks import Gram
from lmmformula.ir.levels import Levels
from lmmformula.ir.problem import Problem
from lmmformula.numerics.conjugate_gradients import Solution, quadrature
from lmmformula.typing import Array

__all__ = ["PRECONDITIONERS", "KrylovEngine", "KrylovFactor", "KrylovPrepared"]

PRECONDITIONERS = ("schur", *SPLITTINGS)
"""The largest group eliminated, or M split without elimination."""

SMALL = 60_000
"""Rows below which the accuracy of a log-likelihood is no longer scaled down: by default 0.005."""
MAX_PROBES = 512
"""Most probes that a target accuracy may ask for."""
COARSE = 0.01
"""Standard error of a log-determinant, in units of sqrt(q_D), beyond which traces deserve more probes too.

Its slope in the logarithm of a variance is off by about as much, where the information is about q_D / 2: an estimate moves by
1.4 times this share of its standard error.
"""
LOOSEST, UNSEEN = 1e-3, 0.05
"""Relative residual at which forms end whose solutions nobody reads, and the share of the accuracy that their error may be."""
SAFE = 5.0
"""Rounding errors of single precision, each of a condition number times its unit, that a tolerance must leave room for."""
COLUMNS = 16
"""Right-hand sides that are iterated on at a time."""
MANY = 4
"""Right-hand sides from which on a basis of outlying eigenvectors, which traces ask for, too, is found first."""


@dataclass(frozen=True)
class KrylovEngine(Estimating):
    """Iterative linear algebra with standard errors.

    Parameters
    ----------
    seed : int
        Of the probes.
    probes : int
        Sign vectors for traces and log-determinants while theta moves.
    accuracy : float
        Standard error of the log-likelihood at the end, in units of sqrt(n), n at least `SMALL`: a log-likelihood itself
        varies by about 0.7 sqrt(n) from sample to sample, so the default adds nothing to that.
    tolerance : float
        Relative residual of solutions; the error of a quadratic form is of the order of its square.
    probe_tolerance : float
        The same for probes; a quadrature's error is of the order of its square.
    max_steps : int
    moments : bool
        Whether sums over the nonzeros of K are formed, see (1).
    searches : bool
        Whether outlying eigenvectors are looked for beyond those that every design has.
    preconditioner : str
        Of `PRECONDITIONERS`.
    device : str
        Where products and iterations run, of `DEVICES` of :mod:`lmmformula.engines.krylov.device`.
    """

    seed: int = 0
    probes: int = 8
    accuracy: float = 2e-5
    tolerance: float = 1e-6
    probe_tolerance: float = 1e-5
    max_steps: int = 1000
    moments: bool = True
    searches: bool = True
    preconditioner: str = "schur"
    device: str = "cpu"
    name: str = "krylov"

    def refuses(self, blocks: Levels) -> str:
        """Models without a group to eliminate level by level, coupled levels where nothing is eliminated, and constraints."""
        if is_constrained(blocks):
            return (
                "effects of an intrinsic autoregression are constrained to sum to zero, which the krylov engine does not take: "
                'the mixed-model matrix is sparse, and engine="sparse" factorises it.'
            )
        if self.preconditioner == "schur" and any(g.is_blockwise for g in blocks.groups):
            return ""
        return super().refuses(blocks)

    def survey(self, problem: Problem, blocks: Levels) -> Survey:
        """The largest group eliminated, the rest iterated on."""
        elsewhere = self.device != DEVICES[0]
        words = f"products and iterations run on the {self.device.upper()}, as asked" if elsewhere else ""
        return survey(problem, blocks, self.probes, words)

    def prepare(self, blocks: Levels) -> KrylovPrepared:
        """Refuse what does not suit; patterns, tens of bytes for each pair of levels, wait for a fit on a processor."""
        refuse(blocks, self)
        elsewhere = self.device != DEVICES[0]
        found = Found(blocks, self.preconditioner, elsewhere)
        place = placed(self.device, found.pattern) if elsewhere else OnProcessor()
        return KrylovPrepared(self, blocks, found, place)


@dataclass(frozen=True, eq=False)
class Found:
    """Where nonzeros stand, found when first asked for: a plan alone does without."""

    blocks: Levels
    preconditioner: str
    elsewhere: bool

    @cached_property
    def pattern(self) -> Pattern:
        if self.preconditioner != "schur":
            return SplitPattern(self.blocks, self.preconditioner)
        if is_lean(self.blocks) and not self.elsewhere:
            return LeanPattern(self.blocks)
        return SchurPattern(self.blocks)


@dataclass(frozen=True, eq=False)
class KrylovPrepared:
    """Patterns and probes, and where products run."""

    engine: KrylovEngine
    blocks: Levels
    found: Found
    place: OnProcessor | OnDevice

    is_exact = False

    @property
    def pattern(self) -> Pattern:
        return self.found.pattern

    @property
    def dense_side(self) -> int:
        return 0

    @cached_property
    def signs(self) -> Array:
        """Probes, (q_D, probes), each element 1 or -1."""
        rng = np.random.default_rng(self.engine.seed)
        return rng.integers(0, 2, (self.pattern.q, self.engine.probes)) * 2.0 - 1.0

    @property
    def rough(self) -> KrylovPrepared:
        """Two probes, what no pass over pairs and no search gives, and loose solutions, on the same patterns."""
        return self._rough

    @cached_property
    def _rough(self) -> KrylovPrepared:
        engine = replace(
            self.engine, probes=2, moments=False, searches=False, tolerance=1e-3, probe_tolerance=1e-2
        )
        return replace(self, engine=engine)

    def factor(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> KrylovFactor:
        complement = self.place.complement(self.pattern.complement(gram, factors, across))
        working = (
            not gram.vv.size
        )  # a Gram of Z alone is that of working weights, where rows are asked for their leverages
        return KrylovFactor(self, tuple(factors), complement, across=across, by_rows=working)


@dataclass(frozen=True, eq=False)
class KrylovFactor(Drawless):
    """M at one W and one theta, never factorised; what is not asked for is not computed.

    Attributes
    ----------
    prepared : KrylovPrepared
    factors : tuple of (k_a, k_a) arrays
        L_a.
    complement : Complement
    more : (count,) array
        z'P g(K) P z for further probes.
    first : KrylovFactor, optional
        The same without these, whose solutions and moments are used.
    across : sequence of Precision or None
        Q_a.
    by_rows : bool
        Whether blocks of M^-1 on the pattern of the rows are likely to be asked for.
    """

    prepared: KrylovPrepared
    factors: tuple[Array, ...]
    complement: Complement
    more: Array = field(default_factory=lambda: np.zeros(0))
    first: KrylovFactor | None = None
    across: Across = ()
    by_rows: bool = False

    # -- solutions ---------------------------------------------------------------------------------------------

    def solve(self, rhs: Stacked) -> Stacked:
        """M^-1 rhs to the engine's tolerance; warns with the residual where that is not reached."""
        c = rhs[0].shape[-1] if rhs else 0
        a, b = self.complement.reduced(rhs)
        x = np.zeros_like(b)
        if self.complement.deflates and (c >= MANY or "_probed" in vars(self)):
            basis = self._probed.basis
            along = basis.T @ b
            b = b - basis @ along
            x += self._probed.of_basis @ along
        for start in range(0, c, COLUMNS):
            some = slice(start, start + COLUMNS)
            part = np.ascontiguousarray(b[:, some])
            x[:, some] += self._iterate(part, self.prepared.engine.tolerance, "a solution").x
        return self.complement.stacked(a, x)

    def _iterate(self, b: Array, tolerance: float, what: str, *, forms: bool = False) -> Solution:
        engine, place = self.prepared.engine, self.prepared.place
        by = place.conjugate_gradients if forms else place.solution
        found = by(self.complement, b, tolerance, engine.max_steps)
        if not found.converged.all():
            warn(
                f"conjugate gradients for {what} stopped after {int(found.steps.max())} steps at a relative residual of "
                f"{found.residuals.max():.2g}, the goal being {tolerance:.2g}. The likely causes are columns on very "
                "different scales, or variances a million times that of the residual; rescale the columns, raise "
                'max_steps, or use method="ml" if memory allows an exact factorisation.',
                ConvergenceWarning,
            )
        return found

    # -- log-determinant ---------------------------------------------------------------------------------------

    @property
    def logdet(self) -> float:
        """An estimate of log |M|, by (1) and (2)."""
        return self.complement.logdet + self._log_rest[0]

    @property
    def logdet_stderr(self) -> float:
        """Standard error of `logdet` over probes."""
        return self._log_rest[1]

    @cached_property
    def _log_rest(self) -> tuple[float, float]:
        if not self.complement.q:
            return 0.0, 0.0
        probed, r = self._probed, self._probed.basis.shape[1]
        sampled = np.concatenate([probed.forms[r:], self.more])
        mean = -0.5 * self.moments.trace_square + float(probed.forms[:r].sum())
        mean += float(sampled.mean()) if len(sampled) else 0.0
        return mean, _error_of_mean(sampled)

    @cached_property
    def moments(self) -> Moments:
        """Exact sums over the nonzeros of K."""
        if self.first:
            return self.first.moments
        return self.complement.moments(self.prepared.engine.moments, self.by_rows)

    @cached_property
    def _probed(self) -> Probed:
        if self.first:
            return self.first._probed
        engine, q = self.prepared.engine, self.complement.q
        if engine.probes >= q:
            basis, probes = np.eye(q), np.zeros((q, 0))
        else:
            signs, basis = self.prepared.signs, self._outliers()
            probes = signs - basis @ (basis.T @ signs) if basis.shape[1] else signs
        exact = self._forms(basis, engine.tolerance)
        single = self._by_single(basis.T @ exact.x, engine.probe_tolerance)
        sampled = self._forms(probes, engine.probe_tolerance, single=single)
        forms = np.concatenate([exact.forms, sampled.forms])
        if exact.powers is None or sampled.powers is None:
            return Probed(basis, probes, exact.x, sampled.x, forms)
        first, second = (np.hstack(pair) for pair in zip(exact.powers, sampled.powers, strict=True))
        return Probed(basis, probes, exact.x, sampled.x, forms, (first, second))

    def _outliers(self) -> Array:
        """An orthonormal basis of about the outlying eigenvectors."""
        if not self.prepared.engine.searches:
            return shifts(self.complement, self.factors)
        square = self.moments.trace_square if self.moments.exact else None
        seed, iterate = self.prepared.engine.seed, self.prepared.place.subspace
        return outliers(self.complement, self.factors, seed, square, iterate)

    def _by_single(self, inverse: Array, tolerance: float) -> bool:
        """Whether single precision gives forms to a tolerance, with ``Q'(I - K)^-1 Q`` of the outlying eigenvectors.

        A solution is off by about the unit of rounding times the condition number of I - K, which they determine.
        """
        condition = float(np.linalg.norm(inverse, 2)) if inverse.size else 1.0
        return self.complement.has_single and SAFE * condition * float(np.finfo(np.float32).eps) <= tolerance

    def _forms(self, vectors: Array, tolerance: float, *, single: bool = False) -> _Forms:
        """(I - K)^-1 v and v' g(K) v for each column v, in single precision or in double."""
        kind = np.float32 if single else np.float64
        found, forms = list[Solution](), [np.zeros(0)]
        for start in range(0, vectors.shape[1], COLUMNS):
            part = np.ascontiguousarray(vectors[:, start : start + COLUMNS], dtype=kind)
            found.append(self._iterate(part, tolerance, "a trace", forms=True))
            values = quadrature(found[-1], np.einsum("qc,qc->c", part, part, dtype=float), self._rest)
            forms.append(values + self.complement.correction(part))
        none, powers = np.zeros((len(vectors), 0)), [f.powers for f in found if f.powers is not None]
        both = None
        if len(powers) == len(found):
            both = np.hstack([none, *(p for p, _ in powers)]), np.hstack([none, *(p for _, p in powers)])
        return _Forms(np.hstack([none, *(f.x for f in found)]), np.concatenate(forms), both)

    def _rest(self, eigenvalues: Array) -> Array:
        """g of (1), without the term that has no exact moment, for eigenvalues 1 - x of I - K."""
        x = 1.0 - eigenvalues
        out = np.log(eigenvalues) + x
        return out + 0.5 * x**2 if self.moments.exact else out

    def sharpened(self) -> Sharpened:
        """The same M with as many probes as the engine's accuracy takes, at most `MAX_PROBES`; warns if they do not do.

        Where the error is large, so may be that of traces: the engine itself then gets more probes. Otherwise further
        quadratic forms are added to the log-determinant alone.
        """
        goal = 2.0 * self.prepared.engine.accuracy * float(np.sqrt(max(self.prepared.blocks.n, SMALL)))
        if self.logdet_stderr <= goal:
            return Sharpened(self)
        coarse = self.logdet_stderr > COARSE * np.sqrt(self.complement.q)
        out = self._with_probes(goal) if coarse else self._with_forms(goal)
        if out.logdet_stderr > 1.5 * goal:
            warn(
                f"the log-likelihood is known to a standard error of {out.logdet_stderr / 2:.2g} only, with {MAX_PROBES} "
                f"probes; the goal was {goal / 2:.2g}. The likely cause is a factor that is almost nested in another, or "
                "levels that meet in long chains. Estimates are affected far less; for a likelihood to compare models by, "
                'use engine="blocked" if memory allows.',
                ConvergenceWarning,
            )
        return Sharpened(out, out.prepared if coarse else None)

    def _with_probes(self, goal: float) -> KrylovFactor:
        out = self
        while out.logdet_stderr > goal and out.prepared.engine.probes < MAX_PROBES:
            need = 1.2 * out.prepared.engine.probes * (out.logdet_stderr / goal) ** 2
            engine = replace(out.prepared.engine, probes=int(min(np.ceil(need), MAX_PROBES)))
            out = replace(out, prepared=replace(out.prepared, engine=engine))
        return out

    def _with_forms(self, goal: float) -> KrylovFactor:
        rng = np.random.default_rng([self.prepared.engine.seed, 2])
        basis, q, out = self._probed.basis, self.complement.q, self
        tolerance = min(LOOSEST, float(np.sqrt(UNSEEN * goal / q)))  # its square times q is a form's error
        single = self._by_single(basis.T @ self._probed.of_basis, tolerance)
        while out.logdet_stderr > goal and len(out.more) < MAX_PROBES:
            signs = rng.integers(0, 2, (q, COLUMNS)) * 2.0 - 1.0
            forms = self._forms(signs - basis @ (basis.T @ signs), tolerance, single=single).forms
            out = replace(out, more=np.concatenate([out.more, forms]), first=self)
        return out

    # -- the inverse -------------------------------------------------------------------------------------------

    @cached_property
    def _inverse(self) -> ProbedInverse:
        return self.complement.inverse(self.moments, self._probed if self.complement.q else None)

    def inverse(self) -> ProbedInverse:
        """Estimates of selected blocks of M^-1; computed once."""
        return self._inverse

    def trace_blocks(self) -> tuple[Array, ...]:
        """Per group an estimate of ``sum_st Q_st (M^-1)_ts``."""
        found = self._inverse.traces
        if not self.across:
            return found
        parts = zip(found, self.across, strict=True)
        return tuple(t if q is None else self._inverse.against(a, q.matrix) for a, (t, q) in enumerate(parts))

    def trace_stderr(self) -> tuple[Array, ...]:
        """Standard errors of `trace_blocks` over probes."""
        return self._inverse.trace_errors


@dataclass(frozen=True, slots=True, eq=False)
class _Forms:
    """(I - K)^-1 v and v' g(K) v of columns v, and (I - K) v and (I - K)^2 v where the iterations have left them."""

    x: Array
    forms: Array
    powers: tuple[Array, Array] | None


def _error_of_mean(values: Array) -> float:
    """Standard error of a mean over probes; zero without any."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) else 0.0
