"""Which terms are needed: tests of variances, terms dropped one by one, all optimisers."""

from __future__ import annotations

from lmmformula.verbs.base import Verbs

__all__ = ["SelectionVerbs"]


class SelectionVerbs(Verbs):
    """Which terms are needed: tests of variances, terms dropped one by one, all optimisers."""
