"""Chains of NumPyro's No-U-Turn sampler (Hoffman & Gelman 2014) on a potential of few dimensions.

One step of the sampler is compiled once, in a loop whose number of iterations is an argument: warm-up, drawing, and
going on from a last state all run the same program, and a chain can be stopped between loops. Chains run in threads of
their own, each at its own pace, so that all have draws when a user stops them; the compiled loop holds no Python lock.
A chain depends on its seed and start only, not on how many run beside it.

With a surrogate (:mod:`lmmformula.backends.posterior.sampling.surrogate`) the potential is that of the surrogate, and each
transition ends with a Metropolis step on the exact density. Every fourth is followed by a random-walk step on the exact
density, with the scale of Roberts, Gelman & Gilks (1997): where the surrogate is far too low an end is hardly ever accepted,
but such a place can be walked out of. The order of kernels is fixed, so each draw has the exact distribution.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np

from lmmformula.backends.posterior.density.base import Traced
from lmmformula.backends.posterior.density.scale import JointScale, Scale
from lmmformula.backends.posterior.density.traced import Exact
from lmmformula.backends.posterior.sampling.remembered import ChainStanding, KeptChains
from lmmformula.backends.posterior.sampling.request import Drawn, Progress, State, check_moved
from lmmformula.interrupts import LOOK, undisturbed
from lmmformula.numerics.programs import compiled_loops
from lmmformula.numerics.x64 import x64
from lmmformula.progress import stage
from lmmformula.typing import Array, Numbers

__all__ = ["Chains", "Nuts"]

STATISTICS = ("diverging", "n_steps", "acceptance_rate", "energy", "step_size", "end_accepted")
"""The last only of chains on a surrogate."""
STEP = 0.7
"""The step size to begin with, where the target is about standard normal."""
LONGEST = 10.0
"""Seconds between two looks at whether to stop, once the pace of the iterations is known."""
FIRST = 5
"""Iterations before the first look of chains that are kept."""
WALK = 4
"""Transitions on a surrogate from one random-walk step to the next."""


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """What the sampler returns.

    Attributes
    ----------
    z : (chain, draw, d) array
    statistics : dict of str -> (chain, draw) array
        ``diverging, n_steps, acceptance_rate, energy, step_size`` of each draw; of chains on a surrogate these are the
        surrogate's, and ``end_accepted`` says whether the exact density accepted the end of the trajectory.
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
    repeats : int
        Transitions on a surrogate between two looks at the exact density.
    """

    draws: int = 1_000
    warmup: int = 300
    target_accept: float = 0.8
    max_depth: int = 10
    adapt_mass: bool = True
    dense_mass: bool = True
    chunk: int = 100
    quick_compile: bool = False
    repeats: int = 1

    def run(
        self,
        potential: Traced,
        starts: Array,
        slope: Callable[[Array], tuple[float, Array]],
        seed: int,
        *,
        states: tuple[State, ...] | None = None,
        progress: Progress | None = None,
        exact: Exact | None = None,
        kept: KeptChains | None = None,
    ) -> Chains:
        """Draw from ``exp(-potential)``, or from `exact` with trajectories on `potential`.

        Parameters
        ----------
        potential : callable
            z (d,) -> float, traceable; evaluated in 64 bits.
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
                program = _Program(self, potential, starts.shape[1], exact)
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
    """The compiled loop.

    NumPyro's kernel keeps its adaptation schedule in closures that its initialiser fills, so that is traced first, on a
    parabola in place of the potential, which takes little time and gives the first states: value and gradient of the potential
    are put in. The kernel is then traced with the potential itself.
    """

    def __init__(self, nuts: Nuts, potential: Traced, d: int, exact: Exact | None = None) -> None:
        import jax
        import jax.numpy as jnp
        from numpyro.infer.hmc import hmc
        from numpyro.infer.hmc_util import dual_averaging

        stage: list[Traced] = [lambda z: 0.5 * (z @ z)]
        begin, step = hmc(lambda z: stage[-1](z), algo="NUTS")
        options = {
            "num_warmup": nuts.warmup * nuts.repeats,
            "step_size": 1.0 if nuts.adapt_mass else STEP,
            "adapt_step_size": nuts.adapt_mass,
            "dense_mass": nuts.adapt_mass and nuts.dense_mass,
            "adapt_mass_matrix": nuts.adapt_mass,
            "target_accept_prob": nuts.target_accept,
            "max_tree_depth": nuts.max_depth,
        }
        key = jax.random.PRNGKey(0)
        start = jax.jit(lambda z, k: begin(z, rng_key=k, **options))
        shape = jax.eval_shape(start, jnp.zeros(d), key)
        self.chunk, self._jax, self._exact = nuts.chunk, jax, exact
        self._begin = compiled_loops(start.lower(jnp.zeros(d), key), optimise=False)
        stage.append(potential)
        kernel = _tuned(step, nuts)
        self.tuner = () if nuts.adapt_mass else dual_averaging()[0](jnp.log(STEP))  # pyright: ignore[reportArgumentType]
        carry = (shape, self.tuner, (), ())
        if exact is not None:
            kernel = _corrected(kernel, potential, exact, d, nuts.repeats)
            carry = (shape, self.tuner, jnp.zeros(()), jnp.zeros((), bool))
        self.tree = jax.tree.structure(carry)
        loop = jax.jit(partial(_loop, kernel, nuts.chunk))
        self._iterate = compiled_loops(loop.lower(np.int64(0), carry), optimise=not nuts.quick_compile)

    def begin(self, z: Array, seed: int, chain: int, value: float, gradient: Array) -> State:
        """The state of a chain before its first iteration, at `z` with the potential's value and gradient."""
        key = self._jax.random.fold_in(self._jax.random.PRNGKey(seed), chain)
        state = self._begin(z, key)._replace(potential_energy=value, z_grad=gradient)
        ended = () if self._exact is None else (self._exact.value(z) + value, True)
        carry = (state, self.tuner, *ended)
        return tuple(np.asarray(leaf) for leaf in self._jax.tree.leaves(carry))

    def __call__(self, n: int, state: State) -> tuple[State, list[Array]]:
        """`n` iterations, at most a chunk: the state after them and their records."""
        with x64():
            after, out = self._iterate(np.int64(n), self._jax.tree.unflatten(self.tree, state))
            leaves = tuple(np.asarray(leaf) for leaf in self._jax.tree.leaves(after))
            return leaves, [np.asarray(o)[:n] for o in out]


