"""Where the Krylov engine's products and iterations run: on the processor, or on a GPU through JAX.

The algorithm stays with the engine, on the processor: elimination, the exact moments, which vectors to solve for, statistics.
What stands on the device is I - K (:mod:`lmmformula.numerics.krylov_jax`): the indices of its nonzeros once for a problem,
their values once for every W and theta. One call there is a product, a whole solution by conjugate gradients, or a whole
subspace iteration, with one block in and one out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.engines.krylov import deflation
from lmmformula.engines.krylov.deflation import subspace
from lmmformula.engines.krylov.schur import SchurComplement
from lmmformula.engines.krylov.schur_pattern import SchurPattern
from lmmformula.errors import LmmformulaWarning, PlanError, warn
from lmmformula.numerics.conjugate_gradients import Solution, conjugate_gradients, refined
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.engines.krylov.complement import Complement
    from lmmformula.numerics.krylov_jax import Device, Operator, Patterns
    from lmmformula.numerics.slabs import Slabs

__all__ = ["DEVICES", "PLATFORMS", "DeviceComplement", "OnDevice", "OnProcessor", "find_device", "placed"]

DEVICES = ("cpu", "gpu")
"""What a fit may ask for."""
PLATFORMS = {"gpu": "gpu", "cpu-jax": "cpu"}
"""JAX's names; "cpu-jax" is the GPU's path on the processor, for tests and measurements: it is slower than "cpu"."""
COARSE = 1e-3
"""Relative residual of starting values, which single precision gives without a residual of double precision."""
VECTORS = 8
"""Blocks as long as there are effects that an iteration holds at most."""


@dataclass(frozen=True, slots=True)
class OnProcessor:
    """numpy, scipy and compiled loops."""

    def complement(self, complement: Complement) -> Complement:
        """The operator itself."""
        return complement

    def conjugate_gradients(
        self, complement: Complement, b: Array, tolerance: float, max_steps: int
    ) -> Solution:
        """(I - K)^-1 b, with the coefficients of the iteration, in the precision of b."""
        return conjugate_gradients(complement.apply, b, tolerance, max_steps, powers=True)

    def solution(self, complement: Complement, b: Array, tolerance: float, max_steps: int) -> Solution:
        """(I - K)^-1 b, by iterations of single precision where products have it."""
        if complement.has_single:
            if tolerance >= COARSE:
                return conjugate_gradients(complement.apply, b.astype(np.float32), tolerance, max_steps)
            return refined(complement.apply, b, tolerance, max_steps)
        return conjugate_gradients(complement.apply, b, tolerance, max_steps)

    def subspace(self, complement: Complement, start: Array, bulk: float) -> tuple[Array, Array]:
        """Ritz values and vectors of K."""
        return subspace(complement, start, bulk)


@dataclass(frozen=True, slots=True, eq=False)
class OnDevice:
    """The same on a device of JAX's.

    Attributes
    ----------
    patterns : Patterns
        Indices, on the device.
    device : jax.Device
    """

    patterns: Patterns
    device: Device

    def complement(self, complement: Any) -> DeviceComplement:
        """The operator with its values on the device."""
        from lmmformula.numerics.krylov_jax import placed_values

        operator = placed_values(self.patterns, complement.n, complement.h, self.device)
        own = {f.name: getattr(complement, f.name) for f in fields(complement)}
        return DeviceComplement(**own, operator=operator)

    def conjugate_gradients(self, complement: Any, b: Array, tolerance: float, max_steps: int) -> Solution:
        """(I - K)^-1 b, at most 16 columns."""
        return complement.operator.conjugate_gradients(b, tolerance, max_steps)

    def solution(self, complement: Any, b: Array, tolerance: float, max_steps: int) -> Solution:
        """The same."""
        return complement.operator.conjugate_gradients(b, tolerance, max_steps)

    def subspace(self, complement: Any, start: Array, bulk: float) -> tuple[Array, Array]:
        """Ritz values and vectors of K."""
        from lmmformula.numerics.krylov_jax import Rounds

        rounds = Rounds(deflation.LEAST_ROUNDS, deflation.ROUNDS, deflation.SHARP)
        return complement.operator.subspace(start, bulk, rounds)


@dataclass(frozen=True, eq=False)
class DeviceComplement(SchurComplement):
    """A Schur complement whose products are made on a device.

    Attributes
    ----------
    operator : Operator
    """

    operator: Operator

    @property
    def has_single(self) -> bool:
        """Blocks stay in the device's precision."""
        return False

    def apply(self, x: Array) -> Array:
        """(I - K) x for a block (q_D, c)."""
        return self.operator.apply(x)

    def times_n(self, x: Array) -> Array:
        """N x, (q_A, c)."""
        return self.operator.times_n(x)

    def times_n_transposed(self, a: Array) -> Array:
        """N'a, (q_D, c)."""
        return self.operator.times_n_transposed(a)


