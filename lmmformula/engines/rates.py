"""Rates that turn counts into seconds and bytes: measured, on two cores, and written by ``benchmarks/plan_study.py``.

Nothing else in plans is fitted to a machine. Another one differs in time by a factor that is common to all rates, so
that choices by ratios hold.
"""

from __future__ import annotations

__all__ = ["BYTES", "JAX", "SAMPLING", "SECONDS"]

SECONDS = {
    "calls": 0.000123,
    "dense": 2.24e-11,
    "pairs": 1e-09,
    "entries": 3.28e-09,
    "iterated": 4e-10,
    "slabs": 4.52e-10,
    "cells": 1.61e-09,
    "table": 2.95e-08,
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
    "start": 0.875,
    "compiled": 0.704,
    "joint": 4.8,
    "steps": 1.81e-05,
    "work": 1.41e-08,
    "batch": 3e-20,
    "evaluated": 0.892,
    "recovered": 0.00119,
}
"""Seconds for one unit of each count of :class:`lmmformula.planner.bayes_cost.Sampling`."""

JAX = {"chains": 3.0e8, "importance": 6.5e7}
"""Bytes that a posterior loads beside what a likelihood needs: JAX and NumPyro for chains, and without them."""