def _loop(step: Callable[[Numbers], Numbers], chunk: int, n: Numbers, state: Numbers) -> Numbers:
    """`n` steps of the kernel and their records in the first `n` places of `chunk`.

    A chain carries NumPyro's state, that of the tuning of the step size, log w, and whether the last end was accepted;
    what there is none of is ().
    """
    import jax
    import jax.numpy as jnp
    from jax import lax

    def record(carry: Numbers) -> tuple[Numbers, ...]:
        s, ended = carry[0], jax.tree.leaves(carry[3])
        return s.z, s.diverging, s.num_steps, s.accept_prob, s.energy, s.adapt_state.step_size, *ended

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

    update, warmup = dual_averaging()[1], nuts.warmup * nuts.repeats

    def tuned(carry: Numbers) -> Numbers:
        now = step(carry[0])
        if nuts.adapt_mass:
            return now, *carry[1:]
        fresh = update(nuts.target_accept - now.accept_prob, carry[1])
        tuner = jax.tree.map(lambda a, b: jnp.where(now.i <= warmup, a, b), fresh, carry[1])
        size = jnp.exp(jnp.where(now.i < warmup, tuner[0], tuner[1]))
        return now._replace(adapt_state=now.adapt_state._replace(step_size=size)), tuner, *carry[2:]

    return tuned


def _corrected(
    kernel: Callable[[Numbers], Numbers],
    potential: Callable[[Numbers], Numbers],
    exact: Exact,
    d: int,
    repeats: int,
) -> Callable[[Numbers], Numbers]:
    """The kernel, `repeats` times, with its Metropolis step."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    both, scale = jax.value_and_grad(potential), 2.38 / np.sqrt(d)

    def again(_: Numbers, carry: Numbers) -> Numbers:
        before, (after, *rest) = carry[0], kernel(carry)
        steps, diverging = before.num_steps + after.num_steps, before.diverging | after.diverging
        return after._replace(num_steps=steps, diverging=diverging), *rest

    def corrected(carry: Numbers) -> Numbers:
        before, tuner, weight, last = carry
        blank = before._replace(num_steps=jnp.zeros_like(before.num_steps), diverging=jnp.zeros((), bool))
        now, tuner, _, _ = lax.fori_loop(0, repeats, again, (blank, tuner, weight, last))

        def settle(pass_: Numbers, held: Numbers) -> Numbers:
            place, offered, key, ended = held
            key, own, other = jax.random.split(key, 3)
            fresh = exact.traced(offered[0]) + offered[1]
            walked = jnp.where(
                pass_ == 0, 0.0, offered[1] - place[1]
            )  # of a random walk, p(y) / p(x) decides
            accepted = jnp.log(jax.random.uniform(own)) < fresh - place[3] - walked
            new = (*offered, fresh)
            place = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, place)
            moved = place[0] + scale * jax.random.normal(other, (d,))
            return place, (moved, *both(moved)), key, jnp.where(pass_ == 0, accepted, ended)

        here = (before.z, before.potential_energy, before.z_grad, weight)
        end = (now.z, now.potential_energy, now.z_grad)
        passes = jnp.where(now.i % (WALK * repeats) == 0, 2, 1)
        place, _, key, ended = lax.fori_loop(0, passes, settle, (here, end, now.rng_key, jnp.zeros((), bool)))
        state = now._replace(z=place[0], potential_energy=place[1], z_grad=place[2], rng_key=key)
        return state, tuner, place[3], ended

    return corrected


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
