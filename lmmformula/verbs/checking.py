"""Is the model right: checks, residuals by simulation, influence."""

from __future__ import annotations

from lmmformula.verbs.base import Verbs

__all__ = ["CheckingVerbs"]


class CheckingVerbs(Verbs):
    """Is the model right: checks, residuals by simulation, influence."""
