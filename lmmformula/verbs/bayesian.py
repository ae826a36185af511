"""Questions to draws of a posterior, and predictive checks of any fit."""

from __future__ import annotations

from lmmformula.verbs.base import Verbs

__all__ = ["BayesianVerbs"]


class BayesianVerbs(Verbs):
    """Questions to draws of a posterior, and predictive checks of any fit."""
