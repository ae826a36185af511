"""Chains of NumPyro's No-U-Turn sampler (Hoffman & Gelman 2014) on a potential of few dimensions.

One step of the sampler is compiled once, in a loop whose number of iterations is an argument: warm-up, drawing, and
going on from a last state all run the same program, and a chain can be stopped between loops. Chains run in threads of
their own, each at its own pace, so that all have draws when a user stops them; the compiled loop holds no Python lock.
A chain depends on its seed and start only, not on how many run beside it.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.posterior.density.base import Traced
from lmmformula.backends.posterior.density.scale import JointScale, Scale
from lmmformula.backends.posterior.sampling.remembered import ChainStanding, KeptChains
from lmmformula.backends.posterior.sampling.request import Drawn, Progress, State, check_moved
from lmmformula.interrupts import LOOK, undisturbed
from lmmformula.numerics.programs import compiled_once, on_device
from lmmformula.numerics.x64 import x64
from lmmformula.progress import stage
from lmmformula.typing import Array, JaxArray, Numbers

if TYPE_CHECKING:
    import jax

    from lmmformula.numerics.hoisting import Hoisted

__all__ = ["Chains", "Nuts"]

STATISTICS = ("diverging", "n_steps", "acceptance_rate", "energy", "step_size")
STEP = 0.7
"""The step size to begin with, where the target is about standard normal."""
LONGEST = 10.0
"""Seconds between two looks at whether to stop, once the pace of the iterations is known."""
FIRST = 5
"""Iterations before the first look of chains that are kept."""


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

    @property
    def traced(self) -> tuple[object, ...]:
        """The options that the program depends on."""
        own = (self.warmup, self.target_accept, self.max_depth, self.adapt_mass)
        return (*own, self.dense_mass and self.adapt_mass)

    def run(
        self,
        potential: Traced | Hoisted,
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
        potential : callable or Hoisted
            z (d,) -> float, traceable, evaluated in 64 bits; or with its gradient, traced before.
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
        stage("compiling the sampler")
        left = () if kept is None else kept.left()

        def prepared() -> tuple[_Program, tuple[ChainStanding, ...]]:
            with x64():
                program = _Program(self, potential, starts.shape[1])
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


class _Program:
    """The compiled loop, and where a chain begins.

    Both are compiled once for all potentials that differ in numbers alone (:mod:`lmmformula.numerics.hoisting`). The state of a
    chain is a flat tuple of arrays, of which the first are NumPyro's.
    """

    def __init__(self, nuts: Nuts, potential: Traced | Hoisted, d: int) -> None:
        import jax

        from lmmformula.numerics.hoisting import Hoisted, hoisted

        own = potential
        if not isinstance(own, Hoisted):
            own = hoisted(jax.value_and_grad(own), jax.ShapeDtypeStruct((d,), np.float64))
        self._numbers, options = on_device(own.numbers), (nuts.traced, _source())
        self._begin = compiled_once(f"begin {d} {options}", lambda: _Traced(nuts, d).begin(), optimise=False)
        text = None if own.text is None else f"loop {own.text} {options} {nuts.chunk}"
        self._iterate = compiled_once(
            text, lambda: _Traced(nuts, d).loop(own, self._numbers), optimise=not nuts.quick_compile
        )

    def begin(self, z: Array, seed: int, chain: int, value: float, gradient: Array) -> State:
        """The state of a chain before its first iteration, at `z` with the potential's value and gradient."""
        state = self._begin(z, np.int64(seed % 2**63), np.int64(chain), np.float64(value), gradient)
        return tuple(np.asarray(leaf) for leaf in state)

    def __call__(self, n: int, state: State) -> tuple[State, list[Array]]:
        """`n` iterations, at most a chunk: the state after them and their records."""
        with x64():
            after, out = self._iterate(np.int64(n), tuple(state), self._numbers)
            return tuple(np.asarray(leaf) for leaf in after), [np.asarray(o)[:n] for o in out]


@cache
def _source() -> str:
    """A digest of this module, whose text the programs depend on too."""
    return sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()


