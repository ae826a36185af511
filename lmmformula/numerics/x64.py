"""64-bit numbers in JAX, for the calls made here and never for the process."""

from __future__ import annotations

from contextlib import AbstractContextManager

from lmmformula.numerics.forks import check_not_forked

__all__ = ["x64"]


def x64() -> AbstractContextManager[object]:
    """64-bit numbers within the block, in this thread.

    Raises
    ------
    FitError
        In a fork of a process that had started JAX.
    """
    check_not_forked()
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # pyright: ignore[reportAttributeAccessIssue] - before jax 0.8

    return enable_x64(True)
