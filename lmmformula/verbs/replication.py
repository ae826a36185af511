"""Many fits of one structure: bootstrap, power, permutations."""

from __future__ import annotations

from lmmformula.verbs.base import Verbs

__all__ = ["ReplicationVerbs"]


class ReplicationVerbs(Verbs):
    """Many fits of one structure: bootstrap, power, permutations."""
