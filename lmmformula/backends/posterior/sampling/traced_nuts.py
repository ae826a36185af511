"""NumPyro's No-U-Turn sampler, compiled by JAX, for densities that are traced.

One step is compiled once, in a loop whose number of iterations is an argument.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.backends.posterior.density.base import Traced
from lmmformula.backends.posterior.sampling.nuts import STEP, Nuts
from lmmformula.backends.posterior.sampling.request import State
from lmmformula.numerics.programs import compiled_once, on_device
from lmmformula.numerics.x64 import x64
from lmmformula.typing import Array, JaxArray, Numbers

if TYPE_CHECKING:
    import jax

    from lmmformula.numerics.hoisting import Hoisted

__all__ = ["TracedProgram"]


class TracedProgram:
    """The compiled loop, and where a chain begins.

    Both are compiled once for all potentials that differ in numbers alone (:mod:`lmmformula.numerics.hoisting`). The state of a
    chain is a flat tuple of arrays, of which the first are NumPyro's.
    """

    def __init__(self, nuts: Nuts, potential: Traced | Hoisted, d: int) -> None:
        import jax

        from lmmformula.numerics.hoisting import Hoisted, hoisted

        with x64():
            own = potential
            if not isinstance(own, Hoisted):
                own = hoisted(jax.value_and_grad(own), jax.ShapeDtypeStruct((d,), np.float64))
            self._numbers, options = on_device(own.numbers), (_options(nuts), _source())
            self._begin = compiled_once(
                f"begin {d} {options}", lambda: _Traced(nuts, d).begin(), optimise=False
            )
            text = None if own.text is None else f"loop {own.text} {options} {nuts.chunk}"
            self._iterate = compiled_once(
                text, lambda: _Traced(nuts, d).loop(own, self._numbers), optimise=not nuts.quick_compile
            )

    def begin(self, z: Array, seed: int, chain: int, value: float, gradient: Array) -> State:
        """The state of a chain before its first iteration, at `z` with the potential's value and gradient."""
        with x64():
            state = self._begin(z, np.int64(seed % 2**63), np.int64(chain), np.float64(value), gradient)
            return tuple(np.asarray(leaf) for leaf in state)

    def __call__(self, n: int, state: State) -> tuple[State, list[Array]]:
        """`n` iterations, at most a chunk: the state after them and their records."""
        with x64():
            after, out = self._iterate(np.int64(n), tuple(state), self._numbers)
            return tuple(np.asarray(leaf) for leaf in after), [np.asarray(o)[:n] for o in out]


def _options(nuts: Nuts) -> tuple[object, ...]:
    """Those that the program depends on."""
    own = (nuts.warmup, nuts.target_accept, nuts.max_depth, nuts.adapt_mass)
    return (*own, nuts.dense_mass and nuts.adapt_mass)


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
