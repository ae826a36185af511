"""The planner: which backend and engine will fit a problem, how large the work is, and why."""

from lmmformula.planner.record import Plan
from lmmformula.planner.rules import make_plan

__all__ = ["Plan", "make_plan"]
