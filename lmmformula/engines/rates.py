"""Rates that turn counts into seconds and bytes: measured, on two cores, and written by ``benchmarks/plan_study.py``.

Nothing else in plans is fitted to a machine. Another one differs in time by a factor that is common to all rates, so
that choices by ratios hold.
"""

from __future__ import annotations

__all__ = ["BYTES", "JAX", "SAMPLING", "SECONDS"]

SECONDS = {
    "calls": 0.000516,
    "dense": 4.66e-11,
    "pairs": 5e-10,
    "entries": 1.88e-08,
    "iterated": 3.12e-10,
    "slabs": 5.76e-10,
    "cells": 2.29e-09,
    "table": 5.6e-08,
}
"""Seconds for one unit of each count of :class:`lmmformula.engines.cost.Work`; "iterated" is the Krylov engine's own."""

BYTES = {
    "process": 1.29e08,
    "laplace": 1.63e07,
    "krylov": 3.26e07,
    "compiled": 8.37e07,
    "table": 2.85,
    "family": 13.4,
    "patterns": 4.96,
    "entries": 1,
    "iterated": 12.4,
    "levels": 1,
    "probes": 15.6,
    "copies": 1.69,
    "dense": 5.53,
}
"""Bytes for one unit of each count of :class:`lmmformula.engines.cost.Space`."""

SAMPLING = {
    "start": 0.886,
    "compiled": 0.7,
    "joint": 13.4,
    "steps": 7.94e-06,
    "work": 2.51e-08,
    "batch": 8.06e-22,
    "evaluated": 1.88,
    "recovered": 0.00223,
}
"""Seconds for one unit of each count of :class:`lmmformula.planner.bayes_cost.Sampling`."""

JAX = {"chains": 3.0e8, "importance": 6.5e7}
"""Bytes that a posterior loads beside what a likelihood needs: JAX and NumPyro for chains, and without them."""
