"""What checkpoints keep of samplers: values of a density in the order in which they were asked for, and where chains stand.

Importance sampling is a function of its seed and of the values of the density at the points it draws. So the values alone are
kept: who goes on draws the same points again, which takes no time, and computes densities from where the record ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from lmmformula.backends.posterior.density.base import Sloped
from lmmformula.backends.posterior.density.scale import JointScale, Scale
from lmmformula.backends.posterior.sampling.request import State
from lmmformula.checkpoints import Ongoing, left_of
from lmmformula.typing import Array, Record

__all__ = ["ChainStanding", "KeptChains", "mode_of", "remembered"]

BLOCK, BLOCK_DEAR = 200, 16
"""Points whose densities are computed between two looks at the clock, where these are cheap and where they are not."""
ScaleT_co = TypeVar("ScaleT_co", Scale, JointScale, covariant=True)


class _Scaled(Protocol[ScaleT_co]):
    def scale(self) -> ScaleT_co: ...


def mode_of(density: _Scaled[ScaleT_co], here: Ongoing | None) -> ScaleT_co:
    """The scale of a density, at its mode: searched for once over all runs."""
    left = left_of(here)
    if left is not None:
        return left["scale"]
    scale = density.scale()
    if here is not None:
        here.offer(lambda: {"scale": scale}, at_once=True)
    return scale


def remembered(density: Sloped, here: Ongoing | None, block: int = BLOCK) -> Sloped:
    """The density; with a record of its values where a checkpoint is kept, told after each `block`."""
    return density if here is None else _Remembered(density, here, block)


class _Remembered:
    """A density that computes each value once over all runs, in the same blocks of points, so that rounding is the same."""

    def __init__(self, density: Sloped, here: Ongoing, block: int) -> None:
        self._density, self._here, self._size = density, here, block
        left = here.left
        self._left: Array = np.zeros(0) if left is None else left["values"]
        self._values: list[Array] = []
        self._at = 0

    @property
    def d(self) -> int:
        return self._density.d

    @property
    def folded(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        return self._density.folded

    def log_densities(self, x: Array) -> Array:
        """Log density of each row of x (S, d), from the record as far as that goes."""
        blocks = [self._block(x[at : at + self._size]) for at in range(0, len(x), self._size)]
        return np.concatenate([np.zeros(0), *blocks])

    def values_and_gradients(self, x: Array) -> tuple[Array, Array]:
        """The same with gradients (S, d)."""
        blocks = [self._block(x[at : at + self._size], self._both) for at in range(0, len(x), self._size)]
        both = np.concatenate([np.zeros((0, 1 + self.d)), *blocks])
        return both[:, 0], both[:, 1:]

    def _both(self, x: Array) -> Array:
        return np.column_stack(self._density.values_and_gradients(x))

    def _block(self, x: Array, compute: Callable[[Array], Array] | None = None) -> Array:
        known = self._left[self._at : self._at + len(x)]
        values = known if len(known) == len(x) else (compute or self._density.log_densities)(x)
        self._at += len(x)
        self._values.append(values)
        if len(known) < len(x):
            self._here.offer(self._state)
        return values

    def _state(self) -> Record:
        return {"values": np.concatenate(self._values)}


@dataclass(frozen=True, slots=True, eq=False)
class ChainStanding:
    """Where one chain stands.

    Attributes
    ----------
    state : tuple of arrays
        The sampler's.
    done : int
        Iterations, warm-up included.
    diverged : int
        Of the warm-up.
    records : tuple of tuples of arrays
        What each part of its draws has recorded.
    """

    state: State
    done: int = 0
    diverged: int = 0
    records: tuple[tuple[Array, ...], ...] = ()

    def joined(self) -> ChainStanding:
        """The same with one part."""
        if len(self.records) < 2:
            return self
        whole = tuple(np.concatenate(column) for column in zip(*self.records, strict=True))
        return ChainStanding(self.state, self.done, self.diverged, (whole,))


class KeptChains:
    """Where all chains stand, for a checkpoint; told from the thread of each.

    Parameters
    ----------
    here : Ongoing
    scale : Scale or JointScale
        The coordinates that they move in.
    """

    def __init__(self, here: Ongoing, scale: Scale | JointScale) -> None:
        self.here, self._scale = here, scale
        self._chains: list[ChainStanding] = []

    def left(self) -> tuple[ChainStanding, ...]:
        """Where an earlier run has left them; empty if there was none."""
        left = self.here.left
        return () if left is None else left["chains"]

    def begin(self, chains: tuple[ChainStanding, ...]) -> None:
        """They stand there now."""
        self._chains = list(chains)

    def tell(self, chain: int, standing: ChainStanding) -> None:
        """One of them stands elsewhere."""
        self._chains[chain] = standing
        self.here.offer(self._state)

    def end(self) -> None:
        """All are at their ends."""
        self.here.offer(self._state, at_once=True)

    def _state(self) -> Record:
        return {"scale": self._scale, "chains": tuple(one.joined() for one in list(self._chains))}
