"""What is asked of a sampler, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from lmmformula.checkpoints import Keeper, Ongoing
from lmmformula.errors import FitError
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.backends.posterior.density.scale import JointScale, Scale
    from lmmformula.backends.posterior.record import Posterior
    from lmmformula.backends.posterior.sampling.importance import ImportanceDraws

__all__ = [
    "MOST_COORDINATES",
    "ChainOptions",
    "Drawn",
    "Progress",
    "Request",
    "Sampler",
    "State",
    "check_moved",
    "tried_first",
]

MOST_COORDINATES = 30
"""Up to which weights of importance sampling can be about equal: the density of a proposal must be right in all of them."""

Progress = Callable[[int, float, float], None]
Sampler = Literal["auto", "nuts", "importance"]
State = tuple[Array, ...]
"""Where one chain stands: the leaves of what the sampler carries from one draw to the next."""


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """How many draws, and NUTS' two knobs.

    Attributes
    ----------
    chains, draws : int
    warmup : int or None
    target_accept : float or None
    max_depth : int
    """

    chains: int
    draws: int
    warmup: int | None
    target_accept: float | None
    max_depth: int


@dataclass(frozen=True, slots=True)
class Request:
    """What to do.

    Attributes
    ----------
    options : ChainOptions
    sampler : {"auto", "nuts", "importance"}
    seed : int
    progress : callable or None
    before : Posterior or None
        A posterior to go on from: its chains' last states are the starts, and its seed and scales stay.
    keeper : Keeper or None
        Who keeps where the sampler stands. Fits that samplers start from are kept by nobody.
    """

    options: ChainOptions
    sampler: Sampler
    seed: int
    progress: Progress | None = None
    before: Posterior | None = None
    keeper: Keeper | None = None

    def ongoing(self, search: str) -> Ongoing | None:
        """A part of the sampling by its name; None where nobody keeps it."""
        return None if self.keeper is None else Ongoing(self.keeper, search)

    @property
    def states(self) -> tuple[State, ...] | None:
        """Last states of the chains to go on with."""
        return None if self.before is None else self.before.states

    @property
    def recovery(self) -> np.random.SeedSequence:
        """Of draws of what was integrated out."""
        return np.random.SeedSequence([self.seed, 2, 0 if self.before is None else self.before.draws])


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Draws of x (chain, draw, d), and what the sampler says about them.

    Attributes
    ----------
    scale : Scale or JointScale
        The coordinates the sampler worked in.
    statistics : mapping of str -> (chain, draw) array
        Empty for importance sampling.
    states : tuple
        Last states of the chains; with `scale` enough to go on.
    importance : ImportanceDraws or None
        What importance sampling found, also where it gave way to chains.
    """

    x: Array
    scale: Scale | JointScale
    statistics: Mapping[str, Array] = field(default_factory=dict)
    states: tuple[State, ...] = ()
    warmup: int = 0
    warmup_divergences: int = 0
    complete: bool = True
    importance: ImportanceDraws | None = None


def tried_first(sampler: str, d: int, *, few: bool) -> Literal["nuts", "importance"]:
    """The sampler that begins: under "auto" importance sampling, where few coordinates are left and they are not too many.

    Parameters
    ----------
    sampler : {"auto", "nuts", "importance"}
    d : int
        Coordinates.
    few : bool
        Whether the random effects of the mean are integrated out.
    """
    if sampler == "auto":
        return "importance" if few and d <= MOST_COORDINATES else "nuts"
    return "importance" if sampler == "importance" else "nuts"


def check_moved(z: Array) -> None:
    """Refuse chains (chain, draw, d) that stand still: one point is no posterior."""
    if (z == z[:, :1]).all():
        raise FitError(
            f"none of {len(z)} chains moved in {z.shape[1]} draws: the density could not be evaluated away from the start. "
            "The likely cause is a column whose scale differs from the others by many orders of magnitude, or a link whose "
            "domain the random effects leave; rescale the column, or use a log or logit link."
        )
