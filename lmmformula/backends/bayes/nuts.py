"""Chains of NumPyro's No-U-Turn sampler (Hoffman & Gelman 2014) on a potential of few dimensions.

One step of the sampler is compiled once, in a loop whose number of iterations is an argument: warm-up, drawing, and
going on from a last state all run the same program, and a chain can be stopped between loops. Chains run in threads of
their own, each at its own pace, so that all have draws when a user stops them; the compiled loop holds no Python lock.
A chain depends on its seed and start only, not on how many run beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lmmformula.backends.bayes.potential import x64
from lmmformula.typing import Array

__all__ = ["Chains", "Nuts", "compiled_loops"]

LOOK = 0.1
"""Seconds between two looks at the keyboard: a signal may reach a thread that is not waiting for it."""
STATISTICS = ("diverging", "n_steps", "acceptance_rate", "energy", "step_size")


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
    states: tuple[tuple[Any, ...], ...]
    warmup_divergences: int
    complete: bool


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
        Iterations between two looks at whether to stop.
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
        potential: Callable[[Any], Any],
        starts: Array,
        slope: Callable[[Array], tuple[float, Array]],
        seed: int,
        *,
        states: tuple[tuple[Any, ...], ...] | None = None,
        progress: Callable[[int, float, float], None] | None = None,
    ) -> Chains:
        """Draw from ``exp(-potential)``.

        Parameters
        ----------
        potential : callable
            z (d,) -> float, traceable; evaluated in 64 bits.
        starts : (chains, d) array
        slope : callable
            z -> value and gradient of the same potential in numpy, to start from.
        seed : int
        states : tuple, optional
            Last states of an earlier run of the same potential and options: no warm-up, and the chains go on.
        progress : callable, optional
            Called with (iterations, potential, acceptance) of one chain after each chunk.
        """
        with x64():
            program = _Program(self, potential, starts.shape[1])
            own = states or tuple(program.begin(z, seed, c, *slope(z)) for c, z in enumerate(starts))
        stop = threading.Event()
        job = _Job(self, program, states is None, stop, progress)
        with ThreadPoolExecutor(len(own)) as pool:
            running = [pool.submit(job.chain, state) for state in own]
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
        return _gathered([f.result() for f in running], complete=complete)


class _Program:
    """The compiled loop.

    NumPyro's kernel keeps its adaptation schedule in closures that its initialiser fills, so that is traced first, on a
    parabola in place of the potential, which takes little time and gives the first states: value and gradient of the potential
    are put in. The kernel is then traced with the potential itself.
    """

    def __init__(self, nuts: Nuts, potential: Callable[[Any], Any], d: int) -> None:
        import jax
        import jax.numpy as jnp
        from numpyro.infer.hmc import hmc

        stage: list[Callable[[Any], Any]] = [lambda z: 0.5 * (z @ z)]
        begin, step = hmc(lambda z: stage[-1](z), algo="NUTS")
        options = {
            "num_warmup": nuts.warmup,
            "dense_mass": nuts.adapt_mass and nuts.dense_mass,
            "adapt_mass_matrix": nuts.adapt_mass,
            "target_accept_prob": nuts.target_accept,
            "max_tree_depth": nuts.max_depth,
        }
        key = jax.random.PRNGKey(0)
        start = jax.jit(lambda z, k: begin(z, rng_key=k, **options))
        shape = jax.eval_shape(start, jnp.zeros(d), key)
        self.chunk, self._jax, self.tree = nuts.chunk, jax, jax.tree.structure(shape)
        self._begin = compiled_loops(start.lower(jnp.zeros(d), key), optimise=False)
        stage.append(potential)
        loop = jax.jit(partial(_loop, step, nuts.chunk))
        self._iterate = compiled_loops(loop.lower(np.int64(0), shape), optimise=not nuts.quick_compile)

    def begin(self, z: Array, seed: int, chain: int, value: float, gradient: Array) -> tuple[Any, ...]:
        """The state of a chain before its first iteration, at `z` with the potential's value and gradient."""
        key = self._jax.random.fold_in(self._jax.random.PRNGKey(seed), chain)
        state = self._begin(z, key)._replace(potential_energy=value, z_grad=gradient)
        return tuple(np.asarray(leaf) for leaf in self._jax.tree.leaves(state))

    def __call__(self, n: int, state: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Array]]:
        """`n` iterations, at most a chunk: the state after them and their records."""
        with x64():
            after, out = self._iterate(np.int64(n), self._jax.tree.unflatten(self.tree, state))
            leaves = tuple(np.asarray(leaf) for leaf in self._jax.tree.leaves(after))
            return leaves, [np.asarray(o)[:n] for o in out]


def compiled_loops(lowered: Any, *, optimise: bool) -> Any:
    """The program of a lowered function, with XLA's older way to emit loops: it compiles in half the time.

    Fusions of a few scalars, of which these programs consist, gain nothing from the newer one.
    """
    level: dict[str, Any] = {} if optimise else {"xla_backend_optimization_level": 0}
    try:
        return lowered.compile(compiler_options={"xla_cpu_use_fusion_emitters": False} | level)
    except RuntimeError:  # other versions of XLA do not know the option
        return lowered.compile(compiler_options=level or None)


def _loop(step: Callable[[Any], Any], chunk: int, n: Any, state: Any) -> Any:
    """`n` steps of the kernel and their records in the first `n` places of `chunk`."""
    import jax.numpy as jnp
    from jax import lax

    def record(s: Any) -> tuple[Any, ...]:
        return s.z, s.diverging, s.num_steps, s.accept_prob, s.energy, s.adapt_state.step_size

    def body(i: Any, carry: Any) -> Any:
        now = step(carry[0])
        return now, tuple(o.at[i].set(r) for o, r in zip(carry[1], record(now), strict=True))

    out = tuple(jnp.zeros((chunk, *jnp.shape(r)), jnp.result_type(r)) for r in record(state))
    return lax.fori_loop(0, n, body, (state, out))


@dataclass(frozen=True, slots=True)
class _Job:
    """One chain's work."""

    nuts: Nuts
    program: _Program
    fresh: bool
    stop: threading.Event
    progress: Callable[[int, float, float], None] | None

    def chain(self, state: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Array], int]:
        """Warm-up if fresh, then draws; ends early when asked to stop."""
        diverged, warmup = 0, self.nuts.warmup if self.fresh else 0
        parts: list[list[Array]] = []
        done, total = 0, warmup + self.nuts.draws
        while done < total and not self.stop.is_set():
            edge = warmup if done < warmup else total
            n = min(self.nuts.chunk, edge - done)
            state, out = self.program(n, state)
            if done < warmup:
                diverged += int(out[1].sum())
            else:
                parts.append(out)
            done += n
            if self.progress is not None:
                self.progress(done, float(out[4][-1]), float(out[3].mean()))
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else []
        return state, joined, diverged


def _gathered(results: list[tuple[tuple[Any, ...], list[Array], int]], *, complete: bool) -> Chains:
    """Chains side by side, cut to the shortest."""
    shortest = min(len(columns[0]) if columns else 0 for _, columns, _ in results)
    if not shortest:
        raise KeyboardInterrupt
    stacked = [np.stack([columns[j][:shortest] for _, columns, _ in results]) for j in range(6)]
    statistics: dict[str, Array] = dict(zip(STATISTICS, stacked[1:], strict=True))
    return Chains(stacked[0], statistics, tuple(r[0] for r in results), sum(r[2] for r in results), complete)
