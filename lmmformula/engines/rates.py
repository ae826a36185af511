"""Rates that turn counts into seconds and bytes: measured, on two cores, and written by ``benchmarks/plan_study.py``.

Nothing else in plans is fitted to a machine. Another one differs in time by a factor that is common to all rates, so
that choices by ratios hold.
"""

from __future__ import annotations

__all__ = ["BYTES", "JAX", "SAMPLING", "SECONDS"]

SECONDS = {
    "calls": 0.000409,
    "dense": 5.44e-11,
    "pairs": 1e-09,
    "entries": 3.51e-09,
    "iterated": 2.72e-10,
    "slabs": 5.45e-10,
    "cells": 1.68e-09,
    "table": 5.4e-08,
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
    "start": 1.1,
    "compiled": 0.701,
    "joint": 12,
    "steps": 1.64e-05,
    "work": 6.83e-08,
    "batch": 3.38e-23,
    "evaluated": 2.85,
    "recovered": 0.00316,
}
"""Seconds for one unit of each count of :class:`lmmformula.planner.bayes_cost.Sampling`."""

JAX = {"chains": 3.0e8, "importance": 6.5e7}
"""Bytes that a posterior loads beside what a likelihood needs: JAX and NumPyro for chains, and without them."""
