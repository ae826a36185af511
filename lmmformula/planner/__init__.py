"""The planner: how large the work of a fit is, which engine does it, and the record that says so."""

from lmmformula.planner.record import Plan, Planned

__all__ = ["Plan", "Planned"]
