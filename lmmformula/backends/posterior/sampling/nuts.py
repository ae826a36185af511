"""Chains of the No-U-Turn sampler (Hoffman & Gelman 2014), whatever program takes their iterations.

A program goes on from a state for a number of iterations: warm-up, drawing, and going on from a last state all run the same
one, and a chain can be stopped between its runs. There are two: compiled loops for marginal densities of variances
(:mod:`lmmformula.backends.posterior.sampling.looped_nuts`), and NumPyro's, compiled by JAX, for densities that are traced
(:mod:`lmmformula.backends.posterior.sampling.traced_nuts`). Chains run in threads of their own, each at its own pace, so
that all have draws when a user stops them; the compiled loop holds no Python lock. A chain depends on its seed and start only,
not on how many run beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lmmformula.backends.posterior.density.scale import JointScale, Scale
from lmmformula.backends.posterior.sampling.remembered import ChainStanding, KeptChains
from lmmformula.backends.posterior.sampling.request import Drawn, Progress, State, check_moved
from lmmformula.interrupts import LOOK, undisturbed
from lmmformula.progress import stage
from lmmformula.typing import Array

__all__ = ["STEP", "Chains", "Nuts", "Program"]

STATISTICS = ("diverging", "n_steps", "acceptance_rate", "energy", "step_size")
STEP = 0.7
"""The step size to begin with, where the target is about standard normal."""
LONGEST = 10.0
"""Seconds between two looks at whether to stop, once the pace of the iterations is known."""
FIRST = 5
"""Iterations before the first look of chains that are kept."""


class Program(Protocol):
    """What takes the iterations of chains."""

    def begin(self, z: Array, seed: int, chain: int, value: float, gradient: Array) -> State:
        """The state of a chain before its first iteration, at `z` with the potential's value and gradient."""
        ...

    def __call__(self, n: int, state: State) -> tuple[State, list[Array]]:
        """`n` iterations, at most a chunk: the state after them, and their z and :data:`STATISTICS`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """What the sampler returns.

    Attributes
    ----------
    z : (chain, draw, d) array
    statistics : dict of str -> (chain, draw) array
        ``diverging, n_steps, acceptance_rate, energy, step_size`` of each draw.
    states : tuple of tuples of arrays
        The sampler's last state of each chain, to go on from.
    warmup_divergences : int
    complete : bool
        False if a user stopped it; all chains are then cut to the shortest.
    """

    z: Array
    statistics: dict[str, Array]
    states: tuple[State, ...]
    warmup_divergences: int
    complete: bool

    def drawn(self, x: Array, scale: Scale | JointScale, warmup: int) -> Drawn:
        """The draws of x that these are, if they moved at all."""
        check_moved(self.z)
        return Drawn(x, scale, self.statistics, self.states, warmup, self.warmup_divergences, self.complete)


@dataclass(frozen=True, slots=True)
class Nuts:
    """Options of the sampler.

    Parameters
    ----------
    draws, warmup : int
        Iterations of each chain kept, and before that.
    target_accept : float
        Acceptance rate to which the step size is tuned.
    max_depth : int
        Trajectories have at most ``2^max_depth - 1`` steps.
    adapt_mass : bool
        Estimate a mass matrix during warm-up; otherwise the unit matrix stays.
    dense_mass : bool
        Whether that matrix has covariances, or variances only.
    chunk : int
        Iterations between two looks at whether to stop; fewer where they take longer than `LONGEST`. Draws do not depend on it.
    quick_compile : bool
        Compile in half the time to a program that is slower where arrays are not tiny.
    """

    draws: int = 1_000
    warmup: int = 300
    target_accept: float = 0.8
    max_depth: int = 10
    adapt_mass: bool = True
    dense_mass: bool = True
    chunk: int = 100
    quick_compile: bool = False

    def run(
        self,
        make: Callable[[Nuts], Program],
        starts: Array,
        slope: Callable[[Array], tuple[float, Array]],
        seed: int,
        *,
        states: tuple[State, ...] | None = None,
        progress: Progress | None = None,
        kept: KeptChains | None = None,
    ) -> Chains:
        """Draw from ``exp(-potential)``.

        Parameters
        ----------
        make : callable
            These options -> what takes the iterations.
        starts : (chains, d) array
            Of chains that go on, their shape alone counts.
        slope : callable
            z -> value and gradient of the same potential in numpy, to start from.
        seed : int
        states : tuple, optional
            Last states of an earlier run of the same potential and options: no warm-up, and the chains go on.
        progress : callable, optional
            Called with (iterations, potential, acceptance) of one chain after each chunk.
        kept : KeptChains, optional
            Where chains of an earlier run stand, which go on from there, and who is told where they stand.
        """
        stage("preparing the sampler")
        left = () if kept is None else kept.left()

        def prepared() -> tuple[Program, tuple[ChainStanding, ...]]:
            program = make(self)
            begun = states or (program.begin(z, seed, c, *slope(z)) for c, z in enumerate(starts))
            return program, left or tuple(map(ChainStanding, begun))

        program, own = undisturbed(prepared)
        if kept is not None:
            kept.begin(own)
        warmup = 0 if states else self.warmup
        before = f", the first {warmup} of them warm-up" if warmup else ""
        stage(f"{len(own)} chains{before}", total=warmup + self.draws, parts=len(own))
        stop = threading.Event()
        job = _Job(self, program, states is None, stop, progress, kept)
        with ThreadPoolExecutor(len(own)) as pool:
            running = [pool.submit(job.chain, c, standing) for c, standing in enumerate(own)]
            complete = True
            while any(not f.done() for f in running):
                try:
                    for f in wait(running, LOOK, FIRST_EXCEPTION).done:
                        f.result()
                except KeyboardInterrupt:
                    complete = False
                    stop.set()
                except BaseException:
                    stop.set()
                    raise
        if kept is not None and complete:
            kept.end()
        return _gathered([f.result() for f in running], complete=complete)


@dataclass(frozen=True, slots=True)
class _Job:
    """One chain's work."""

    nuts: Nuts
    program: Program
    fresh: bool
    stop: threading.Event
    progress: Progress | None
    kept: KeptChains | None

    def chain(self, c: int, at: ChainStanding) -> ChainStanding:
        """Warm-up if fresh, then draws, from where chain `c` stands; ends early when asked to stop."""
        warmup = self.nuts.warmup if self.fresh else 0
        total = warmup + self.nuts.draws
        most = self.nuts.chunk if self.kept is None else min(FIRST, self.nuts.chunk)
        while at.done < total and not self.stop.is_set():
            warming = at.done < warmup
            n, begun = min(most, (warmup if warming else total) - at.done), time.monotonic()
            state, out = self.program(n, at.state)
            pace = n / max(time.monotonic() - begun, 1e-6)
            most = max(1, min(self.nuts.chunk, int(LONGEST * pace)))
            diverged = at.diverged + (int(out[1].sum()) if warming else 0)
            records = at.records if warming else (*at.records, tuple(out))
            at = ChainStanding(state, at.done + n, diverged, records)
            if self.progress is not None:
                self.progress(at.done, float(out[4][-1]), float(out[3].mean()))
            if self.kept is not None:
                self.kept.tell(c, at)
        return at.joined()


def _gathered(chains: Sequence[ChainStanding], *, complete: bool) -> Chains:
    """Chains side by side, cut to the shortest."""
    drawn = [chain.records[0] if chain.records else () for chain in chains]
    shortest = min(len(columns[0]) if columns else 0 for columns in drawn)
    if not shortest:
        raise KeyboardInterrupt
    stacked = [np.stack([own[:shortest] for own in column]) for column in zip(*drawn, strict=True)]
    statistics: dict[str, Array] = dict(zip(STATISTICS, stacked[1:], strict=False))
    states, diverged = tuple(chain.state for chain in chains), sum(chain.diverged for chain in chains)
    return Chains(stacked[0], statistics, states, diverged, complete)
