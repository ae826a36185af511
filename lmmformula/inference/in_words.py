"""What each kind of fit says of itself: how it was made, how it ended, and what to be careful of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    from lmmformula.inference.records import PosteriorPart

__all__ = ["InWords"]


class InWords(ABC):
    """The words and numbers of one kind of fit for summaries and reports."""

    __slots__ = ()

    @property
    @abstractmethod
    def how(self) -> str:
        """How the fit was made: what a title says right after the model."""

    @property
    @abstractmethod
    def counts(self) -> str:
        """What was spent: evaluations, iterations, draws."""

    @property
    def sampler(self) -> str:
        """What drew; empty if nothing was drawn."""
        return ""

    @property
    def dispersion_is(self) -> str:
        """Where a dispersion besides the family's parameters comes from; empty if there is none."""
        return ""

    @property
    def seed(self) -> str:
        """Where chance came from; empty if there was none."""
        return ""

    @property
    def caution(self) -> str:
        """What must not be read out of the log-likelihood; empty if nothing."""
        return ""

    @property
    def is_profiled(self) -> bool:
        """Whether likelihood profiles are cheap for their size."""
        return False

    @abstractmethod
    def unfinished(self) -> str:
        """The warning of a search that did not meet its tolerance, or of draws that do not suffice."""

    def oddities(self) -> tuple[str, ...]:
        """Further warnings of what this kind of fit may run into."""
        return ()

    @abstractmethod
    def notes(self) -> list[str]:
        """How the fit was made and ended, for the end of a summary."""

    @abstractmethod
    def criteria(self) -> dict[str, float]:
        """Numbers at the head of a summary."""

    @abstractmethod
    def glance(self) -> Record:
        """broom's one row."""

    @abstractmethod
    def ended(self, p_value: Callable[[float], str]) -> list[tuple[str, str]]:
        """How the search or the sampler ended: names and texts, p-values written by `p_value`."""

    @property
    def advice(self) -> tuple[str, ...]:
        """What is wrong with draws, and what to do."""
        return ()

    def diagnostics(self) -> Record:
        """What this kind of fit adds to the numbers about the search."""
        return {}

    def parts(self, level: float = 0.95) -> tuple[PosteriorPart, ...]:
        """Tables that stand in a summary in place of random and fixed effects."""
        return ()

    def chains(self) -> Mapping[str, Array]:
        """Draws (chain, draw) of parameters by name, where chains were run."""
        return {}
