"""Rates that turn counts into seconds and bytes: measured, on two cores, and written by ``benchmarks/plan_study.py``.

Nothing else in plans is fitted to a machine. Another one differs in time by a factor that is common to all rates, so
that choices by ratios hold.
"""

from __future__ import annotations

__all__ = ["BYTES", "JAX", "SAMPLING", "SECONDS"]

SECONDS = {
    "calls": 8.93e-05,
    "dense": 4.2e-11,
    "pairs": 1.46e-09,
    "entries": 2.28e-09,
    "iterated": 3.06e-10,
    "slabs": 5.55e-10,
    "cells": 2.86e-09,
    "table": 2.44e-08,
}
"""Seconds for one unit of each count of :class:`lmmformula.engines.cost.Work`; "iterated" is the Krylov engine's own."""

BYTES = {
    "process": 1.29e08,
    "laplace": 1.33e07,
    "krylov": 2.92e07,
    "compiled": 9.98e07,
    "table": 2.85,
    "family": 15.2,
    "patterns": 2.25,
    "entries": 1,
    "iterated": 12.8,
    "levels": 1,
    "probes": 15.2,
    "copies": 1.71,
    "dense": 5.83,
}
"""Bytes for one unit of each count of :class:`lmmformula.engines.cost.Space`."""

SAMPLING = {
    "start": 0.879,
    "compiled": 0.701,
    "joint": 4.67,
    "steps": 1.97e-05,
    "work": 1.57e-08,
    "batch": 1.27e-23,
    "evaluated": 1.51,
    "recovered": 0.00119,
}
"""Seconds for one unit of each count of :class:`lmmformula.planner.bayes_cost.Sampling`."""

JAX = {"chains": 3.0e8, "importance": 6.5e7}
"""Bytes that a posterior loads beside what a likelihood needs: JAX and NumPyro for chains, and without them."""
