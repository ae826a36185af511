"""64-bit numbers in JAX, on the processor, for the calls made here and never for the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from lmmformula.numerics.forks import check_not_forked

__all__ = ["chosen_device", "x64"]


@contextmanager
def x64() -> Iterator[None]:
    """64-bit numbers within the block, in this thread, on the processor.

    JAX takes a GPU where it finds one; these programs are thousands of steps of small operations, which wait for a GPU five
    times as long as they take here. Arrays that were placed on a device stay there, and so does a default device of the
    user's own (``jax.config.update("jax_default_device", ...)``).

    Raises
    ------
    FitError
        In a fork of a process that had started JAX.
    """
    check_not_forked()
    with _wide(), _here():
        yield


def chosen_device() -> object:
    """JAX's default device, where one was chosen: by the user, or within :func:`x64`."""
    import jax

    return getattr(jax.config, "jax_default_device")  # noqa: B009 - the stubs do not know it


def _wide() -> AbstractContextManager[object]:
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # pyright: ignore[reportAttributeAccessIssue] - before jax 0.8

    return enable_x64(True)


def _here() -> AbstractContextManager[object]:
    """The processor as default device, if the user has chosen none and JAX was not kept from it."""
    import jax

    if chosen_device() is not None:
        return nullcontext()
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return nullcontext()
