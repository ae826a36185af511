"""Marginal means, contrasts, trends, and predictions averaged over a population."""

from __future__ import annotations

from lmmformula.verbs.base import Verbs

__all__ = ["MeansVerbs"]


class MeansVerbs(Verbs):
    """Marginal means, contrasts, trends, and predictions averaged over a population."""