class _Traced:
    """The programs before they are compiled.

    NumPyro's kernel keeps its adaptation schedule in closures that its initialiser fills, so that is traced first, on a
    parabola in place of the potential, which takes little time and gives the first states: value and gradient of the potential
    are put in. The kernel is then traced with the potential itself.
    """

    def __init__(self, nuts: Nuts, d: int) -> None:
        import jax
        import jax.numpy as jnp
        from numpyro.infer.hmc import hmc
        from numpyro.infer.hmc_util import dual_averaging

        self._nuts = nuts
        self._potential: list[Traced] = [lambda z: 0.5 * (z @ z)]
        begin, step = hmc(lambda z: self._potential[-1](z), algo="NUTS")
        options = {
            "num_warmup": nuts.warmup,
            "step_size": 1.0 if nuts.adapt_mass else STEP,
            "adapt_step_size": nuts.adapt_mass,
            "dense_mass": nuts.adapt_mass and nuts.dense_mass,
            "adapt_mass_matrix": nuts.adapt_mass,
            "target_accept_prob": nuts.target_accept,
            "max_tree_depth": nuts.max_depth,
        }
        tuner = () if nuts.adapt_mass else dual_averaging()[0](jnp.log(STEP))  # pyright: ignore[reportArgumentType]

        def first(z: Numbers, seed: Numbers, chain: Numbers, value: Numbers, gradient: Numbers) -> Numbers:
            key = jax.random.fold_in(jax.random.PRNGKey(seed), chain)
            state = begin(z, rng_key=key, **options)
            return state._replace(potential_energy=value, z_grad=gradient), tuner

        number, vector = jax.ShapeDtypeStruct((), np.float64), jax.ShapeDtypeStruct((d,), np.float64)
        whole = jax.ShapeDtypeStruct((), np.int64)
        self._first, self._given = first, (vector, whole, whole, number, vector)
        shape = jax.eval_shape(first, *self._given)
        self._tree, self._shapes = jax.tree.structure(shape), tuple(jax.tree.leaves(shape))
        self._step = _tuned(step, nuts)

    def begin(self) -> jax.stages.Lowered:
        """(z, seed, chain, value, gradient) -> state."""
        import jax

        return jax.jit(lambda *given: tuple(jax.tree.leaves(self._first(*given)))).lower(*self._given)

    def loop(self, potential: Hoisted, numbers: tuple[JaxArray, ...]) -> jax.stages.Lowered:
        """(n, state, numbers of the potential) -> state and records."""
        import jax

        def iterated(n: Numbers, state: Numbers, numbers: Numbers) -> Numbers:
            self._potential.append(_with_slope(potential, numbers))
            carry = jax.tree.unflatten(self._tree, state)
            after, out = _loop(self._step, self._nuts.chunk, n, carry)
            return tuple(jax.tree.leaves(after)), out

        return jax.jit(iterated).lower(np.int64(0), self._shapes, numbers)


def _with_slope(potential: Hoisted, numbers: Numbers) -> Traced:
    """z -> the potential, whose derivative is what was traced with it."""
    import jax

    @jax.custom_vjp
    def value(z: Numbers) -> Numbers:
        return potential(numbers, z)[0]

    value.defvjp(lambda z: potential(numbers, z), lambda slope, bar: (bar * slope,))
    return value


def _loop(step: Callable[[Numbers], Numbers], chunk: int, n: Numbers, state: Numbers) -> Numbers:
    """`n` steps of the kernel and their records in the first `n` places of `chunk`.

    A chain carries NumPyro's state and that of the tuning of the step size; () where NumPyro tunes it.
    """
    import jax.numpy as jnp
    from jax import lax

    def record(carry: Numbers) -> tuple[Numbers, ...]:
        s = carry[0]
        return s.z, s.diverging, s.num_steps, s.accept_prob, s.energy, s.adapt_state.step_size

    def body(i: Numbers, carry: Numbers) -> Numbers:
        now = step(carry[0])
        return now, tuple(o.at[i].set(r) for o, r in zip(carry[1], record(now), strict=True))

    out = tuple(jnp.zeros((chunk, *jnp.shape(r)), jnp.result_type(r)) for r in record(state))
    return lax.fori_loop(0, n, body, (state, out))


def _tuned(step: Callable[[Numbers], Numbers], nuts: Nuts) -> Callable[[Numbers], Numbers]:
    """The kernel, with the step size tuned by dual averaging (Hoffman & Gelman 2014, sec. 3.2) over the whole warm-up.

    NumPyro starts that anew for each of its windows, of which the last is a tenth of the warm-up, since the mass matrix changes
    between them. Here it does not, unless NumPyro adapts it.
    """
    import jax
    import jax.numpy as jnp
    from numpyro.infer.hmc_util import dual_averaging

    update, warmup = dual_averaging()[1], nuts.warmup

    def tuned(carry: Numbers) -> Numbers:
        now = step(carry[0])
        if nuts.adapt_mass:
            return now, carry[1]
        fresh = update(nuts.target_accept - now.accept_prob, carry[1])
        tuner = jax.tree.map(lambda a, b: jnp.where(now.i <= warmup, a, b), fresh, carry[1])
        size = jnp.exp(jnp.where(now.i < warmup, tuner[0], tuner[1]))
        return now._replace(adapt_state=now.adapt_state._replace(step_size=size)), tuner

    return tuned


@dataclass(frozen=True, slots=True)
class _Job:
    """One chain's work."""

    nuts: Nuts
    program: _Program
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
