"""Monotonic effects of a fit: average steps and simplexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    from lmmformula.reporting.frames import Table

__all__ = ["MonotonicVerbs"]


@checked_methods()
class MonotonicVerbs(Verbs):
    """Monotonic effects of a fit."""

    def monotonic(self) -> Table:
        """Average step and simplex of each monotonic effect, in brms' names.

        ``mox`` is b, the average difference of adjacent levels of x, ``mox1[j]`` the share of step j in the difference of the
        highest and the lowest level, with ``level`` the one that it leads to: the effect of level x is ``b D (zeta_1 + .. +
        zeta_x)``, D the number of steps (Buerkner & Charpentier 2020). Standard errors are by the delta method, of a posterior
        standard deviations; shares of zero, and one of everything, have none.

        Raises
        ------
        PlanError
            For a fit without monotonic effects.
        """
        from lmmformula.reporting.monotonic import monotonic_table

        return monotonic_table(self._fit)
