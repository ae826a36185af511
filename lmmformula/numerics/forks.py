"""What does not survive a fork: JAX, whose threads a child process lacks, so that its first call would wait for ever."""

from __future__ import annotations

import os
import sys

from lmmformula.errors import FitError

__all__ = ["check_not_forked", "jax_runs"]

_parent: int | None = None
"""Process that had started JAX before this one was forked from it."""


def jax_runs() -> bool:
    """Whether JAX has started its threads in this process, for us or for the user."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", None)
    if started is not None:
        return bool(started())
    return "jaxlib" in sys.modules  # another version of JAX: to have been imported is what can be seen


def check_not_forked() -> None:
    """Refuse to call JAX in a fork of a process that had started it.

    Raises
    ------
    FitError
    """
    if _parent is not None:
        raise FitError(
            f"process {os.getpid()} is a fork of {_parent}, in which JAX had started (by an earlier fit with method='hmc' or "
            "device='gpu', or by a call of JAX itself). JAX's threads stay behind at a fork, and this call would never return. "
            "Start workers with multiprocessing.get_context('spawn') or 'forkserver' (joblib's default, loky, does so), or "
            "fork before the first such call. Other methods work in a fork."
        )


def _after_fork() -> None:
    global _parent
    if _parent is None and jax_runs():
        _parent = os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
