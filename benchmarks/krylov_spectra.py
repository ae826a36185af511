"""The weights of a generalised model change at each outer step: spectra, steps and errors of every preconditioner there.

A fit is watched: each time its mode search or its criterion asks for the linear algebra of new weights or variances, the
weights and the Gram are kept. Afterwards every preconditioner is formed at each of those, and its extreme eigenvalues
(Lanczos), conjugate-gradient steps and the spread of its log-determinant over probes are recorded.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import lmmformula
from benchmarks.krylov_data import FORMULA, Setting, frame, read_arrays, write_arrays
from benchmarks.krylov_runs import same
from benchmarks.pql_records import machine, read_record, write_record
from lmmformula.engines.krylov.engine import PRECONDITIONERS, KrylovEngine, KrylovPrepared
from lmmformula.ir.blocks import Blocks, Gram
from lmmformula.ir.levels import Levels
from lmmformula.methods.planning import make_plan
from lmmformula.numerics.conjugate_gradients import conjugate_gradients

__all__ = ["DESIGNS", "SpectraStudy"]

DESIGNS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "rare events": {"intercept": -4.0},
    "heavy tails": {"tail": 1.5},
    "rare events, heavy tails": {"intercept": -4.0, "tail": 1.5},
    "large variances": {"effect_variances": (4.0, 4.0)},
    "slopes": {},
}
"""What is changed in a binary setting: an intercept of -4 makes 3 % events; variances of 4 spread eta by 6 on both sides."""

FORMULAS = {"slopes": FORMULA.replace("(1 | g)", "(1 + x1 | g)")}
"""Of designs that do not have intercepts alone."""

PROBES = 32
SOLVES = 4


class Watched:
    """Blocks that keep the weights of each Gram that is formed."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.weights = blocks, np.zeros(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.blocks, name)

    def gram(self, weights: Any, v: Any) -> Gram:
        self.weights = np.array(weights)
        return self.blocks.gram(weights, v)


@dataclass(frozen=True, eq=False)
class WatchedPrepared:
    """An engine's preparation that keeps what it is asked to factorise."""

    inner: KrylovPrepared
    blocks: Any
    log: list[tuple[np.ndarray, Gram, tuple[np.ndarray, ...]]] = field(default_factory=list)

    @property
    def dense_side(self) -> int:
        return 0

    @property
    def rough(self) -> WatchedPrepared:
        return replace(self, inner=self.inner.rough)

    def factor(self, gram: Gram, factors: Any) -> Any:
        self.log.append((self.blocks.weights, gram, tuple(factors)))
        return self.inner.factor(gram, factors)


@dataclass(frozen=True, slots=True)
class SpectraStudy:
    """Binary designs and how they are looked at.

    Attributes
    ----------
    rows : int
    levels : tuple of int
    designs : sequence of str
        Of `DESIGNS`.
    preconditioners : sequence of str
    most : int
        Systems of a fit that are looked at, evenly over the fit.
    """

    rows: int
    levels: tuple[int, int]
    designs: Sequence[str]
    preconditioners: Sequence[str] = PRECONDITIONERS
    most: int = 12

    def run(self, record: Path) -> None:
        """Compute what the file does not hold."""
        known = read_record(record).get("spectra", [])
        for design in self.designs:
            setting = Setting("binomial", self.rows, self.levels, **DESIGNS[design])
            if any(same(f, setting) and f["design"] == design for f in known):
                continue
            with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write_arrays(setting, Path(temporary))
                steps = self._watch(design, *read_arrays(Path(temporary)))
            known += [setting.key | {"design": design} | s for s in steps]
            write_record(record, {"machine": machine(), "spectra": known})
            for s in steps:
                print(
                    design,
                    s["step"],
                    s["preconditioner"],
                    s["condition"],
                    s["steps"],
                    s["sd"],
                    file=sys.stderr,
                )

    def _watch(self, design: str, setting: Setting, data: Any) -> list[dict[str, Any]]:
        problem = lmmformula.build(FORMULAS.get(design, FORMULA), frame(data), family=setting.family)
        planned = make_plan(problem, "krylov")
        backend, prepared, standard = planned.backend, planned.prepared, planned.standard
        watched = WatchedPrepared(prepared, Watched(prepared.blocks))  # pyright: ignore[reportArgumentType]
        backend.fit(standard.problem, watched)  # pyright: ignore[reportArgumentType]
        last = watched.log[-1][0]
        chosen = np.unique(np.linspace(0, len(watched.log) - 1, self.most).round().astype(int))
        out = []
        for i in chosen:
            weights, gram, factors = watched.log[i]
            about: dict[str, Any] = {"step": int(i), "of": len(watched.log)} | spread(weights, last)
            about["theta"] = [float(f[0, 0]) for f in factors]
            for name in self.preconditioners:
                engine = KrylovEngine(preconditioner=name, probes=PROBES)
                out.append(
                    about | {"preconditioner": name} | looked_at(engine, prepared.blocks, gram, factors)
                )
        return out


def spread(weights: np.ndarray, last: np.ndarray) -> dict[str, float]:
    """How uneven the weights are, and how far from those at the end."""
    ratio = np.log(weights / last)
    return {
        "cv": float(weights.std() / weights.mean()),
        "log_ratio": float(max(ratio.max(), 0.0) - min(ratio.min(), 0.0)),
        "log_ratio_middle": float(np.quantile(ratio, 0.95) - np.quantile(ratio, 0.05)),
    }


def looked_at(engine: KrylovEngine, blocks: Levels, gram: Gram, factors: Any) -> dict[str, Any]:
    """Extreme eigenvalues, steps to a residual of 1e-6, and the spread of the log-determinant over single probes."""
    from scipy.sparse import linalg

    eigsh: Any = linalg.eigsh  # the stubs of both know integers alone
    wrapped: Any = linalg.LinearOperator

    factor = engine.prepare(blocks).factor(gram, factors)
    system = factor.complement
    q = system.q
    operator: Any = wrapped((q, q), matvec=lambda x: system.apply(x.reshape(-1, 1)).ravel(), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(q)
    low = np.sort(eigsh(operator, 2, which="SA", tol=1e-3, v0=start, ncv=40, return_eigenvectors=False))
    top = eigsh(operator, 1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)[0]
    rhs = np.random.default_rng(1).standard_normal((q, SOLVES))
    solved = conjugate_gradients(system.apply, rhs, 1e-6, 1000)
    undeflated = engine.prepare(blocks).factor(gram, factors)
    return {
        "low": float(low[0]),
        "second": float(low[1]),
        "high": float(top),
        "condition": float(top / low[0]),
        "condition_rest": float(top / low[1]),
        "steps": int(solved.steps.max()),
        "sd": 0.5 * float(undeflated.logdet_stderr * np.sqrt(PROBES)),
    }