def placed(name: str, pattern: Any) -> OnProcessor | OnDevice:
    """Where products with `pattern`'s operators run, with its indices put there.

    A fit is refused by its plan where there is no such device. One that was made elsewhere and loaded is not: a warning says
    that the processor takes the device's place.

    Raises
    ------
    PlanError
        If the device has too little memory, or if `pattern` does not eliminate the largest group.
    """
    if name == "cpu":
        return OnProcessor()
    if not pattern.goes_to_devices:
        raise PlanError(
            f'device={name!r} works with preconditioner="schur" only, not {pattern.kind!r}; leave out one of the two.'
        )
    if not pattern.q:
        return OnProcessor()
    try:
        device = find_device(name)
    except PlanError as error:
        message = f"the processor takes the place of the device, with the same answers to the tolerance of solutions. {error}"
        warn(message, LmmformulaWarning)
        return OnProcessor()
    from lmmformula.numerics.krylov_jax import placed_patterns

    slabs = _slabs(pattern)
    _refuse_too_large(name, device, pattern, slabs)
    return OnDevice(placed_patterns(*slabs, device), device)


def _slabs(pattern: SchurPattern) -> tuple[Slabs, Slabs, Slabs]:
    from lmmformula.numerics.slabs import Slabs

    n, turned, h = pattern.by_row, pattern.by_column, pattern.h
    return Slabs.of(n.ptr, n.cols), Slabs.of(turned.ptr, turned.cols, turned.source), Slabs.of(h.ptr, h.cols)


def find_device(name: str) -> Device:
    """The first device of that name, of `PLATFORMS`.

    Raises
    ------
    PlanError
        If JAX cannot be imported or finds none: says what was found, and what to install.
    """
    advice = (
        'For an NVIDIA GPU install its driver and pip install -U "jax[cuda13]" (or jax[cuda12] for an older driver), for '
        "others see https://docs.jax.dev/en/latest/installation.html; or leave out `device`, and the processor is used."
    )
    try:
        import jax
    except ImportError as error:
        raise PlanError(f"device={name!r} needs JAX, which cannot be imported: {error}. {advice}") from error
    try:
        return jax.devices(PLATFORMS[name])[0]
    except RuntimeError as error:
        limited = os.environ.get("JAX_PLATFORMS")
        why = (
            f" The environment variable JAX_PLATFORMS={limited} limits what it looks for." if limited else ""
        )
        raise PlanError(
            f"device={name!r}: JAX {jax.__version__} finds no such device here, only {_devices()}.{why} {advice}"
        ) from error


def _devices() -> str:
    """What JAX finds."""
    import jax

    try:
        return ", ".join(f"{d.platform} ({d.device_kind})" for d in jax.devices())
    except RuntimeError:
        return "none at all"


def _refuse_too_large(name: str, device: Device, pattern: SchurPattern, slabs: tuple[Slabs, ...]) -> None:
    """A PlanError if the operator and the blocks of an iteration take more memory than the device has.

    Counted is also the block that a product gathers, which is held where the compiler does not fuse gather and sum.
    """
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return
    column = VECTORS * pattern.q + 2 * pattern.rows + max(s.padded for s in slabs)
    need = sum(s.nbytes for s in slabs) + 8.0 * (slabs[0].count + slabs[2].count) + 8.0 * 16 * column
    if need > limit:
        raise PlanError(
            f"device={name!r}: products with {slabs[0].count:,} nonzeros and {pattern.q:,} effects take about "
            f"{need / 1e9:.1f} GB, and the device lends {limit / 1e9:.1f} GB to JAX. Leave out `device`, which uses the "
            "processor and its memory, or take a GPU with more; XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 lends a larger share."
        )
