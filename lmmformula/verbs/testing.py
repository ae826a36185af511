"""Hypotheses about the fixed effects, and their covariance matrix by other estimators."""

from __future__ import annotations

from lmmformula.verbs.base import Verbs

__all__ = ["TestingVerbs"]


class TestingVerbs(Verbs):
    """Hypotheses about the fixed effects, and their covariance matrix by other estimators."""
