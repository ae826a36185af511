"""Rates that turn counts into seconds and bytes: measured, on two cores, and written by ``benchmarks/plan_study.py``.

Nothing else in the planner is fitted to a machine. Another one differs in time by a factor that is common to all rates, so
that choices by ratios hold.
"""

from __future__ import annotations

__all__ = ["BYTES", "JAX", "SAMPLING", "SECONDS"]

SECONDS = {
    "calls": 0.000126,
    "dense": 2.24e-11,
    "pairs": 1e-09,
    "entries": 3.27e-09,
    "iterated": 4.86e-10,
    "slabs": 4.75e-10,
    "cells": 1.61e-09,
    "table": 2.92e-08,
}
"""Seconds for one unit of each count of :class:`lmmformula.planner.cost.Work`; "iterated" is the Krylov engine's own."""

BYTES = {
    "process": 1.29e08,
    "laplace": 1.44e07,
    "krylov": 2.82e07,
    "compiled": 1.01e08,
    "table": 2.82,
    "family": 16.9,
    "patterns": 1,
    "entries": 1,
    "iterated": 17.6,
    "levels": 1,
    "probes": 14.5,
    "copies": 1.74,
    "dense": 5.83,
}
"""Bytes for one unit of each count of :class:`lmmformula.planner.space.Space`."""

SAMPLING = {
    "start": 0.871,
    "compiled": 0.7,
    "joint": 5.33,
    "steps": 1.1e-05,
    "work": 1.55e-08,
    "batch": 2.04e-08,
    "evaluated": 0.853,
    "recovered": 0.00105,
}
"""Seconds for one unit of each count of :class:`lmmformula.planner.bayes_cost.Sampling`."""

JAX = {"chains": 3.0e8, "importance": 6.5e7}
"""Bytes that a posterior loads beside what a likelihood needs: JAX and NumPyro for chains, and without them."""
